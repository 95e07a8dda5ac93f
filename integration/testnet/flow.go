package testnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Proto is the protocol of a probe.
type Proto string

// The protocols of a Flow. ICMP is ICMPv6 when the destination is IPv6.
const (
	TCP  Proto = "tcp"
	UDP  Proto = "udp"
	ICMP Proto = "icmp"
)

// Flow is a probe with real packets: a request from one namespace to a server
// that the probe opens in another, and the answer back.
type Flow struct {
	Proto Proto
	From  *NS
	To    *NS        // where the server listens
	Dst   netip.Addr // what the client talks to
	Src   netip.Addr // the client's address; the kernel's choice when zero

	Port       uint16        // what the client talks to; the server's own when 0
	ServerPort uint16        // where the server listens; the kernel's choice when 0
	Size       int           // bytes of payload, 32 when 0
	DF         bool          // ICMP: forbid fragments
	Timeout    time.Duration // for the whole exchange, Patience when 0
}

// Reply is what a probe that was answered found.
type Reply struct {
	Peer netip.Addr    // the client's address as the server saw it
	RTT  time.Duration // from the first packet to the answer
}

func (f Flow) String() string {
	return fmt.Sprintf("%s %s -> %s (%s)", f.Proto, f.From.Name, f.Dst, f.To.Name)
}

// Try sends the probe and returns what the server saw. An error means that no
// answer came; IsTimeout tells whether that is because nothing came at all.
func (f Flow) Try() (Reply, error) {
	if f.Size == 0 {
		f.Size = 32
	}
	if f.Timeout == 0 {
		f.Timeout = Patience
	}
	var r Reply
	var err error
	switch f.Proto {
	case TCP:
		r, err = f.tryTCP()
	case UDP:
		r, err = f.tryUDP()
	case ICMP:
		r, err = f.tryICMP()
	default:
		err = fmt.Errorf("unknown protocol %q", f.Proto)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", f, err)
	}
	return r, nil
}

// IsTimeout reports whether a probe's error is silence, as behind a DROP, and
// not a refusal or a local error.
func IsTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (f Flow) family(network string) string {
	if f.Dst.Is4() {
		return network + "4"
	}
	return network + "6"
}

func (f Flow) listenAddr() string {
	return netip.AddrPortFrom(unspecified(f.Dst), f.ServerPort).String()
}

func (f Flow) target(server net.Addr) string {
	port := f.Port
	if port == 0 {
		port = netip.MustParseAddrPort(server.String()).Port()
	}
	return netip.AddrPortFrom(f.Dst, port).String()
}

func (f Flow) tryTCP() (Reply, error) {
	var ln net.Listener
	err := f.To.Bind(func() (err error) {
		ln, err = net.Listen(f.family("tcp"), f.listenAddr())
		return err
	})
	if err != nil {
		return Reply{}, fmt.Errorf("listen: %w", err)
	}
	defer ln.Close()
	seen := make(chan net.Addr, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		seen <- c.RemoteAddr()
		_, _ = io.CopyN(c, c, int64(f.Size))
	}()
	return f.ask(f.target(ln.Addr()), seen)
}

func (f Flow) tryUDP() (Reply, error) {
	var pc net.PacketConn
	err := f.To.Bind(func() (err error) {
		pc, err = net.ListenPacket(f.family("udp"), f.listenAddr())
		return err
	})
	if err != nil {
		return Reply{}, fmt.Errorf("listen: %w", err)
	}
	defer pc.Close()
	seen := make(chan net.Addr, 1)
	go func() {
		buf := make([]byte, 65536)
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		seen <- from
		_, _ = pc.WriteTo(buf[:n], from)
	}()
	return f.ask(f.target(pc.LocalAddr()), seen)
}

// ask dials, sends the payload, and wants it back before the timeout.
func (f Flow) ask(target string, seen <-chan net.Addr) (Reply, error) {
	start := time.Now()
	var conn net.Conn
	err := f.From.Do(func() (err error) {
		conn, err = f.dialer().DialContext(context.Background(), f.family(string(f.Proto)), target)
		return err
	})
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(start.Add(f.Timeout))
	want := bytes.Repeat([]byte{0xa5}, f.Size)
	if _, err := conn.Write(want); err != nil {
		return Reply{}, err
	}
	got := make([]byte, f.Size)
	if _, err := io.ReadFull(conn, got); err != nil {
		return Reply{}, err
	}
	if !bytes.Equal(got, want) {
		return Reply{}, fmt.Errorf("the echo differs from what was sent")
	}
	peer := netip.MustParseAddrPort((<-seen).String()).Addr().Unmap()
	return Reply{Peer: peer, RTT: time.Since(start)}, nil
}

func (f Flow) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: f.Timeout}
	if !f.Src.IsValid() {
		return d
	}
	if f.Proto == TCP {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.Src, 0))
	} else {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Src, 0))
	}
	return d
}

// TryAll sends all probes at the same time and returns their errors and
// replies in the order of the flows.
func TryAll(flows []Flow) ([]Reply, []error) {
	replies, errs := make([]Reply, len(flows)), make([]error, len(flows))
	var wg sync.WaitGroup
	for i, f := range flows {
		wg.Add(1)
		go func() {
			defer wg.Done()
			replies[i], errs[i] = f.Try()
		}()
	}
	wg.Wait()
	return replies, errs
}
