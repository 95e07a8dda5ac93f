package flowspace

import (
	"encoding/binary"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// joined returns disjoint boxes with the same flows, where those that differ in one
// thing only are one.
func joined(boxes []Box) []Box {
	for i := range boxes {
		boxes[i] = boxes[i].normal()
	}
	for before := -1; before != len(boxes); {
		before = len(boxes)
		for _, p := range parts() {
			boxes = joinedIn(boxes, p)
		}
		boxes = joinedMembers(boxes)
	}
	return joinedFamilies(boxes)
}

// part is one factor of the product that a box is.
type part struct {
	clear func(b *Box)
	add   func(to, from *Box)
}

func parts() []part {
	protocols := part{func(b *Box) { b.Protocols = 0 }, func(to, from *Box) { to.Protocols |= from.Protocols }}
	return append(append([]part{protocols}, partsOf(func(b *Box) *End { return &b.Source })...),
		partsOf(func(b *Box) *End { return &b.Destination })...)
}

func partsOf(end func(*Box) *End) []part {
	return []part{
		{func(b *Box) { end(b).Addresses = nsg.AddressSet{} },
			func(to, from *Box) { end(to).Addresses = end(to).Addresses.Union(end(from).Addresses) }},
		{func(b *Box) { end(b).Ports = nil },
			func(to, from *Box) { end(to).Ports = unionPorts(end(to).Ports, end(from).Ports) }},
	}
}

// unionPorts takes nil as every port.
func unionPorts(a, b []nsg.PortRange) []nsg.PortRange {
	if a == nil || b == nil {
		return nil
	}
	return joinPorts(slices.Concat(a, b))
}

// joinedIn joins boxes that differ in one part only.
func joinedIn(boxes []Box, p part) []Box {
	at := make(map[string]int, len(boxes))
	var key []byte
	out := boxes[:0]
	for _, b := range boxes {
		rest := b
		p.clear(&rest)
		key = rest.appendKey(key[:0])
		if i, found := at[string(key)]; found {
			p.add(&out[i], &b)
			out[i] = out[i].normal()
			continue
		}
		at[string(key)] = len(out)
		out = append(out, b)
	}
	return out
}

// appendKey encodes the box.
func (b *Box) appendKey(key []byte) []byte {
	key = append(key, byte(b.Protocols))
	for _, e := range [...]*End{&b.Source, &b.Destination} {
		ranges := e.Addresses.Ranges()
		key = binary.AppendUvarint(key, uint64(len(ranges)))
		for _, r := range ranges {
			key = append(append(key, r.First.AsSlice()...), r.Last.AsSlice()...)
		}
		key = binary.AppendUvarint(append(key, boolByte(e.Ports == nil)), uint64(len(e.Ports)))
		for _, r := range e.Ports {
			key = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(key, r.First), r.Last)
		}
		for _, names := range [...][]string{e.In, e.NotIn} {
			key = binary.AppendUvarint(key, uint64(len(names)))
			for _, n := range names {
				key = append(binary.AppendUvarint(key, uint64(len(n))), n...)
			}
		}
	}
	return key
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// joinedMembers joins pairs of boxes of which one asks for the members of an
// application security group, and the other, otherwise the same, for all others.
func joinedMembers(boxes []Box) []Box {
	for _, end := range [...]func(*Box) *End{func(b *Box) *End { return &b.Source }, func(b *Box) *End { return &b.Destination }} {
		for _, name := range named(boxes, end) {
			boxes = joinedBy(boxes, end, name)
		}
	}
	return boxes
}

func named(boxes []Box, end func(*Box) *End) []string {
	var names []string
	for i := range boxes {
		names = append(names, end(&boxes[i]).In...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func joinedBy(boxes []Box, end func(*Box) *End, name string) []Box {
	at := map[string]int{}
	var key []byte
	out := boxes[:0]
	for _, b := range boxes {
		rest := b
		e := end(&rest)
		e.In, e.NotIn = without(e.In, name), without(e.NotIn, name)
		if mentions := len(e.In)+len(e.NotIn) != len(end(&b).In)+len(end(&b).NotIn); !mentions {
			out = append(out, b)
			continue
		}
		key = rest.appendKey(key[:0])
		if i, found := at[string(key)]; found {
			out[i] = rest // the other one: boxes are disjoint
			delete(at, string(key))
			continue
		}
		at[string(key)] = len(out)
		out = append(out, b)
	}
	return out
}

// without returns the list without the name, or the list itself.
func without(list []string, name string) []string {
	i := slices.Index(list, name)
	if i < 0 {
		return list
	}
	return slices.Concat(list[:i], list[i+1:])
}

// joinedFamilies joins a box of IPv4 with one of IPv6 that is otherwise the same,
// if there is no other that it could be joined with.
func joinedFamilies(boxes []Box) []Box {
	type pair struct{ of [2][]int }
	pairs := map[string]*pair{}
	for i, b := range boxes {
		family := 0
		if b.Source.Addresses.Family(false).IsEmpty() {
			family = 1
		} else if !b.Source.Addresses.Family(true).IsEmpty() {
			continue
		}
		k := b.withoutAddresses(family == 1)
		if pairs[k] == nil {
			pairs[k] = &pair{}
		}
		pairs[k].of[family] = append(pairs[k].of[family], i)
	}
	gone := map[int]bool{}
	for _, p := range pairs {
		if len(p.of[0]) != 1 || len(p.of[1]) != 1 {
			continue
		}
		i, j := p.of[0][0], p.of[1][0]
		boxes[i].Source.Addresses = boxes[i].Source.Addresses.Union(boxes[j].Source.Addresses)
		boxes[i].Destination.Addresses = boxes[i].Destination.Addresses.Union(boxes[j].Destination.Addresses)
		gone[j] = true
	}
	n := 0
	for i, b := range boxes {
		if !gone[i] {
			boxes[n] = b
			n++
		}
	}
	return boxes[:n]
}

// withoutAddresses encodes all of the box but its addresses, of which only whether
// they are all of the family's.
func (b Box) withoutAddresses(ipv6 bool) string {
	all := nsg.AllAddresses().Family(ipv6)
	whole := []byte{boolByte(b.Source.Addresses.Equal(all)), boolByte(b.Destination.Addresses.Equal(all))}
	b.Source.Addresses, b.Destination.Addresses = nsg.AddressSet{}, nsg.AddressSet{}
	return string(b.appendKey(whole))
}
