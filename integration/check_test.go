package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
)

// patient is an attached pod that CHECK is to examine.
type patient struct {
	pod
	host string // the host's end
	conf config
	raw  json.RawMessage // the result of ADD, prevResult of CHECK
}

// damage is one thing that happened to an attachment behind the plugin's back.
type damage struct {
	name string
	do   func(*testing.T, patient) error
}

// TestCheck damages one pod after the other in one way each, and wants CHECK to
// notice, with the code for it, and to change nothing, and a repeated ADD to repair it.
func TestCheck(t *testing.T) {
	t.Parallel()
	var conf config
	_, nodes := cluster(t, 1, func(c config) { conf = c })
	noticed := 0
	for _, d := range damages() {
		p := newPatient(t, nodes[0], conf)
		expectHealthy(t, p, d.name)
		if err := d.do(t, p); err != nil {
			t.Errorf("%s: the damage could not be done: %v", d.name, err)
			continue
		}
		if expectNoticed(t, p, d.name) {
			noticed++
		}
		expectRepaired(t, p, d.name)
		if out := nodes[0].Exec("vnet", p.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
			t.Errorf("%s: DEL of the damaged pod: %v", d.name, out.Err)
		}
	}
	t.Logf("%d of %d damages noticed", noticed, len(damages()))
}

func newPatient(t *testing.T, n *testnet.Node, conf config) patient {
	t.Helper()
	p := n.NewPod()
	out := n.Exec("vnet", p.Env("ADD"), conf.stdin(t, nil))
	addrs, err := addresses(out)
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	result, err := out.Result()
	if err != nil {
		t.Fatal(err)
	}
	healthy := patient{pod: pod{Pod: p, result: result}, conf: conf, raw: bytes.Clone(out.Stdout)}
	for _, a := range addrs {
		if addr := netip.MustParseAddr(a); addr.Is4() {
			healthy.v4 = addr
		} else {
			healthy.v6 = addr
		}
	}
	healthy.host = hostVeth(t, healthy.pod)
	return healthy
}

// check runs CHECK and fails the test if it changed anything on the node or in
// the pod.
func (p patient) check(t *testing.T, name string) testnet.Output {
	t.Helper()
	node, inside := testnet.Snapshot(p.Node), testnet.SnapshotPod(p.Pod)
	out := p.Node.Exec("vnet", p.Env("CHECK"), p.conf.stdin(t, map[string]any{"prevResult": p.raw}))
	changes := testnet.Diff(node, testnet.Snapshot(p.Node))
	changes = append(changes, testnet.Diff(inside, testnet.SnapshotPod(p.Pod))...)
	for _, line := range changes {
		t.Errorf("%s: CHECK changed %s", name, line)
	}
	return out
}

func expectHealthy(t *testing.T, p patient, name string) {
	t.Helper()
	if out := p.check(t, name); out.Err != nil {
		t.Errorf("%s: CHECK before the damage: code %d: %v", name, out.Err.Code, out.Err)
	}
}

func expectNoticed(t *testing.T, p patient, name string) bool {
	t.Helper()
	const checkFailed = 107
	out := p.check(t, name)
	switch {
	case out.Err == nil:
		t.Errorf("CHECK did not notice: %s", name)
	case out.Err.Code != checkFailed:
		t.Errorf("%s: CHECK answered code %d (%v), want %d", name, out.Err.Code, out.Err, checkFailed)
	default:
		return true
	}
	return false
}

// expectRepaired wants an ADD of the same container and interface to put right what
// CHECK noticed.
func expectRepaired(t *testing.T, p patient, name string) {
	t.Helper()
	again := p.Node.Exec("vnet", p.Env("ADD"), p.conf.stdin(t, nil))
	if again.Err != nil {
		t.Errorf("%s: ADD again: code %d: %v", name, again.Err.Code, again.Err)
		return
	}
	p.raw = again.Stdout
	if out := p.check(t, name); out.Err != nil {
		t.Errorf("%s: CHECK after ADD was repeated: code %d: %v", name, out.Err.Code, out.Err)
	}
}

func damages() []damage {
	all := []damage{
		{"lease gone", leaseGone},
		{"host link gone", func(t *testing.T, p patient) error { return p.Node.NL.LinkDel(link(t, p.Node.NS, p.host)) }},
		{"host link down", func(t *testing.T, p patient) error { return p.Node.NL.LinkSetDown(link(t, p.Node.NS, p.host)) }},
		{"pod link renamed", podLinkRenamed},
		{"pod link down", func(t *testing.T, p patient) error { return p.NL.LinkSetDown(link(t, p.NS, "eth0")) }},
		{"host MAC changed", func(t *testing.T, p patient) error { return setMAC(t, p.Node.NS, p.host) }},
		{"pod MAC changed", func(t *testing.T, p patient) error { return setMAC(t, p.NS, "eth0") }},
		{"IPv4 not forwarded", func(_ *testing.T, p patient) error { return p.Node.SetSysctl("ipv4/ip_forward", "0") }},
		{"IPv6 not forwarded", func(_ *testing.T, p patient) error { return p.Node.SetSysctl("ipv6/conf/all/forwarding", "0") }},
	}
	for _, family := range []string{"IPv4", "IPv6"} {
		addr := func(p patient) netip.Addr {
			if family == "IPv4" {
				return p.v4
			}
			return p.v6
		}
		all = append(all, familyDamages(family, addr)...)
	}
	return all
}

func familyDamages(family string, addr func(patient) netip.Addr) []damage {
	in := func(name string, do func(*testing.T, patient, netip.Addr) error) damage {
		return damage{family + " " + name, func(t *testing.T, p patient) error { return do(t, p, addr(p)) }}
	}
	return []damage{
		in("address of the pod gone", podAddressGone),
		in("default route of the pod gone", podDefaultGone),
		in("neighbour of the pod gone", func(t *testing.T, p patient, a netip.Addr) error { return neighboursGone(t, p.NS, "eth0", nextHop(a)) }),
		in("neighbour of the pod wrong", func(t *testing.T, p patient, a netip.Addr) error { return neighbourWrong(t, p.NS, "eth0", nextHop(a)) }),
		in("host route gone", hostRouteGone),
		in("host route elsewhere", hostRouteElsewhere),
		in("host neighbour gone", func(t *testing.T, p patient, a netip.Addr) error { return neighboursGone(t, p.Node.NS, p.host, a) }),
		in("host neighbour wrong", func(t *testing.T, p patient, a netip.Addr) error { return neighbourWrong(t, p.Node.NS, p.host, a) }),
		in("proxy entry gone", proxyGone),
	}
}

// nextHop is the pod's next hop as the documentation tells it.
func nextHop(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.MustParseAddr("169.254.1.1")
	}
	return netip.MustParseAddr("fe80::1234:5678:9abc")
}

func leaseGone(_ *testing.T, p patient) error {
	store := ipam.New(ipam.Options{Dir: p.Node.StateDir(), Network: p.conf.network})
	_, found, err := store.Release(ipam.Key{ContainerID: p.ContainerID(), IfName: "eth0"})
	if err == nil && !found {
		err = fmt.Errorf("the store has no lease of %s", p.ContainerID())
	}
	return err
}

func podLinkRenamed(t *testing.T, p patient) error {
	l := link(t, p.NS, "eth0")
	if err := p.NL.LinkSetDown(l); err != nil {
		return err
	}
	if err := p.NL.LinkSetName(l, "eth9"); err != nil {
		return err
	}
	return p.NL.LinkSetUp(l)
}

func setMAC(t *testing.T, ns *testnet.NS, name string) error {
	return ns.NL.LinkSetHardwareAddr(link(t, ns, name), net.HardwareAddr{0x02, 0, 0, 0, 0, 0x66})
}

func podAddressGone(t *testing.T, p patient, a netip.Addr) error {
	return p.NL.AddrDel(link(t, p.NS, "eth0"), mustAddr(t, netip.PrefixFrom(a, a.BitLen()).String()))
}

func podDefaultGone(_ *testing.T, p patient, a netip.Addr) error {
	return removeRoutes(p.NS, a, "eth0", isDefault)
}

func hostRouteGone(_ *testing.T, p patient, a netip.Addr) error {
	return removeRoutes(p.Node.NS, a, p.host, func(r netlink.Route) bool { return isTo(r, a) })
}

func hostRouteElsewhere(t *testing.T, p patient, a netip.Addr) error {
	if err := hostRouteGone(t, p, a); err != nil {
		return err
	}
	return p.Node.NL.RouteAdd(hostRoute(t, p.Node.NS, testnet.Uplink, a.String()))
}

func isTo(r netlink.Route, a netip.Addr) bool { return r.Dst != nil && r.Dst.IP.Equal(a.AsSlice()) }

func removeRoutes(ns *testnet.NS, like netip.Addr, dev string, match func(netlink.Route) bool) error {
	l, err := ns.NL.LinkByName(dev)
	if err != nil {
		return err
	}
	routes, err := testnet.Whole(func() ([]netlink.Route, error) { return ns.NL.RouteList(l, family(like.String())) })
	if err != nil {
		return err
	}
	removed := 0
	for _, r := range routes {
		if !match(r) {
			continue
		}
		if err := ns.NL.RouteDel(&r); err != nil {
			return fmt.Errorf("remove %v: %w", r, err)
		}
		removed++
	}
	if removed == 0 {
		return fmt.Errorf("no such route among %v", routes)
	}
	return nil
}

func neighboursGone(t *testing.T, ns *testnet.NS, dev string, a netip.Addr) error {
	return ns.NL.NeighDel(neighbour(t, ns, dev, a.String(), "02:00:00:00:00:66"))
}

func neighbourWrong(t *testing.T, ns *testnet.NS, dev string, a netip.Addr) error {
	return ns.NL.NeighSet(neighbour(t, ns, dev, a.String(), "02:00:00:00:00:66"))
}

func proxyGone(t *testing.T, p patient, a netip.Addr) error {
	return p.Node.NL.NeighDel(proxy(t, p.Node.NS, testnet.Uplink, a.String()))
}
