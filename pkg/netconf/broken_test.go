package netconf

import (
	"strings"
	"testing"
	"time"
)

type brokenRow struct {
	stdin        string
	code         uint
	field, value string // parts of the message
}

func brokenKeys() []brokenRow {
	return []brokenRow{
		{with(`"nsgs":{"documents":["/etc/vnet"]}`), 2, `unknown key "nsgs"`, `{"documents":["/etc/vnet"]}; did you mean "nsg"?`},
		{with(`"Mode":"vnet"`), 2, `"Mode"`, `did you mean "mode"?`},
		{with(`"statedir":"/x"`), 2, `"statedir"`, `did you mean "stateDir"?`},
		{with(`"mtuu":1500`), 2, `"mtuu"`, `1500; did you mean "mtu"?`},
		{with(`"upilnk":"eth0"`), 2, `"upilnk"`, `did you mean "uplink"?`},
		{with(`"maskerade":null`), 2, `"maskerade"`, `null`},
		{with(`"uplik":{ "a" : [ 1 , 2 ] }`), 2, `"uplik"`, `{"a":[1,2]}; did you mean "uplink"?`},
		{with(`"x\u0000\u001b[31m":"\u0007"`), 2, `"x\x00\x1b[31m"`, `"\u0007"`},
		{with("\"x\u202e\":\"\u202e\""), 2, `"x\u202e"`, `\u202e`},
		{with(`"":1`), 2, `unknown key ""`, `1`},
		{with(`"long":"` + strings.Repeat("é", 500) + `"`), 2, `"long"`, strings.Repeat("é", 79) + "…"},
		{with(`"cni.devil":1`), 2, `"cni.devil"`, `1`},
		{with(`"masquerade":{"exept":["10.0.0.0/8"]}`), 2, `"masquerade.exept"`, `["10.0.0.0/8"]; did you mean "except"?`},
		{with(`"masquerade":{"cni.dev/x":1}`), 2, `"masquerade.cni.dev/x"`, `1`},
		{with(`"dns":{"nameserver":["1.1.1.1"]}`), 2, `"dns.nameserver"`, `["1.1.1.1"]; did you mean "nameservers"?`},
		{withIPAM(`"type":"vnet-ipam","pools":[` + pool4 + `],"subnet":"10.0.0.0/8"`), 2, `"ipam.subnet"`, `"10.0.0.0/8"`},
		{withIPAM(`"Type":"host-local"`), 7, `ipam.type`, `missing`},
		{withPools(`[{"subnet":"10.241.0.0/16","range":["10.241.4.0/24"]}]`), 2, `"ipam.pools[0].range"`, `["10.241.4.0/24"]; did you mean "ranges"?`},
		{withPools(`[` + pool4 + `,{"subnet":"10.242.0.0/16","gateway":"10.242.0.1"}]`), 2, `"ipam.pools[1].gateway"`, `"10.242.0.1"`},
		{withRoute(`{"dst":"0.0.0.0/0","via":"10.241.0.1"}`), 2, `"ipam.routes[0].via"`, `"10.241.0.1"`},
		{withRoute(`{"dst":"0.0.0.0/0","GW":"10.241.0.1"}`), 2, `"ipam.routes[0].GW"`, `did you mean "gw"?`},
	}
}

func brokenForms() []brokenRow {
	return []brokenRow{
		{``, 6, `network configuration`, `not JSON`},
		{`   `, 6, `network configuration`, `not JSON`},
		{`{`, 6, `network configuration`, `"{"`},
		{`{"name":"pods",}`, 6, `at byte 16`, `'}'`},
		{minimal + ` x`, 6, `network configuration`, `'x'`},
		{minimal + minimal, 6, `network configuration`, `'{'`},
		{minimal + "\x00", 6, `network configuration`, `\x00`},
		{"\ufeff" + minimal, 6, `network configuration`, `not JSON`},
		{`[` + minimal + `]`, 6, `network configuration`, `not an object`},
		{`null`, 6, `network configuration`, `null`},
		{`"pods"`, 6, `network configuration`, `"pods"`},
		{`7`, 6, `network configuration`, `7`},
		{with("\"uplink\":\"eth\xff\""), 6, `network configuration`, `UTF-8`},
		{deep(20000), 6, `network configuration`, `depth`},
		{with(`"args":` + deep(20000)), 6, `network configuration`, `depth`},
		{with(`"name":"other"`), 6, `name`, `"other"`},
		{with(`"mtu":1500,"mtu":1501`), 6, `mtu`, `1501`},
		{with(`"capabilities":{},"capabilities":{"a":true}`), 6, `capabilities`, `{"a":true}`},
		{with(`"odd":1,"odd":2`), 6, `odd`, `2`},
		{withIPAM(`"type":"vnet-ipam","type":"host-local","pools":[]`), 6, `ipam.type`, `"host-local"`},
		{withIPAM(`"type":"host-local","a":1,"\u0061":2`), 6, `ipam.a`, `2`},
		{withPools(`[{"subnet":"10.241.0.0/16","subnet":"10.242.0.0/16"}]`), 6, `ipam.pools[0].subnet`, `"10.242.0.0/16"`},
		{with(`"runtimeConfig":{"ips":[],"ips":["10.241.4.9"]}`), 6, `runtimeConfig.ips`, `["10.241.4.9"]`},
		{with(`"masquerade":{"except":[],"except":["10.0.0.0/8"]}`), 6, `masquerade.except`, `["10.0.0.0/8"]`},
		{strings.Replace(minimal, `"pods"`, `5`, 1), 6, `name`, `5`},
		{strings.Replace(minimal, `"pods"`, `null`, 1), 6, `name`, `null`},
		{strings.Replace(minimal, `"1.0.0"`, `1.0`, 1), 6, `cniVersion`, `1.0`},
		{strings.Replace(minimal, `"type":"vnet"`, `"type":["vnet"]`, 1), 6, `type`, `["vnet"]`},
		{with(`"mode":true`), 6, `mode`, `true`},
		{with(`"mode":null`), 6, `mode`, `null`},
		{with(`"uplink":["eth0"]`), 6, `uplink`, `["eth0"]`},
		{with(`"mtu":"1500"`), 6, `mtu`, `"1500"`},
		{with(`"mtu":1500.5`), 6, `mtu`, `1500.5`},
		{with(`"mtu":15e2`), 6, `mtu`, `15e2`},
		{with(`"stateDir":{}`), 6, `stateDir`, `{}`},
		{with(`"masquerade":true`), 6, `masquerade`, `true`},
		{with(`"masquerade":{"except":"10.0.0.0/8"}`), 6, `masquerade.except`, `"10.0.0.0/8"`},
		{with(`"masquerade":{"except":["10.0.0.0/8",8]}`), 6, `masquerade.except[1]`, `8`},
		{with(`"dns":[]`), 6, `dns`, `[]`},
		{with(`"dns":{"search":[1]}`), 6, `dns.search[0]`, `1`},
		{with(`"runtimeConfig":[1]`), 6, `runtimeConfig`, `[1]`},
		{with(`"runtimeConfig":{"ips":"10.241.4.9"}`), 6, `runtimeConfig.ips`, `"10.241.4.9"`},
		{with(`"runtimeConfig":{"ips":[9]}`), 6, `runtimeConfig.ips[0]`, `9`},
		{with(`"runtimeConfig":{"mac":2}`), 6, `runtimeConfig.mac`, `2`},
		{with(`"cni.dev/valid-attachments":{}`), 6, `cni.dev/valid-attachments`, `{}`},
		{with(`"cni.dev/valid-attachments":["c1"]`), 6, `cni.dev/valid-attachments[0]`, `"c1"`},
		{with(`"cni.dev/valid-attachments":[{"containerID":1,"ifname":"eth0"}]`), 6, `cni.dev/valid-attachments[0].containerID`, `1`},
		{withIPAM(`"type":null`), 6, `ipam.type`, `null`},
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet","ipam":"vnet-ipam"}`, 6, `ipam`, `"vnet-ipam"`},
		{withPools(`{}`), 6, `ipam.pools`, `{}`},
		{withPools(`[5]`), 6, `ipam.pools[0]`, `5`},
		{withPools(`[{"subnet":10}]`), 6, `ipam.pools[0].subnet`, `10`},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":"10.241.4.0/24"}]`), 6, `ipam.pools[0].ranges`, `"10.241.4.0/24"`},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":[4]}]`), 6, `ipam.pools[0].ranges[0]`, `4`},
		{withIPAM(`"type":"vnet-ipam","cooldown":30,"pools":[` + pool4 + `]`), 6, `ipam.cooldown`, `30`},
		{withIPAM(`"type":"vnet-ipam","routes":{},"pools":[` + pool4 + `]`), 6, `ipam.routes`, `{}`},
		{withRoute(`"0.0.0.0/0"`), 6, `ipam.routes[0]`, `"0.0.0.0/0"`},
		{withRoute(`{"dst":0}`), 6, `ipam.routes[0].dst`, `0`},
		{withRoute(`{"dst":"0.0.0.0/0","mtu":"1"}`), 6, `ipam.routes[0].mtu`, `"1"`},
		{withRoute(`{"dst":"0.0.0.0/0","table":null}`), 6, `ipam.routes[0].table`, `null`},
	}
}

func brokenResults() []brokenRow {
	return []brokenRow{
		{with(`"prevResult":[]`), 6, `prevResult`, `[]`},
		{with(`"prevResult":{"cniVersion":1}`), 6, `prevResult.cniVersion`, `1`},
		{with(`"prevResult":{"cniVersion":"9.9.9"}`), 6, `prevResult`, `9.9.9`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":5}`), 6, `prevResult`, `"ips":5`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[null]}`), 6, `prevResult`, `[null]`},
		{with(`"prevResult":{"cniVersion":"0.4.0","interfaces":[null]}`), 6, `prevResult`, `[null]`},
		{with(`"prevResult":{"cniVersion":"1.0.0","routes":[null]}`), 6, `prevResult`, `[null]`},
		{with(`"prevResult":{"cniVersion":"1.0.0","routes":[{}]}`), 6, `prevResult`, `dst`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[{}]}`), 6, `prevResult`, `no address`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1\u0000/8"}]}`), 6, `prevResult`, `10.0.0.1`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8","interface":0}]}`), 6, `prevResult`, `"interface":0`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8","interface":-1}],"interfaces":[{}]}`), 6, `prevResult`, `-1`},
		{with(`"prevResult":{"cniVersion":"1.0.0","ips":[],"ips":[]}`), 6, `prevResult.ips`, `[]`},
	}
}

func brokenValues() []brokenRow {
	name := func(json string) string { return strings.Replace(minimal, `"pods"`, json, 1) }
	sixteen := `[` + strings.Repeat(pool4+`,`, 16) + pool4 + `]`
	return []brokenRow{
		{`{}`, 7, `name`, `missing`},
		{`{"cniVersion":"1.0.0","type":"vnet","ipam":{"type":"dhcp"}}`, 7, `name`, `missing`},
		{`{"name":"pods","type":"vnet","ipam":{"type":"dhcp"}}`, 7, `cniVersion`, `missing`},
		{`{"cniVersion":"","name":"pods","type":"vnet","ipam":{"type":"dhcp"}}`, 7, `cniVersion`, `""`},
		{`{"cniVersion":"1.0.0","name":"pods","ipam":{"type":"dhcp"}}`, 7, `type`, `missing`},
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet"}`, 7, `ipam`, `missing`},
		{name(`""`), 7, `name`, `""`},
		{name(`"../pods"`), 7, `name`, `"../pods"`},
		{name(`"-pods"`), 7, `name`, `"-pods"`},
		{name(`"po\u0000ds"`), 7, `name`, `"po\u0000ds"`},
		{name(`"po\nds"`), 7, `name`, `"po\nds"`},
		{name(`"pöds"`), 7, `name`, `"pöds"`},
		{name(`"` + strings.Repeat("n", 101) + `"`), 7, `name`, `nnn…`},
		{with(`"mode":"flat"`), 7, `mode`, `"flat"`},
		{with(`"mode":"VNET"`), 7, `mode`, `"VNET"`},
		{with(`"uplink":""`), 7, `uplink`, `""`},
		{with(`"uplink":"abcdefghijklmnop"`), 7, `uplink`, `"abcdefghijklmnop"`},
		{with(`"uplink":"eth/0"`), 7, `uplink`, `"eth/0"`},
		{with(`"uplink":"eth%d"`), 7, `uplink`, `"eth%d"`},
		{with(`"mtu":-1`), 7, `mtu`, `-1`},
		{with(`"mtu":575`), 7, `mtu`, `575`},
		{with(`"mtu":65536`), 7, `mtu`, `65536`},
		{with(`"mtu":99999999999999999999`), 7, `mtu`, `99999999999999999999`},
		{strings.Replace(withPools(`[`+pool4+`,`+pool6+`]`), `"name"`, `"mtu":1279,"name"`, 1), 7, `mtu`, `1279`},
		{with(`"stateDir":""`), 7, `stateDir`, `""`},
		{with(`"stateDir":"run/vnet"`), 7, `stateDir`, `"run/vnet"`},
		{with(`"stateDir":"/run/vnet/"`), 7, `stateDir`, `"/run/vnet/"`},
		{with(`"stateDir":"/run/../etc"`), 7, `stateDir`, `write "/etc"`},
		{with(`"stateDir":"/run/v\u0001"`), 7, `stateDir`, `"/run/v\u0001"`},
		{with(`"stateDir":"/run/\ud800"`), 7, `stateDir`, `\ud800`},
		{with(`"masquerade":{"except":["10.0.0.1/8"]}`), 7, `masquerade.except[0]`, `write 10.0.0.0/8`},
		{with(`"masquerade":{"except":["10.0.0.0"]}`), 7, `masquerade.except[0]`, `"10.0.0.0"`},
		{with(`"masquerade":{"except":["10.0.0.0/8","fd00::/129"]}`), 7, `masquerade.except[1]`, `"fd00::/129"`},
		{with(`"masquerade":{"except":["::ffff:10.0.0.0/104"]}`), 7, `masquerade.except[0]`, `"::ffff:10.0.0.0/104"`},
		{with(`"runtimeConfig":{"ips":["10.241.4.300"]}`), 7, `runtimeConfig.ips[0]`, `"10.241.4.300"`},
		{with(`"runtimeConfig":{"ips":["10.241.4.3","10.241.4.3/33"]}`), 7, `runtimeConfig.ips[1]`, `"10.241.4.3/33"`},
		{with(`"runtimeConfig":{"ips":["224.0.0.1"]}`), 7, `runtimeConfig.ips[0]`, `"224.0.0.1"`},
		{with(`"runtimeConfig":{"ips":["fe80::1%eth0"]}`), 7, `runtimeConfig.ips[0]`, `"fe80::1%eth0"`},
		{with(`"runtimeConfig":{"mac":""}`), 7, `runtimeConfig.mac`, `""`},
		{with(`"runtimeConfig":{"mac":"02:00:00:00:00"}`), 7, `runtimeConfig.mac`, `"02:00:00:00:00"`},
		{with(`"runtimeConfig":{"mac":"01:00:5e:00:00:01"}`), 7, `runtimeConfig.mac`, `multicast`},
		{with(`"runtimeConfig":{"mac":"00:00:00:00:00:00"}`), 7, `runtimeConfig.mac`, `zero`},
		{with(`"runtimeConfig":{"mac":"02:00:00:00:00:00:00:01"}`), 7, `runtimeConfig.mac`, `"02:00:00:00:00:00:00:01"`},
		{with(`"cni.dev/valid-attachments":[{"containerID":"c"}]`), 7, `cni.dev/valid-attachments[0].ifname`, `missing`},
		{with(`"cni.dev/valid-attachments":[{"containerID":"","ifname":"eth0"}]`), 7, `cni.dev/valid-attachments[0].containerID`, `""`},
		{withIPAM(``), 7, `ipam.type`, `missing`},
		{withIPAM(`"type":""`), 7, `ipam.type`, `""`},
		{withIPAM(`"type":"../evil"`), 7, `ipam.type`, `"../evil"`},
		{withIPAM(`"type":".."`), 7, `ipam.type`, `".."`},
		{withIPAM(`"type":"vnet-ipam"`), 7, `ipam.pools`, `missing`},
		{withIPAM(`"type":"vnet-ipam","cooldown":"30","pools":[` + pool4 + `]`), 7, `ipam.cooldown`, `"30"`},
		{withIPAM(`"type":"vnet-ipam","cooldown":"-1s","pools":[` + pool4 + `]`), 7, `ipam.cooldown`, `"-1s"`},
		{withIPAM(`"type":"vnet-ipam","cooldown":"25h","pools":[` + pool4 + `]`), 7, `ipam.cooldown`, `"25h"`},
		{withPools(`[]`), 7, `ipam.pools`, `[]`},
		{withPools(sixteen), 7, `ipam.pools`, `17 pools`},
		{withPools(`[{"ranges":["10.241.4.0/24"]}]`), 7, `ipam.pools[0].subnet`, `missing`},
		{withPools(`[{"subnet":"10.241.0.0/16"}]`), 7, `ipam.pools[0].ranges`, `two nodes must not share a pool`},
		{withPools(`[` + pool4 + `,{"subnet":"10.242.0.0/16"}]`), 7, `ipam.pools[1].ranges`, `10.242.0.0/16`},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":[]}]`), 7, `ipam.pools[0].ranges`, `[]`},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":["10.241.4.1"` + strings.Repeat(`,"10.241.4.1"`, 1024) + `]}]`), 7, `ipam.pools[0].ranges`, `1025`},
		{withPools(`[{"subnet":"10.241.0.1/16","ranges":["10.241.4.0/24"]}]`), 7, `ipam.pools[0].subnet`, `"10.241.0.1/16"`},
		{withPools(`[{"subnet":"everywhere","ranges":["10.241.4.0/24"]}]`), 7, `ipam.pools[0].subnet`, `"everywhere"`},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/24","10.242.4.0/24"]}]`), 7, `ipam.pools[0].ranges[1]`, `"10.242.4.0/24"`},
		{withPools(`[{"subnet":"10.241.0.0/16","ranges":["10.241.4.9-10.241.4.1"]}]`), 7, `ipam.pools[0].ranges[0]`, `"10.241.4.9-10.241.4.1"`},
		{withPools(`[` + pool4 + `,` + pool4 + `]`), 7, `ipam.pools[1]`, `10.241.`},
		{withRoute(`{}`), 7, `ipam.routes[0].dst`, `missing`},
		{withRoute(`{"dst":"10.1.0.1/16"}`), 7, `ipam.routes[0].dst`, `"10.1.0.1/16"`},
		{withRoute(`{"dst":"default"}`), 7, `ipam.routes[0].dst`, `"default"`},
		{withRoute(`{"dst":"0.0.0.0/0","gw":"nowhere"}`), 7, `ipam.routes[0].gw`, `"nowhere"`},
		{withRoute(`{"dst":"0.0.0.0/0","gw":"fd00:10:241::1"}`), 7, `ipam.routes[0].gw`, `"fd00:10:241::1"`},
		{withRoute(`{"dst":"0.0.0.0/0","gw":"10.242.0.1"}`), 7, `ipam.routes[0].gw`, `"10.242.0.1"`},
		{withRoute(`{"dst":"0.0.0.0/0","gw":"0.0.0.0"}`), 7, `ipam.routes[0].gw`, `"0.0.0.0"`},
		{withRoute(`{"dst":"0.0.0.0/0","mtu":-1}`), 7, `ipam.routes[0].mtu`, `-1`},
		{withRoute(`{"dst":"0.0.0.0/0","advmss":65536}`), 7, `ipam.routes[0].advmss`, `65536`},
		{withRoute(`{"dst":"0.0.0.0/0","priority":4294967296}`), 7, `ipam.routes[0].priority`, `4294967296`},
		{withRoute(`{"dst":"0.0.0.0/0","table":-1}`), 7, `ipam.routes[0].table`, `-1`},
		{withRoute(`{"dst":"0.0.0.0/0"},{"dst":"0.0.0.0/0","scope":256}`), 7, `ipam.routes[1].scope`, `256`},
		{withRoute(`{"dst":"192.0.2.0/24","scope":253}`), 7, `ipam.routes[0].scope`, `253`},
		{withRoute(`{"dst":"192.0.2.0/24"},{"dst":"192.0.2.0/24","mtu":1400}`), 7, `ipam.routes[1].dst`, `"192.0.2.0/24"`},
		{withRoute(`{"dst":"192.0.2.0/24","table":254},{"dst":"192.0.2.0/24","gw":"10.241.0.1"}`), 7, `ipam.routes[1].dst`, `ipam.routes[0]`},
	}
}

func checkBroken(t *testing.T, p Plugin, rows []brokenRow) {
	t.Helper()
	codes := map[uint]int{}
	for _, row := range rows {
		shown := row.stdin[:min(len(row.stdin), 300)]
		c, err := ParseStrict(p, []byte(row.stdin))
		if err == nil {
			t.Errorf("accepted %s as %+v", shown, c)
			continue
		}
		if code := checkError(t, err); code != row.code {
			t.Errorf("%s: code %d, want %d: %v", shown, code, row.code, err)
		}
		if !strings.Contains(err.Error(), row.field) || !strings.Contains(err.Error(), row.value) {
			t.Errorf("%s: message lacks %q or %q: %v", shown, row.field, row.value, err)
		}
		codes[row.code]++
	}
	t.Logf("%d broken configurations, by code %v", len(rows), codes)
}

func TestBroken(t *testing.T) {
	t.Run("keys", func(t *testing.T) { checkBroken(t, VNet, brokenKeys()) })
	t.Run("forms", func(t *testing.T) { checkBroken(t, VNet, brokenForms()) })
	t.Run("results", func(t *testing.T) { checkBroken(t, VNet, brokenResults()) })
	t.Run("values", func(t *testing.T) { checkBroken(t, VNet, brokenValues()) })
	t.Run("nsg", func(t *testing.T) { checkBroken(t, VNet, brokenNSG()) })
	t.Run("annotations", func(t *testing.T) { checkBroken(t, VNet, brokenAnnotations()) })
}

// Routes that the kernel has place for beside each other; and what other main plugins
// make of routes is theirs.
func TestRoutesBesideEachOther(t *testing.T) {
	rows := []struct {
		plugin Plugin
		routes string
	}{
		{VNet, `{"dst":"0.0.0.0/0"},{"dst":"0.0.0.0/0","mtu":1400}`},
		{VNet, `{"dst":"192.0.2.0/24","scope":252},{"dst":"192.0.2.0/24","priority":5}`},
		{VNet, `{"dst":"192.0.2.0/24"},{"dst":"192.0.2.0/24","table":7},{"dst":"192.0.2.0/25"}`},
		{VNetIPAM, `{"dst":"192.0.2.0/24","scope":253}`},
		{VNetIPAM, `{"dst":"192.0.2.0/24"},{"dst":"192.0.2.0/24"}`},
	}
	for _, row := range rows {
		if _, err := ParseStrict(row.plugin, []byte(withRoute(row.routes))); err != nil {
			t.Errorf("%s: %v", row.routes, err)
		}
	}
	t.Logf("%d lists", len(rows))
}

func TestBrokenForTheIPAMPlugin(t *testing.T) {
	checkBroken(t, VNetIPAM, []brokenRow{
		{withIPAM(`"type":"host-local"`), 7, `ipam.type`, `"host-local"`},
		{withIPAM(`"type":"vnet-ipam","pools":[` + pool4 + `],"colour":1`), 2, `"ipam.colour"`, `1`},
		{`{"cniVersion":"1.0.0","name":"pods"}`, 7, `ipam`, `missing`},
		{with(`"runtimeConfig":{"ips":["x"]}`), 7, `runtimeConfig.ips[0]`, `"x"`},
		{with(`"stateDir":"x"`), 7, `stateDir`, `"x"`},
		{with(`"bridge":"cni0","bridge":"cni1"`), 6, `bridge`, `"cni1"`},
		{withRoute(`{"dst":"0.0.0.0/0","gw":"10.1.0.1"}`), 7, `ipam.routes[0].gw`, `"10.1.0.1"`},
	})
}

// Size and depth of a document must cost no more than reading it.
func TestLargeDocumentsEnd(t *testing.T) {
	keys := &strings.Builder{}
	for i := range 200_000 {
		keys.WriteString(`"` + strings.Repeat("k", i%7) + string(rune('a'+i%26)) + time.Duration(i).String() + `":1,`)
	}
	documents := map[string]string{
		"depth below the decoder's bound": with(`"args":` + deep(9000)),
		"a long string":                   with(`"args":"` + strings.Repeat("x", 8<<20) + `"`),
		"a long list":                     with(`"args":[0` + strings.Repeat(",0", 1<<20) + `]`),
		"many keys":                       with(`"runtimeConfig":{` + keys.String() + `"end":1}`),
	}
	for what, stdin := range documents {
		if _, err := ParseStrict(VNet, []byte(stdin)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := ParseLenient(VNet, []byte(stdin)); err != nil {
			t.Errorf("%s, lenient: %v", what, err)
		}
	}
	t.Logf("%d documents", len(documents))
}
