package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// tuple is what connection tracking tells flows apart by.
type tuple struct {
	protocol         nsg.Protocol
	src, dst         netip.Addr
	srcPort, dstPort uint16
}

// batchOf draws that many flows which connection tracking takes for different ones.
func (n *round) batchOf(size int, count *tally, draw func() *exchange) []*exchange {
	taken := map[tuple]bool{}
	var out []*exchange
	for len(out) < size {
		x := draw()
		if x == nil {
			count.excluded++
			continue
		}
		x.request.kind, x.request.id = request, n.w.newID()
		if x.request.protocol == nsg.ICMP {
			x.request.srcPort = uint16(x.request.id)
		}
		there, back := x.request.tuple(), x.request.back(reply).tuple()
		if taken[there] || taken[back] {
			continue
		}
		taken[there], taken[back] = true, true
		n.judge(x)
		out = append(out, x)
	}
	return out
}

// tuple of what has neither ports nor an identifier is but the protocol: source
// translation could not tell such flows of two pods apart.
func (c crafted) tuple() tuple {
	switch c.protocol {
	case nsg.TCP, nsg.UDP, nsg.ICMP:
		return tuple{c.protocol, c.src, c.dst, c.srcPort, c.dstPort}
	}
	return tuple{protocol: c.protocol}
}

// drawAny draws a flow between a pod and anybody, or another pod. It is nil where
// the kernel would not route it.
func (n *round) drawAny(d nsg.Direction, v6 bool, count *tally) *exchange {
	e, f := n.aim(d, v6)
	other := n.w.outside
	if n.r.IntN(4) == 0 {
		for other == n.w.outside || other == e {
			other = n.w.pods[n.r.IntN(len(n.w.pods))]
		}
		f.Remote = n.address(other, v6)
	}
	if !n.w.routable(f.Remote) { // as the borders of "*": take another rule's
		count.redrawn++
	}
	for range 3 {
		if !n.w.routable(f.Remote) {
			_, g := n.aim(d, v6)
			f.Remote = g.Remote
		}
	}
	switch at := n.podAt(f.Remote); {
	case !n.w.routable(f.Remote), at == e:
		return nil
	case at != nil:
		other = at
	}
	return exchangeOf(d, e, other, f)
}

// aim draws a pod, and a flow at the border of a rule that judges it.
func (n *round) aim(d nsg.Direction, v6 bool) (*end, nsg.Flow) {
	e := n.w.pods[n.r.IntN(len(n.w.pods))]
	judges := n.judges(n.pods[e])
	f := nsgtest.Flow(n.r, judges[n.r.IntN(len(judges))], d, v6)
	f.Local = n.address(e, v6)
	if n.r.IntN(24) == 0 {
		f.Protocol = nsg.ESP
	}
	return e, f
}

func (n *round) address(e *end, v6 bool) netip.Addr {
	if v6 {
		return n.pods[e].Addrs[1]
	}
	return n.pods[e].Addrs[0]
}

func exchangeOf(d nsg.Direction, local, remote *end, f nsg.Flow) *exchange {
	x := &exchange{from: local, to: remote, request: crafted{kind: request, protocol: f.Protocol, src: f.Local, dst: f.Remote, srcPort: f.LocalPort, dstPort: f.RemotePort}}
	if f.Protocol != nsg.TCP && f.Protocol != nsg.UDP {
		x.request.srcPort, x.request.dstPort = 0, 0
	}
	if d == nsg.Inbound {
		x.request = x.request.back(request)
		x.from, x.to = remote, local
	}
	return x
}

// nodeAddresses gives the node some drawn addresses, besides its own, until remove
// is called.
func (n *round) nodeAddresses(v6 bool) (all []netip.Addr, remove func()) {
	n.w.t.Helper()
	var drawn []netip.Addr
	for len(drawn) < 3 {
		_, f := n.aim(nsg.Outbound, v6)
		if a := f.Remote; n.w.routable(a) && n.podAt(a) == nil && !slices.Contains(drawn, a) {
			drawn = append(drawn, a)
			n.w.giveNode(a, "lo")
		}
	}
	return append([]netip.Addr{n.w.node.marker[v6]}, drawn...), func() {
		for _, a := range drawn {
			sh(n.w.t, fmt.Sprintf("ip addr del %v/%d dev lo", a, a.BitLen()))
		}
	}
}

// drawNode draws a flow between a pod and one of the node's addresses.
func (n *round) drawNode(d nsg.Direction, v6 bool, addresses []netip.Addr) *exchange {
	e, f := n.aim(d, v6)
	f.Remote = addresses[n.r.IntN(len(addresses))]
	if f.Protocol != nsg.TCP && f.Protocol != nsg.UDP {
		f.Protocol = nsg.ICMP
	}
	x := exchangeOf(d, e, n.w.node, f)
	x.oneWay = d == nsg.Outbound // what the node sends to pods always passes
	return x
}

// drawForged draws a flow to a pod from the address that only Azure sends from.
func (n *round) drawForged() *exchange {
	e, f := n.aim(nsg.Inbound, false)
	f.Remote = platform
	return exchangeOf(nsg.Inbound, e, n.w.outside, f)
}
