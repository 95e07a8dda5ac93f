package integration

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
)

// ptpConf is the reference main plugin with the reference IPAM plugin.
const ptpConf = `{"cniVersion": "1.0.0", "name": "ptp", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "ranges": [
	[{"subnet": "10.241.4.0/24"}], [{"subnet": "fd00:10:241::400/120"}]]}}]}`

// TestHarnessWithReferencePlugins proves the harness with plugins that are not
// under test: if this fails, no other failure means anything.
func TestHarnessWithReferencePlugins(t *testing.T) {
	t.Parallel()
	node := testnet.New(t).AddNode("n1")
	node.Write("ptp", ptpConf)
	withoutDAD(t, node.NS)
	if err := node.Del(attachForeign(t, node).Pod); err != nil {
		t.Fatalf("DEL: %v", err)
	}
	before := testnet.Snapshot(node)

	a, b := attachForeign(t, node), attachForeign(t, node)
	during := testnet.Diff(before, testnet.Snapshot(node))
	if len(during) < 6 {
		t.Errorf("two attached pods show as %d differences only: %q", len(during), during)
	}
	n := expectAll(t, everyProto(a, b, 0))
	n += expectAll(t, everyProto(b, a, 0))
	if err := node.Check(a.Pod); err != nil {
		t.Errorf("CHECK of an intact pod: %v", err)
	}
	for _, pod := range []pod{a, b} {
		if err := node.Del(pod.Pod); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	expectNothingLeft(t, before, node)
	t.Logf("%d flows, %d lines of state compared, %d differences while attached", n, before.Lines(), len(during))
}

// TestHarnessSeesLeftovers plants one leftover of each kind and wants the
// snapshot to name it.
func TestHarnessSeesLeftovers(t *testing.T) {
	t.Parallel()
	node := testnet.New(t).AddNode("n1")
	before := testnet.Snapshot(node)
	plants := map[string]func() error{
		"link": func() error {
			return node.NL.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "left0"}, PeerName: "left1"})
		},
		"address": func() error { return node.NL.AddrAdd(link(t, node.NS, "lo"), mustAddr(t, "192.0.2.1/32")) },
		"route":   func() error { return node.NL.RouteAdd(hostRoute(t, node.NS, "lo", "192.0.2.2")) },
		"neighbour": func() error {
			return node.NL.NeighAdd(neighbour(t, node.NS, "eth0", "10.241.4.9", "02:00:00:00:00:01"))
		},
		"proxy neighbour": func() error { return node.NL.NeighAdd(proxy(t, node.NS, "eth0", "fd00:10:241::409")) },
		"sysctl":          func() error { return node.SetSysctl("ipv6/conf/eth0/proxy_ndp", "1") },
		"ip6tables nft":   shell(node, "ip6tables-nft", "-A", "FORWARD", "-j", "DROP"),
		"iptables legacy": shell(node, "iptables-legacy", "-A", "FORWARD", "-j", "DROP"),
		"ipset":           shell(node, "ipset", "create", "left", "hash:net"),
		"lease":           func() error { return plantLease(node) },
		"file":            func() error { return writeFile(node.StateDir()+"/left", "x") },
	}
	for kind, plant := range plants {
		if err := plant(); err != nil {
			t.Fatalf("plant a %s: %v", kind, err)
		}
		if diff := testnet.Diff(before, testnet.Snapshot(node)); !anyHasPrefix(diff, "+ "+kind+": ") {
			t.Errorf("a planted %s is not seen; the differences are %q", kind, diff)
		}
	}
	if diff := testnet.Diff(before, before); len(diff) != 0 {
		t.Errorf("a state differs from itself: %q", diff)
	}
	t.Logf("%d kinds of leftovers planted and seen", len(plants))
}

// TestHarnessOutside proves the routed host beyond the gateway.
func TestHarnessOutside(t *testing.T) {
	t.Parallel()
	fabric := testnet.New(t)
	n1, n2 := fabric.AddNode("n1"), fabric.AddNode("n2")
	out := fabric.AddOutside()
	var flows []expectation
	for _, proto := range allProtos {
		flows = append(flows,
			expectation{testnet.Flow{Proto: proto, From: n1.NS, To: out, Dst: testnet.Outside4}, n1.IPv4},
			expectation{testnet.Flow{Proto: proto, From: n1.NS, To: out, Dst: testnet.Outside6}, n1.IPv6},
			expectation{testnet.Flow{Proto: proto, From: n1.NS, To: n2.NS, Dst: n2.IPv4}, n1.IPv4},
			expectation{testnet.Flow{Proto: proto, From: out, To: n2.NS, Dst: n2.IPv6}, testnet.Outside6})
	}
	n := expectAll(t, flows)
	if _, err := n2.Shell("iptables", "-A", "INPUT", "-j", "DROP"); err != nil {
		t.Fatal(err)
	}
	for _, proto := range allProtos {
		f := testnet.Flow{Proto: proto, From: n1.NS, To: n2.NS, Dst: n2.IPv4, Timeout: 200 * time.Millisecond}
		if r, err := f.Try(); !testnet.IsTimeout(err) {
			t.Errorf("%s behind a DROP: %v, %v, want a timeout", f, r, err)
		}
	}
	t.Logf("%d flows answered, %d dropped", n, len(allProtos))
}

// podWithoutDAD is a pod whose addresses are usable at once: ptp waits for, and
// its host side fails during, duplicate address detection.
func podWithoutDAD(t *testing.T, n *testnet.Node) *testnet.Pod {
	t.Helper()
	p := n.NewPod()
	withoutDAD(t, p.NS)
	return p
}

// attachForeign attaches a pod by a main plugin of other make. They give the kernel five
// seconds for an IPv6 address, which may not do where many namespaces come and go, and
// return before it is ready to send.
func attachForeign(t *testing.T, n *testnet.Node, opts ...testnet.Attach) pod {
	t.Helper()
	const tries = 5
	p := podWithoutDAD(t, n)
	result, err := n.Add(p, opts...)
	for again := 1; again < tries && err != nil && strings.Contains(err.Error(), "still has tentative addresses"); again++ {
		t.Logf("ADD once more: %v", err)
		if err := n.Del(p, opts...); err != nil {
			t.Fatalf("DEL after an ADD that failed: %v", err)
		}
		result, err = n.Add(p, opts...)
	}
	if err != nil {
		t.Fatalf("ADD on %s: %v", n.Name, err)
	}
	testnet.Settle(t, n.NS, p.NS)
	return podOf(p, result)
}

func withoutDAD(t *testing.T, ns *testnet.NS) {
	t.Helper()
	if err := ns.SetSysctl("ipv6/conf/default/accept_dad", "0"); err != nil {
		t.Fatal(err)
	}
}

func plantLease(n *testnet.Node) error {
	return ipam.New(ipam.Options{Dir: n.StateDir(), Network: "left"}).Record(ipam.Lease{
		Key: ipam.Key{ContainerID: "left", IfName: "eth0"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.241.4.9/16")},
	})
}

func shell(n *testnet.Node, name string, args ...string) func() error {
	return func() error { _, err := n.Shell(name, args...); return err }
}

func anyHasPrefix(lines []string, prefix string) bool {
	for _, line := range lines {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}
