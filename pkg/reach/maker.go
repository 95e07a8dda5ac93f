package reach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// maxRegions bounds what one end's groups may divide the flows of a pair into.
const maxRegions = 20_000

// maker finds the answers.
type maker struct {
	*classes
	services  Services
	protocols flowspace.Protocols
	ports     []nsg.PortRange
	limit     int // of regions
}

func newMaker(ends []End, q Question) maker {
	m := maker{classes: newClasses(ends), services: q.services(), ports: ports(q.Ports).union(nil), limit: maxRegions}
	m.protocols = flowspace.AllProtocols &^ (flowspace.GRE | flowspace.IPInIP)
	if q.Protocol != 0 && q.Protocol != nsg.AnyProtocol {
		m.protocols = flowspace.ProtocolsOf(q.Protocol, false)
	}
	if len(q.Ports) == 0 {
		m.ports = nil
	}
	return m
}

// answer asks what flows from one end to another are told, as if they were two
// machines.
func (m *maker) answer(from, to *End) (*Answer, error) {
	if from.Kind == Outside && to.Kind == Outside {
		return &Answer{Verdict: Beyond}, nil
	}
	b := builder{maker: m, from: from, to: to, known: map[string]int{}}
	for i := range from.Places {
		for k := range to.Places {
			err := b.pair(&from.Places[i], &to.Places[k])
			if errors.Is(err, flowspace.ErrTooMany) {
				return &Answer{Verdict: Undivided}, nil
			}
			if err != nil {
				return nil, fmt.Errorf("flows from %s to %s: %w", from.Name, to.Name, err)
			}
		}
	}
	return b.answer(), nil
}

// within is all flows of the question between two places, as groups of a network
// see them.
func (m *maker) within(d nsg.Direction, network string, from, to *Place) flowspace.Box {
	return flowspace.Box{Direction: d, Protocols: m.protocols,
		Source:      m.end(network, from, nil),
		Destination: m.end(network, to, m.ports)}
}

func (m *maker) end(network string, p *Place, ports []nsg.PortRange) flowspace.End {
	e := flowspace.End{Addresses: p.Addresses, Ports: ports, NotIn: m.asgs}
	if p.Network != network {
		return e
	}
	e.In = m.named(p.ASGs)
	e.NotIn = slices.DeleteFunc(slices.Clone(m.asgs), func(a string) bool { return slices.Contains(e.In, a) })
	return e
}

// groups are the policies of a place for flows from or to another one.
func (p *Place) groups(other *Place) (subnet, iface *nsg.Policy) {
	if p.SameNodeFree && p.Node != "" && p.Node == other.Node {
		return nil, nil
	}
	return p.Subnet, p.Interface
}

// builder collects what two ends' groups say.
type builder struct {
	*maker
	from, to *End
	known    map[string]int // index in parts by what decides
	parts    []Part
	pieces   [][2][]piece // by part, of IPv4 and of IPv6
}

// pair adds the flows between two places: what the sender's groups let out is asked
// again of the receiver's.
func (b *builder) pair(from, to *Place) error {
	subnet, iface := from.groups(to)
	out, err := flowspace.Regions(b.within(nsg.Outbound, from.Network, from, to), subnet, iface, b.limit)
	if err != nil {
		return err
	}
	for i := range out {
		rules := decided(nil, "from", &out[i].Verdict, subnet, iface)
		if out[i].Verdict.Access == nsg.Deny {
			b.add(nsg.Deny, rules, &out[i].Box)
			continue
		}
		if err := b.receive(from, to, &out[i].Box, rules); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) receive(from, to *Place, let *flowspace.Box, rules []Rule) error {
	within := b.within(nsg.Inbound, to.Network, from, to)
	within.Protocols = let.Protocols
	within.Source.Addresses, within.Source.Ports = let.Source.Addresses, let.Source.Ports
	within.Destination.Addresses, within.Destination.Ports = let.Destination.Addresses, let.Destination.Ports
	subnet, iface := to.groups(from)
	in, err := flowspace.Regions(within, subnet, iface, b.limit)
	if err != nil {
		return err
	}
	for i := range in {
		v := &in[i].Verdict
		of := decided(rules, "to", v, subnet, iface)
		if v.Access == nsg.Deny {
			of = decided(nil, "to", v, subnet, iface)
		}
		b.add(v.Access, of, &in[i].Box)
	}
	return nil
}

// decided adds the rule that answers for an end.
func decided(rules []Rule, side string, v *nsg.Verdict, subnet, iface *nsg.Policy) []Rule {
	if v.Rule == nil {
		return rules
	}
	return append(slices.Clip(slices.Clone(rules)), Rule{Side: side, Level: level(v, subnet, iface), NSG: v.Group.Name,
		Direction: v.Rule.Direction, Name: v.Rule.FullName(), Access: v.Rule.Access})
}

// level is where the group stands that answers. Of one that is on both levels it
// is the first to deny and the last to allow.
func level(v *nsg.Verdict, subnet, iface *nsg.Policy) string {
	both := subnet != nil && iface != nil && subnet.Group == iface.Group
	subnetFirst := v.Rule.Direction == nsg.Inbound
	if both && subnetFirst == (v.Access == nsg.Deny) || !both && subnet != nil && subnet.Group == v.Group {
		return "subnet"
	}
	return "interface"
}
