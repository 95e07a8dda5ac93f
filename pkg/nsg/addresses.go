package nsg

import (
	"net/netip"
	"slices"
	"sort"
)

// AddressRange is the addresses from First to Last, both of one family.
type AddressRange struct{ First, Last netip.Addr }

// AddressSet is a set of addresses of either family. The zero value is empty. It
// is never changed after it was made.
type AddressSet struct {
	ranges []AddressRange // ascending, disjoint, none touching the next; IPv4 first
}

// NewAddressSet makes the set of the addresses in the prefixes.
func NewAddressSet(prefixes ...netip.Prefix) AddressSet {
	ranges := make([]AddressRange, 0, len(prefixes))
	for _, p := range prefixes {
		ranges = append(ranges, AddressRange{First: p.Masked().Addr(), Last: lastOf(p)})
	}
	return normalised(ranges)
}

// AddressesIn makes the set of the addresses in the ranges.
func AddressesIn(ranges ...AddressRange) AddressSet { return normalised(slices.Clone(ranges)) }

// AllAddresses is every address of both families.
func AllAddresses() AddressSet { return AddressSet{ranges: slices.Clone(families[:])} }

// families are all the addresses of each family.
var families = [...]AddressRange{
	{First: netip.AddrFrom4([4]byte{}), Last: netip.AddrFrom4([4]byte{0xff, 0xff, 0xff, 0xff})},
	{First: netip.IPv6Unspecified(), Last: netip.AddrFrom16([16]byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})},
}

// normalised sorts the ranges and joins those that overlap or touch.
func normalised(ranges []AddressRange) AddressSet {
	slices.SortFunc(ranges, func(a, b AddressRange) int { return a.First.Compare(b.First) })
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out); n > 0 && joins(out[n-1], r) {
			if out[n-1].Last.Less(r.Last) {
				out[n-1].Last = r.Last
			}
			continue
		}
		out = append(out, r)
	}
	return AddressSet{ranges: out}
}

// joins reports whether b, which begins no earlier than a, leaves no gap to it.
func joins(a, b AddressRange) bool {
	return a.First.BitLen() == b.First.BitLen() && (!a.Last.Less(b.First) || a.Last.Next() == b.First)
}

// IsEmpty reports whether the set has no address.
func (s AddressSet) IsEmpty() bool { return len(s.ranges) == 0 }

// Contains reports whether the address is in the set.
func (s AddressSet) Contains(a netip.Addr) bool {
	i := sort.Search(len(s.ranges), func(i int) bool { return !s.ranges[i].Last.Less(a) })
	return i < len(s.ranges) && !a.Less(s.ranges[i].First)
}

// Ranges returns the set's ranges, ascending and apart from each other.
func (s AddressSet) Ranges() []AddressRange { return slices.Clone(s.ranges) }

// Equal reports whether both sets have the same addresses.
func (s AddressSet) Equal(t AddressSet) bool { return slices.Equal(s.ranges, t.ranges) }

// Family returns the addresses of IPv6, or else of IPv4.
func (s AddressSet) Family(ipv6 bool) AddressSet {
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].First.Is6() })
	if ipv6 {
		return AddressSet{ranges: s.ranges[i:]}
	}
	return AddressSet{ranges: s.ranges[:i:i]}
}

// Union returns the addresses of either set.
func (s AddressSet) Union(t AddressSet) AddressSet {
	return normalised(slices.Concat(s.ranges, t.ranges))
}

// Minus returns the addresses that are in s only.
func (s AddressSet) Minus(t AddressSet) AddressSet { return s.Intersect(t.complement()) }

// Intersect returns the addresses that are in both sets.
func (s AddressSet) Intersect(t AddressSet) AddressSet {
	var out []AddressRange
	for i, j := 0, 0; i < len(s.ranges) && j < len(t.ranges); {
		a, b := s.ranges[i], t.ranges[j]
		first, last := a.First, a.Last
		if first.Less(b.First) {
			first = b.First
		}
		if b.Last.Less(last) {
			last = b.Last
		}
		if !last.Less(first) {
			out = append(out, AddressRange{First: first, Last: last})
		}
		if a.Last.Less(b.Last) {
			i++
		} else {
			j++
		}
	}
	return AddressSet{ranges: out}
}

// complement returns the addresses of both families that are not in the set.
func (s AddressSet) complement() AddressSet {
	var out []AddressRange
	for _, all := range families {
		next, more := all.First, true
		for _, r := range s.Family(all.First.Is6()).ranges {
			if next.Less(r.First) {
				out = append(out, AddressRange{First: next, Last: r.First.Prev()})
			}
			next, more = r.Last.Next(), r.Last != all.Last
		}
		if more {
			out = append(out, AddressRange{First: next, Last: all.Last})
		}
	}
	return AddressSet{ranges: out}
}

// Prefixes returns the fewest prefixes that make up the set, ascending.
func (s AddressSet) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, r := range s.ranges {
		out = append(out, r.Prefixes()...)
	}
	return out
}

// Prefixes returns the fewest prefixes that make up the range, ascending.
func (r AddressRange) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for next, more := r.First, true; more; {
		p := widest(next, r.Last)
		out = append(out, p)
		last := lastOf(p)
		next, more = last.Next(), last != r.Last
	}
	return out
}

// widest returns the largest prefix that begins at first and does not go beyond last.
func widest(first, last netip.Addr) netip.Prefix {
	best := netip.PrefixFrom(first, first.BitLen())
	for bits := first.BitLen() - 1; bits >= 0; bits-- {
		p := netip.PrefixFrom(first, bits)
		if p.Masked().Addr() != first || last.Less(lastOf(p)) {
			break
		}
		best = p
	}
	return best
}

// lastOf returns the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch host := (i+1)*8 - p.Bits(); {
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
