package testnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ICMP and ICMPv6 types, RFC 792 and RFC 4443.
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

var echoCount atomic.Uint32

// echo is one ping. The token in its payload tells its packets from all
// others; the identifier cannot, because address translation changes it.
type echo struct {
	v6    bool
	token uint64
}

const tokenSize = 8

func (f Flow) tryICMP() (Reply, error) {
	if f.Size < tokenSize {
		return Reply{}, fmt.Errorf("an echo of %d bytes cannot be told from others: %d are needed", f.Size, tokenSize)
	}
	e := echo{v6: f.Dst.Is6(), token: uint64(os.Getpid())<<32 | uint64(echoCount.Add(1))}
	watch, err := f.openICMP(f.To)
	if err != nil {
		return Reply{}, fmt.Errorf("watch for the echo request: %w", err)
	}
	defer unix.Close(watch)
	sock, err := f.openICMP(f.From)
	if err != nil {
		return Reply{}, err
	}
	defer unix.Close(sock)
	if err := f.prepareICMP(sock); err != nil {
		return Reply{}, err
	}

	start := time.Now()
	if err := unix.Sendto(sock, e.request(f.Size), 0, sockaddr(f.Dst, 0)); err != nil {
		return Reply{}, os.NewSyscallError("sendto", err)
	}
	deadline := start.Add(f.Timeout)
	from, err := e.wait(sock, e.replyType(), deadline)
	if err != nil {
		return Reply{}, err
	}
	rtt := time.Since(start)
	if from != f.Dst {
		return Reply{}, fmt.Errorf("the echo was answered by %s", from)
	}
	peer, err := e.wait(watch, e.requestType(), deadline)
	if err != nil {
		return Reply{}, fmt.Errorf("an answer came, but the request did not reach the server: %w", err)
	}
	return Reply{Peer: peer, RTT: rtt}, nil
}

func (f Flow) openICMP(ns *NS) (fd int, err error) {
	err = ns.Do(func() error {
		if f.Dst.Is4() {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		} else {
			fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		}
		return os.NewSyscallError("socket", err)
	})
	return fd, err
}

// prepareICMP binds the source and forbids fragments where that was asked for.
func (f Flow) prepareICMP(sock int) error {
	if f.Src.IsValid() {
		if err := unix.Bind(sock, sockaddr(f.Src, 0)); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	if !f.DF {
		return nil
	}
	if f.Dst.Is4() {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(sock, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
	}
	if err := unix.SetsockoptInt(sock, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(sock, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
}

func (e echo) requestType() byte {
	if e.v6 {
		return echoRequest6
	}
	return echoRequest4
}

func (e echo) replyType() byte {
	if e.v6 {
		return echoReply6
	}
	return echoReply4
}

// request is the packet; the kernel fills in the checksum of ICMPv6 only.
func (e echo) request(size int) []byte {
	p := make([]byte, 8+size)
	p[0] = e.requestType()
	binary.BigEndian.PutUint16(p[4:], uint16(e.token))
	binary.BigEndian.PutUint64(p[8:], e.token)
	if !e.v6 {
		binary.BigEndian.PutUint16(p[2:], checksum(p))
	}
	return p
}

// wait reads until a packet of the wanted type with e's token came.
func (e echo) wait(sock int, want byte, deadline time.Time) (netip.Addr, error) {
	buf := make([]byte, 65536)
	for {
		n, from, err := recvUntil(sock, buf, deadline)
		if err != nil {
			return netip.Addr{}, err
		}
		p := buf[:n]
		if !e.v6 {
			p = skipIPv4Header(p)
		}
		if len(p) >= 8+tokenSize && p[0] == want && binary.BigEndian.Uint64(p[8:]) == e.token {
			return addrOf(from), nil
		}
	}
}

// recvUntil is recvfrom with a deadline, os.ErrDeadlineExceeded when it passed.
func recvUntil(sock int, buf []byte, deadline time.Time) (int, unix.Sockaddr, error) {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return 0, nil, os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(sock), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err == unix.EINTR || (err == nil && ready == 0) {
			continue
		}
		if err != nil {
			return 0, nil, os.NewSyscallError("poll", err)
		}
		n, from, err := unix.Recvfrom(sock, buf, unix.MSG_DONTWAIT)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		return n, from, os.NewSyscallError("recvfrom", err)
	}
}

func skipIPv4Header(p []byte) []byte {
	if len(p) == 0 {
		return p
	}
	if h := int(p[0]&0xf) * 4; h <= len(p) {
		return p[h:]
	}
	return nil
}

func sockaddr(a netip.Addr, zone uint32) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: zone}
}

func addrOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}

// checksum is the internet checksum, RFC 1071.
func checksum(p []byte) uint16 {
	var sum uint32
	for ; len(p) >= 2; p = p[2:] {
		sum += uint32(p[0])<<8 | uint32(p[1])
	}
	if len(p) == 1 {
		sum += uint32(p[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
