package link

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attr is one netlink attribute, padded as the kernel does.
func attr(typ uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), value...)
	return append(b, make([]byte, (4-len(value)%4)%4)...)
}

// message is a fixed header of the size and attributes.
func message(header []byte, size int, attrs ...[]byte) []byte {
	b := append([]byte{}, header...)
	b = append(b, make([]byte, size-len(header))...)
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

// damaged gives what a fuzzer should start from: the messages whole, and an
// attribute of each of the types with no value, a short one and no padding.
func damaged(size int, types []uint16, whole ...[]byte) [][]byte {
	seeds := append([][]byte{nil, make([]byte, size-1), make([]byte, size), message(nil, size, []byte{3, 0, 1, 0})}, whole...)
	for _, w := range whole {
		for _, cut := range []int{1, 2, 3, 5} {
			seeds = append(seeds, w[:len(w)-cut])
		}
	}
	for _, typ := range types {
		short := attr(typ, 1)
		seeds = append(seeds,
			message(nil, size, attr(typ)), message(nil, size, short), message(nil, size, attr(typ, 1, 2, 3)),
			message(nil, size, short[:5]), message(nil, size, attr(typ, 255, 255, 255, 255, 255, 255, 255, 255, 255)))
	}
	return seeds
}

func addSeeds(f *testing.F, seeds [][]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Logf("%d seeds", len(seeds))
}

func linkMessage() []byte {
	kind := attr(nl.IFLA_INFO_KIND, []byte("veth")...)
	return message(nil, unix.SizeofIfInfomsg, attr(unix.IFLA_IFNAME, []byte("vnet0\x00")...), attr(unix.IFLA_MTU, 1, 2, 0, 0),
		attr(unix.IFLA_ADDRESS, 2, 0, 0, 0, 0, 1), attr(unix.IFLA_IFALIAS, []byte("a/b/c\x00")...), attr(unix.IFLA_LINK, 7, 0, 0, 0),
		attr(unix.IFLA_LINKINFO, kind...))
}

func FuzzParseLink(f *testing.F) {
	types := []uint16{unix.IFLA_IFNAME, unix.IFLA_MTU, unix.IFLA_ADDRESS, unix.IFLA_IFALIAS, unix.IFLA_LINK, unix.IFLA_LINKINFO}
	seeds := damaged(unix.SizeofIfInfomsg, types, linkMessage())
	seeds = append(seeds, message(nil, unix.SizeofIfInfomsg, attr(unix.IFLA_LINKINFO, 5, 0, 1, 0, 9)))
	addSeeds(f, seeds)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseLink(data); err == nil && len(data) < unix.SizeofIfInfomsg {
			t.Error("a message without a header is parsed")
		}
	})
}

func routeHeader(family, bits uint8) []byte { return []byte{family, bits} }

func FuzzParseRoute(f *testing.F) {
	hops := []byte{16, 0, 0, 0, 3, 0, 0, 0}
	hops = append(hops, attr(unix.RTA_GATEWAY, 10, 0, 0, 1)...)
	types := []uint16{unix.RTA_DST, unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_MULTIPATH}
	addSeeds(f, damaged(unix.SizeofRtMsg, types,
		message(routeHeader(unix.AF_INET, 24), unix.SizeofRtMsg, attr(unix.RTA_DST, 10, 0, 0, 0), attr(unix.RTA_OIF, 7, 0, 0, 0), attr(unix.RTA_GATEWAY, 10, 0, 0, 1)),
		message(routeHeader(unix.AF_INET6, 200), unix.SizeofRtMsg, attr(unix.RTA_DST, 10, 0, 0, 0)),
		message(routeHeader(unix.AF_INET, 0), unix.SizeofRtMsg, attr(unix.RTA_MULTIPATH, hops...)),
		message(routeHeader(unix.AF_INET, 0), unix.SizeofRtMsg, attr(unix.RTA_MULTIPATH, 255, 255, 0, 0, 3, 0, 0, 0)),
		message(routeHeader(unix.AF_INET, 0), unix.SizeofRtMsg, attr(unix.RTA_MULTIPATH, 13, 0, 0, 0, 3, 0, 0, 0, 5, 0, 5, 0, 1))))
	f.Fuzz(func(t *testing.T, data []byte) {
		hop, err := parseRoute(data)
		if err == nil && len(data) < unix.SizeofRtMsg {
			t.Error("a message without a header is parsed")
		}
		_ = hop.dst.String() // any value has to be fit for an error's text
	})
}

func FuzzParseAddress(f *testing.F) {
	addSeeds(f, damaged(unix.SizeofIfAddrmsg, []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS},
		message([]byte{unix.AF_INET, 24, 0, 0, 7}, unix.SizeofIfAddrmsg, attr(unix.IFA_LOCAL, 10, 0, 0, 1), attr(unix.IFA_ADDRESS, 10, 0, 0, 2)),
		message([]byte{unix.AF_INET6, 200}, unix.SizeofIfAddrmsg, attr(unix.IFA_ADDRESS, make([]byte, 16)...))))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAddress(data)
		if err == nil && len(data) < unix.SizeofIfAddrmsg {
			t.Error("a message without a header is parsed")
		}
		_ = a.prefix.String()
	})
}

func FuzzParseNeighbour(f *testing.F) {
	addSeeds(f, damaged(unix.SizeofNdMsg, []uint16{unix.NDA_DST, unix.NDA_LLADDR},
		message([]byte{unix.AF_INET, 0, 0, 0, 7}, unix.SizeofNdMsg, attr(unix.NDA_DST, 10, 0, 0, 1), attr(unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseNeighbour(data); err == nil && len(data) < unix.SizeofNdMsg {
			t.Error("a message without a header is parsed")
		}
	})
}

// What the parsers read from whole messages is what stands there.
func TestParsedMessages(t *testing.T) {
	l, err := parseLink(linkMessage())
	if err != nil || l.Name != "vnet0" || l.MTU != 0x201 || l.MAC.String() != "02:00:00:00:00:01" || l.Alias != "a/b/c" || l.Peer != 7 || l.Kind != "veth" || l.Up {
		t.Errorf("link: %+v, %v", l, err)
	}
	hops := append([]byte{16, 0, 0, 0, 3, 0, 0, 0}, attr(unix.RTA_GATEWAY, 10, 0, 0, 1)...)
	hops = append(hops, 8, 0, 0, 0, 4, 0, 0, 0)
	hop, err := parseRoute(message(routeHeader(unix.AF_INET, 0), unix.SizeofRtMsg, attr(unix.RTA_MULTIPATH, hops...)))
	if err != nil || hop.index != 3 || hop.gateway != netip.MustParseAddr("10.0.0.1") || hop.dst != netip.MustParsePrefix("0.0.0.0/0") {
		t.Errorf("route of two next hops: %+v, %v", hop, err)
	}
	a, err := parseAddress(message([]byte{unix.AF_INET, 24, 0, 0, 7}, unix.SizeofIfAddrmsg, attr(unix.IFA_LOCAL, 10, 0, 0, 1), attr(unix.IFA_ADDRESS, 10, 0, 0, 2)))
	if err != nil || a.index != 7 || a.prefix != netip.MustParsePrefix("10.0.0.1/24") {
		t.Errorf("address with a peer: %+v, %v", a, err)
	}
	n, err := parseNeighbour(message([]byte{unix.AF_INET, 0, 0, 0, 7, 0, 0, 0, 0x80}, unix.SizeofNdMsg, attr(unix.NDA_DST, 10, 0, 0, 1), attr(unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1)))
	if err != nil || n.index != 7 || n.state != unix.NUD_PERMANENT || n.addr != netip.MustParseAddr("10.0.0.1") || n.mac.String() != "02:00:00:00:00:01" {
		t.Errorf("neighbour: %+v, %v", n, err)
	}
	t.Log("4 messages")
}
