package nsgtest

import (
	"math/rand/v2"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Flow returns a flow of the direction and family that aims at a border of one
// of the policy's rules: a value is the first or last that matches, one below or
// one above; what the rule leaves open is anything.
func Flow(r *rand.Rand, p *nsg.Policy, d nsg.Direction, ipv6 bool) nsg.Flow {
	rule := ruleOf(r, p, d)
	f := nsg.Flow{Direction: d, Protocol: rule.Protocol}
	if f.Protocol == nsg.AnyProtocol || r.IntN(8) == 0 {
		f.Protocol = pick(r, nsg.TCP, nsg.UDP, nsg.ICMP)
	}
	local, remote := rule.Source, rule.Destination
	if d == nsg.Inbound {
		local, remote = remote, local
	}
	f.Local, f.Remote = address(r, local, ipv6), address(r, remote, ipv6)
	f.LocalASGs, f.RemoteASGs = asgs(r, local), asgs(r, remote)
	if f.Protocol == nsg.TCP || f.Protocol == nsg.UDP {
		f.LocalPort, f.RemotePort = portOf(r, local), portOf(r, remote)
	}
	return f
}

func ruleOf(r *rand.Rand, p *nsg.Policy, d nsg.Direction) *nsg.PolicyRule {
	for {
		if rule := &p.Rules[r.IntN(len(p.Rules))]; rule.Direction == d {
			return rule
		}
	}
}

func address(r *rand.Rand, m nsg.Match, ipv6 bool) netip.Addr {
	ranges := m.Addresses.Family(ipv6).Ranges()
	if len(ranges) == 0 || r.IntN(16) == 0 {
		return prefix(r, ipv6).Addr()
	}
	at := ranges[r.IntN(len(ranges))]
	a := pick(r, at.First, at.Last)
	b := pick(r, a, a, a.Prev(), a.Next())
	if !b.IsValid() || b.Is4() == ipv6 {
		return a
	}
	return b
}

func asgs(r *rand.Rand, m nsg.Match) []string {
	var out []string
	if len(m.ASGs) > 0 && r.IntN(4) > 0 {
		out = append(out, pick(r, m.ASGs...))
	}
	if other := pick(r, ASGs...); r.IntN(3) == 0 && (len(out) == 0 || out[0] != other) {
		out = append(out, other)
	}
	return out
}

func portOf(r *rand.Rand, m nsg.Match) uint16 {
	if len(m.Ports) == 0 || r.IntN(16) == 0 {
		return uint16(pick(r, 0, 1, 22, 80, 443, 8080, 40000, 65535))
	}
	at := m.Ports[r.IntN(len(m.Ports))]
	return pick(r, at.First, at.First, at.First-1, at.Last, at.Last, at.Last+1) // around 0 and 65535 is fine too
}
