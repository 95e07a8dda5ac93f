package integration

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestRouterAdvertisements wants the node to keep, and to go on learning, the
// default route that a router advertises, although the plugin turned IPv6
// forwarding on.
func TestRouterAdvertisements(t *testing.T) {
	t.Parallel()
	f, nodes := cluster(t, 1, nil)
	node := nodes[0]
	for _, r := range defaults6(t, node) {
		if err := node.NL.RouteDel(&r); err != nil {
			t.Fatalf("remove the static default route: %v", err)
		}
	}
	advertiseUntilLearnt(t, f, node, "before ADD")
	attach(t, node)
	if got, err := node.Sysctl("ipv6/conf/all/forwarding"); err != nil || got != "1" {
		t.Fatalf("ADD left IPv6 forwarding at %q (%v): this test would prove nothing", got, err)
	}
	learnt := defaults6(t, node)
	if len(learnt) != 1 {
		t.Fatalf("after ADD the node has %d IPv6 default routes: %v", len(learnt), learnt)
	}
	if err := node.NL.RouteDel(&learnt[0]); err != nil {
		t.Fatalf("remove the learnt route: %v", err)
	}
	advertiseUntilLearnt(t, f, node, "after ADD")
	t.Log("2 advertisements learnt, the route kept over 1 ADD")
}

func advertiseUntilLearnt(t *testing.T, f *testnet.Fabric, node *testnet.Node, when string) {
	t.Helper()
	learnt := eventually(testnet.Patience, func() bool {
		if err := testnet.SendRA(f.NS, testnet.Bridge, 30*time.Minute); err != nil {
			t.Logf("send the advertisement: %v", err)
		}
		return eventually(100*time.Millisecond, func() bool { return len(defaults6(t, node)) == 1 })
	})
	if !learnt {
		t.Fatalf("%s: no default route from router advertisements: %v", when, defaults6(t, node))
	}
	if r := defaults6(t, node)[0]; r.Protocol != unix.RTPROT_RA {
		t.Fatalf("%s: the default route is not the advertised one: %v", when, r)
	}
}

// TestPodCannotAdvertise wants a router advertisement of a pod to change
// nothing on its node.
func TestPodCannotAdvertise(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 1, nil)
	node := nodes[0]
	p := attach(t, node)
	host := hostVeth(t, p)
	linkLocal := mustAddr(t, "fe80::bad/64")
	linkLocal.Flags = unix.IFA_F_NODAD
	if err := p.NL.AddrAdd(link(t, p.NS, "eth0"), linkLocal); err != nil {
		t.Fatalf("give the pod a link-local address: %v", err)
	}
	before := testnet.Snapshot(node)
	capture := testnet.NewCapture(t, node.NS, host)
	const sent = 3
	for range sent {
		if err := testnet.SendRA(p.NS, "eth0", 30*time.Minute); err != nil {
			t.Fatalf("send the advertisement: %v", err)
		}
		if _, err := capture.Wait(testnet.Patience, isRA); err != nil {
			t.Fatalf("the advertisement did not reach the host's end: %v", err)
		}
	}
	// An echo behind the advertisements proves that the kernel is through them.
	expectAll(t, everyProto(p, asPod(node), 0))
	for _, line := range testnet.Diff(before, testnet.Snapshot(node)) {
		t.Errorf("a pod's router advertisement changed the node: %s", line)
	}
	t.Logf("%d advertisements sent by the pod", sent)
}

func isRA(frame []byte) bool {
	const icmp = 14 + 40
	return len(frame) > icmp && frame[12] == 0x86 && frame[13] == 0xdd && frame[14+6] == unix.IPPROTO_ICMPV6 && frame[icmp] == 134
}

func defaults6(t *testing.T, n *testnet.Node) []netlink.Route {
	t.Helper()
	routes, err := testnet.Whole(func() ([]netlink.Route, error) {
		return n.NL.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		t.Fatalf("list IPv6 routes: %v", err)
	}
	var out []netlink.Route
	for _, r := range routes {
		if isDefault(r) {
			out = append(out, r)
		}
	}
	return out
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

// eventually polls until ok or the time is over.
func eventually(within time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}
