package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announce tells the uplink's neighbours that the addresses are behind it from now on:
// whoever still holds the address's last owner in its cache learns better
// at once. IPv4: a gratuitous ARP request (RFC 5227 "ARP announcement").
// IPv6: an unsolicited neighbour advertisement with the override flag
// (RFC 4861 section 7.2.6).
func Announce(uplink Link, addrs []netip.Addr) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer closeLater(fd)
	for _, a := range addrs {
		payload, to := announcement(a, uplink.MAC)
		to.Ifindex = uplink.Index
		if err := unix.Sendto(fd, payload, 0, to); err != nil {
			return fmt.Errorf("announce %s on the uplink %s: %w", a, uplink.Name, err)
		}
	}
	return nil
}

func announcement(a netip.Addr, mac net.HardwareAddr) ([]byte, *unix.SockaddrLinklayer) {
	if a.Is4() {
		return gratuitousARP(a, mac), &unix.SockaddrLinklayer{
			Protocol: bigEndian16(unix.ETH_P_ARP), Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		}
	}
	// ff02::1, all nodes, is 33:33:00:00:00:01 on Ethernet (RFC 2464 section 7).
	return unsolicitedNA(a, mac), &unix.SockaddrLinklayer{
		Protocol: bigEndian16(unix.ETH_P_IPV6), Halen: 6, Addr: [8]byte{0x33, 0x33, 0, 0, 0, 1},
	}
}

func bigEndian16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func gratuitousARP(a netip.Addr, mac net.HardwareAddr) []byte {
	const ethernet, request = 1, 1
	b := make([]byte, 0, 28)
	b = binary.BigEndian.AppendUint16(b, ethernet)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, request)
	b = append(b, mac...)
	b = append(b, a.AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, a.AsSlice()...)
}

// unsolicitedNA is the whole IPv6 packet, from the announced address itself.
func unsolicitedNA(a netip.Addr, mac net.HardwareAddr) []byte {
	const (
		advertisement   = 136
		router          = 0x80 // the node forwards for the address: the kernel's proxied answers say so as well
		override        = 0x20
		targetLinkLayer = 2
	)
	body := []byte{advertisement, 0, 0, 0, router | override, 0, 0, 0}
	body = append(body, a.AsSlice()...)
	body = append(body, targetLinkLayer, 1)
	body = append(body, mac...)

	allNodes := netip.IPv6LinkLocalAllNodes()
	packet := []byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255}
	packet = append(packet, a.AsSlice()...)
	packet = append(packet, allNodes.AsSlice()...)
	binary.BigEndian.PutUint16(body[2:], checksum(packet[8:40], body))
	return append(packet, body...)
}

// checksum is ICMPv6's (RFC 4443 section 2.3) over the pseudo-header.
func checksum(addresses, body []byte) uint16 {
	sum := uint32(len(body)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{addresses, body} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// closeLater closes a packet socket without waiting for it. The kernel waits for
// an RCU grace period in packet_release, 8 to 25 ms and more than all the rest of
// an ADD together. So the last reference is put where nobody waits for its end: in
// flight to a socket that is itself only in flight to itself. Such a cycle is
// unreachable as soon as the process lets go, and the kernel's collector
// (unix_gc, a work queue) closes it within milliseconds.
func closeLater(fd int) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return
	}
	_ = unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd, pair[1]), nil, unix.MSG_DONTWAIT)
	// Before the pair: the collector begins at once, and if it were quicker this
	// would be the last reference after all. It is if the hand-over failed.
	unix.Close(fd)
	unix.Close(pair[1])
	unix.Close(pair[0])
}
