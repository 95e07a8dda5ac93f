package attachment

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// inside runs do in a thread of the namespace.
func inside(t *testing.T, ns netns.NsHandle, do func()) {
	runtime.LockOSThread() // for ever: the thread ends with the goroutine
	if err := netns.Set(ns); err != nil {
		t.Error(err)
	}
	do()
}

// prober sends from beyond the node to the pod. The client need not ask for the node's
// hardware address: what waits for the answer is lost when none comes in time.
type prober struct {
	client         netns.NsHandle
	to             netip.Addr
	opened, closed *net.UDPConn // in the pod
}

func (s *site) prober() *prober {
	s.t.Helper()
	const nodeMAC = "02:00:00:00:00:01"
	here, err := netns.Get()
	must(s.t, err)
	s.t.Cleanup(func() { here.Close() })
	client, err := netns.New()
	must(s.t, err)
	s.t.Cleanup(func() { client.Close() })
	must(s.t, netns.Set(here))
	must(s.t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	testhost.Sh(s.t, fmt.Sprintf("ip link add cl0 address %s type veth peer name eth0 netns /proc/%d/fd/%d; ip addr add 10.99.0.1/24 dev cl0; ip link set cl0 up", nodeMAC, os.Getpid(), int(client)))
	r, _ := s.record()
	pod, err := netns.GetFromPath(r.Sandbox)
	must(s.t, err)
	defer pod.Close()
	must(s.t, netns.Set(client))
	testhost.Sh(s.t, "ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.99.0.1; ip neigh add 10.99.0.1 lladdr "+nodeMAC+" dev eth0 nud permanent")
	must(s.t, netns.Set(pod))
	p := &prober{client: client, to: s.addr}
	p.opened, p.closed = listenUDP(s.t, openPort), listenUDP(s.t, closedPort)
	must(s.t, netns.Set(here))
	return p
}

func listenUDP(t *testing.T, port int) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// probe begins two flows, and waits for the one that has to arrive.
func (p *prober) probe(t *testing.T, number int) {
	for _, port := range []uint16{closedPort, openPort} {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.to, port)))
		if err == nil {
			_, err = c.Write([]byte(strconv.Itoa(number)))
			c.Close()
		}
		if err != nil {
			t.Errorf("probe %d: %v", number, err)
		}
	}
	buf := make([]byte, 20)
	if err := p.opened.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Error(err)
	}
	if n, err := p.opened.Read(buf); err != nil || string(buf[:n]) != strconv.Itoa(number) {
		t.Errorf("probe %d of the port that every group allows: got %q, %v", number, buf[:n], err)
	}
}

// wantNothing wants that no probe of the closed port arrived. The last one was sent
// before one that did.
func (p *prober) wantNothing(t *testing.T) {
	t.Helper()
	must(t, p.closed.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	buf := make([]byte, 20)
	if n, err := p.closed.Read(buf); err == nil {
		t.Errorf("probe %s of the port that no group allows arrived", buf[:n])
	}
}
