package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNSGStacks judges pods of each family alone, of other modes, with other IPAM
// plugins and behind masquerading.
func TestNSGStacks(t *testing.T) {
	t.Parallel()
	stacks := map[string]func(config){
		"IPv4 only":  func(c config) { c.pools(c.ipam["pools"].([]any)[0]) },
		"IPv6 only":  func(c config) { c.pools(c.ipam["pools"].([]any)[1]) },
		"masquerade": func(c config) { c.plugin["masquerade"] = map[string]any{} },
		"overlay": func(c config) {
			c.plugin["mode"] = "overlay"
			c.pools(poolOf("10.99.1.0/24"), poolOf("fd00:99:1::/64"))
		},
		"no uplink":   func(c config) { delete(c.plugin, "uplink") },
		"host-local":  fromHostLocal,
		"long name":   func(config) {},
		"with a VNet": func(config) {},
	}
	for name, change := range stacks {
		for _, backend := range backends {
			if backend == "legacy" && (name == "long name" || name == "with a VNet" || name == "no uplink" || name == "host-local") {
				continue // nothing of these is the backend's
			}
			t.Run(name+" "+backend, func(t *testing.T) {
				t.Parallel()
				docs := newDocuments(t, someGroup(), restGroup("own", denyIn("*", "8000-8399")))
				if name == "with a VNet" {
					docs.put("vnet.json", map[string]any{"name": "vnet", "type": "Microsoft.Network/virtualNetworks", "id": resources + "virtualNetworks/vnet",
						"properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": []string{"10.241.0.0/16", "fd00:10:241::/64"}}}})
				}
				_, _, node := nodeOf(t, name, docs, change, backend)
				a, b, own := attach(t, node), attach(t, node), attach(t, node, withNSG("own"))
				n1 := onlyLike(asPod(node), a)
				n := expectAll(t, slices.Concat(flows(a, b, 8000), pings(b, a), flows(own, a, 8000), flows(a, n1, 8000), flows(n1, own, 9000), flows(a, own, 8500)))
				silent := expectSilent(t, slices.Concat(flows(a, b, 9000), flows(b, a, 7000), flows(a, own, 8000), flows(own, a, 9000), flows(a, n1, 9000)))
				for _, p := range []pod{a, b, own} {
					if err := node.Check(p.Pod); err != nil {
						t.Errorf("CHECK: %v", err)
					}
					if err := node.Del(p.Pod); err != nil {
						t.Errorf("DEL: %v", err)
					}
				}
				expectNoMembers(t, node, "after all DELs")
				t.Logf("%d flows passed, %d were silent", n, silent)
			})
		}
	}
}

func fromHostLocal(c config) {
	for key := range c.ipam {
		delete(c.ipam, key)
	}
	c.ipam["type"] = "host-local"
	c.ipam["ranges"] = []any{[]any{map[string]any{"subnet": "10.241.0.0/16", "rangeStart": "10.241.4.10", "rangeEnd": "10.241.4.20"}},
		[]any{map[string]any{"subnet": "fd00:10:241::/64", "rangeStart": "fd00:10:241::410", "rangeEnd": "fd00:10:241::420"}}}
}

func nodeOf(t *testing.T, name string, docs documents, change func(config), backend string) (config, *testnet.Fabric, *testnet.Node) {
	t.Helper()
	f := testnet.New(t)
	n := f.AddNode("n1", testnet.WithIptables(backend))
	c := vnetConfig(n, 0)
	judged(docs.conf("some"))(c)
	change(c)
	if name == "long name" {
		c.network = strings.Repeat("a-long-name_", 8)
	}
	c.write(n)
	return c, f, n
}

// TestNSGCheckNoticesMembers takes a pod with a group and application security
// groups out of each set that it is in, one after the other.
func TestNSGCheckNoticesMembers(t *testing.T) {
	t.Parallel()
	conf, _, node := judgedNode(t, lifeDocuments(t).conf("some"))
	p := node.NewPod()
	env := asking(p, "ADD", "asgs")
	env["CNI_ARGS"] += ";VNET_ASGS=asg-1,elsewhere"
	out := node.Exec("vnet", env, conf.stdin(t, nil))
	addrs, err := addresses(out)
	if err != nil {
		t.Fatal(err)
	}
	sick := patient{pod: pod{Pod: p}, conf: conf, raw: out.Stdout}
	sick.v4, sick.v6 = split(addrs)
	noticed := 0
	for _, a := range sick.addrs() {
		sets := setsWith(t, node, a)
		if len(sets) < 7 { // pods, judged, network, with a group, group, two application groups
			t.Errorf("%s is in %v only", a, sets)
		}
		for _, set := range sets {
			for _, verb := range []string{"del", "add"} {
				if _, err := node.Shell("ipset", verb, set, a.String()); err != nil {
					t.Fatal(err)
				}
				if verb == "del" && expectNoticed(t, sick, "member of "+set+" gone") {
					noticed++
				}
			}
		}
	}
	expectHealthy(t, sick, "repaired")
	t.Logf("%d missing members noticed", noticed)
}
