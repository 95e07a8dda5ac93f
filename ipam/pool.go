// Package ipam leases the addresses of a node's pools and remembers who holds
// which, for one network a file.
//
// It knows address arithmetic, the order in which addresses are given out and
// the file that the leases live in. It must not know links, routes, the CNI
// protocol or its error codes: what the kernel still shows of lost leases is
// told to it by its caller, and what a caller must know to take an attachment
// down is opaque to it.
package ipam

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// reservedLow is how many addresses Azure keeps at the start of every subnet:
// the network itself, the gateway and two for DNS. It keeps the last one too.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
const reservedLow = 4

// Range is a run of addresses of one family, both ends included.
type Range struct {
	First, Last netip.Addr
}

// String returns the range as the configuration writes it.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// Contains reports whether a lies in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// overlaps reports whether the ranges share an address.
func (r Range) overlaps(o Range) bool {
	return r.First.BitLen() == o.First.BitLen() && r.First.Compare(o.Last) <= 0 && o.First.Compare(r.Last) <= 0
}

// size returns how many addresses the range holds, saturating.
func (r Range) size() uint64 {
	firstHigh, firstLow := halves(r.First)
	lastHigh, lastLow := halves(r.Last)
	low, borrow := bits.Sub64(lastLow, firstLow, 0)
	high, _ := bits.Sub64(lastHigh, firstHigh, borrow)
	if high != 0 || low == math.MaxUint64 {
		return math.MaxUint64
	}
	return low + 1
}

// Pool is the part of a subnet that a node may lease from.
type Pool struct {
	Subnet netip.Prefix
	Ranges []Range // in the order they are used up; none: the whole subnet
}

// Gateway returns the subnet's first address, Azure's default gateway.
func (p Pool) Gateway() netip.Addr { return p.Subnet.Masked().Addr().Next() }

// Reserved reports whether Azure keeps a for itself: the first four addresses
// of the subnet and the last. IPv6 is held to the same, as Azure does.
func (p Pool) Reserved(a netip.Addr) bool {
	if !p.Subnet.Contains(a) {
		return false
	}
	usable, ok := usableRange(p.Subnet)
	return !ok || !usable.Contains(a)
}

// Contains reports whether a may be leased from the pool: it is in a range and
// not reserved.
func (p Pool) Contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.Leasable(), func(r Range) bool { return r.Contains(a) })
}

// Size returns how many addresses the pool can lease, math.MaxUint64 standing
// for that many or more.
func (p Pool) Size() uint64 {
	var total uint64
	for _, r := range p.Leasable() {
		sum, carry := bits.Add64(total, r.size(), 0)
		if carry != 0 {
			return math.MaxUint64
		}
		total = sum
	}
	return total
}

// Leasable returns what can be leased: the ranges in their order, without
// what is reserved.
func (p Pool) Leasable() []Range {
	usable, ok := usableRange(p.Subnet)
	if !ok {
		return nil
	}
	if len(p.Ranges) == 0 {
		return []Range{usable}
	}
	spans := make([]Range, 0, len(p.Ranges))
	for _, r := range p.Ranges {
		if r.overlaps(usable) {
			spans = append(spans, Range{latest(r.First, usable.First), earliest(r.Last, usable.Last)})
		}
	}
	return spans
}

// CheckPools refuses pools that could lease the same address, or whose subnets
// overlap. The *FieldError names the later of the two, as "pools[1].subnet".
func CheckPools(pools []Pool) error {
	for i, later := range pools {
		for j, earlier := range pools[:i] {
			if !later.Subnet.Overlaps(earlier.Subnet) {
				continue
			}
			return overlapError(i, later, j, earlier)
		}
	}
	return nil
}

// overlapError names the narrowest field that explains the overlap.
func overlapError(i int, later Pool, j int, earlier Pool) error {
	spans := earlier.Leasable()
	for k, r := range later.Ranges {
		if slices.ContainsFunc(spans, r.overlaps) {
			return &FieldError{fmt.Sprintf("pools[%d].ranges[%d]", i, k), r.String(),
				fmt.Sprintf("overlaps pools[%d] (%v)", j, earlier.Subnet)}
		}
	}
	return &FieldError{fmt.Sprintf("pools[%d].subnet", i), later.Subnet.String(),
		fmt.Sprintf("overlaps pools[%d].subnet (%v)", j, earlier.Subnet)}
}

// usableRange returns the addresses of a subnet that Azure does not reserve,
// and false for a subnet too small to have any.
func usableRange(subnet netip.Prefix) (Range, bool) {
	whole := prefixRange(subnet)
	if whole.size() <= reservedLow+1 {
		return Range{}, false
	}
	first := whole.First
	for range reservedLow {
		first = first.Next()
	}
	return Range{first, whole.Last.Prev()}, true
}

// prefixRange returns all addresses of a prefix.
func prefixRange(p netip.Prefix) Range {
	first := p.Masked().Addr()
	raw := first.AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return Range{first, last}
}

func latest(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

func earliest(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}

// halves returns an address as a 128-bit number.
func halves(a netip.Addr) (high, low uint64) {
	for i, octet := range a.As16() {
		if i < 8 {
			high = high<<8 | uint64(octet)
		} else {
			low = low<<8 | uint64(octet)
		}
	}
	return high, low
}
