package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// A pod's packets come through only with its own address: not with another
// pod's, and not with one that is no pod's although its route leads back.
func TestForgedSourcesAreDropped(t *testing.T) {
	cases := []struct{ name, node, pod, sibling, stranger string }{
		{"IPv4", "169.254.1.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"},
		{"IPv6", "fd00:8::1", "fd00:9::2", "fd00:9::3", "fd00:9::4"},
	}
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		pod := twoPods(t)
		ensure(t, f, n)
		for _, c := range cases {
			node := netip.MustParseAddr(c.node)
			for veth, addresses := range map[string][]string{"vnetone": {c.pod, c.stranger}, "vnettwo": {c.sibling}} {
				for _, a := range addresses {
					addRoute(t, netlinkHere(t), veth, netip.MustParseAddr(a))
				}
			}
			for _, a := range []string{c.pod, c.sibling} {
				if err := f.AddPod(n, podOf(netip.MustParseAddr(a))); err != nil {
					t.Fatal(err)
				}
			}
			received := listen(t, node)
			for _, source := range []string{c.sibling, c.stranger, c.pod} {
				pod.send(t, netip.MustParseAddr(source), node, source)
			}
			if got := received(); got != c.pod {
				t.Errorf("%s: the first packet that came through is from %q, want %q", c.name, got, c.pod)
			}
		}
		t.Logf("%d families, 2 forged packets each", len(cases))
	})
}

// What listens on the node's loopback is not for pods, also where somebody switched
// route_localnet on, as portmap does on the interface of a pod with a host port.
func TestLoopbackIsOutOfReach(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		w := newWorld(t, f, n)
		sysctl(t, "ipv4/conf/all/route_localnet", "1")
		var list []transmission
		for _, from := range []*end{w.outside, w.pods[0]} {
			for _, dst := range []string{"127.0.0.1", "127.255.255.254"} {
				list = append(list, transmission{
					from: from, to: w.node, arrives: from == w.outside,
					packet: crafted{kind: request, id: w.newID(), protocol: nsg.UDP, src: from.marker[false], dst: netip.MustParseAddr(dst), srcPort: 9, dstPort: 53},
					why:    func() string { return "only pods are kept away" },
				})
			}
		}
		w.transmit(false, list)
		t.Logf("%d packets", len(list))
	})
}

// podNamespace is where a test's pod sends from.
type podNamespace struct {
	ns     netns.NsHandle
	handle *netlink.Handle
}

// twoPods makes the node's side of two pods in the current namespace; the
// first one's other end is in the namespace given back, the second's is idle. The pod
// need not ask for the node's hardware address, in the name of whichever source: what
// waits for an answer is lost when none comes for three seconds.
func twoPods(t *testing.T) podNamespace {
	t.Helper()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	must(t, netns.Set(here))
	handle, err := netlink.NewHandleAt(ns)
	must(t, err)
	t.Cleanup(handle.Close)
	node := netlinkHere(t)
	for _, name := range []string{"vnetone", "vnettwo"} {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
		if name == "vnettwo" {
			veth.PeerName = "idle"
		}
		must(t, node.LinkAdd(veth))
	}
	for _, name := range []string{"vnetone", "vnettwo"} {
		up(t, node, name)
	}
	for _, name := range []string{"lo", "eth0", "idle"} {
		up(t, handle, name)
	}
	addAddress(t, node, "vnetone", netip.MustParseAddr("169.254.1.1"))
	addAddress(t, node, "vnetone", netip.MustParseAddr("fd00:8::1"))
	for _, name := range []string{"vnetone", "vnettwo"} {
		awaitCarrier(t, node, name)
		sysctl(t, "ipv4/conf/"+name+"/rp_filter", "0")
	}
	sysctl(t, "ipv4/conf/all/rp_filter", "0")
	for _, a := range []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fd00:8::1")} {
		awaitLocal(t, node, a)
		addRoute(t, handle, "eth0", a)
		addNeighbour(t, handle, "eth0", a, node, "vnetone")
	}
	return podNamespace{ns: ns, handle: handle}
}

// send sends text to port 4789 of the node from a source that the pod claims.
func (p podNamespace) send(t *testing.T, source, node netip.Addr, text string) {
	t.Helper()
	addAddress(t, p.handle, "eth0", source)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		err := netns.Set(p.ns)
		if err == nil {
			err = sendFrom(source, node, text)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("send from %s: %v", source, err)
	}
}

func sendFrom(source, node netip.Addr, text string) error {
	conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(node, 4789)))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	return err
}

// listen opens the node's end and gives a function that waits for one packet.
func listen(t *testing.T, node netip.Addr) func() string {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(node, 4789)))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return func() string {
		must(t, conn.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 100)
		count, from, err := conn.ReadFromUDPAddrPort(buf)
		must(t, err)
		if text := fmt.Sprint(from.Addr().Unmap()); text != string(buf[:count]) {
			t.Errorf("packet %q came from %s", buf[:count], text)
		}
		return string(buf[:count])
	}
}

func netlinkHere(t *testing.T) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandle()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func up(t *testing.T, h *netlink.Handle, name string) {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	must(t, h.LinkSetUp(link))
}

func addAddress(t *testing.T, h *netlink.Handle, name string, a netip.Addr) {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	address := &netlink.Addr{IPNet: netlink.NewIPNet(a.AsSlice())}
	if a.Is6() {
		address.Flags = 0x02 // IFA_F_NODAD: usable at once
	}
	must(t, h.AddrReplace(link, address))
}

// awaitLocal waits until an address is the namespace's own: one of IPv6 is so only after
// a worker of the kernel has been there.
func awaitLocal(t *testing.T, h *netlink.Handle, a netip.Addr) {
	t.Helper()
	await(t, fmt.Sprint("have ", a), func() bool {
		routes, err := h.RouteGet(a.AsSlice())
		return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
	})
}

// awaitCarrier waits until the kernel has taken note of a pair's carrier (linkwatch):
// until then it drops what is sent through the end that was up first.
func awaitCarrier(t *testing.T, h *netlink.Handle, name string) {
	t.Helper()
	await(t, name+" has a carrier", func() bool {
		link, err := h.LinkByName(name)
		must(t, err)
		return link.Attrs().OperState == netlink.OperUp
	})
}

// addNeighbour tells the hardware address of another's link.
func addNeighbour(t *testing.T, h *netlink.Handle, name string, a netip.Addr, other *netlink.Handle, far string) {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	end, err := other.LinkByName(far)
	must(t, err)
	must(t, h.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: end.Attrs().HardwareAddr,
	}))
}

func addRoute(t *testing.T, h *netlink.Handle, name string, a netip.Addr) {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	must(t, h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(a.AsSlice()), Scope: netlink.SCOPE_LINK}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
