package integration

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNSGErrorsOfFlows wants the ICMP errors of an allowed flow to reach its
// sender, whose group denies all ICMP in both directions.
func TestNSGErrorsOfFlows(t *testing.T) {
	t.Parallel()
	noICMP := restGroup("no-icmp", allowIn("Udp", "*"), denyIn("*", "*"), allowOut("Udp", "*"), denyOut("*", "*"))
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			f, nodes := cluster(t, 2, judged(newDocuments(t, noICMP).conf("no-icmp")), testnet.WithIptables(backend))
			f.AddOutside()
			f.RouteToPods()
			out := link(t, f.NS, "out0")
			if err := f.NL.LinkSetMTU(out, 1400); err != nil {
				t.Fatal(err)
			}
			a, b, c := attach(t, nodes[0]), attach(t, nodes[0]), attach(t, nodes[1])
			expectSilent(t, slices.Concat(pings(a, c), pings(a, b)))
			n := 0
			for _, to := range []pod{b, c, asPod(nodes[0]), asPod(nodes[1]), outside(f)} {
				for _, dst := range to.addrs() {
					n++
					if err := udpError(a, dst, 16, syscall.ECONNREFUSED); err != nil {
						t.Errorf("port unreachable from %s: %v", dst, err)
					}
				}
			}
			for _, dst := range outside(f).addrs() {
				n++
				if err := udpError(a, dst, 1440, syscall.EMSGSIZE); err != nil {
					t.Errorf("fragmentation needed towards %s: %v", dst, err)
				}
			}
			for _, dst := range a.addrs() { // the other way round: the pod's own errors
				n++
				if err := udpError(outside(f), dst, 16, syscall.ECONNREFUSED); err != nil {
					t.Errorf("port unreachable from the pod, %s: %v", dst, err)
				}
			}
			t.Logf("%d errors arrived", n)
		})
	}
}

// udpError sends UDP that may not be fragmented to a closed port until the kernel
// tells of the wanted error.
func udpError(from pod, dst netip.Addr, size int, want error) error {
	var conn net.Conn
	err := from.Do(func() (err error) {
		conn, err = net.Dial("udp", netip.AddrPortFrom(dst, 8999).String())
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := forbidFragments(conn.(*net.UDPConn), dst); err != nil {
		return err
	}
	for deadline := time.Now().Add(testnet.Patience); time.Now().Before(deadline); {
		_, err := conn.Write(make([]byte, size))
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, err = conn.Read(make([]byte, 16))
		}
		if errors.Is(err, want) {
			return nil
		}
		if !testnet.IsTimeout(err) && !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%w, want %w", err, want)
		}
	}
	return errors.New("no such error came")
}

func forbidFragments(conn *net.UDPConn, dst netip.Addr) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO
	if dst.Is6() {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, value) })
	return errors.Join(err, set)
}

// Addresses of services: nobody has them.
const (
	service4, service6 = "10.0.0.80", "fd00:10::80"
	backend4, backend6 = "10.241.4.50", "fd00:10:241::450"
)

// TestNSGBehindService translates the address of a service as kube-proxy does. The
// pod is judged by its own address and port and by the client's: rules about the
// service's mean nothing.
func TestNSGBehindService(t *testing.T) {
	t.Parallel()
	byPod := func(rule func(string, string) secRule) []secRule {
		return []secRule{rule("Tcp", "8080").to(backend4), rule("Tcp", "8080").to(backend6)}
	}
	byService := func(rule func(string, string) secRule) []secRule {
		return []secRule{rule("Tcp", "*").to(service4), rule("Tcp", "*").to(service6), rule("Tcp", "80"), rule("Tcp", "30080")}
	}
	cases := map[string]struct {
		rules  []secRule
		passes bool
	}{
		"pod allowed, service denied": {slices.Concat(byService(denyIn), byPod(allowIn), []secRule{denyIn("*", "*")},
			byService(denyOut), byPod(allowOut), []secRule{denyOut("*", "*")}), true},
		"service allowed, pod denied on the way in": {slices.Concat(byService(allowIn), []secRule{denyIn("*", "*")}), false},
		"client denied": {[]secRule{denyIn("Tcp", "*").from("10.241.4.60"), denyIn("Tcp", "*").from("fd00:10:241::460"),
			denyIn("Tcp", "*").from("203.0.113.0/24"), denyIn("Tcp", "*").from("2001:db8:113::/64"), denyIn("Tcp", "*").from("10.241.5.60"),
			denyIn("Tcp", "*").from("fd00:10:241::560"), allowIn("*", "*")}, false},
	}
	for name, c := range cases {
		for _, backend := range backends {
			t.Run(name+" "+backend, func(t *testing.T) {
				t.Parallel()
				passed, silent := 0, 0
				for _, ofOne := range behindService(t, newDocuments(t, restGroup("nsg", c.rules...)).conf("nsg"), backend) {
					if c.passes {
						passed += expectAll(t, ofOne)
					} else {
						silent += expectSilent(t, ofOne)
					}
				}
				t.Logf("%d flows passed, %d were silent", passed, silent)
			})
		}
	}
}

// behindService gives the flows to a pod through a service, by client: a pod on
// the same node, one on another node, which translates there, and the outside,
// which talks to a port of the node.
func behindService(t *testing.T, nsg map[string]any, backend string) [][]expectation {
	t.Helper()
	f, nodes := cluster(t, 2, judged(nsg), testnet.WithIptables(backend))
	f.AddOutside()
	f.RouteToPods()
	fixed := func(v4, v6 string) testnet.Attach {
		return testnet.Attach{Caps: map[string]any{"ips": []string{v4, v6}}}
	}
	server := attach(t, nodes[0], fixed(backend4, backend6))
	near, far := attach(t, nodes[0], fixed("10.241.4.60", "fd00:10:241::460")), attach(t, nodes[1], fixed("10.241.5.60", "fd00:10:241::560"))
	for _, n := range nodes {
		translate(t, n, "iptables", service4, "80", backend4+":8080")
		translate(t, n, "ip6tables", service6, "80", "["+backend6+"]:8080")
	}
	translate(t, nodes[0], "iptables", nodes[0].IPv4.String(), "30080", backend4+":8080")
	translate(t, nodes[0], "ip6tables", nodes[0].IPv6.String(), "30080", "["+backend6+"]:8080")
	var all [][]expectation
	for _, from := range []pod{near, far, outside(f)} {
		var ofOne []expectation
		for _, dst := range []netip.Addr{netip.MustParseAddr(service4), netip.MustParseAddr(service6)} {
			flow := testnet.Flow{Proto: testnet.TCP, From: from.NS, To: server.NS, Dst: dst, Port: 80, ServerPort: 8080}
			if from.NS == f.Outside {
				flow.Dst, flow.Port = asPod(nodes[0]).like(dst), 30080
			}
			ofOne = append(ofOne, expectation{flow, from.like(dst)})
		}
		all = append(all, ofOne)
	}
	return all
}

// translate does what kube-proxy does for a service with one pod.
func translate(t *testing.T, n *testnet.Node, program, dst, port, to string) {
	t.Helper()
	if _, err := n.Shell(program, "-w", "-t", "nat", "-A", "PREROUTING", "-d", dst, "-p", "tcp", "--dport", port, "-j", "DNAT", "--to-destination", to); err != nil {
		t.Fatal(err)
	}
}
