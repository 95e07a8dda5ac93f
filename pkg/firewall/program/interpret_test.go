package program

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// packet is what iptables sees of a packet.
type packet struct {
	protocol             nsg.Protocol
	src, dst             netip.Addr
	sourcePort, destPort uint16
	srcASGs, dstASGs     []string
}

func packetOf(f nsg.Flow) packet {
	p := packet{protocol: f.Protocol, src: f.Local, dst: f.Remote, sourcePort: f.LocalPort, destPort: f.RemotePort, srcASGs: f.LocalASGs, dstASGs: f.RemoteASGs}
	if f.Direction == nsg.Inbound {
		p.src, p.dst = p.dst, p.src
		p.sourcePort, p.destPort = p.destPort, p.sourcePort
		p.srcASGs, p.dstASGs = p.dstASGs, p.srcASGs
	}
	return p
}

// verdict is what a program did with a packet.
type verdict struct {
	allowed bool
	rule    string
	tried   int // rules
	depth   int // chains entered below the first
}

// run interprets the program as the kernel does.
func (p *Program) run(pk packet) (verdict, error) {
	chains := map[string]*Chain{}
	for i := range p.Chains {
		chains[p.Chains[i].Name] = &p.Chains[i]
	}
	var v verdict
	for c := &p.Chains[0]; ; v.depth++ {
		r := c.first(pk, &v.tried)
		if r == nil {
			return v, fmt.Errorf("chain %s has no rule for %+v", c.Name, pk)
		}
		if r.Target != Goto {
			v.allowed, v.rule = r.Target == Return, r.Name
			return v, nil
		}
		if c = chains[r.Goto]; c == nil || v.depth > 100 {
			return v, fmt.Errorf("no chain %s, or a circle", r.Goto)
		}
	}
}

func (c *Chain) first(pk packet, tried *int) *Rule {
	for i := range c.Rules {
		*tried++
		if c.Rules[i].Match.matches(pk) {
			return &c.Rules[i]
		}
	}
	return nil
}

func (m *Match) matches(pk packet) bool {
	if m.Protocol != nsg.AnyProtocol && m.Protocol != pk.protocol {
		return false
	}
	hasPorts := m.Protocol == nsg.TCP || m.Protocol == nsg.UDP
	return m.SourcePorts.match(pk.sourcePort, hasPorts) && m.DestinationPorts.match(pk.destPort, hasPorts) &&
		m.Source.match(pk.src, pk.srcASGs) && m.Destination.match(pk.dst, pk.dstASGs)
}

func (p Ports) match(port uint16, hasPorts bool) bool {
	ranges := p.Ranges
	if p.Set != nil {
		ranges = p.Set.Ports
	}
	if ranges == nil {
		return true
	}
	if !hasPorts {
		panic("iptables refuses a port without -p tcp or -p udp")
	}
	return slices.ContainsFunc(ranges, func(r nsg.PortRange) bool { return r.First <= port && port <= r.Last })
}

func (a Address) match(addr netip.Addr, asgs []string) bool {
	switch {
	case a.Set != nil && a.Set.Type == NetSet:
		in := slices.ContainsFunc(a.Set.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
		return in != a.Not
	case a.Set != nil:
		return slices.ContainsFunc(a.Set.ASGs, func(g string) bool { return slices.Contains(asgs, g) }) != a.Not
	case a.Prefix.IsValid():
		return a.Prefix.Contains(addr)
	case a.Range.First.IsValid():
		return !addr.Less(a.Range.First) && !a.Range.Last.Less(addr)
	}
	return true
}
