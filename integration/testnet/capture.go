package testnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Capture collects the frames that pass an interface from the moment it was
// opened, in both directions.
type Capture struct {
	fd int
}

// NewCapture opens a capture; the test's end closes it.
func NewCapture(t testing.TB, ns *NS, iface string) *Capture {
	t.Helper()
	c := &Capture{fd: -1}
	must(t, "capture on "+iface, ns.Do(func() error { return c.open(iface) }))
	t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

func (c *Capture) open(iface string) error {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	all := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index}
	return os.NewSyscallError("bind", unix.Bind(c.fd, all))
}

// Wait reads frames until match accepts one, and returns it; an error that
// tells how many frames passed when none did in time.
func (c *Capture) Wait(within time.Duration, match func(frame []byte) bool) ([]byte, error) {
	deadline := time.Now().Add(within)
	buf := make([]byte, 65536)
	for seen := 0; ; seen++ {
		n, _, err := recvUntil(c.fd, buf, deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("none of %d frames matched: %w", seen, err)
		}
		if err != nil {
			return nil, err
		}
		if match(buf[:n]) {
			return bytes.Clone(buf[:n]), nil
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Announces returns a match for the frames that tell a segment where an
// address lives now: a gratuitous ARP (sender and target are the address) or
// an unsolicited neighbour advertisement to all nodes.
func Announces(addr netip.Addr) func([]byte) bool {
	if addr.Is4() {
		return func(f []byte) bool { return isGratuitousARP(f, addr) }
	}
	return func(f []byte) bool { return isUnsolicitedNA(f, addr) }
}

func isGratuitousARP(f []byte, addr netip.Addr) bool {
	const sender, target = 14 + 14, 14 + 24
	return len(f) >= target+4 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_ARP &&
		bytes.Equal(f[sender:sender+4], addr.AsSlice()) && bytes.Equal(f[target:target+4], addr.AsSlice())
}

func isUnsolicitedNA(f []byte, addr netip.Addr) bool {
	const (
		icmp      = 14 + 40
		na        = 136
		solicited = 0x40
	)
	return len(f) >= icmp+24 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IPV6 &&
		f[14+6] == unix.IPPROTO_ICMPV6 && f[icmp] == na && f[icmp+4]&solicited == 0 &&
		bytes.Equal(f[icmp+8:icmp+24], addr.AsSlice())
}

// AnnouncedMAC returns the hardware address that an announcement carries.
func AnnouncedMAC(f []byte) net.HardwareAddr {
	if binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_ARP {
		return net.HardwareAddr(f[14+8 : 14+14])
	}
	const option = 14 + 40 + 24
	if len(f) >= option+8 && f[option] == 2 { // target link-layer address
		return net.HardwareAddr(f[option+2 : option+8])
	}
	return net.HardwareAddr(f[6:12])
}
