package nsg

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// index finds the first of a direction's rules that a flow meets, in a time that
// hardly grows with the rules: each of the five conditions has, for every value, the
// set of rules that it meets as bits in the rules' order, and the first bit in all
// five sets is the answer. (Lakshman and Stiliadis, SIGCOMM 1998.)
type index struct {
	protocol, sourcePort, destinationPort axis
	source, destination                   [familyCount]axis
}

// axis is the values of one condition, cut where the set of rules changes.
type axis struct {
	starts []number   // ascending, from 0, for the last rule meets every value
	rules  [][]uint64 // from each start to the next; equal sets are one slice
}

// number is a value on an axis: an address, or a small number in low.
type number struct{ high, low uint64 }

// span is the numbers from first to last.
type span struct{ first, last number }

// everything is every number. Numbers beyond an axis's values do no harm.
var everything = []span{{last: number{math.MaxUint64, math.MaxUint64}}}

// The families of addresses, as indices.
const (
	family4 = iota
	family6
	familyCount
)

// newIndex makes the index of the rules of one direction, the last of which matches
// every flow.
func newIndex(rules []PolicyRule) index {
	x := index{
		protocol:        newAxis(rules, func(r *PolicyRule) []span { return protocolSpans(r.Protocol) }),
		sourcePort:      newAxis(rules, func(r *PolicyRule) []span { return portSpans(r.Source.Ports) }),
		destinationPort: newAxis(rules, func(r *PolicyRule) []span { return portSpans(r.Destination.Ports) }),
	}
	for family := range familyCount {
		known := addressSpans{}
		x.source[family] = newAxis(rules, func(r *PolicyRule) []span { return known.of(&r.Source, family) })
		x.destination[family] = newAxis(rules, func(r *PolicyRule) []span { return known.of(&r.Destination, family) })
	}
	return x
}

// first returns the first of the rules that the flow, which is normalised, meets;
// the last one where the flow has no addresses, which no rule is for.
func (x *index) first(rules []PolicyRule, f *Flow) *PolicyRule {
	source, destination := f.ends()
	sourceFamily, from := numberOf(source.address)
	destinationFamily, to := numberOf(destination.address)
	if sourceFamily == familyCount || destinationFamily == familyCount {
		return &rules[len(rules)-1]
	}
	ported := f.hasPorts()
	a := x.protocol.at(protocolNumber(f.Protocol))
	b := x.destinationPort.at(portNumber(ported, destination.port))[:len(a)]
	c := x.sourcePort.at(portNumber(ported, source.port))[:len(a)]
	d := x.destination[destinationFamily].at(to)[:len(a)]
	e := x.source[sourceFamily].at(from)[:len(a)]
	for w := range a {
		for met := a[w] & b[w] & c[w] & d[w] & e[w]; met != 0; met &= met - 1 {
			r := &rules[w*64+bits.TrailingZeros64(met)]
			if !r.hasASGs() || r.Source.has(source) && r.Destination.has(destination) {
				return r
			}
		}
	}
	return &rules[len(rules)-1]
}

// at returns the rules that the value meets.
func (a *axis) at(n number) []uint64 {
	low, high := 0, len(a.starts) // starts[low] <= n < starts[high]
	for high-low > 1 {
		if middle := int(uint(low+high) >> 1); n.less(a.starts[middle]) {
			high = middle
		} else {
			low = middle
		}
	}
	return a.rules[low]
}

func (n number) less(m number) bool {
	return n.high < m.high || n.high == m.high && n.low < m.low
}

// compare orders numbers.
func (n number) compare(m number) int {
	switch {
	case n.less(m):
		return -1
	case m.less(n):
		return 1
	}
	return 0
}

// numberOf returns an address's family and number; for no address the family is
// familyCount.
func numberOf(a netip.Addr) (int, number) {
	switch {
	case a.Is4():
		b := a.As4()
		return family4, number{low: uint64(binary.BigEndian.Uint32(b[:]))}
	case a.Is6():
		b := a.As16()
		return family6, number{high: binary.BigEndian.Uint64(b[:8]), low: binary.BigEndian.Uint64(b[8:])}
	}
	return familyCount, number{}
}

// protocolNumber leaves 0 to what only AnyProtocol covers.
func protocolNumber(p Protocol) number {
	if p < 0 {
		return number{}
	}
	return number{low: uint64(p) + 1}
}

func protocolSpans(p Protocol) []span {
	if p == AnyProtocol {
		return everything
	}
	return []span{{protocolNumber(p), protocolNumber(p)}}
}

// portNumber leaves 0 to what has no ports, which only rules without ports cover.
func portNumber(ported bool, port uint16) number {
	if !ported {
		return number{}
	}
	return number{low: uint64(port) + 1}
}

func portSpans(ranges []PortRange) []span {
	if len(ranges) == 0 {
		return everything
	}
	spans := make([]span, 0, len(ranges))
	for _, r := range ranges {
		spans = append(spans, span{portNumber(true, r.First), portNumber(true, r.Last)})
	}
	return spans
}

// addressSpans holds the spans of sets, so that rules which share a set share them.
type addressSpans map[*AddressRange][]span

// of returns the side's addresses of a family. Who is in an application security
// group, no address tells: the index takes all, and first looks closer.
func (known addressSpans) of(m *Match, family int) []span {
	if len(m.ASGs) > 0 {
		return everything
	}
	ranges := m.Addresses.Family(family == family6).ranges
	if len(ranges) == 0 {
		return nil
	}
	if spans := known[&ranges[0]]; len(spans) == len(ranges) {
		return spans
	}
	spans := make([]span, 0, len(ranges))
	for _, r := range ranges {
		_, first := numberOf(r.First)
		_, last := numberOf(r.Last)
		spans = append(spans, span{first, last})
	}
	known[&ranges[0]] = spans
	return spans
}
