package overlay

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

// uplink is the link towards the other nodes.
type uplink struct {
	name  string
	index int
	mtu   int
	// ethernet: others on the link are found by ARP or neighbour discovery, and
	// whoever has the link-layer address gets every packet. On another kind
	// (WireGuard, a tunnel) the link itself decides by the packet's destination.
	ethernet bool
}

// way is how the kernel reaches an address.
type way int

const (
	far    way = iota // through a gateway or another link, or not at all
	onLink            // on the uplink's own link
	local             // it is this node's
)

// desired is the state that a configuration wants.
type desired struct {
	state
	owner   map[thing]string // the node that a thing is for
	skipped []string
	mtu     int // for pods
}

// The encapsulation's headers in bytes: Ethernet of the inner frame 14, VXLAN 8,
// UDP 8, and IPv4 20 or IPv6 40 (RFC 7348).
const (
	overhead4 = 50
	overhead6 = 70
)

// render computes the wanted state. c is normalised; reach tells of every address
// of another node.
func render(c Config, up uplink, reach map[netip.Addr]way) desired {
	r := renderer{
		c: c, up: up, reach: reach, nodes: c.holders(),
		claimed: map[netip.Prefix]string{}, ends: map[mac]netip.Addr{}, hops: map[netip.Addr]mac{}, toNode: map[netip.Addr]bool{},
		want: desired{owner: map[thing]string{}, mtu: up.mtu},
	}
	r.self()
	for _, n := range c.Others {
		if reason := r.unusable(n); reason != "" {
			r.skip("node %s: %s", n.Name, reason)
			continue
		}
		for _, p := range n.PodCIDRs {
			if reason := r.routePods(n, p); reason != "" {
				r.skip("node %s: pod CIDR %s: %s", n.Name, p, reason)
			}
		}
	}
	if c.Encapsulation == Always || len(r.want.fdb) > 0 {
		r.tunnel()
	}
	return r.want
}

type renderer struct {
	c       Config
	up      uplink
	reach   map[netip.Addr]way
	nodes   []holder
	own     []netip.Prefix          // this node's fit pod CIDRs
	claimed map[netip.Prefix]string // pod CIDR → node
	ends    map[mac]netip.Addr      // far ends of the tunnel
	hops    map[netip.Addr]mac      // next hop → far end
	toNode  map[netip.Addr]bool     // addresses that RouteTable has
	want    desired
}

func (r *renderer) skip(format string, args ...any) {
	r.want.skipped = append(r.want.skipped, fmt.Sprintf(format, args...))
}

func (r *renderer) self() {
	for _, p := range r.c.Self.PodCIDRs {
		if reason := unfit(p, r.nodes); reason != "" {
			r.skip("this node (%s): pod CIDR %s: %s", r.c.Self.Name, p, reason)
			continue
		}
		r.own = append(r.own, p)
	}
}

func (r *renderer) unusable(n Node) string {
	if len(n.PodCIDRs) == 0 {
		return "it has no pod CIDR yet"
	}
	if len(n.Addrs) == 0 {
		return "it has no address"
	}
	for _, a := range n.Addrs {
		if slices.Contains(r.c.Self.Addrs, a) || r.reach[a] == local {
			return fmt.Sprintf("its address %s is this node's own", a)
		}
	}
	return ""
}

// routePods adds the way to one pod CIDR, or returns the reason why there is none.
func (r *renderer) routePods(n Node, p netip.Prefix) string {
	for _, own := range r.c.Self.PodCIDRs {
		if own.Overlaps(p) {
			return fmt.Sprintf("it overlaps this node's own, %s", own)
		}
	}
	if reason := unfit(p, r.nodes); reason != "" {
		return reason
	}
	if other, taken := r.claimed[p]; taken {
		return "node " + other + " has it, too"
	}
	r.claimed[p] = n.Name
	a := n.addr(p.Addr().Is4())
	if r.direct(a) {
		r.route(n, route{table: unix.RT_TABLE_MAIN, dst: p, via: a, dev: r.up.name})
		return ""
	}
	if r.c.Encapsulation != Never {
		return r.routeTunnel(n, p)
	}
	if !a.IsValid() {
		return fmt.Sprintf("the node has no %s address to lead to", family(p.Addr().Is4()))
	}
	return fmt.Sprintf("its address %s is not on the link of %s, and encapsulation is %q", a, r.up.name, Never)
}

// direct tells whether the node at a is reached without encapsulation. It takes an
// address of the family on both sides, for the other node decides likewise.
func (r *renderer) direct(a netip.Addr) bool {
	switch {
	case !a.IsValid() || !r.c.Self.addr(a.Is4()).IsValid() || r.reach[a] != onLink:
		return false
	case r.c.Encapsulation == Auto:
		return r.up.ethernet
	}
	return r.c.Encapsulation == Never
}

func (r *renderer) routeTunnel(n Node, p netip.Prefix) string {
	near := r.c.Self.underlay()
	end := n.addr(near.Is4())
	if end != n.underlay() || !end.IsValid() {
		return fmt.Sprintf("this node's tunnel is over %s, the node's over %s", family(near.Is4()), family(!near.Is4()))
	}
	m := tunnelMAC(end)
	if other, taken := r.ends[m]; (taken && other != end) || m == tunnelMAC(near) {
		return fmt.Sprintf("its address %s gives a hardware address that another node has, %s", end, m)
	}
	via := nextHop(p, m)
	other, taken := r.hops[via]
	if taken && other != m {
		return fmt.Sprintf("another node's pod CIDR begins at %s, too", via)
	}
	if !taken {
		r.hops[via] = m
		r.want.neighs = append(r.want.neighs, own(r, n, neighbour{addr: via, mac: m}))
	}
	if _, known := r.ends[m]; !known {
		r.ends[m] = end
		r.want.fdb = append(r.want.fdb, own(r, n, forward{mac: m, to: end}))
	}
	r.route(n, route{table: unix.RT_TABLE_MAIN, dst: p, via: via, dev: DeviceName, onlink: true, src: r.c.Self.addr(p.Addr().Is4())})
	if a := n.addr(p.Addr().Is4()); a.IsValid() && !r.toNode[a] {
		r.toNode[a] = true
		r.route(n, route{table: RouteTable, dst: netip.PrefixFrom(a, a.BitLen()), via: via, dev: DeviceName, onlink: true})
	}
	return ""
}

func (r *renderer) route(n Node, t route) {
	t.protocol = RouteProtocol
	if t.dst.Addr().Is6() {
		t.metric = fib.Metric6
	}
	r.want.routes = append(r.want.routes, own(r, n, t))
}

// own notes whom a thing is for.
func own[T thing](r *renderer, n Node, t T) T {
	r.want.owner[t] = n.Name
	return t
}

// tunnel adds this node's end.
func (r *renderer) tunnel() {
	near := r.c.Self.underlay()
	overhead := overhead4
	if near.Is6() {
		overhead = overhead6
	}
	r.want.mtu = r.up.mtu - overhead
	r.want.device = &device{
		tunnel: tunnel{vni: r.c.VNI, port: r.c.Port, local: near, mac: tunnelMAC(near)},
		mtu:    r.want.mtu, up: true,
	}
	for _, p := range r.own {
		a := address{tunnelAddr(p)}
		if _, known := r.want.owner[a]; !known { // two ranges can begin alike
			r.want.addrs = append(r.want.addrs, own(r, r.c.Self, a))
		}
		r.want.rules = append(r.want.rules, own(r, r.c.Self, rule{from: p, table: RouteTable, priority: RouteTable}))
	}
}

func family(ipv4 bool) string {
	if ipv4 {
		return "IPv4"
	}
	return "IPv6"
}
