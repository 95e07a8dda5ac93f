package firewall

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// parse reads a captured packet from its IP header on; false: it is none of the
// test's.
func parse(b []byte) (crafted, bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		src, _ := netip.AddrFromSlice(b[12:16])
		dst, _ := netip.AddrFromSlice(b[16:20])
		return parseBody(crafted{src: src, dst: dst}, b[9], b[min(len(b), int(b[0]&15)*4):])
	case len(b) >= 40 && b[0]>>4 == 6:
		src, _ := netip.AddrFromSlice(b[8:24])
		dst, _ := netip.AddrFromSlice(b[24:40])
		return parseBody(crafted{src: src, dst: dst}, b[6], b[40:])
	}
	return crafted{}, false
}

// parseBody reads what stands behind the IP header.
func parseBody(c crafted, number byte, b []byte) (crafted, bool) {
	c.protocol = nsg.Protocol(number)
	switch number {
	case unix.IPPROTO_TCP:
		return c.parseSegment(b)
	case unix.IPPROTO_UDP:
		return c.withPorts(b).parseMark(b, 8)
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		c.protocol = nsg.ICMP
		return c.parseMessage(b, icmpTypes[number == unix.IPPROTO_ICMPV6])
	case unix.IPPROTO_GRE:
		return c.parseMark(b, 4)
	case unix.IPPROTO_IPIP:
		return c.parseMark(b, 0)
	case unix.IPPROTO_ESP:
		return c.parseMark(b, 8)
	}
	return c, false
}

func (c crafted) withPorts(b []byte) crafted {
	if len(b) >= 4 {
		c.srcPort, c.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	return c
}

func (c crafted) parseSegment(b []byte) (crafted, bool) {
	if len(b) < 20 {
		return c, false
	}
	c = c.withPorts(b)
	c.kind, c.id, c.flags = stray, binary.BigEndian.Uint32(b[4:]), b[13]
	switch c.flags {
	case syn:
		c.kind = request
	case syn | ack:
		c.kind, c.id = reply, binary.BigEndian.Uint32(b[8:])-1
	}
	return c, true
}

// parseMessage reads an echo, or a complaint about a request.
func (c crafted) parseMessage(b []byte, types [3]byte) (crafted, bool) {
	if len(b) < 8 {
		return c, false
	}
	c.srcPort = binary.BigEndian.Uint16(b[4:])
	switch b[0] {
	case types[0], types[1]:
		c, ok := c.parseMark(b, 8)
		c.kind = request
		if b[0] == types[1] {
			c.kind = reply
		}
		return c, ok
	case types[2]:
		about, ok := parse(b[8:])
		c.kind, c.id, c.quoted = complaint, about.id, b[8:]
		return c, ok && about.kind == request
	}
	return c, false
}

func (c crafted) parseMark(b []byte, at int) (crafted, bool) {
	if len(b) < at+8 || string(b[at:at+3]) != "vnt" {
		return c, false
	}
	c.kind, c.id = kind(b[at+3]), binary.BigEndian.Uint32(b[at+4:])
	return c, true
}
