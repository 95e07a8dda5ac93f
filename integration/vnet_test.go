package integration

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// config is a conflist of the plugin under test, to be changed before it is
// written.
type config struct {
	network string
	plugin  map[string]any
	ipam    map[string]any
}

// vnetConfig gives the N-th node of a fabric its own dual-stack pools:
// 10.241.(4+N).0/24 and fd00:10:241::(4+N)00/120, N from 0.
func vnetConfig(n *testnet.Node, index int) config {
	ipam := map[string]any{"type": "vnet-ipam", "pools": []any{pool4(4 + index), pool6(4 + index)}}
	return config{network: "pods", ipam: ipam, plugin: map[string]any{
		"type": "vnet", "mode": "vnet", "uplink": testnet.Uplink, "stateDir": n.StateDir(), "ipam": ipam,
		"capabilities": map[string]bool{"ips": true, "mac": true},
	}}
}

func pool4(third int) map[string]any {
	return poolOf("10.241.0.0/16", fmt.Sprintf("10.241.%d.0/24", third))
}

func pool6(third int) map[string]any {
	return poolOf("fd00:10:241::/64", fmt.Sprintf("fd00:10:241::%x00/120", third))
}

func poolOf(subnet string, ranges ...string) map[string]any {
	p := map[string]any{"subnet": subnet}
	if len(ranges) > 0 {
		p["ranges"] = ranges
	}
	return p
}

func (c config) pools(pools ...any) { c.ipam["pools"] = pools }

// write writes the conflist to the node.
func (c config) write(n *testnet.Node) {
	n.Write(c.network, map[string]any{"cniVersion": "1.0.0", "cniVersions": []string{"1.0.0", "1.1.0"},
		"name": c.network, "plugins": []any{c.plugin}})
}

// stdin is what libcni would hand to the plugin, with what a test adds.
func (c config) stdin(t *testing.T, extra map[string]any) []byte {
	t.Helper()
	conf := map[string]any{"cniVersion": "1.1.0", "name": c.network}
	for _, part := range []map[string]any{c.plugin, extra} {
		for k, v := range part {
			conf[k] = v
		}
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// cluster makes a fabric with nodes of the plugin under test; change alters
// each node's configuration before it is written and may be nil.
func cluster(t *testing.T, nodes int, change func(config), opts ...testnet.NodeOption) (*testnet.Fabric, []*testnet.Node) {
	t.Helper()
	testnet.Bin(t, "vnet")
	f := testnet.New(t)
	for i := range nodes {
		n := f.AddNode(fmt.Sprintf("n%d", i+1), opts...)
		c := vnetConfig(n, i)
		if change != nil {
			change(c)
		}
		c.write(n)
	}
	return f, f.Nodes
}

// asPod lets the helpers for pods speak of a node.
func asPod(n *testnet.Node) pod {
	return pod{Pod: &testnet.Pod{NS: n.NS, Node: n}, v4: n.IPv4, v6: n.IPv6}
}
