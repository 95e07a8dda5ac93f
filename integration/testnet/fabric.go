package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of every fabric. Node N has the N-th address of both subnets.
var (
	Subnet4  = netip.MustParsePrefix("10.241.0.0/16")
	Subnet6  = netip.MustParsePrefix("fd00:10:241::/64")
	Gateway4 = netip.MustParseAddr("10.241.255.254")
	Gateway6 = netip.MustParseAddr("fd00:10:241::ffff")
	Outside4 = netip.MustParseAddr("203.0.113.10")
	Outside6 = netip.MustParseAddr("2001:db8:113::10")

	outsideGateway4 = netip.MustParseAddr("203.0.113.1")
	outsideGateway6 = netip.MustParseAddr("2001:db8:113::1")

	// Where the nodes are, in the subnet that they share with the pods: the
	// outside host has a route to these and to no pod.
	nodes4 = netip.MustParsePrefix("10.241.0.0/24")
	nodes6 = netip.MustParsePrefix("fd00:10:241::/120")
)

// Bridge is the name of the fabric's bridge in the fabric's namespace.
const Bridge = "vnet0"

// Uplink is the name of each node's interface on the fabric.
const Uplink = "eth0"

// Fabric is a namespace whose bridge plays the VNet and whose routing plays
// its gateway.
type Fabric struct {
	*NS
	Nodes   []*Node
	Outside *NS // nil until AddOutside

	t   testing.TB
	dir string
}

// New makes a fabric without nodes. It fails the test when not run as root.
func New(t testing.TB) *Fabric {
	t.Helper()
	f := &Fabric{NS: newNS(t, "fabric"), t: t, dir: t.TempDir()}
	must(t, "turn on the fabric's forwarding", f.SetSysctl("ipv4/ip_forward", "1"))
	must(t, "turn on the fabric's IPv6 forwarding", f.SetSysctl("ipv6/conf/all/forwarding", "1"))
	must(t, "make the fabric's bridge", f.addBridge())
	return f
}

// addBridge makes the bridge with the gateway's addresses. Its hardware address
// is fixed, because a bridge without one changes it with its ports.
func (f *Fabric) addBridge() error {
	snooping := false
	br := &netlink.Bridge{
		LinkAttrs:         netlink.LinkAttrs{Name: Bridge, HardwareAddr: net.HardwareAddr{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}},
		MulticastSnooping: &snooping,
	}
	if err := f.NL.LinkAdd(br); err != nil {
		return err
	}
	return f.configure(Bridge, nil,
		netip.PrefixFrom(Gateway4, Subnet4.Bits()), netip.PrefixFrom(Gateway6, Subnet6.Bits()))
}

// NodeOption changes a node before its namespace is made.
type NodeOption func(*Node)

// WithIptables puts the given backend, "nft" or "legacy", first on the node's
// PATH as iptables and ip6tables. Default: what the machine has.
func WithIptables(backend string) NodeOption {
	return func(n *Node) { n.backend = backend }
}

// WithMTU sets the MTU of the node's uplink, in bytes; 1500 without it.
func WithMTU(mtu int) NodeOption {
	return func(n *Node) { n.mtu = mtu }
}

// AddNode adds a node: eth0 on the bridge with the next IPv4 and IPv6 address
// and default routes via the gateway.
func (f *Fabric) AddNode(name string, opts ...NodeOption) *Node {
	f.t.Helper()
	n := &Node{t: f.t, mtu: 1500, dir: filepath.Join(f.dir, name), pathEnv: os.Getenv("PATH")}
	for _, opt := range opts {
		opt(n)
	}
	n.NS = newNS(f.t, name)
	n.IPv4 = nth(Subnet4, len(f.Nodes)+1)
	n.IPv6 = nth(Subnet6, len(f.Nodes)+1)
	must(f.t, "prepare the folders of node "+name, n.makeDirs())
	must(f.t, "plug node "+name+" into the fabric", f.plug(n))
	f.Nodes = append(f.Nodes, n)
	return n
}

func (f *Fabric) plug(n *Node) error {
	br, err := f.NL.LinkByName(Bridge)
	if err != nil {
		return err
	}
	port := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: fmt.Sprintf("port%d", len(f.Nodes)+1), MTU: n.mtu, MasterIndex: br.Attrs().Index},
		PeerName:      Uplink,
		PeerMTU:       uint32(n.mtu),
		PeerNamespace: netlink.NsFd(n.handle),
	}
	if err := f.NL.LinkAdd(port); err != nil {
		return fmt.Errorf("make the node's veth: %w", err)
	}
	if err := f.NL.LinkSetUp(port); err != nil {
		return err
	}
	err = n.configure(Uplink, []netip.Addr{Gateway4, Gateway6},
		netip.PrefixFrom(n.IPv4, Subnet4.Bits()), netip.PrefixFrom(n.IPv6, Subnet6.Bits()))
	if err != nil {
		return err
	}
	return errors.Join(f.awaitCarrier(port.Name), f.awaitReady(Bridge), n.awaitReady(Uplink))
}

// AddOutside adds the host beyond the gateway, at Outside4 and Outside6. It can
// reach the nodes; it has no route to the pods until RouteToPods.
func (f *Fabric) AddOutside() *NS {
	f.t.Helper()
	out := newNS(f.t, "outside")
	port := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "out0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(out.handle)}
	must(f.t, "make the outside host's veth", f.NL.LinkAdd(port))
	must(f.t, "configure the gateway's outer side", f.configure("out0", nil,
		netip.PrefixFrom(outsideGateway4, 24), netip.PrefixFrom(outsideGateway6, 64)))
	must(f.t, "configure the outside host", out.configure("eth0", nil,
		netip.PrefixFrom(Outside4, 24), netip.PrefixFrom(Outside6, 64)))
	must(f.t, "wait for the outside host's link", errors.Join(f.awaitReady("out0"), out.awaitReady("eth0")))
	f.Outside = out
	f.routeOutside(nodes4, nodes6)
	return out
}

// RouteToPods gives the outside host a route to the whole subnets, as a peered
// network has.
func (f *Fabric) RouteToPods() {
	f.t.Helper()
	f.routeOutside(Subnet4, Subnet6)
}

func (f *Fabric) routeOutside(v4, v6 netip.Prefix) {
	f.t.Helper()
	must(f.t, "route the outside host to "+v4.String(), f.Outside.addRoute("eth0", v4, outsideGateway4))
	must(f.t, "route the outside host to "+v6.String(), f.Outside.addRoute("eth0", v6, outsideGateway6))
}

// configure brings a link up with addresses and default routes via gateways.
// Duplicate address detection is off on it: it would cost each test a second.
func (ns *NS) configure(iface string, gateways []netip.Addr, addrs ...netip.Prefix) error {
	if err := ns.SetSysctl("ipv6/conf/"+iface+"/accept_dad", "0"); err != nil {
		return err
	}
	l, err := ns.NL.LinkByName(iface)
	if err != nil {
		return err
	}
	if err := ns.NL.LinkSetUp(l); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := ns.NL.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add %s to %s: %w", a, iface, err)
		}
	}
	for _, gw := range gateways {
		if err := ns.addRoute(iface, netip.PrefixFrom(unspecified(gw), 0), gw); err != nil {
			return err
		}
	}
	return nil
}

func (ns *NS) addRoute(iface string, dst netip.Prefix, via netip.Addr) error {
	l, err := ns.NL.LinkByName(iface)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(dst), Gw: via.AsSlice()}
	if err := ns.NL.RouteReplace(r); err != nil {
		return fmt.Errorf("route %s via %s: %w", dst, via, err)
	}
	return nil
}

// nth gives the n-th address of a subnet, n below 256.
func nth(p netip.Prefix, n int) netip.Addr {
	raw := p.Addr().AsSlice()
	raw[len(raw)-1] += byte(n)
	a, _ := netip.AddrFromSlice(raw)
	return a
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
