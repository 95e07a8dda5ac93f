package integration

import (
	"net"
	"net/netip"
	"os"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

var allProtos = []testnet.Proto{testnet.TCP, testnet.UDP, testnet.ICMP}

// pod is an attached pod and the addresses that its result named.
type pod struct {
	*testnet.Pod
	result *types100.Result
	v4, v6 netip.Addr // zero when the pod has none of the family
}

// attach makes a pod and attaches it, or fails the test.
func attach(t *testing.T, n *testnet.Node, opts ...testnet.Attach) pod {
	t.Helper()
	return attachTo(t, n.NewPod(), opts...)
}

func attachTo(t *testing.T, p *testnet.Pod, opts ...testnet.Attach) pod {
	t.Helper()
	result, err := p.Node.Add(p, opts...)
	if err != nil {
		t.Fatalf("ADD on %s: %v", p.Node.Name, err)
	}
	return podOf(p, result)
}

func podOf(p *testnet.Pod, result *types100.Result) pod {
	out := pod{Pod: p, result: result}
	for _, ip := range result.IPs {
		addr, _ := netip.AddrFromSlice(ip.Address.IP)
		if addr = addr.Unmap(); addr.Is4() {
			out.v4 = addr
		} else {
			out.v6 = addr
		}
	}
	return out
}

func (p pod) addrs() []netip.Addr { return valid(p.v4, p.v6) }

func valid(all ...netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// warmUp attaches and detaches a pod, so that what a node keeps between pods
// (base chains, sysctls, the store) is there before a state is taken.
func warmUp(t *testing.T, n *testnet.Node, opts ...testnet.Attach) {
	t.Helper()
	p := attach(t, n, opts...)
	if err := n.Del(p.Pod, opts...); err != nil {
		t.Fatalf("DEL: %v", err)
	}
	p.Delete()
}

func expectNothingLeft(t *testing.T, before testnet.State, n *testnet.Node) {
	t.Helper()
	for _, line := range testnet.Diff(before, testnet.Snapshot(n)) {
		t.Errorf("left on %s: %s", n.Name, line)
	}
}

// expectation is a flow that must be answered, and whom the server must see.
type expectation struct {
	testnet.Flow
	peer netip.Addr
}

// everyProto gives a flow of each protocol from one pod to each address of
// another, which must see the pod's own address.
func everyProto(from, to pod, size int) []expectation {
	var out []expectation
	for _, proto := range allProtos {
		for _, dst := range to.addrs() {
			out = append(out, expectation{testnet.Flow{Proto: proto, From: from.NS, To: to.NS, Dst: dst, Size: size}, from.like(dst)})
		}
	}
	return out
}

func (p pod) like(a netip.Addr) netip.Addr { return like(a, p.v4, p.v6) }

func like(a, v4, v6 netip.Addr) netip.Addr {
	if a.Is4() {
		return v4
	}
	return v6
}

// expectAll sends all flows at once and returns how many there were.
func expectAll(t *testing.T, want []expectation) int {
	t.Helper()
	if len(want) == 0 {
		t.Fatal("no flow to send: the test would prove nothing")
	}
	flows := make([]testnet.Flow, len(want))
	for i, w := range want {
		flows[i] = w.Flow
	}
	replies, errs := testnet.TryAll(flows)
	for i, w := range want {
		switch {
		case errs[i] != nil:
			t.Errorf("not answered: %v", errs[i])
		case replies[i].Peer != w.peer:
			t.Errorf("%s: the server saw %s, want %s", w.Flow, replies[i].Peer, w.peer)
		}
	}
	return len(want)
}

func link(t *testing.T, ns *testnet.NS, name string) netlink.Link {
	t.Helper()
	l, err := ns.NL.LinkByName(name)
	if err != nil {
		t.Fatalf("find %s in %s: %v", name, ns.Name, err)
	}
	return l
}

func mustAddr(t *testing.T, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func hostNet(ip string) *net.IPNet {
	a := netip.MustParseAddr(ip)
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func hostRoute(t *testing.T, ns *testnet.NS, dev, ip string) *netlink.Route {
	t.Helper()
	return &netlink.Route{LinkIndex: link(t, ns, dev).Attrs().Index, Dst: hostNet(ip), Scope: netlink.SCOPE_LINK}
}

func neighbour(t *testing.T, ns *testnet.NS, dev, ip, mac string) *netlink.Neigh {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	return &netlink.Neigh{LinkIndex: link(t, ns, dev).Attrs().Index, Family: family(ip), State: unix.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: hw}
}

func proxy(t *testing.T, ns *testnet.NS, dev, ip string) *netlink.Neigh {
	t.Helper()
	return &netlink.Neigh{LinkIndex: link(t, ns, dev).Attrs().Index, Family: family(ip), Flags: unix.NTF_PROXY, IP: net.ParseIP(ip)}
}

func family(ip string) int {
	if netip.MustParseAddr(ip).Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }
