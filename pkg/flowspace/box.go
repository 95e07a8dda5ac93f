package flowspace

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// End is one end of the flows of a box.
type End struct {
	Addresses nsg.AddressSet
	Ports     []nsg.PortRange // ascending and apart; nil: every port, and what has no ports
	In        []string        // ASGs that it is a member of, sorted, in lower case
	NotIn     []string        // ASGs that it is no member of, sorted, in lower case
}

// Box is all flows with one of the protocols, from the source to the destination:
// a product of sets, but for addresses, which are of the same family on both ends.
// What has no ports is in it only if neither end names any.
type Box struct {
	Direction   nsg.Direction
	Protocols   Protocols
	Source      End
	Destination End
}

// All returns the box of all flows of a direction.
func All(d nsg.Direction) Box {
	whole := End{Addresses: nsg.AllAddresses()}
	return Box{Direction: d, Protocols: AllProtocols, Source: whole, Destination: whole}
}

// OfRule returns the boxes of the flows that the rule matches, earlier rules apart.
// A rule that takes members of any of several ASGs has one for each, and these
// overlap.
func OfRule(r *nsg.PolicyRule) []Box {
	b := Box{Direction: r.Direction, Protocols: ProtocolsOf(r.Protocol, false)}
	var boxes []Box
	for _, source := range endsOf(&r.Source) {
		for _, destination := range endsOf(&r.Destination) {
			b.Source, b.Destination = source, destination
			if n := b.normal(); !n.IsEmpty() {
				boxes = append(boxes, n)
			}
		}
	}
	return boxes
}

func endsOf(m *nsg.Match) []End {
	ports := joinPorts(m.Ports)
	if len(m.ASGs) == 0 {
		return []End{{Addresses: m.Addresses, Ports: ports}}
	}
	addresses := m.Addresses
	if addresses.IsEmpty() {
		addresses = nsg.AllAddresses()
	}
	var ends []End
	for _, a := range m.ASGs {
		ends = append(ends, End{Addresses: addresses, Ports: ports, In: []string{a}})
	}
	return ends
}

// Intersect returns the box of the flows that are in both boxes; those of two
// directions have none in common.
func (b Box) Intersect(o Box) Box {
	if b.Direction != o.Direction {
		b.Protocols = 0
	}
	b.Protocols &= o.Protocols
	b.Source, b.Destination = b.Source.intersect(&o.Source), b.Destination.intersect(&o.Destination)
	return b
}

func (e End) intersect(o *End) End {
	e.Addresses = e.Addresses.Intersect(o.Addresses)
	if none := e.Ports != nil && len(e.Ports) == 0; !none {
		e.Ports = commonPorts(e.Ports, o.Ports)
	}
	e.In, e.NotIn = union(e.In, o.In), union(e.NotIn, o.NotIn)
	return e
}

// union joins two sorted lists of names.
func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// IsEmpty reports whether no flow is in the box.
func (b Box) IsEmpty() bool {
	n := b.normal()
	return n.Protocols == 0 || n.Source.Addresses.IsEmpty() || n.contradicts()
}

// contradicts reports whether an end is to be in a group and not in it.
func (b *Box) contradicts() bool {
	for _, e := range [...]*End{&b.Source, &b.Destination} {
		if slices.ContainsFunc(e.In, func(a string) bool { return slices.Contains(e.NotIn, a) }) {
			return true
		}
	}
	return false
}

// Contains reports whether the flow is in the box. Its ASGs are in lower case.
func (b Box) Contains(f nsg.Flow) bool {
	local, remote := f.Local.Unmap().WithZone(""), f.Remote.Unmap().WithZone("")
	if f.Direction != b.Direction || local.BitLen() != remote.BitLen() || f.Protocol < 0 ||
		b.Protocols&ProtocolsOf(f.Protocol, local.Is6()) == 0 {
		return false
	}
	ported := f.Protocol == nsg.TCP || f.Protocol == nsg.UDP
	here, there := &b.Source, &b.Destination
	if b.Direction == nsg.Inbound {
		here, there = there, here
	}
	return here.has(local, f.LocalPort, ported, f.LocalASGs) && there.has(remote, f.RemotePort, ported, f.RemoteASGs)
}

func (e *End) has(a netip.Addr, port uint16, ported bool, asgs []string) bool {
	if !e.Addresses.Contains(a) {
		return false
	}
	if e.Ports != nil && (!ported || !slices.ContainsFunc(e.Ports, func(r nsg.PortRange) bool { return r.First <= port && port <= r.Last })) {
		return false
	}
	isMember := func(g string) bool { return slices.Contains(asgs, g) }
	return !slices.ContainsFunc(e.NotIn, isMember) &&
		!slices.ContainsFunc(e.In, func(g string) bool { return !isMember(g) })
}

// normal returns the same box in its one form: no protocol and no address that no
// flow of it has, no ports where every port is meant.
func (b Box) normal() Box {
	b.Source.Ports, b.Destination.Ports = joinPorts(b.Source.Ports), joinPorts(b.Destination.Ports)
	if b.Source.Ports != nil || b.Destination.Ports != nil {
		b.Protocols &= withPorts
	}
	for _, e := range [...]*End{&b.Source, &b.Destination} {
		if len(e.Ports) == 1 && e.Ports[0] == everyPort && b.Protocols&^withPorts == 0 {
			e.Ports = nil
		}
		if e.Ports != nil && len(e.Ports) == 0 {
			b.Protocols = 0
		}
	}
	for _, ipv6 := range [...]bool{false, true} {
		if b.Source.Addresses.Family(ipv6).IsEmpty() || b.Destination.Addresses.Family(ipv6).IsEmpty() {
			b.Source.Addresses = b.Source.Addresses.Family(!ipv6)
			b.Destination.Addresses = b.Destination.Addresses.Family(!ipv6)
		}
	}
	return b
}

// everyPort is all ports as a range.
var everyPort = nsg.PortRange{Last: 1<<16 - 1}

// joinPorts sorts ranges of ports and joins those that overlap or touch; nil stays
// nil.
func joinPorts(ranges []nsg.PortRange) []nsg.PortRange {
	out := slices.Clone(ranges)
	slices.SortFunc(out, func(a, b nsg.PortRange) int { return int(a.First) - int(b.First) })
	n := 0
	for _, r := range out {
		if n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out[n] = r
		n++
	}
	return out[:n]
}
