package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// world is a node with some pods, and everybody else behind its uplink. The test
// is in the node's namespace. Nobody but the node has addresses: pods and
// everybody else speak through packet sockets, so that no kernel answers for them.
type world struct {
	t        *testing.T
	f        *Firewall
	links    *netlink.Handle // of the node
	network  Network         // whose pods are judged
	node     *end
	outside  *end
	pods     []*end
	lastID   uint32
	failures int
}

// end is where packets are sent and captured.
type end struct {
	name    string
	device  string                // the node's way to it
	mac     net.HardwareAddr      // of its own side
	marker  map[bool]netip.Addr   // by IPv6: an address whose packets nothing judges
	sockets map[bool][]capturer   // by IPv6; what marks a batch's end comes to the first
	send    func(c crafted) error // puts a packet on the way to the node, or out of it
}

const (
	podsOfWorld = 3
	nodeMAC     = "aa:aa:aa:aa:aa:aa"
)

func addr2(v4, v6 string) map[bool]netip.Addr {
	return map[bool]netip.Addr{false: netip.MustParseAddr(v4), true: netip.MustParseAddr(v6)}
}

// newWorld builds it in the current namespace and gives every pod a second
// address, of a network that nothing judges.
func newWorld(t *testing.T, f *Firewall, n Network) *world {
	t.Helper()
	w := &world{t: t, f: f, links: netlinkHere(t), network: n, lastID: 0x56000000}
	for _, name := range []string{"ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter",
		"ipv4/conf/all/send_redirects", "ipv4/conf/default/send_redirects"} {
		sysctl(t, name, "0")
	}
	w.outside = w.endBehind("everybody else", "uplink", 0xff)
	w.outside.marker = addr2("198.51.100.2", "2001:db8:ffff::2")
	w.node = &end{name: "the node", marker: addr2("198.51.100.1", "2001:db8:ffff::1")}
	w.nodeSockets()
	for _, v6 := range []bool{false, true} {
		a := w.node.marker[v6]
		w.giveNode(a, "uplink")
		w.route(w.outside, w.outside.marker[v6])
		sh(t, fmt.Sprintf("ip -%s route add default via %v dev uplink onlink", familyOf(a).suffix(), w.outside.marker[v6]))
	}
	plain := testNetwork(t, "plain")
	plain.Masquerade = false
	ensure(t, f, plain)
	interfaces := "vnetpod"
	if n.Foreign {
		interfaces = "pair"
	}
	for i := range podsOfWorld {
		p := w.endBehind(fmt.Sprint("pod ", i), fmt.Sprint(interfaces, i), byte(i+1))
		p.marker = addr2(fmt.Sprint("198.51.100.", 11+i), fmt.Sprint("2001:db8:ffff::", 11+i))
		for _, a := range p.marker {
			w.route(p, a)
			must(t, f.AddPod(plain, podOf(a)))
		}
		w.pods = append(w.pods, p)
	}
	sh(t, "ip link set lo up")
	sysctl(t, "ipv4/ip_forward", "1")
	sysctl(t, "ipv6/conf/all/forwarding", "1")
	return w
}

func (w *world) ends() []*end { return append([]*end{w.outside, w.node}, w.pods...) }

func sysctl(t *testing.T, name, value string) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0))
}

// endBehind makes a namespace behind a device of the node.
func (w *world) endBehind(name, device string, number byte) *end {
	w.t.Helper()
	here, err := netns.Get()
	must(w.t, err)
	defer here.Close()
	ns, err := netns.New()
	must(w.t, err)
	defer ns.Close() // its socket keeps it
	for _, which := range []string{"all", "default"} {
		sysctl(w.t, "ipv6/conf/"+which+"/disable_ipv6", "1")
	}
	must(w.t, netns.Set(here))
	mac, err := net.ParseMAC(nodeMAC)
	must(w.t, err)
	e := &end{name: name, device: device, mac: net.HardwareAddr{2, 0, 0, 0, 1, number}}
	must(w.t, w.links.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: device, HardwareAddr: mac},
		PeerName:  "eth0", PeerHardwareAddr: e.mac, PeerNamespace: netlink.NsFd(int(ns)),
	}))
	up(w.t, w.links, device)
	inside, err := netlink.NewHandleAt(ns)
	must(w.t, err)
	defer inside.Close()
	up(w.t, inside, "eth0")
	awaitCarrier(w.t, w.links, device)
	link, err := inside.LinkByName("eth0")
	must(w.t, err)
	must(w.t, netns.Set(ns))
	e.packetSocket(w.t, link.Attrs().Index, mac)
	must(w.t, netns.Set(here))
	return e
}

// giveNode gives the node an address.
func (w *world) giveNode(a netip.Addr, device string) {
	w.t.Helper()
	addAddress(w.t, w.links, device, a)
	awaitLocal(w.t, w.links, a)
}

// route leads an address to the end.
func (w *world) route(e *end, a netip.Addr) {
	w.t.Helper()
	sh(w.t, fmt.Sprintf("ip -%[1]s route replace %[2]v dev %[3]s && ip -%[1]s neigh replace %[2]v lladdr %[4]v nud permanent dev %[3]s",
		familyOf(a).suffix(), a, e.device, e.mac))
}

// packetSocket gives the end the socket through which it sends and sees all.
func (e *end) packetSocket(t *testing.T, index int, node net.HardwareAddr) {
	t.Helper()
	fd := socket(t, unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	must(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}))
	whole := []capturer{{fd: fd, parse: parse}}
	e.sockets = map[bool][]capturer{false: whole, true: whole}
	e.send = func(c crafted) error {
		to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: index, Halen: 6}
		if c.ipv6() {
			to.Protocol = networkOrder(unix.ETH_P_IPV6)
		}
		copy(to.Addr[:], node)
		return unix.Sendto(fd, c.bytes(), 0, to)
	}
}

// nodeSockets gives the node sockets that see what has passed INPUT, and such
// that send through OUTPUT.
func (w *world) nodeSockets() {
	w.t.Helper()
	w.node.sockets = map[bool][]capturer{}
	out := map[bool]int{false: socket(w.t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW), true: socket(w.t, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)}
	for _, p := range []nsg.Protocol{nsg.UDP, nsg.TCP, nsg.ICMP} {
		w.node.sockets[false] = append(w.node.sockets[false], capturer{fd: socket(w.t, unix.AF_INET, unix.SOCK_RAW, int(p)), parse: parse})
		number := crafted{protocol: p, src: netip.IPv6Unspecified()}.number()
		w.node.sockets[true] = append(w.node.sockets[true], capturer{
			fd: socket(w.t, unix.AF_INET6, unix.SOCK_RAW, int(number)),
			parse: func(b []byte) (crafted, bool) { // without the IP header
				return parseBody(crafted{}, number, b)
			},
		})
	}
	w.node.send = func(c crafted) error {
		if c.ipv6() {
			return unix.Sendto(out[true], c.bytes(), 0, &unix.SockaddrInet6{Addr: c.dst.As16()})
		}
		return unix.Sendto(out[false], c.bytes(), 0, &unix.SockaddrInet4{Addr: c.dst.As4()})
	}
}

// socket opens one that waits for packets and has room for all of a batch.
func socket(t *testing.T, domain, typ, protocol int) int {
	t.Helper()
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, protocol)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	longest := unix.NsecToTimeval(patience.Nanoseconds())
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &longest))
	return fd
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }
