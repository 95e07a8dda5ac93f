package nsg

import (
	"net/netip"
	"slices"
)

// Reasons tells which of a rule's conditions a flow meets.
type Reasons struct {
	Protocol        bool
	Source          bool
	SourcePort      bool
	Destination     bool
	DestinationPort bool
}

// All reports whether the flow meets all conditions: the rule matches it.
func (r Reasons) All() bool {
	return r.Protocol && r.Source && r.SourcePort && r.Destination && r.DestinationPort
}

// Explanation is how one rule takes a flow.
type Explanation struct {
	Rule    *PolicyRule
	Reasons Reasons
}

// First returns the first rule that matches the flow. It is never nil: for a flow
// without addresses or without a direction it is the rule that denies all.
func (p *Policy) First(f Flow) *PolicyRule {
	f.normalise()
	switch f.Direction {
	case Inbound:
		return p.indices[0].first(p.direction(Inbound), &f)
	case Outbound:
		return p.indices[1].first(p.direction(Outbound), &f)
	}
	return &p.Rules[p.outbound-1]
}

// Explain returns how each rule of the flow's direction takes it, in the order
// of evaluation: also of those behind the first match.
func (p *Policy) Explain(f Flow) []Explanation {
	rules := p.direction(f.Direction)
	out := make([]Explanation, 0, len(rules))
	for i := range rules {
		out = append(out, Explanation{Rule: &rules[i], Reasons: rules[i].Matches(f)})
	}
	return out
}

// direction returns the rules of a direction.
func (p *Policy) direction(d Direction) []PolicyRule {
	switch d {
	case Inbound:
		return p.Rules[:p.outbound]
	case Outbound:
		return p.Rules[p.outbound:]
	}
	return nil
}

// Matches tells which conditions of the rule the flow meets, whatever its
// direction is.
func (r *PolicyRule) Matches(f Flow) Reasons {
	f.normalise()
	source, destination := f.ends()
	return Reasons{
		Protocol:        r.Protocol == AnyProtocol || r.Protocol == f.Protocol,
		Source:          r.Source.has(source),
		SourcePort:      r.Source.hasPort(f.hasPorts(), source.port),
		Destination:     r.Destination.has(destination),
		DestinationPort: r.Destination.hasPort(f.hasPorts(), destination.port),
	}
}

func (r *PolicyRule) hasASGs() bool { return len(r.Source.ASGs)+len(r.Destination.ASGs) > 0 }

// has reports whether the end is one of the side's, by its address or by an
// application security group. Who has no address is in none.
func (m *Match) has(e end) bool {
	if len(m.ASGs) == 0 {
		return m.Addresses.Contains(e.address)
	}
	return e.address.IsValid() && (m.Addresses.IsEmpty() || m.Addresses.Contains(e.address)) &&
		slices.ContainsFunc(e.asgs, func(a string) bool { return slices.Contains(m.ASGs, a) })
}

// hasPort reports whether the port is among the side's; ported, whether the flow
// has ports that rules can name. A side without ports has also what has none.
func (m *Match) hasPort(ported bool, port uint16) bool {
	return len(m.Ports) == 0 || ported && slices.ContainsFunc(m.Ports, func(r PortRange) bool {
		return r.First <= port && port <= r.Last
	})
}

// end is one end of a flow.
type end struct {
	address netip.Addr
	port    uint16
	asgs    []string
}

// ends returns who sends the flow's first packet and who receives it.
func (f *Flow) ends() (source, destination end) {
	local := end{address: f.Local, port: f.LocalPort, asgs: f.LocalASGs}
	remote := end{address: f.Remote, port: f.RemotePort, asgs: f.RemoteASGs}
	if f.Direction == Inbound {
		return remote, local
	}
	return local, remote
}

// hasPorts reports whether rules can name the flow's ports. SCTP has some too, but
// no rule can name that protocol.
func (f *Flow) hasPorts() bool { return f.Protocol == TCP || f.Protocol == UDP }

// normalise spells the flow as rules do: addresses without zones and not as IPv4 in
// IPv6, and ICMPv6 as ICMP.
func (f *Flow) normalise() {
	f.Local, f.Remote = f.Local.Unmap().WithZone(""), f.Remote.Unmap().WithZone("")
	if f.Protocol == icmpv6 && f.Local.Is6() {
		f.Protocol = ICMP
	}
}
