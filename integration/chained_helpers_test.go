package integration

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

const codeUnfiltered = 111

// mains are the main plugins that vnet-nsg is tested behind.
var mains = []string{"bridge", "ptp", "vnet"}

// eachMain runs f once behind each main plugin and with each iptables.
func eachMain(t *testing.T, f func(t *testing.T, main, backend string)) {
	t.Parallel()
	for _, main := range mains {
		for _, backend := range backends {
			t.Run(main+" "+backend, func(t *testing.T) {
				t.Parallel()
				f(t, main, backend)
			})
		}
	}
}

// chain is a node whose network is another main plugin's, with vnet-nsg behind it.
type chain struct {
	t      *testing.T
	fabric *testnet.Fabric
	node   *testnet.Node
	main   map[string]any
	nsg    config // of vnet-nsg
}

// chainedSpace is where the pods of all main plugins are, and the nodes.
var chainedSpace = []string{"10.241.0.0/16", "10.244.0.0/16", "fd00:10:241::/64", "fd00:10:244::/64"}

// newChain makes the node, and another one to talk to.
func newChain(t *testing.T, main string, nsg map[string]any, opts ...testnet.NodeOption) *chain {
	t.Helper()
	testnet.Bin(t, "vnet-nsg")
	f := testnet.New(t)
	c := &chain{t: t, fabric: f, node: f.AddNode("n1", opts...)}
	f.AddNode("n2")
	withoutDAD(t, c.node.NS)
	c.main = mainPlugin(c.node, main)
	nsg = maps.Clone(nsg)
	nsg["virtualNetwork"] = chainedSpace
	c.nsg = config{network: "pods", plugin: map[string]any{
		"type": "vnet-nsg", "stateDir": c.node.StateDir(), "nsg": nsg, "capabilities": map[string]bool{annotations: true}}}
	c.write()
	return c
}

func (c *chain) write() {
	behind(c.node, config{network: "pods", plugin: c.main}, c.nsg.plugin)
}

func mainPlugin(n *testnet.Node, name string) map[string]any {
	ipam := map[string]any{"type": "host-local", "routes": []any{map[string]any{"dst": "0.0.0.0/0"}, map[string]any{"dst": "::/0"}}, "ranges": []any{
		[]any{map[string]any{"subnet": "10.244.0.0/24"}}, []any{map[string]any{"subnet": "fd00:10:244::/64"}}}}
	switch name {
	case "bridge":
		return map[string]any{"type": "bridge", "bridge": "cni9", "isGateway": true, "ipam": ipam}
	case "ptp":
		return map[string]any{"type": "ptp", "ipam": ipam}
	case "macvlan":
		return map[string]any{"type": "macvlan", "master": testnet.Uplink, "mode": "bridge", "ipam": ipam}
	}
	plugin := vnetConfig(n, 0).plugin
	delete(plugin, "capabilities")
	return plugin
}

// gateway is the node as its pods see it.
func (c *chain) gateway() pod {
	p := asPod(c.node)
	if c.main["type"] != "vnet" {
		p.v4, p.v6 = netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("fd00:10:244::1")
	}
	return p
}

// chainedPod is a pod of the chain with what each plugin answered.
type chainedPod struct {
	pod
	c   *chain
	raw json.RawMessage // the chain's result
}

// add attaches a pod with cnitool.
func (c *chain) add(at ...testnet.Attach) chainedPod {
	c.t.Helper()
	var p pod
	if c.main["type"] == "vnet" {
		p = attachTo(c.t, podWithoutDAD(c.t, c.node), at...)
	} else {
		p = attachForeign(c.t, c.node, at...)
	}
	raw, err := json.Marshal(p.result)
	if err != nil {
		c.t.Fatal(err)
	}
	return chainedPod{p, c, raw}
}

// call runs vnet-nsg alone, as a runtime does in its turn.
func (p chainedPod) call(verb string, extra map[string]any) testnet.Output {
	p.c.t.Helper()
	return p.c.node.Exec("vnet-nsg", p.Env(verb), p.c.nsg.stdin(p.c.t, extra))
}

// result is the configuration's part that the runtime adds.
func (p chainedPod) withResult() map[string]any { return map[string]any{"prevResult": p.raw} }

// del detaches the pod with cnitool.
func (p chainedPod) del() {
	p.c.t.Helper()
	if err := p.c.node.Del(p.Pod); err != nil {
		p.c.t.Errorf("DEL: %v", err)
	}
}

// forgetNeighbours makes the pod ask again who in its bridge has an address.
func (p chainedPod) forgetNeighbours() {
	p.c.t.Helper()
	if _, err := p.c.node.Shell("ip", "-n", p.Name, "neigh", "flush", "dev", "eth0"); err != nil {
		p.c.t.Fatal(err)
	}
}

// memberships counts the sets for the pods of other main plugins that have the pod.
func (c *chain) memberships(p chainedPod) (n int) {
	c.t.Helper()
	for _, m := range membersOf(c.t, c.node) {
		set, member, _ := strings.Cut(m, " ")
		addr, _, _ := strings.Cut(member, ",") // behind which may be a device
		if !strings.HasPrefix(set, "vnet-pods-") && slices.Contains(p.addrs(), netip.MustParseAddr(addr)) {
			n++
		}
	}
	return n
}

// ctl runs vnetctl on the node.
func (c *chain) ctl(args ...string) string {
	c.t.Helper()
	out, err := c.node.Shell(testnet.Bin(c.t, "vnetctl"), append([]string{"--state-dir", c.node.StateDir()}, args...)...)
	if err != nil {
		c.t.Errorf("vnetctl %v: %v", args, err)
	}
	return out
}
