package program

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// value is a point of any dimension: a port, or an address of one family.
type value struct{ hi, lo uint64 }

func (v value) less(w value) bool { return v.hi < w.hi || v.hi == w.hi && v.lo < w.lo }

func (v value) compare(w value) int {
	switch {
	case v.less(w):
		return -1
	case w.less(v):
		return 1
	}
	return 0
}

func (v value) next() value {
	v.lo++
	if v.lo == 0 {
		v.hi++
	}
	return v
}

func (v value) prev() value {
	if v.lo == 0 {
		v.hi--
	}
	v.lo--
	return v
}

// minus returns the distance to w, which is not above v.
func (v value) minus(w value) value {
	lo, borrow := bits.Sub64(v.lo, w.lo, 0)
	hi, _ := bits.Sub64(v.hi, w.hi, borrow)
	return value{hi: hi, lo: lo}
}

func portValue(p uint16) value { return value{lo: uint64(p)} }

func (v value) port() uint16 { return uint16(v.lo) }

func addrValue(a netip.Addr) value {
	if a.Is4() {
		b := a.As4()
		return value{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return value{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}
}

func (v value) addr(ipv6 bool) netip.Addr {
	if !ipv6 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(v.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], v.hi)
	binary.BigEndian.PutUint64(b[8:], v.lo)
	return netip.AddrFrom16(b)
}

// span is the values from first to last.
type span struct{ first, last value }

func (s span) within(t span) bool { return !s.first.less(t.first) && !t.last.less(s.last) }

func (s span) meets(t span) bool { return !s.last.less(t.first) && !t.last.less(s.first) }

// clip returns the part of s in t, which it meets.
func (s span) clip(t span) span {
	if s.first.less(t.first) {
		s.first = t.first
	}
	if t.last.less(s.last) {
		s.last = t.last
	}
	return s
}

func portSpans(ranges []nsg.PortRange) []span {
	var out []span
	for _, r := range ranges {
		out = append(out, span{first: portValue(r.First), last: portValue(r.Last)})
	}
	return joined(out)
}

func addrSpans(s nsg.AddressSet) []span {
	var out []span
	for _, r := range s.Ranges() {
		out = append(out, span{first: addrValue(r.First), last: addrValue(r.Last)})
	}
	return out
}
