package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestChainedNSG judges the pods of other main plugins: between each other, with
// their node and with another one. Afterwards nothing is left.
func TestChainedNSG(t *testing.T) {
	eachMain(t, func(t *testing.T, main, backend string) {
		docs := newDocuments(t,
			restGroup("subnet", denyIn("*", "9000-9399"), denyOut("*", "9400-9799")),
			restGroup("own", denyIn("*", "8000-8399").named("own-only")))
		c := newChain(t, main, docs.conf("subnet"), testnet.WithIptables(backend))
		before := testnet.Snapshot(c.node)
		c.add().del()
		rest := withoutRules(testnet.Snapshot(c.node))

		a, b := c.add(), c.add(annotated("vnet-cni.io/nsg", "own"))
		other := asPod(c.fabric.Nodes[1])
		n := expectAll(t, slices.Concat(flows(a.pod, b.pod, 10000), flows(b.pod, a.pod, 8000), pings(a.pod, b.pod), flows(a.pod, c.gateway(), 9000)))
		s := expectSilent(t, slices.Concat(flows(a.pod, b.pod, 8000), flows(a.pod, b.pod, 9000), flows(b.pod, a.pod, 9400), flows(a.pod, c.gateway(), 9400)))
		n += expectAll(t, slices.Concat(flows(c.gateway(), a.pod, 9000), flows(c.gateway(), b.pod, 8000))) // the node's own always pass
		if main == "vnet" {
			n += expectAll(t, slices.Concat(flows(other, b.pod, 10000), flows(b.pod, other, 10000)))
			s += expectSilent(t, slices.Concat(flows(other, b.pod, 8000), flows(b.pod, other, 9400)))
		}
		for _, p := range []chainedPod{a, b} {
			if err := c.node.Check(p.Pod); err != nil {
				t.Errorf("CHECK: %v", err)
			}
		}
		if err := c.node.Status(); err != nil {
			t.Errorf("STATUS: %v", err)
		}
		if pods := c.ctl("pods", "pods+nsg"); strings.Count(pods, "yes") != 2 {
			t.Errorf("vnetctl pods:\n%s", pods)
		}
		if counters := c.ctl("counters"); !strings.Contains(counters, "own-only") {
			t.Errorf("vnetctl counters:\n%s", counters)
		}
		if applied := c.ctl("apply"); !strings.Contains(applied, "unchanged") {
			t.Errorf("vnetctl apply:\n%s", applied)
		}
		if main != "vnet" {
			if leases := c.ctl("ipam"); strings.Contains(leases, a.v4.String()) {
				t.Errorf("vnetctl ipam has what it did not lease:\n%s", leases)
			}
		}
		a.del()
		b.del()
		expectNoMembers(t, c.node, "after DEL")
		for _, line := range testnet.Diff(rest, withoutRules(testnet.Snapshot(c.node))) {
			t.Errorf("left: %s", line)
		}
		c.ctl("gc")
		for _, section := range []string{"ipset", "iptables " + backend, "ip6tables " + backend} {
			for _, line := range testnet.Diff(only(before, section), only(testnet.Snapshot(c.node), section)) {
				if strings.Contains(strings.ToLower(line), "vnet") {
					t.Errorf("left after gc: %s", line)
				}
			}
		}
		t.Logf("%d flows passed, %d were silent", n, s)
	})
}

// TestChainedBesideVnet has pods of vnet with groups of its own and pods of a bridge
// on one node, in one state directory: what goes between them is judged by both, and
// each goes without the other.
func TestChainedBesideVnet(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, "bridge", someDocuments(t).conf("some"), testnet.WithIptables(backend))
			own := vnetConfig(c.node, 0)
			own.network = "own"
			judged(newDocuments(t, restGroup("own", denyIn("*", "8000-8399"))).conf("own"))(own)
			own.plugin["nsg"].(map[string]any)["virtualNetwork"] = chainedSpace
			own.write(c.node)
			a := attach(t, c.node, testnet.Attach{Network: "own"})
			b := c.add()
			n, s := 0, 0
			between := func() {
				t.Helper()
				n += expectAll(t, slices.Concat(flows(a, b.pod, 8000), flows(b.pod, a, 9000)))
				s += expectSilent(t, slices.Concat(flows(a, b.pod, 9000), flows(b.pod, a, 8000), flows(b.pod, a, 9400)))
			}
			between()
			if applied := c.ctl("apply"); strings.Count(applied, "unchanged") != 2 {
				t.Errorf("vnetctl apply:\n%s", applied)
			}
			between()
			b.del()
			c.ctl("gc")
			for _, line := range onlyRules(c.node)["iptables "+backend] {
				if strings.Contains(line, "FOREIGN") {
					t.Errorf("left of the other kind: %s", line)
				}
			}
			b = c.add()
			between()
			if err := c.node.Del(a.Pod, testnet.Attach{Network: "own"}); err != nil {
				t.Error(err)
			}
			c.ctl("gc")
			d := c.add()
			s += expectSilent(t, flows(d.pod, b.pod, 9000))
			t.Logf("%d flows passed, %d were silent", n, s)
		})
	}
}
