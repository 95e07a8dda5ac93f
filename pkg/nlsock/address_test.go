package nlsock

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// addressMessage is one with attributes, of link 7.
func addressMessage(family, bits uint8, attrs ...*nl.RtAttr) []byte {
	m := nl.IfAddrmsg{IfAddrmsg: unix.IfAddrmsg{Family: family, Prefixlen: bits, Scope: unix.RT_SCOPE_LINK, Index: 7}}
	b := slices.Clone(m.Serialize())
	for _, a := range attrs {
		b = append(b, a.Serialize()...)
	}
	return b
}

func withPeer() []byte {
	return addressMessage(unix.AF_INET, 24, nl.NewRtAttr(unix.IFA_LOCAL, []byte{10, 0, 0, 1}), nl.NewRtAttr(unix.IFA_ADDRESS, []byte{10, 0, 0, 2}))
}

func TestParseAddress(t *testing.T) {
	v6 := netip.MustParseAddr("fd00::1")
	rows := []struct {
		what    string
		payload []byte
		prefix  netip.Prefix
	}{
		{"an address with a peer", withPeer(), netip.MustParsePrefix("10.0.0.1/24")},
		{"an address of IPv6", addressMessage(unix.AF_INET6, 64, nl.NewRtAttr(unix.IFA_ADDRESS, v6.AsSlice())), netip.PrefixFrom(v6, 64)},
		{"a wrong length", addressMessage(unix.AF_INET6, 200, nl.NewRtAttr(unix.IFA_ADDRESS, v6.AsSlice())), netip.Prefix{}},
		{"no address", addressMessage(unix.AF_INET, 24), netip.Prefix{}},
	}
	for _, row := range rows {
		a, err := ParseAddress(row.payload)
		if err != nil || a.Link != 7 || a.Scope != unix.RT_SCOPE_LINK || a.Prefix.IsValid() != row.prefix.IsValid() || row.prefix.IsValid() && a.Prefix != row.prefix {
			t.Errorf("%s: %+v, %v; want %s", row.what, a, err, row.prefix)
		}
	}
	if _, err := ParseAddress(withPeer()[:unix.SizeofIfAddrmsg-1]); err == nil {
		t.Error("a message without a header is parsed")
	}
	t.Logf("%d messages", len(rows)+1)
}

func FuzzParseAddress(f *testing.F) {
	whole := withPeer()
	for cut := range whole {
		f.Add(whole[:cut])
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAddress(data)
		if err == nil && len(data) < unix.SizeofIfAddrmsg {
			t.Error("a message without a header is parsed")
		}
		_ = a.Prefix.String() // any value has to be fit for an error's text
	})
}
