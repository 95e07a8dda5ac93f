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
	n, err := parseNeighbour(message([]byte{unix.AF_INET, 0, 0, 0, 7, 0, 0, 0, 0x80}, unix.SizeofNdMsg, attr(unix.NDA_DST, 10, 0, 0, 1), attr(unix.NDA_LLADDR, 2, 0, 0, 0, 0, 1)))
	if err != nil || n.index != 7 || n.state != unix.NUD_PERMANENT || n.addr != netip.MustParseAddr("10.0.0.1") || n.mac.String() != "02:00:00:00:00:01" {
		t.Errorf("neighbour: %+v, %v", n, err)
	}
	t.Log("2 messages")
}
