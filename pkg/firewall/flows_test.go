package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flow is a tracked flow of a test: who opened it to what address, and who
// really answers. A service's address stands only in to, a masqueraded pod's
// node only in seen.
type flow struct {
	from, to, answers, seen string
	gone                    bool // with the pod at 10.9.0.2 or fd00:9::2
}

func flows(pod, other, node, service, similar string) []flow {
	return []flow{
		{from: pod, to: other, answers: other, seen: pod, gone: true},     // the pod opened it
		{from: pod, to: other, answers: other, seen: node, gone: true},    // masqueraded
		{from: pod, to: service, answers: other, seen: pod, gone: true},   // to a service
		{from: other, to: pod, answers: pod, seen: other, gone: true},     // somebody opened it to the pod
		{from: other, to: service, answers: pod, seen: other, gone: true}, // through a service
		{from: other, to: service, answers: pod, seen: node, gone: true},  // and masqueraded
		{from: pod, to: pod, answers: pod, seen: pod, gone: true},         // to itself
		{from: other, to: node, answers: node, seen: other},               // nobody's of ours
		{from: similar, to: other, answers: other, seen: similar},         // a neighbour in the pool
		{from: other, to: service, answers: similar, seen: other},         // the neighbour behind a service
		{from: node, to: other, answers: other, seen: node},               // the node's own
		{from: other, to: pod, answers: similar, seen: other},             // redirected away from the pod's address
	}
}

var (
	flows4 = flows("10.9.0.2", "10.9.1.7", "10.9.255.1", "172.16.0.1", "10.9.0.3")
	flows6 = flows("fd00:9::2", "fd00:9:1::7", "fd00:9:ff::1", "fd00:16::1", "fd00:9::3")
	owner4 = netip.MustParseAddr("10.9.0.2")
	owner6 = netip.MustParseAddr("fd00:9::2")
)

// track makes the kernel track the flow; port tells flows of equal addresses apart.
func (f flow) track(t *testing.T, port uint16) {
	t.Helper()
	parse := func(s string) net.IP { return netip.MustParseAddr(s).AsSlice() }
	family := netlink.InetFamily(unix.AF_INET)
	if netip.MustParseAddr(f.from).Is6() {
		family = unix.AF_INET6
	}
	err := netlink.ConntrackCreate(netlink.ConntrackTable, family, &netlink.ConntrackFlow{
		FamilyType: uint8(family), TimeOut: 3600, ProtoInfo: &netlink.ProtoInfoTCP{State: 3},
		Forward: netlink.IPTuple{SrcIP: parse(f.from), DstIP: parse(f.to), SrcPort: port, DstPort: 80, Protocol: unix.IPPROTO_TCP},
		Reverse: netlink.IPTuple{SrcIP: parse(f.answers), DstIP: parse(f.seen), SrcPort: 80, DstPort: port, Protocol: unix.IPPROTO_TCP},
	})
	if err != nil {
		t.Fatalf("track %+v: %v", f, err)
	}
}

func (f flow) name(port uint16) string {
	return fmt.Sprintf("%s:%d>%s %s>%s", f.from, port, f.to, f.answers, f.seen)
}

// tracked lists the flows of both families by the names of name.
func tracked(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		must(t, err)
		for _, c := range list {
			f := flow{from: text(c.Forward.SrcIP), to: text(c.Forward.DstIP), answers: text(c.Reverse.SrcIP), seen: text(c.Reverse.DstIP)}
			names = append(names, f.name(c.Forward.SrcPort))
		}
	}
	slices.Sort(names)
	return names
}

func text(ip net.IP) string {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap().String()
}

// trackAll tracks all the flows, and gives the names of those that have to be
// there after the addresses are forgotten.
func trackAll(t *testing.T, forgotten ...netip.Addr) (stay []string) {
	t.Helper()
	count := 0
	for a, list := range map[netip.Addr][]flow{owner4: flows4, owner6: flows6} {
		for i, f := range list {
			port := uint16(1000 + i)
			f.track(t, port)
			count++
			if !f.gone || !slices.Contains(forgotten, a) {
				stay = append(stay, f.name(port))
			}
		}
	}
	if got := tracked(t); len(got) != count {
		t.Fatalf("%d flows tracked, want %d: %q", len(got), count, got)
	}
	slices.Sort(stay)
	return stay
}

// The kernel's way and that for old kernels forget the same flows: those that
// the pod opened or answers, and no other.
func TestForgetFlows(t *testing.T) {
	mapped := netip.AddrFrom16(owner4.As16())
	ways := map[string]func(*Firewall, netip.Addr) error{
		"ForgetFlows":   func(f *Firewall, a netip.Addr) error { return f.ForgetFlows(a) },
		"deleteFlowsOf": func(_ *Firewall, a netip.Addr) error { return deleteFlowsOf(a.Unmap()) },
	}
	targets := [][]netip.Addr{{owner4}, {owner6}, {mapped}, {owner4, owner6}, {netip.MustParseAddr("10.9.9.9")}}
	for name, forget := range ways {
		t.Run(name, func(t *testing.T) {
			for _, list := range targets {
				t.Run(fmt.Sprint(list), func(t *testing.T) {
					f := inNamespace(t)
					var plain []netip.Addr
					for _, a := range list {
						plain = append(plain, a.Unmap())
					}
					stay := trackAll(t, plain...)
					for range 2 { // what is gone already is success
						for _, a := range list {
							must(t, forget(f, a))
						}
						if got := tracked(t); !slices.Equal(got, stay) {
							t.Errorf("tracked after it:\n%q\nwant\n%q", got, stay)
						}
					}
				})
			}
		})
	}
	t.Logf("%d ways, %d sets of addresses, %d flows each", len(ways), len(targets), len(flows4)+len(flows6))
}

// The kernel here filters deletions, so that TestForgetFlows tried that way.
// On an older one both tests try the same; say which it was.
func TestForgetFlowsInTheKernel(t *testing.T) {
	f := inNamespace(t)
	stay := trackAll(t, owner4)
	var errs []error
	for _, direction := range []int{1, 2} { // CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
		errs = append(errs, f.sets.deleteFlows(owner4, direction))
	}
	if errs[0] != nil || errs[1] != nil {
		t.Logf("this kernel filters no deletion: %v", errs)
		return
	}
	if got := tracked(t); !slices.Equal(got, stay) {
		t.Errorf("tracked after it:\n%q\nwant\n%q", got, stay)
	}
	t.Log("2 filtered deletions by the kernel")
}

// Nothing is tracked: the short way out.
func TestForgetFlowsWithoutAny(t *testing.T) {
	f := inNamespace(t)
	for _, a := range []netip.Addr{owner4, owner6} {
		must(t, f.ForgetFlows(a))
	}
	t.Log("2 addresses")
}

// A real flow that a packet made, not only entries that a test wrote.
func TestForgetARealFlow(t *testing.T) {
	f := inNamespace(t)
	sh(t, "iptables -w -t raw -A OUTPUT -j ACCEPT; iptables -w -A INPUT -m conntrack --ctstate NEW -j ACCEPT; ip link set lo up; ip addr add 10.9.0.2/32 dev lo; ip addr add 10.9.0.3/32 dev lo")
	received := listen(t, netip.MustParseAddr("10.9.0.3"))
	for _, source := range []string{"10.9.0.2", "10.9.0.3"} {
		must(t, sendFrom(netip.MustParseAddr(source), netip.MustParseAddr("10.9.0.3"), source))
		received()
	}
	if got := tracked(t); len(got) != 2 {
		t.Fatalf("%d flows tracked, want 2: %q", len(got), got)
	}
	must(t, f.ForgetFlows(owner4))
	got := tracked(t)
	if len(got) != 1 || !slices.ContainsFunc(got, func(s string) bool { return s[:9] == "10.9.0.3:" }) {
		t.Errorf("tracked after it: %q", got)
	}
	t.Log("2 flows, 1 forgotten")
}
