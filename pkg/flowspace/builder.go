package flowspace

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// spaceBuilder gives each rule its sets. Equal sets of a dimension become one.
type spaceBuilder struct {
	*space
	found     map[*nsg.PolicyRule]int // -1: it matches nothing of the space
	protocols known[uint32]
	ports     [2]known[uint32]
	addresses [2]known[netip.Addr]
}

// known is the sets of a dimension that rules have.
type known[T comparable] struct {
	domain []interval[T]
	sets   [][]interval[T]
	number map[string]int32
	text   func([]byte, T) []byte
}

func newSpaceBuilder(s *space) *spaceBuilder {
	b := &spaceBuilder{space: s, found: map[*nsg.PolicyRule]int{},
		protocols: newKnown(spansOfProtocols(s.within.Protocols), appendNumber)}
	for i, e := range [...]*End{&s.within.Source, &s.within.Destination} {
		b.ports[i] = newKnown(spansOfPorts(e.Ports), appendNumber)
		b.addresses[i] = newKnown(spansOfAddresses(e.Addresses), func(to []byte, a netip.Addr) []byte { return append(to, a.AsSlice()...) })
	}
	return b
}

func newKnown[T comparable](domain []interval[T], text func([]byte, T) []byte) known[T] {
	return known[T]{domain: domain, number: map[string]int32{}, text: text}
}

func appendNumber(to []byte, n uint32) []byte { return append(to, byte(n>>16), byte(n>>8), byte(n)) }

// set returns the number of a set that lies in the domain, and is not empty.
func (k *known[T]) set(set []interval[T]) int32 {
	if slices.Equal(set, k.domain) {
		return everything
	}
	key := make([]byte, 0, 32*len(set))
	for _, v := range set {
		key = k.text(k.text(key, v.first), v.last)
	}
	n, found := k.number[string(key)]
	if !found {
		n = int32(len(k.sets))
		k.number[string(key)] = n
		k.sets = append(k.sets, set)
	}
	return n
}

// list adds a list of rules that are tried in their order, the last of which
// matches every flow.
func (b *spaceBuilder) list(rules []*nsg.PolicyRule) {
	var out []entry
	for _, r := range rules {
		i, seen := b.found[r]
		if !seen {
			i = b.add(r)
			b.found[r] = i
		}
		if i < 0 {
			continue
		}
		e := entry(i) << 2
		for end := range 2 {
			if len(b.rules[i].asgs[end]) > 0 {
				e |= 1 << end
			}
		}
		out = append(out, e)
		if b.rules[i].matchesAll() {
			break
		}
	}
	b.lists = append(b.lists, out)
}

// add returns the index of a rule, or -1 when it matches nothing of the space.
func (b *spaceBuilder) add(r *nsg.PolicyRule) int {
	protocols := ProtocolsOf(r.Protocol, false)
	if len(r.Source.Ports)+len(r.Destination.Ports) > 0 {
		protocols &= withPorts
	}
	protocols &= b.within.Protocols
	if protocols == 0 {
		return -1
	}
	n := rule{PolicyRule: r, last: -1}
	n.sets[protocolDimension] = b.protocols.set(spansOfProtocols(protocols))
	for end, side := range [...]struct {
		match         *nsg.Match
		within        *End
		address, port int
	}{{&r.Source, &b.within.Source, sourceDimension, sourcePortDimension},
		{&r.Destination, &b.within.Destination, destinationDimension, destinationPortDimension}} {
		ports := commonPorts(side.match.Ports, side.within.Ports)
		addresses := side.within.Addresses
		if len(side.match.ASGs) == 0 || !side.match.Addresses.IsEmpty() {
			addresses = addresses.Intersect(side.match.Addresses)
		}
		if addresses.IsEmpty() || ports != nil && len(ports) == 0 || !b.join(&n, end, side.match.ASGs, side.within) {
			return -1
		}
		n.sets[side.port] = b.ports[end].set(spansOfPorts(ports))
		n.sets[side.address] = b.addresses[end].set(spansOfAddresses(addresses))
	}
	for d, set := range n.sets {
		if set != everything {
			n.last = d
		}
	}
	b.rules = append(b.rules, n)
	return len(b.rules) - 1
}

// join notes the ASGs of one side of a rule as far as the box leaves them open. It
// reports whether anybody can be in one.
func (b *spaceBuilder) join(n *rule, end int, asgs []string, within *End) bool {
	var open []int
	for _, a := range asgs {
		if slices.Contains(within.In, a) {
			return true
		}
		if !slices.Contains(within.NotIn, a) {
			open = append(open, b.member(end, a))
		}
	}
	n.asgs[end] = open
	return len(asgs) == 0 || len(open) > 0
}

// member returns the number of an ASG, for the time being in order of appearance.
func (b *spaceBuilder) member(end int, name string) int {
	m := member{end, name}
	i := slices.Index(b.asgs, m)
	if i < 0 {
		b.asgs = append(b.asgs, m)
		i = len(b.asgs) - 1
	}
	return i
}

// cut divides each dimension by the rules' sets.
func (b *spaceBuilder) cut() {
	s := b.space
	s.protocols = numbers(protocolKinds-1).cut(b.protocols.domain, b.protocols.sets)
	for end := range 2 {
		s.ports[end] = numbers(uint32(everyPort.Last)).cut(b.ports[end].domain, b.ports[end].sets)
		s.addresses[end] = addressLine(b.ipv6).cut(b.addresses[end].domain, b.addresses[end].sets)
	}
	sorted := slices.Clone(s.asgs)
	slices.SortFunc(sorted, func(x, y member) int { return cmp.Or(cmp.Compare(x.end, y.end), strings.Compare(x.name, y.name)) })
	for i := range s.rules {
		for end, asgs := range s.rules[i].asgs {
			for j, number := range asgs {
				asgs[j] = asgDimensions + slices.Index(sorted, s.asgs[number])
			}
			slices.Sort(s.rules[i].asgs[end])
		}
	}
	s.asgs = sorted
}
