package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// kind is what a crafted packet is to the flow with its id.
type kind uint8

const (
	request   kind = iota + 1 // the flow's first: a SYN, a datagram, an echo request
	reply                     // SYN and ACK, a datagram back, an echo reply
	complaint                 // destination unreachable, quoting the request
	stray                     // a TCP segment from the middle of a connection
)

func (k kind) String() string {
	return [...]string{"?", "request", "reply", "complaint", "stray segment"}[k]
}

// TCP flags.
const (
	fin = 1 << iota
	syn
	rst
	_
	ack
)

// Protocols that have no constant in package nsg.
const (
	ipip nsg.Protocol = 4
	gre  nsg.Protocol = 47
)

// Types of ICMP and of ICMPv6: echo request, echo reply, destination unreachable.
var icmpTypes = map[bool][3]byte{false: {8, 0, 3}, true: {128, 129, 1}}

// crafted is a packet that the test makes or has captured.
type crafted struct {
	kind             kind
	id               uint32
	protocol         nsg.Protocol // ICMP also stands for ICMPv6
	src, dst         netip.Addr
	srcPort, dstPort uint16 // srcPort is also an echo's identifier
	flags            byte   // of a stray segment
	quoted           []byte // of a complaint: the packet that it is about
}

func (c crafted) String() string {
	return fmt.Sprintf("%v of protocol %d from %v port %d to %v port %d", c.kind, c.protocol, c.src, c.srcPort, c.dst, c.dstPort)
}

func (c crafted) ipv6() bool { return c.src.Is6() }

// number is the protocol's in the IP header.
func (c crafted) number() byte {
	if c.protocol == nsg.ICMP && c.ipv6() {
		return unix.IPPROTO_ICMPV6
	}
	return byte(c.protocol)
}

// back is a packet of another kind from where c went to where c came from.
func (c crafted) back(k kind) crafted {
	c.kind = k
	c.src, c.dst = c.dst, c.src
	if c.protocol != nsg.ICMP {
		c.srcPort, c.dstPort = c.dstPort, c.srcPort
	}
	return c
}

// complain is what the receiver of the packet answers when it cannot deliver it.
func (c crafted) complain(quoted []byte) crafted {
	return crafted{kind: complaint, id: c.id, protocol: nsg.ICMP, src: c.dst, dst: c.src, quoted: quoted}
}

// bytes is the packet from the IP header on, with its checksums.
func (c crafted) bytes() []byte {
	body := c.body()
	if c.ipv6() {
		head := make([]byte, 40, 40+len(body))
		head[0], head[6], head[7] = 6<<4, c.number(), 64
		binary.BigEndian.PutUint16(head[4:], uint16(len(body)))
		copy(head[8:], c.src.AsSlice())
		copy(head[24:], c.dst.AsSlice())
		return append(head, body...)
	}
	head := make([]byte, 20, 20+len(body))
	head[0], head[8], head[9] = 4<<4|5, 64, c.number()
	binary.BigEndian.PutUint16(head[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(head[4:], uint16(c.id))
	copy(head[12:], c.src.AsSlice())
	copy(head[16:], c.dst.AsSlice())
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return append(head, body...)
}

func (c crafted) body() []byte {
	switch c.protocol {
	case nsg.TCP:
		return c.summed(c.segment(), 16)
	case nsg.UDP:
		b := append(make([]byte, 8), c.mark()...)
		c.putPorts(b)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		if b = c.summed(b, 6); b[6] == 0 && b[7] == 0 {
			b[6], b[7] = 0xff, 0xff // RFC 768: 0 says that there is none
		}
		return b
	case nsg.ICMP:
		return c.summed(c.message(), 2)
	case gre: // version 0 without a key
		return append([]byte{0, 0, 8, 0}, c.mark()...)
	case ipip:
		return c.mark()
	}
	return append([]byte{0, 0, 1, 0, 0, 0, 0, 1}, c.mark()...) // as ESP: SPI and sequence number
}

// segment carries the id in the number that a reply acknowledges.
func (c crafted) segment() []byte {
	b := make([]byte, 20)
	c.putPorts(b)
	b[12], b[13] = 5<<4, c.flags
	binary.BigEndian.PutUint32(b[4:], c.id)
	switch c.kind {
	case request:
		b[13] = syn
	case reply:
		b[13] = syn | ack
		binary.BigEndian.PutUint32(b[4:], ^c.id)
		binary.BigEndian.PutUint32(b[8:], c.id+1)
	}
	binary.BigEndian.PutUint16(b[14:], 64240)
	return b
}

// message is one of ICMP, without its checksum.
func (c crafted) message() []byte {
	types := icmpTypes[c.ipv6()]
	if c.kind == complaint {
		return append([]byte{types[2], 1, 0, 0, 0, 0, 0, 0}, c.quoted...)
	}
	b := append(make([]byte, 8), c.mark()...)
	b[0] = types[c.kind-request]
	binary.BigEndian.PutUint16(b[4:], c.srcPort)
	return b
}

func (c crafted) putPorts(b []byte) {
	binary.BigEndian.PutUint16(b, c.srcPort)
	binary.BigEndian.PutUint16(b[2:], c.dstPort)
}

// mark is by what the packet is known in a capture.
func (c crafted) mark() []byte {
	return binary.BigEndian.AppendUint32([]byte{'v', 'n', 't', byte(c.kind)}, c.id)
}

// summed puts the checksum of the body in its place.
func (c crafted) summed(b []byte, at int) []byte {
	var pseudo []byte
	if c.protocol != nsg.ICMP || c.ipv6() {
		pseudo = append(c.src.AsSlice(), c.dst.AsSlice()...)
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b)))
		pseudo = append(pseudo, 0, 0, 0, c.number())
	}
	binary.BigEndian.PutUint16(b[at:], checksum(append(pseudo, b...)))
	return b
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
