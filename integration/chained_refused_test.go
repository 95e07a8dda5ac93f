package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestChainedUnfiltered refuses pods whose packets would not all be judged, with the
// name of what stands in the way; nothing is left of the ADD.
func TestChainedUnfiltered(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, main string
		setUp      func(*chain) error
		say        []string
	}{
		{"macvlan", "macvlan", nil, []string{"macvlan", "eth0"}},
		{"bridge without bridge-nf-call-iptables", "bridge",
			func(c *chain) error { return c.node.SetSysctl("bridge/bridge-nf-call-iptables", "0") }, []string{"cni9", "net/bridge/bridge-nf-call-iptables"}},
		{"bridge without bridge-nf-call-ip6tables", "bridge",
			func(c *chain) error { return c.node.SetSysctl("bridge/bridge-nf-call-ip6tables", "0") }, []string{"cni9", "net/bridge/bridge-nf-call-ip6tables"}},
	}
	for _, row := range cases {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, row.main, someDocuments(t).conf("some"))
			if row.setUp != nil {
				if err := row.setUp(c); err != nil {
					t.Fatal(err)
				}
			}
			p := podWithoutDAD(t, c.node)
			_, err := c.node.Add(p)
			if err == nil {
				t.Fatal("ADD succeeded")
			}
			for _, word := range append(row.say, "vnet-nsg") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v does not name %q", err, word)
				}
			}
			expectNoMembers(t, c.node, "refused")
			if err := c.node.Del(p); err != nil {
				t.Errorf("DEL: %v", err)
			}
		})
	}
	t.Logf("%d ways past the rules", len(cases))
}

// TestChainedTwoJudges refuses a pod that vnet has under groups of its own.
func TestChainedTwoJudges(t *testing.T) {
	t.Parallel()
	c := newChain(t, "vnet", someDocuments(t).conf("some"))
	c.main["nsg"] = c.nsg.plugin["nsg"]
	c.write()
	p := podWithoutDAD(t, c.node)
	if _, err := c.node.Add(p); err == nil || !strings.Contains(err.Error(), "vnet-nsg") || !strings.Contains(err.Error(), "already") {
		t.Errorf("ADD: %v", err)
	}
	if err := c.node.Del(p); err != nil {
		t.Errorf("DEL: %v", err)
	}
	expectNoMembers(t, c.node, "refused")
	delete(c.main, "nsg")
	c.write()
	a, b := c.add(), c.add()
	t.Logf("2 judges refused, and with one %d flows were silent", expectSilent(t, flows(a.pod, b.pod, 9000)))
}

// wrong is one way to call vnet-nsg wrongly.
type wrong struct {
	name string
	verb string // "ADD" when empty
	conf func(document)
	env  func(map[string]string)
	code uint
	say  []string
}

func wrongs(docs documents, ipv4 string) []wrong {
	ips := func(change func(map[string]any)) func(document) {
		return func(d document) {
			var result map[string]any
			raw, _ := json.Marshal(d["prevResult"])
			_ = json.Unmarshal(raw, &result)
			change(result)
			d["prevResult"] = result
		}
	}
	nsg := func(key string, value any) func(document) { return set("nsg>"+key, value) }
	return []wrong{
		{name: "no nsg", conf: set("nsg", nil), code: 7, say: []string{"nsg"}},
		{name: "nsg as a list", conf: set("nsg", []any{}), code: 6, say: []string{"nsg", "[]"}},
		{name: "nsg null", conf: func(d document) { d["nsg"] = json.RawMessage("null") }, code: 6, say: []string{"nsg", "null"}},
		{name: "nsg without documents", conf: nsg("documents", nil), code: 7, say: []string{"nsg.documents"}},
		{name: "nsg without the virtual network", conf: nsg("virtualNetwork", nil), code: 7, say: []string{"nsg.virtualNetwork"}},
		{name: "an empty virtual network", conf: nsg("virtualNetwork", []any{}), code: 7, say: []string{"nsg.virtualNetwork"}},
		{name: "a virtual network with host bits", conf: nsg("virtualNetwork", []string{"10.244.0.1/16"}), code: 7, say: []string{"nsg.virtualNetwork[0]", "10.244.0.1/16"}},
		{name: "an unknown key", conf: set("colour", "red"), code: 2, say: []string{"colour", "red"}},
		{name: "an unknown key of nsg", conf: nsg("subnets", "some"), code: 2, say: []string{"nsg.subnets", "subnet"}},
		{name: "a key of vnet", conf: set("mode", "overlay"), code: 2, say: []string{"mode", "overlay"}},
		{name: "an ipam of its own", conf: set("ipam", map[string]any{"type": "vnet-ipam"}), code: 2, say: []string{"ipam"}},
		{name: "documents that are not there", conf: nsg("documents", []string{"/nowhere/vnet"}), code: codeDocuments, say: []string{"nsg.documents", "/nowhere/vnet"}},
		{name: "a subnet's group that is not there", conf: nsg("subnet", "none"), code: codeDocuments, say: []string{"nsg.subnet", "none"}},
		{name: "a pod's group that is not there", env: with("CNI_ARGS", "VNET_NSG=none"), code: codeDocuments, say: []string{"none"}},
		{name: "a group that is not allowed", conf: nsg("allowed", map[string]any{"shop": []string{"other"}}),
			env: with("CNI_ARGS", "K8S_POD_NAMESPACE=shop;VNET_NSG=some"), code: codeForbidden, say: []string{"some", "shop"}},
		{name: "an ASG that is not allowed", conf: nsg("allowed", map[string]any{}),
			env: with("CNI_ARGS", "K8S_POD_NAMESPACE=shop;VNET_ASGS=web"), code: codeForbidden, say: []string{"web", "shop"}},
		{name: "a relative state directory", conf: set("stateDir", "run/vnet"), code: 7, say: []string{"stateDir", "run/vnet"}},
		{name: "a bad name", conf: set("name", "a+b"), code: 7, say: []string{"name", "a+b"}},
		{name: "sameNode of another kind", conf: nsg("sameNode", "maybe"), code: 7, say: []string{"nsg.sameNode", "maybe"}},
		{name: "no prevResult", conf: set("prevResult", nil), code: 7, say: []string{"prevResult"}},
		{name: "prevResult as text", conf: set("prevResult", "none"), code: 6, say: []string{"prevResult", "none"}},
		{name: "prevResult without addresses", conf: ips(func(r map[string]any) { delete(r, "ips") }), code: 7, say: []string{"prevResult", "eth0"}},
		{name: "prevResult with an address of the node", conf: ips(func(r map[string]any) { r["ips"] = []any{map[string]any{"address": "10.244.0.1/24"}} }),
			code: 103, say: []string{"prevResult", "10.244.0.1"}},
		{name: "prevResult with an address that no pod can have", conf: ips(func(r map[string]any) { r["ips"] = []any{map[string]any{"address": "0.0.0.0/0"}} }),
			code: 7, say: []string{"prevResult", "0.0.0.0"}},
		{name: "prevResult of an interface that is not there", conf: ips(func(r map[string]any) { r["interfaces"] = []any{} }), code: 6, say: []string{"prevResult"}},
		{name: "an interface that is not there", env: with("CNI_IFNAME", "eth7"), code: codeUnfiltered, say: []string{"eth7"}},
		{name: "no namespace", env: with("CNI_NETNS", "/run/netns/nowhere"), code: 100, say: []string{"/run/netns/nowhere"}},
		{name: "CNI_ARGS that nobody knows", env: with("CNI_ARGS", "COLOUR=red"), code: 4, say: []string{"COLOUR", "red"}},
		{name: "CHECK without prevResult", verb: "CHECK", conf: set("prevResult", nil), code: 7, say: []string{"prevResult"}},
		{name: "CHECK of somebody who was never there", verb: "CHECK", env: with("CNI_CONTAINERID", "stranger"), code: codeCheck, say: []string{"stranger"}},
		{name: "STATUS without documents", verb: "STATUS", conf: nsg("documents", []string{docs.path("none")}), code: 50, say: []string{"none"}},
		{name: "STATUS with an unknown key", verb: "STATUS", conf: set("colour", "red"), code: 2, say: []string{"colour"}},
		{name: "STATUS without the folder of defaults", verb: "STATUS", conf: nsg("namespaces", docs.path("none")), code: 50, say: []string{"nsg.namespaces"}},
		{name: "STATUS without a store", verb: "STATUS", conf: set("stateDir", "/proc/nowhere"), code: 50, say: []string{"/proc/nowhere"}},
		{name: "STATUS without iptables", verb: "STATUS", env: with("PATH", "/nowhere"), code: 50, say: []string{"iptables"}},
		{name: "STATUS without ip6tables", verb: "STATUS", env: with("PATH", ipv4), code: 50, say: []string{"ip6tables"}},
		{name: "GC with a bad list", verb: "GC", conf: set("cni.dev/valid-attachments", []any{map[string]any{"containerID": "c1"}}), code: 7, say: []string{"valid-attachments[0].ifname"}},
	}
}

// withoutIP6tables is a PATH that leads to the programs of IPv4 alone.
func withoutIP6tables(t *testing.T) string {
	dir := t.TempDir()
	iptables, err := exec.LookPath("iptables")
	if err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(iptables + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		if err := os.Symlink(program, filepath.Join(dir, filepath.Base(program))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestChainedBadInput calls vnet-nsg wrongly: each call gets a code and the name of the
// fault, and nothing changes.
func TestChainedBadInput(t *testing.T) {
	t.Parallel()
	docs := someDocuments(t)
	c := newChain(t, "ptp", docs.conf("some"))
	behind(c.node, config{network: "pods", plugin: c.main}) // good documents would stay in force
	p := c.add()
	good := p.withResult()
	if out := p.call("STATUS", nil); out.Err != nil { // makes the store
		t.Fatalf("STATUS: %+v", out.Err)
	}
	before := testnet.Snapshot(c.node)
	ipv4 := withoutIP6tables(t)
	table := wrongs(docs, ipv4)
	for _, w := range table {
		t.Run(w.name, func(t *testing.T) {
			var d document
			if err := json.Unmarshal(c.nsg.stdin(t, good), &d); err != nil {
				t.Fatal(err)
			}
			if w.conf != nil {
				w.conf(d)
			}
			stdin, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			env := p.Env(orElse(w.verb, "ADD"))
			if w.env != nil {
				w.env(env)
			}
			out := c.node.Exec("vnet-nsg", env, stdin)
			if out.Err == nil || out.Err.Code != w.code {
				t.Fatalf("%+v: %s; want code %d", out.Err, out.Stdout, w.code)
			}
			for _, word := range w.say {
				if !strings.Contains(out.Err.Msg+out.Err.Details, word) {
					t.Errorf("%q does not name %q", out.Err.Msg, word)
				}
			}
			for _, line := range testnet.Diff(before, testnet.Snapshot(c.node)) {
				t.Errorf("left: %s", line)
			}
		})
	}
	env := p.Env("STATUS")
	env["PATH"] = ipv4
	c.nsg.plugin["nsg"].(map[string]any)["virtualNetwork"] = []string{"10.244.0.0/16"}
	if out := c.node.Exec("vnet-nsg", env, c.nsg.stdin(t, nil)); out.Err != nil {
		t.Errorf("STATUS without ip6tables, where nobody has IPv6: %+v", out.Err)
	}
	c.nsg.plugin["nsg"].(map[string]any)["virtualNetwork"] = chainedSpace
	if out := p.call("ADD", good); out.Err != nil { // the base of all these calls is a good one
		t.Errorf("ADD: %+v", out.Err)
	}
	t.Logf("%d wrong calls", len(table))
}

// TestChainedPass hands the main plugin's result on as it came, in each version of
// the specification, with what nobody here knows.
func TestChainedPass(t *testing.T) {
	t.Parallel()
	c := newChain(t, "ptp", someDocuments(t).conf("some"))
	p := c.add()
	results := map[string]string{
		"0.3.1": `{"cniVersion":"0.3.1","interfaces":[{"name":"veth0"},{"name":"eth0","sandbox":"NETNS"}],"ips":[{"version":"4","address":"ADDR/24","interface":1}],"dns":{},"x-unknown":{"b":1,"a":[null,2.50]}}`,
		"0.4.0": `{"cniVersion":"0.4.0","ips":[{"version":"4","address":"ADDR/24","gateway":"10.244.0.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.0.0.1"]}}`,
		"1.0.0": `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"NETNS","mac":"00:00:00:00:00:01"}],"ips":[{"address":"ADDR/24","interface":0},{"address":"::ffff:ADDR/120"}],"dns":{}}`,
		"1.1.0": `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"NETNS","mtu":1400,"socketPath":"/x","pciID":"y"}],"ips":[{"address":"ADDR/24","interface":0}],"routes":[{"dst":"1.0.0.0/8","mtu":1300,"table":7}],"dns":{}}`,
	}
	for version, result := range results {
		result = strings.NewReplacer("NETNS", p.Path, "ADDR", p.v4.String()).Replace(result)
		out := p.call("ADD", map[string]any{"cniVersion": version, "prevResult": json.RawMessage(result)})
		if out.Err != nil {
			t.Errorf("%s: %+v", version, out.Err)
			continue
		}
		if got := strings.TrimSpace(string(out.Stdout)); got != result {
			t.Errorf("%s: %s, want %s", version, got, result)
		}
	}
	// The examples of the specification leave the version out; a runtime may also ask
	// for another one than the result is in.
	bare := `{"ips":[{"address":"` + p.v4.String() + `/24"}],"x":1}`
	for version, result := range map[string]string{"1.0.0": bare, "0.4.0": strings.Replace(bare, `{"ips"`, `{"cniVersion":"1.0.0","ips"`, 1)} {
		out := p.call("ADD", map[string]any{"cniVersion": version, "prevResult": json.RawMessage(result)})
		var got struct{ CNIVersion string }
		if out.Err != nil || json.Unmarshal(out.Stdout, &got) != nil || got.CNIVersion != version || !strings.Contains(string(out.Stdout), p.v4.String()) {
			t.Errorf("%s of %s: %s %+v", version, result, out.Stdout, out.Err)
		}
	}
	t.Logf("%d results", len(results)+2)
}

// TestChainedCheck damages what vnet-nsg made: CHECK notices, and changes nothing.
func TestChainedCheck(t *testing.T) {
	t.Parallel()
	harms := map[string]func(*chain, chainedPod) (string, []string){
		"a member is missing": func(_ *chain, p chainedPod) (string, []string) {
			return "ipset", []string{"del", "vnet-foreign-4", p.v4.String()}
		},
		"FORWARD is flushed": func(*chain, chainedPod) (string, []string) {
			return "iptables", []string{"-t", "mangle", "-F", "FORWARD"}
		},
		"IPv6 INPUT is flushed": func(*chain, chainedPod) (string, []string) {
			return "ip6tables", []string{"-t", "mangle", "-F", "INPUT"}
		},
		"the bridge is not filtered": func(*chain, chainedPod) (string, []string) {
			return "sh", []string{"-c", "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables"}
		},
		"the pair left the bridge": func(_ *chain, p chainedPod) (string, []string) {
			return "ip", []string{"link", "set", p.result.Interfaces[1].Name, "nomaster"}
		},
	}
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, "bridge", someDocuments(t).conf("some"))
			p := c.add()
			check := func() testnet.Output { return p.call("CHECK", p.withResult()) }
			if out := check(); out.Err != nil {
				t.Fatalf("CHECK of a healthy pod: %+v", out.Err)
			}
			program, args := harm(c, p)
			if _, err := c.node.Shell(program, args...); err != nil {
				t.Fatal(err)
			}
			awaitNoticed(t, check)
			before := testnet.Snapshot(c.node)
			check()
			for _, line := range testnet.Diff(before, testnet.Snapshot(c.node)) {
				t.Errorf("CHECK changed %s", line)
			}
		})
	}
	t.Logf("%d kinds of damage", len(harms))
}
