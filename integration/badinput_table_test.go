package integration

import (
	"encoding/json"
	"fmt"
	"strings"
)

func badKeys() []badInput {
	return []badInput{
		{name: "unknown key", conf: set("colour", "red"), code: 2, say: []string{"colour", "red"}},
		{name: "nsg with documents that are not there", conf: set("nsg", map[string]any{"documents": []string{"/nowhere/vnet"}}), code: 109, say: []string{"nsg.documents", "/nowhere/vnet"}},
		{name: "nsg with an unknown key", conf: set("nsg", map[string]any{"document": "/etc/vnet"}), code: 2, say: []string{"nsg.document", "/etc/vnet", "documents"}},
		{name: "misspelt key", conf: set("upllink", "eth0"), code: 2, say: []string{"upllink", "eth0", "uplink"}},
		{name: "wrong case", conf: set("MTU", 1400), code: 2, say: []string{"MTU", "1400"}},
		{name: "unknown ipam key", conf: set("ipam>gateway", "10.241.0.1"), code: 2, say: []string{"ipam.gateway", "10.241.0.1"}},
		{name: "unknown pool key", conf: pools(map[string]any{"subnet": "10.241.0.0/16", "rangeStart": "10.241.4.1"}), code: 2, say: []string{"pools[0].rangeStart", "10.241.4.1"}},
		{name: "unknown masquerade key", conf: set("masquerade", map[string]any{"exept": []string{}}), code: 2, say: []string{"masquerade.exept"}},
		{name: "unknown route key", conf: set("ipam>routes", []any{map[string]any{"dst": "10.0.0.0/8", "via": "10.241.0.1"}}), code: 2, say: []string{"routes[0].via"}},
		{name: "mode of another kind", conf: set("mode", "bridge"), code: 7, say: []string{"mode", "bridge"}},
		{name: "mtu as text", conf: set("mtu", "1500"), code: 6, say: []string{"mtu", "1500"}},
		{name: "mtu below IPv6's least", conf: set("mtu", 1000), code: 7, say: []string{"mtu", "1000"}},
		{name: "mtu negative", conf: set("mtu", -1), code: 7, say: []string{"mtu", "-1"}},
		{name: "mtu with a fraction", conf: set("mtu", 1500.5), code: 6, say: []string{"mtu", "1500.5"}},
		{name: "uplink as number", conf: set("uplink", 0), code: 6, say: []string{"uplink", "0"}},
		{name: "masquerade as text", conf: set("masquerade", "yes"), code: 6, say: []string{"masquerade", "yes"}},
		{name: "masquerade with a bad CIDR", conf: set("masquerade", map[string]any{"except": []string{"10.0.0.0/33"}}), code: 7, say: []string{"masquerade.except[0]", "10.0.0.0/33"}},
		{name: "dns as list", conf: set("dns", []string{"168.63.129.16"}), code: 6, say: []string{"dns", "168.63.129.16"}},
	}
}

func badPools() []badInput {
	const subnet = "10.241.0.0/16"
	return []badInput{
		{name: "no pools", conf: pools(), code: 7, say: []string{"ipam.pools"}},
		{name: "pools missing", conf: set("ipam>pools", nil), code: 7, say: []string{"ipam.pools"}},
		{name: "pools as object", conf: set("ipam>pools", map[string]any{"subnet": subnet}), code: 6, say: []string{"ipam.pools"}},
		{name: "pool without ranges", conf: pools(poolOf(subnet)), code: 7, say: []string{"pools[0].ranges", subnet}},
		{name: "overlapping ranges", conf: pools(poolOf(subnet, "10.241.4.0/24", "10.241.4.200-10.241.5.10")), code: 7, say: []string{"pools[0].ranges[1]", "10.241.4.200-10.241.5.10"}},
		{name: "reversed range", conf: pools(poolOf(subnet, "10.241.4.20-10.241.4.10")), code: 7, say: []string{"ranges[0]", "10.241.4.20-10.241.4.10"}},
		{name: "range outside the subnet", conf: pools(poolOf(subnet, "10.242.4.0/24")), code: 7, say: []string{"ranges[0]", "10.242.4.0/24"}},
		{name: "range of another family", conf: pools(poolOf(subnet, "fd00::/120")), code: 7, say: []string{"ranges[0]", "fd00::/120"}},
		{name: "range of both families", conf: pools(poolOf(subnet, "10.241.4.1-fd00::1")), code: 7, say: []string{"ranges[0]", "fd00::1"}},
		{name: "range that is no address", conf: pools(poolOf(subnet, "ten")), code: 7, say: []string{"ranges[0]", "ten"}},
		{name: "only reserved addresses", conf: pools(poolOf(subnet, "10.241.0.0-10.241.0.3")), code: 7, say: []string{"ranges", "10.241.0.0-10.241.0.3"}},
		{name: "subnet without usable addresses", conf: pools(poolOf("10.241.8.0/30", "10.241.8.0/30")), code: 7, say: []string{"subnet", "10.241.8.0/30"}},
		{name: "subnet with host bits", conf: pools(poolOf("10.241.0.7/16", "10.241.4.0/24")), code: 7, say: []string{"subnet", "10.241.0.7/16"}},
		{name: "subnet that is loopback", conf: pools(poolOf("127.0.0.0/8", "127.0.1.0/24")), code: 7, say: []string{"subnet", "127.0.0.0/8"}},
		{name: "subnet that is multicast", conf: pools(poolOf("ff02::/64", "ff02::400/120")), code: 7, say: []string{"subnet", "ff02::/64"}},
		{name: "subnets that overlap", conf: pools(poolOf(subnet, "10.241.4.0/24"), poolOf("10.241.9.0/24", "10.241.9.0/24")), code: 7, say: []string{"pools[1]", "10.241.9.0/24"}},
		{name: "the same pool twice", conf: pools(poolOf(subnet, "10.241.4.0/24"), poolOf(subnet, "10.241.4.0/24")), code: 7, say: []string{"pools[1]"}},
		{name: "full pool", conf: pools(poolOf(subnet, "10.241.4.10")), code: 11, say: []string{"no free address", subnet}},
	}
}

func badValues(s *stage) []badInput {
	return []badInput{
		{name: "cooldown as number", conf: set("ipam>cooldown", 30), code: 6, say: []string{"ipam.cooldown", "30"}},
		{name: "cooldown negative", conf: set("ipam>cooldown", "-3s"), code: 7, say: []string{"ipam.cooldown", "-3s"}},
		{name: "route to no CIDR", conf: set("ipam>routes", []any{map[string]any{"dst": "ten"}}), code: 7, say: []string{"routes[0].dst", "ten"}},
		{name: "route via another family", conf: set("ipam>routes", []any{map[string]any{"dst": "10.0.0.0/8", "gw": "fd00:10:241::1"}}), code: 7, say: []string{"routes[0].gw", "fd00:10:241::1"}},
		{name: "route via nowhere", conf: set("ipam>routes", []any{map[string]any{"dst": "10.0.0.0/8", "gw": "192.0.2.1"}}), code: 7, say: []string{"routes[0].gw", "192.0.2.1"}},
		{name: "ipam missing", conf: set("ipam", nil), code: 7, say: []string{"ipam"}},
		{name: "ipam as text", conf: set("ipam", "vnet-ipam"), code: 6, say: []string{"ipam", "vnet-ipam"}},
		{name: "ipam type missing", conf: set("ipam>type", nil), code: 7, say: []string{"ipam.type"}},
		{name: "ipam type with a path", conf: set("ipam>type", "../vnet-ipam"), code: 7, say: []string{"ipam.type", "../vnet-ipam"}},
		{name: "ipam plugin that does not exist", conf: set("ipam>type", "no-such-ipam"), code: 108, say: []string{"no-such-ipam"}},
		{name: "stateDir relative", conf: set("stateDir", "run/vnet"), code: 7, say: []string{"stateDir", "run/vnet"}},
		{name: "stateDir not clean", conf: set("stateDir", "/run/../run/vnet"), code: 7, say: []string{"stateDir", "/run/../run/vnet"}},
		{name: "stateDir with a control character", conf: set("stateDir", "/run/vn\net"), code: 7, say: []string{"stateDir", `/run/vn\net`}},
		{name: "stateDir is a file", conf: set("stateDir", s.thing("file")), code: 105, say: []string{s.thing("file")}},
		{name: "stateDir where nothing can be made", conf: set("stateDir", "/proc/vnet"), code: 105, say: []string{"/proc/vnet"}},
		{name: "uplink that does not exist", conf: set("uplink", "eth9"), code: 102, say: []string{"eth9"}},
		{name: "uplink without a link layer", conf: set("uplink", "lo"), code: 102, say: []string{"lo"}},
		{name: "uplink that is no name", conf: set("uplink", "eth0/../eth0"), code: 7, say: []string{"uplink", "eth0/../eth0"}},
	}
}

func badNames() []badInput {
	long := strings.Repeat("a", 300)
	return []badInput{
		{name: "name missing", conf: set("name", nil), code: 7, say: []string{"name"}},
		{name: "name as number", conf: set("name", 5), code: 6, say: []string{"name"}},
		{name: "name with a path", conf: set("name", "../../etc/passwd"), code: 7, say: []string{"../../etc/passwd"}},
		{name: "name with a control character", conf: set("name", "pods\n"), code: 7, say: []string{"name"}},
		{name: "name too long", conf: set("name", long), code: 7, say: []string{"name", "aaaaaaaa"}},
		{name: "id too long", env: with("CNI_CONTAINERID", long), code: 4, say: []string{"CNI_CONTAINERID", "aaaaaaaa"}},
		{name: "id with a path", env: with("CNI_CONTAINERID", "../x"), code: 4, say: []string{"../x"}},
		{name: "id with a control character", env: with("CNI_CONTAINERID", "a\x1b[31m"), code: 4, say: []string{"containerID"}},
		{name: "id of dots", env: with("CNI_CONTAINERID", ".."), code: 4, say: []string{".."}},
	}
}

func badNamespaces(s *stage) []badInput {
	var out []badInput
	for name, path := range map[string]string{
		"missing": s.thing("missing"), "a file": s.thing("file"), "a folder": s.things, "a pipe": s.thing("fifo"),
		"a link to itself": s.thing("loop"), "a link to nothing": s.thing("dangling"), "a device": "/dev/null",
		"another kind of namespace": "/proc/self/ns/uts", "the node's own": s.node.Path, "the node's own by process": "/proc/self/ns/net",
		"relative": "netns/pod", "control characters": "/run/netns/\x1b[31m", "too long": "/" + strings.Repeat("a/", 3000),
	} {
		say := []string{}
		if len(path) < 200 && !strings.Contains(path, "\x1b") {
			say = append(say, path)
		}
		out = append(out, badInput{name: "namespace is " + name, env: with("CNI_NETNS", path), code: 100, say: say})
	}
	return out
}

func badInterfaces() []badInput {
	var out []badInput
	for name, ifName := range map[string]string{
		"of 16 characters": "eth0123456789012", "dots": "..", "with a slash": "a/b", "with a colon": "eth0:1",
		"with a blank": "eth 0", "with a pattern": "eth%d", "with a control character": "eth\x1b0", "with a zero-width space": "eth\u200b0",
	} {
		out = append(out, badInput{name: "interface " + name, env: with("CNI_IFNAME", ifName), code: 4, say: []string{"interface"}})
	}
	for i := range out { // our own messages name the variable, those of the CNI library do not
		if n := out[i].name; strings.Contains(n, "pattern") || strings.Contains(n, "control") || strings.Contains(n, "zero-width") {
			out[i].say = []string{"CNI_IFNAME"}
		}
	}
	return append(out,
		badInput{name: "interface is taken", env: with("CNI_IFNAME", "taken0"), code: 104, say: []string{"CNI_IFNAME", "taken0"}},
		badInput{name: "interface is loopback", env: with("CNI_IFNAME", "lo"), code: 104, say: []string{"CNI_IFNAME", "lo"}},
		badInput{name: "interface called all", env: with("CNI_IFNAME", "all"), code: 4, say: []string{"CNI_IFNAME", "all"}},
		badInput{name: "interface called default", env: with("CNI_IFNAME", "default"), code: 4, say: []string{"CNI_IFNAME", "default"}})
}

func badAddresses() []badInput {
	ips := func(list ...string) func(document) { return set("runtimeConfig>ips", list) }
	return []badInput{
		{name: "address taken by another pod", env: with("CNI_ARGS", "IP=10.241.4.10"), code: 103, say: []string{"10.241.4.10"}},
		{name: "address taken, as a capability", conf: ips("10.241.4.10/16"), code: 103, say: []string{"10.241.4.10"}},
		{name: "address outside the pools", env: with("CNI_ARGS", "IP=192.0.2.7"), code: 7, say: []string{"192.0.2.7"}},
		{name: "address outside the range", env: with("CNI_ARGS", "IP=10.241.5.7"), code: 7, say: []string{"10.241.5.7"}},
		{name: "address that Azure reserves", env: with("CNI_ARGS", "IP=10.241.0.1"), code: 7, say: []string{"10.241.0.1"}},
		{name: "address of the node", env: with("CNI_ARGS", "IP="+secondary), code: 7, say: []string{secondary}},
		{name: "two addresses of one pool", env: with("CNI_ARGS", "IP=10.241.4.11,10.241.4.12"), code: 7, say: []string{"10.241.4.12"}},
		{name: "second address is taken", env: with("CNI_ARGS", "IP=10.241.4.11,fd00:10:241::410"), code: 103, say: []string{"fd00:10:241::410"}},
		{name: "address that is none", conf: ips("ten"), code: 7, say: []string{"runtimeConfig.ips[0]", "ten"}},
		{name: "addresses as text", conf: set("runtimeConfig>ips", "10.241.4.11"), code: 6, say: []string{"runtimeConfig.ips", "10.241.4.11"}},
		{name: "bad MAC as a capability", conf: set("runtimeConfig>mac", "zz:zz"), code: 7, say: []string{"runtimeConfig.mac", "zz:zz"}},
		{name: "multicast MAC", env: with("CNI_ARGS", "MAC=01:00:5e:00:00:01"), code: 4, say: []string{"MAC", "01:00:5e:00:00:01"}},
		{name: "zero MAC", env: with("CNI_ARGS", "MAC=00:00:00:00:00:00"), code: 4, say: []string{"MAC", "00:00:00:00:00:00"}},
		{name: "MAC of eight bytes", env: with("CNI_ARGS", "MAC=02:00:00:00:00:00:00:01"), code: 4, say: []string{"MAC", "02:00:00:00:00:00:00:01"}},
	}
}

func badArgs() []badInput {
	var out []badInput
	for args, say := range map[string]string{
		"IP":                            "IP",
		"=x":                            "=x",
		"IP=ten":                        "ten",
		"IP=":                           "IP",
		"IP=127.0.0.1":                  "127.0.0.1",
		"MAC=zz":                        "zz",
		"COLOUR=red":                    "COLOUR",
		"VNET_NSG=web-nsg":              "VNET_NSG",
		"IgnoreUnknown=maybe":           "maybe",
		"IP=10.241.4.11;IP=10.241.4.12": "IP",
		"K8S_POD_NAME=a\x1bb":           "K8S_POD_NAME",
		";;":                            "KEY=VALUE",
	} {
		out = append(out, badInput{name: fmt.Sprintf("CNI_ARGS %q", args), env: with("CNI_ARGS", args), code: 4, say: []string{"CNI_ARGS", say}})
	}
	return out
}

func badEnvironment() []badInput {
	var out []badInput
	for _, key := range []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"} {
		out = append(out, badInput{name: "no " + key, env: with(key, ""), code: 4, say: []string{key}})
	}
	return append(out,
		badInput{name: "DEL without an id", verb: "DEL", env: with("CNI_CONTAINERID", ""), code: 4, say: []string{"CNI_CONTAINERID"}},
		badInput{name: "verb that does not exist", verb: "UPDATE", code: 4, say: []string{"CNI_COMMAND", "UPDATE"}},
		badInput{name: "verb in small letters", verb: "add", code: 4, say: []string{"CNI_COMMAND", "add"}})
}

func badDocuments() []badInput {
	whole := `{"cniVersion":"1.1.0","name":"pods","type":"vnet"`
	return []badInput{
		{name: "empty stdin", raw: "nothing", code: 6, say: []string{"network config"}},
		{name: "truncated JSON", raw: whole, code: 6, say: []string{"network config"}},
		{name: "a list", raw: "[]", code: 6, say: []string{"network config"}},
		{name: "noise", raw: "\x00\xff\xfe", code: 6, say: []string{"network config"}},
		{name: "two documents", raw: whole + "}{}", code: 6, say: []string{"network config"}},
		{name: "not UTF-8", raw: whole + ",\"uplink\":\"\xff\"}", code: 6, say: []string{"UTF-8"}},
		{name: "key twice", raw: whole + `,"mtu":1400,"mtu":1500}`, code: 6, say: []string{"mtu", "1500"}},
		{name: "version of the future", conf: set("cniVersion", "9.9.9"), code: 1, say: []string{"9.9.9"}},
		{name: "version too old", conf: set("cniVersion", "0.2.0"), code: 1, say: []string{"0.2.0"}},
		{name: "version missing", conf: set("cniVersion", nil), code: 1, say: []string{"version"}},
		{name: "version as number", conf: set("cniVersion", 1), code: 6, say: []string{"cniVersion"}},
		{name: "CHECK of 0.3.1", verb: "CHECK", conf: set("cniVersion", "0.3.1"), code: 1, say: []string{"CHECK"}},
		{name: "STATUS of 1.0.0", verb: "STATUS", conf: set("cniVersion", "1.0.0"), code: 1, say: []string{"STATUS"}},
		{name: "GC of 1.0.0", verb: "GC", conf: set("cniVersion", "1.0.0"), code: 1, say: []string{"GC"}},
		{name: "DEL of noise", verb: "DEL", raw: "{", code: 6, say: []string{"network config"}},
		{name: "DEL without a name", verb: "DEL", conf: set("name", nil), code: 7, say: []string{"name"}},
		{name: "DEL with a relative stateDir", verb: "DEL", conf: set("stateDir", "vnet"), code: 7, say: []string{"stateDir", "vnet"}},
		{name: "GC with attachments that are no list", verb: "GC", conf: set("cni.dev/valid-attachments", "all"), code: 6, say: []string{"valid-attachments", "all"}},
		{name: "GC with half an attachment", verb: "GC", conf: set("cni.dev/valid-attachments", []any{map[string]any{"containerID": "a"}}), code: 7, say: []string{"valid-attachments[0].ifname"}},
		{name: "STATUS of an unknown key", verb: "STATUS", conf: set("nsgs", map[string]any{}), code: 2, say: []string{"nsgs"}},
		{name: "STATUS without documents", verb: "STATUS", conf: set("nsg", map[string]any{}), code: 7, say: []string{"nsg.documents"}},
		{name: "STATUS without an uplink", verb: "STATUS", conf: set("uplink", "eth9"), code: 50, say: []string{"eth9"}},
	}
}

func badResults(s *stage) []badInput {
	prev := func(value any) func(document) { return set("prevResult", value) }
	good := func(change func(document)) func(document) {
		return func(d document) {
			var r document
			if err := json.Unmarshal(s.result, &r); err != nil {
				s.t.Error(err)
			}
			change(r)
			d["prevResult"] = r
		}
	}
	other := with("CNI_CONTAINERID", s.other.ContainerID(), "CNI_NETNS", s.other.Path)
	return []badInput{
		{name: "CHECK without a result", verb: "CHECK", env: other, code: 7, say: []string{"prevResult"}},
		{name: "CHECK with text for a result", verb: "CHECK", env: other, conf: prev("fine"), code: 6, say: []string{"prevResult", "fine"}},
		{name: "CHECK with ips that are none", verb: "CHECK", env: other, conf: prev(document{"cniVersion": "1.1.0", "ips": []any{map[string]any{"address": "ten"}}}), code: 6, say: []string{"prevResult"}},
		{name: "CHECK with a null in ips", verb: "CHECK", env: other, conf: prev(document{"cniVersion": "1.1.0", "ips": []any{nil}}), code: 6, say: []string{"prevResult"}},
		{name: "CHECK with an interface out of range", verb: "CHECK", env: other, conf: good(func(d document) { d["interfaces"] = nil }), code: 6, say: []string{"prevResult"}},
		{name: "CHECK with a result of the future", verb: "CHECK", env: other, conf: good(func(d document) { d["cniVersion"] = "9.9.9" }), code: 6, say: []string{"prevResult", "9.9.9"}},
		{name: "CHECK with a result without addresses", verb: "CHECK", env: other, conf: good(func(d document) { delete(d, "ips") }), code: 107, say: []string{"10.241.4.10"}},
		{name: "CHECK of another container", verb: "CHECK", conf: good(func(document) {}), code: 107, say: []string{s.pod.ContainerID()}},
		{name: "CHECK of another interface", verb: "CHECK", env: func(env map[string]string) { other(env); env["CNI_IFNAME"] = "eth1" }, conf: good(func(document) {}), code: 107, say: []string{"eth1"}},
		{name: "CHECK in another pod's namespace", verb: "CHECK", env: func(env map[string]string) { other(env); env["CNI_NETNS"] = s.pod.Path }, conf: good(func(document) {}), code: 107, say: []string{"eth0"}},
		{name: "CHECK without a namespace", verb: "CHECK", env: func(env map[string]string) { other(env); env["CNI_NETNS"] = s.thing("missing") }, conf: good(func(document) {}), code: 100, say: []string{s.thing("missing")}},
		{name: "CHECK of another network", verb: "CHECK", env: other, conf: func(d document) { good(func(document) {})(d); d["name"] = "others" }, code: 107, say: []string{"others"}},
		{name: "ADD after a result that is none", conf: prev(5), code: 6, say: []string{"prevResult", "5"}},
	}
}

func badIPAM(s *stage) []badInput {
	return []badInput{
		{name: "vnet-ipam as another type", plugin: "vnet-ipam", conf: set("ipam>type", "host-local"), code: 7, say: []string{"ipam.type", "host-local"}},
		{name: "vnet-ipam, unknown key", plugin: "vnet-ipam", conf: set("ipam>subnet", "10.241.0.0/16"), code: 2, say: []string{"ipam.subnet", "10.241.0.0/16"}},
		{name: "vnet-ipam without pools", plugin: "vnet-ipam", conf: set("ipam>pools", nil), code: 7, say: []string{"ipam.pools"}},
		{name: "vnet-ipam, reversed range", plugin: "vnet-ipam", conf: pools(poolOf("10.241.0.0/16", "10.241.4.20-10.241.4.10")), code: 7, say: []string{"ranges[0]", "10.241.4.20-10.241.4.10"}},
		{name: "vnet-ipam, address taken", plugin: "vnet-ipam", env: with("CNI_ARGS", "IP=10.241.4.10"), code: 103, say: []string{"10.241.4.10"}},
		{name: "vnet-ipam, full pool", plugin: "vnet-ipam", conf: pools(poolOf("10.241.0.0/16", "10.241.4.10")), code: 11, say: []string{"no free address"}},
		{name: "vnet-ipam, CHECK without a lease", plugin: "vnet-ipam", verb: "CHECK", code: 107, say: []string{s.pod.ContainerID()}},
		{name: "vnet-ipam, unknown argument", plugin: "vnet-ipam", env: with("CNI_ARGS", "COLOUR=red"), code: 4, say: []string{"COLOUR", "red"}},
		{name: "vnet-ipam, version of the future", plugin: "vnet-ipam", conf: set("cniVersion", "9.9.9"), code: 1, say: []string{"9.9.9"}},
		{name: "vnet-ipam, stateDir is a file", plugin: "vnet-ipam", conf: set("stateDir", s.thing("file")), code: 105, say: []string{s.thing("file")}},
		{name: "vnet-ipam, empty stdin", plugin: "vnet-ipam", raw: "nothing", code: 6, say: []string{"network config"}},
	}
}
