package integration

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TCP flags, RFC 9293.
const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// craft is a packet that no socket of the sender's kernel would send. Its mark
// is the source port, or the identifier of an echo: it tells it from all others.
type craft struct {
	what string
	mark uint16
	src  netip.Addr
	dst  netip.Addr
	flag byte // of TCP; 0: ICMP
	port uint16
	icmp byte // type
}

func (c craft) String() string { return fmt.Sprintf("%s %s -> %s", c.what, c.src, c.dst) }

// payload is the packet without its IP header, and its protocol.
func (c craft) payload() (proto byte, p []byte) {
	if c.flag == 0 {
		p = make([]byte, 16)
		p[0] = c.icmp
		binary.BigEndian.PutUint16(p[4:], c.mark)
		if c.src.Is4() {
			binary.BigEndian.PutUint16(p[2:], sum16(p))
			return unix.IPPROTO_ICMP, p
		}
		binary.BigEndian.PutUint16(p[2:], c.sum(unix.IPPROTO_ICMPV6, p))
		return unix.IPPROTO_ICMPV6, p
	}
	p = make([]byte, 20)
	binary.BigEndian.PutUint16(p, c.mark)
	binary.BigEndian.PutUint16(p[2:], c.port)
	binary.BigEndian.PutUint32(p[4:], 1000)
	p[12], p[13] = 5<<4, c.flag
	binary.BigEndian.PutUint16(p[14:], 1024)
	binary.BigEndian.PutUint16(p[16:], c.sum(unix.IPPROTO_TCP, p))
	return unix.IPPROTO_TCP, p
}

// sum is the checksum with the pseudo header, RFC 8200 section 8.1 and RFC 9293.
func (c craft) sum(proto byte, p []byte) uint16 {
	pseudo := append(append(c.src.AsSlice(), c.dst.AsSlice()...), 0, proto, byte(len(p)>>8), byte(len(p)))
	return sum16(append(pseudo, p...))
}

func sum16(p []byte) uint16 {
	var sum uint32
	for ; len(p) >= 2; p = p[2:] {
		sum += uint32(p[0])<<8 | uint32(p[1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func (c craft) bytes() []byte {
	proto, p := c.payload()
	if c.src.Is4() {
		h := make([]byte, 20, 60)
		h[0], h[8], h[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(p)))
		copy(h[12:], c.src.AsSlice())
		copy(h[16:], c.dst.AsSlice())
		return append(h, p...)
	}
	h := make([]byte, 40, 80)
	h[0], h[6], h[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(p)))
	copy(h[8:], c.src.AsSlice())
	copy(h[24:], c.dst.AsSlice())
	return append(h, p...)
}

// send sends the packet from a namespace.
func (c craft) send(from *testnet.NS) error {
	return from.Do(func() error {
		domain, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: c.dst.As16()})
		if c.dst.Is4() {
			domain, to = unix.AF_INET, &unix.SockaddrInet4{Addr: c.dst.As4()}
		}
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		return os.NewSyscallError("sendto", unix.Sendto(fd, c.bytes(), 0, to))
	})
}

// is reports whether a captured frame is the packet.
func (c craft) is(frame []byte) bool {
	ip, header := frame[14:], 20
	if c.src.Is6() {
		header = 40
	}
	proto, p := c.payload()
	if len(ip) < header+len(p) || ip[0]>>4 != c.bytes()[0]>>4 {
		return false
	}
	body := ip[header:]
	at := 0
	if c.flag == 0 {
		at = 4
	}
	isProto := ip[9] == proto && c.src.Is4() || ip[6] == proto && c.src.Is6()
	return isProto && binary.BigEndian.Uint16(body[at:]) == c.mark && (c.flag != 0 || body[0] == c.icmp)
}

// TestNSGUnsolicited sends pods what looks like a part of a flow that they never
// began: no rule of a group but the denying one is about it. Packets that are
// allowed and sent last show that the way is open.
func TestNSGUnsolicited(t *testing.T) {
	t.Parallel()
	open := restGroup("open", allowIn("*", "8000-8999"), allowIn("Icmp", "*"), denyIn("*", "*"))
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			f, nodes := cluster(t, 1, judged(newDocuments(t, open).conf("open")), testnet.WithIptables(backend))
			f.AddOutside()
			f.RouteToPods()
			p := attach(t, nodes[0])
			out := outside(f)
			expectAll(t, pings(out, p)) // neighbours are known from here on
			n := 0
			for _, dst := range p.addrs() {
				n += expectNotDelivered(t, out, p, dst)
			}
			if n < 2*6 {
				t.Errorf("only %d packets", n)
			}
			t.Logf("%d unsolicited packets", n)
		})
	}
}

func expectNotDelivered(t *testing.T, from, to pod, dst netip.Addr) int {
	t.Helper()
	src, reply, request, unreachable := from.like(dst), byte(0), byte(8), byte(3)
	if dst.Is6() {
		reply, request, unreachable = 129, 128, 1
	}
	bad := []craft{
		{what: "SYN and ACK to an allowed port", flag: tcpSYN | tcpACK, port: 8080},
		{what: "ACK to an allowed port", flag: tcpACK, port: 8080},
		{what: "RST to an allowed port", flag: tcpRST, port: 8080},
		{what: "SYN to a denied port", flag: tcpSYN, port: 9090},
		{what: "SYN and ACK to a denied port", flag: tcpSYN | tcpACK, port: 9090},
		{what: "echo reply", icmp: reply},
		{what: "unreachable about nothing", icmp: unreachable},
	}
	good := []craft{{what: "SYN", flag: tcpSYN, port: 8080}, {what: "echo request", icmp: request}}
	capture := testnet.NewCapture(t, to.NS, "eth0")
	for i, list := range [][]craft{bad, good} {
		for k := range list {
			list[k].mark, list[k].src, list[k].dst = uint16(20000+100*i+k), src, dst
			if err := list[k].send(from.NS); err != nil {
				t.Fatalf("%s: %v", list[k], err)
			}
		}
	}
	// In any order: each packet waits in the queue of the processor that sent it.
	came := map[string]bool{}
	_, err := capture.Wait(testnet.Patience, func(frame []byte) bool {
		for _, c := range bad {
			if c.is(frame) {
				t.Errorf("delivered: %s", c)
			}
		}
		for _, c := range good {
			if c.is(frame) {
				came[c.what] = true
			}
		}
		return len(came) == len(good)
	})
	if err != nil {
		t.Errorf("of what is allowed only %v was delivered: %v", came, err)
	}
	return len(bad)
}
