package testnet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Forge sends one UDP packet from ns to dst with src in its header, whoever
// that address belongs to.
func Forge(ns *NS, src netip.Addr, dst netip.AddrPort, payload []byte) error {
	udp := udpPacket(src, dst, payload)
	packet, family := ipv4Packet(src, dst.Addr(), udp), unix.AF_INET
	if dst.Addr().Is6() {
		packet, family = ipv6Packet(src, dst.Addr(), udp), unix.AF_INET6
	}
	return ns.Do(func() error {
		// IPPROTO_RAW: the header is the caller's.
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, packet, 0, sockaddr(dst.Addr(), 0)); err != nil {
			return fmt.Errorf("send forged packet from %s to %s: %w", src, dst, err)
		}
		return nil
	})
}

// ForgeArrives reports whether a packet forged as Forge does reaches a UDP
// server at dst in namespace to within the time.
func ForgeArrives(from, to *NS, src, dst netip.Addr, within time.Duration) (bool, error) {
	var pc net.PacketConn
	err := to.Do(func() (err error) {
		pc, err = net.ListenPacket("udp", netip.AddrPortFrom(dst, 0).String())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("listen on %s in %s: %w", dst, to.Name, err)
	}
	defer pc.Close()
	port := netip.MustParseAddrPort(pc.LocalAddr().String()).Port()
	if err := Forge(from, src, netip.AddrPortFrom(dst, port), []byte("forged")); err != nil {
		return false, err
	}
	_ = pc.SetReadDeadline(time.Now().Add(within))
	_, peer, err := pc.ReadFrom(make([]byte, 64))
	if err != nil {
		return false, nil
	}
	if got := netip.MustParseAddrPort(peer.String()).Addr().Unmap(); got != src {
		return true, fmt.Errorf("the packet forged from %s arrived from %s", src, got)
	}
	return true, nil
}

func udpPacket(src netip.Addr, dst netip.AddrPort, payload []byte) []byte {
	p := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(p[0:], 40000)
	binary.BigEndian.PutUint16(p[2:], dst.Port())
	binary.BigEndian.PutUint16(p[4:], uint16(8+len(payload)))
	p = append(p, payload...)
	pseudo := append(append([]byte{}, src.AsSlice()...), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_UDP, p[4], p[5])
	binary.BigEndian.PutUint16(p[6:], checksum(append(pseudo, p...)))
	return p
}

// ipv4Packet leaves length, id and checksum of the header to the kernel.
func ipv4Packet(src, dst netip.Addr, payload []byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	return append(h, payload...)
}

func ipv6Packet(src, dst netip.Addr, payload []byte) []byte {
	h := make([]byte, 40, 40+len(payload))
	h[0], h[6], h[7] = 0x60, unix.IPPROTO_UDP, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, payload...)
}

// SendRA sends a router advertisement (RFC 4861, section 4.2) out of iface to
// all nodes, from the interface's link-local address.
func SendRA(ns *NS, iface string, lifetime time.Duration) error {
	l, err := ns.NL.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", iface, ns.Name, err)
	}
	index := l.Attrs().Index
	p := make([]byte, 16, 24)
	p[0], p[4] = 134, 64
	binary.BigEndian.PutUint16(p[6:], uint16(lifetime/time.Second))
	p = append(p, 1, 1) // source link-layer address, one unit of 8 bytes
	p = append(p, l.Attrs().HardwareAddr...)
	return ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		// A receiver ignores advertisements that a router may have forwarded.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		all := netip.MustParseAddr("ff02::1")
		return os.NewSyscallError("sendto", unix.Sendto(fd, p, 0, sockaddr(all, uint32(index))))
	})
}
