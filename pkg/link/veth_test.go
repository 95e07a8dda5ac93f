package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// Both ends are made in their final namespaces with what only creation can
// give for good, and stay down.
func TestCreateVeth(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7")
	must(t, h.CreateVeth(p.veth, p.sandbox))
	host, found, err := h.Link(p.veth.HostName)
	if err != nil || !found || host.MAC.String() != HostMAC.String() || host.MTU != 1430 || host.Up || host.Kind != "veth" {
		t.Errorf("host end: %+v, %v, %v", host, found, err)
	}
	pod, found, err := p.sandbox.Link("eth0")
	if err != nil || !found || pod.MAC.String() != p.veth.PodMAC.String() || pod.MTU != 1430 || pod.Up || pod.Peer != host.Index {
		t.Errorf("pod's end: %+v, %v, %v", pod, found, err)
	}
	if peer, ours, err := p.sandbox.PeerIn(host, "eth0"); err != nil || !ours || peer.Index != pod.Index {
		t.Errorf("PeerIn: %+v, %v, %v", peer, ours, err)
	}
	if _, ours, err := p.sandbox.PeerIn(Link{Index: host.Index + 100}, "eth0"); err != nil || ours {
		t.Errorf("PeerIn takes another link's pair for ours: %v, %v", ours, err)
	}
	wantHas(t, "MAC set for good (addr_assign_type 3)", testhost.Sh(t, "ip -d link show "+p.veth.HostName), "aa:aa:aa:aa:aa:aa", "mtu 1430")
	if names := testhost.Sh(t, "ip -o link | wc -l"); names != "2" {
		t.Errorf("%s links on the node, want lo and one end", names)
	}
	t.Log("2 ends")
}

func TestCreateVethNameTaken(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1")
	must(t, h.CreateVeth(p.veth, p.sandbox))
	samePod, sameHost := p.veth, p.veth
	samePod.HostName, sameHost.PodName = "vnetother", "eth1"
	before := p.ns.state(t) + testhost.Sh(t, "ip link")
	for name, v := range map[string]Veth{"both": p.veth, "the pod's": samePod, "the host's": sameHost} {
		if err := h.CreateVeth(v, p.sandbox); !errors.Is(err, ErrNameTaken) || !errors.Is(err, unix.EEXIST) {
			t.Errorf("%s name taken: %v; want ErrNameTaken", name, err)
		}
	}
	if after := p.ns.state(t) + testhost.Sh(t, "ip link"); after != before {
		t.Errorf("refused pairs changed something:\n%s\n---\n%s", before, after)
	}
	t.Log("3 taken names")
}

func TestDeleteVethTwice(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7", "fd00:241::7")
	p.attach(t, h)
	for range 2 {
		must(t, h.DeleteVeth(p.veth.HostName))
		if _, found, err := h.Link(p.veth.HostName); found || err != nil {
			t.Errorf("the host end is still there: %v", err)
		}
		if _, found, err := p.sandbox.Link("eth0"); found || err != nil {
			t.Errorf("the pod's end is still there: %v", err)
		}
	}
	t.Log("2 deletions of 1 pair")
}

var podAddrs = [][]string{
	{"10.241.4.7"},
	{"fd00:241::7"},
	{"10.241.4.7", "fd00:241::7"},
	{"10.241.4.7", "10.242.0.7", "fd00:241::7"},
}

// The kernel's tables hold what the package comment promises: no address waits
// for duplicate detection, nobody resolves the gateway, the host end is quiet.
func TestConfiguredPair(t *testing.T) {
	for _, addrs := range podAddrs {
		t.Run(strings.Join(addrs, ","), func(t *testing.T) {
			inNode(t)
			h, p := openHost(t), newPod(t, "c1", addrs...)
			p.attach(t, h)
			if tentative := p.ns.sh(t, "ip -6 addr show tentative; ip -6 addr show dadfailed"); tentative != "" && slices.ContainsFunc(p.addrs, netip.Addr.Is6) {
				t.Errorf("addresses wait for duplicate detection:\n%s", tentative)
			}
			wantPodTables(t, p)
			wantHostTables(t, p)
			problems, err := Problems(h, p.sandbox, p.expectation(""))
			if err != nil || len(problems) > 0 {
				t.Errorf("Problems: %q, %v", problems, err)
			}
			t.Logf("%d addresses", len(addrs))
		})
	}
}

func wantPodTables(t *testing.T, p testPod) {
	t.Helper()
	addresses, neighbours := p.ns.sh(t, "ip -o addr show dev eth0"), p.ns.sh(t, "ip neigh show nud permanent")
	for _, a := range p.addrs {
		wantHas(t, "pod's addresses", addresses, fmt.Sprintf(" %s/%d ", a, a.BitLen()))
		wantHas(t, "pod's neighbours", neighbours, fmt.Sprintf("%s dev eth0 lladdr %s PERMANENT", Gateway(a), HostMAC))
		if a.Is4() {
			wantHas(t, "pod's routes", p.ns.sh(t, "ip -4 route"), "default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 ", "scope link")
		} else {
			wantHas(t, "pod's addresses", addresses, AddrOfMAC(p.veth.PodMAC).String()+"/64 scope link")
			wantHas(t, "pod's routes", p.ns.sh(t, "ip -6 route"), "default via fe80::1234:5678:9abc dev eth0")
		}
	}
	if want := len(p.addrs) + 1; slices.ContainsFunc(p.addrs, netip.Addr.Is6) && strings.Count(addresses, "inet") != want { // and the link-local one
		t.Errorf("%d addresses wanted:\n%s", want, addresses)
	}
}

func wantHostTables(t *testing.T, p testPod) {
	t.Helper()
	name := p.veth.HostName
	routes, neighbours := testhost.Sh(t, "ip -4 route; ip -6 route"), testhost.Sh(t, "ip neigh show nud permanent")
	for _, a := range p.addrs {
		wantHas(t, "node's routes", routes, fmt.Sprintf("%s dev %s ", a, name))
		wantHas(t, "node's neighbours", neighbours, fmt.Sprintf("%s dev %s lladdr %s PERMANENT", a, name, p.veth.PodMAC))
	}
	wantHas(t, "host end", testhost.Sh(t, "ip link show "+name), "alias pods/c1/eth0", ",UP")
	if own := testhost.Sh(t, "ip -o addr show dev "+name); own != "" {
		t.Errorf("the host end has addresses:\n%s", own)
	}
	keys := "ipv4/conf/N/send_redirects ipv4/conf/N/accept_redirects"
	if slices.ContainsFunc(p.addrs, netip.Addr.Is6) {
		keys += " ipv6/conf/N/accept_ra ipv6/conf/N/accept_redirects"
	}
	values := testhost.Sh(t, "cd /proc/sys/net; cat "+strings.ReplaceAll(keys, "N", name)+" | sort -u")
	if values != "0" {
		t.Errorf("%s: %q, want all 0", keys, values)
	}
}

// A pod that asks for the node's address in the names of many adds nobody to the table
// of neighbours, whose room the whole node shares.
func TestARPAddsNoNeighbours(t *testing.T) {
	const requests = 20
	inNode(t)
	node := netip.MustParseAddr("10.241.0.4")
	testhost.Sh(t, "ip address add 10.241.0.4/32 dev lo")
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7")
	p.attach(t, h)
	p.settle(t)
	neighbours := func() string { return testhost.Sh(t, "ip -4 neigh show dev "+p.veth.HostName) }
	want := neighbours()
	received, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(node, 9)))
	must(t, err)
	defer received.Close()
	p.ns.in(t, func() {
		for i := range requests {
			p.ask(t, netip.AddrFrom4([4]byte{10, 66, 0, byte(i)}), node)
		}
		last, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(node, 9)))
		must(t, err)
		defer last.Close()
		_, err = last.Write([]byte("behind them"))
		must(t, err)
	})
	must(t, received.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = received.Read(make([]byte, 20))
	must(t, err)
	if got := neighbours(); got != want {
		t.Errorf("neighbours on the host end:\n%s\nwant:\n%s", got, want)
	}
	t.Logf("%d requests", requests)
}

// ask sends an ARP request for an address from the pod, in another's name.
func (p testPod) ask(t *testing.T, sender, target netip.Addr) {
	t.Helper()
	pod, _, err := p.sandbox.Link(p.veth.PodName)
	must(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	payload, to := announcement(sender, p.veth.PodMAC)
	copy(payload[24:], target.AsSlice())
	to.Ifindex = pod.Index
	must(t, unix.Sendto(fd, payload, 0, to))
}

// A repeated ADD changes nothing, however often, and restores what is missing.
func TestRepairIsIdempotent(t *testing.T) {
	damage := []string{
		"true", "ip link set eth0 down", "ip addr flush dev eth0 || ip -6 addr flush dev eth0", "ip route flush dev eth0; ip -6 route flush dev eth0",
		"ip neigh flush nud permanent dev eth0; ip -6 neigh flush nud permanent dev eth0",
	}
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7", "fd00:241::7")
	p.routes = []Route{{Dst: prefixes("10.9.0.0/16")[0], MTU: 1400, Priority: 5}, {Dst: prefixes("fd99::/48")[0]}}
	p.attach(t, h)
	settled := func() string {
		return p.ns.state(t) + testhost.Sh(t, "ip -o link; ip route; ip -6 route; ip neigh show nud permanent")
	}
	p.settle(t)
	want := settled()
	for _, d := range damage {
		p.ns.sh(t, d)
		for range 2 {
			must(t, p.sandbox.ConfigurePod(p.podEnd(true)))
			must(t, h.ConfigureHost(p.hostEnd()))
		}
		problems, err := Problems(h, p.sandbox, p.expectation(""))
		if err != nil || len(problems) > 0 {
			t.Errorf("after %q and a repair: %q, %v", d, problems, err)
		}
		p.settle(t)
		if changes := changed(want, settled()); len(changes) > 0 {
			t.Errorf("after %q and a repair:\n%s", d, strings.Join(changes, "\n"))
		}
	}
	t.Logf("%d kinds of damage, 2 repairs each", len(damage))
}

// A pod's default route through another interface stays the first, and ours
// comes after it, in both families, with and without a repair.
func TestForeignDefaultRouteStays(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7", "fd00:241::7")
	var foreign string
	p.ns.in(t, func() {
		uplinks(t, "net1")
		foreign = testhost.Sh(t, `ip addr add 192.168.5.2/24 dev net1; ip -6 addr add fd05::2/64 dev net1 nodad
			ip route add default via 192.168.5.1; ip -6 route add default via fd05::1 dev net1
			ip route show default; ip -6 route show default`)
	})
	must(t, h.CreateVeth(p.veth, p.sandbox))
	for _, repair := range []bool{false, true, true} {
		must(t, p.sandbox.ConfigurePod(p.podEnd(repair)))
		must(t, h.ConfigureHost(p.hostEnd()))
		routes := p.ns.sh(t, "ip route show default; ip -6 route show default")
		wantHas(t, "pod's defaults", routes, strings.Split(foreign, "\n")[0], "default via fd05::1 dev net1")
		link, _, err := p.sandbox.Link("eth0")
		must(t, err)
		wantHas(t, "pod's defaults", routes, fmt.Sprintf("dev eth0 proto static metric %d", link.Index),
			fmt.Sprintf("dev eth0 proto static metric %d", link.Index+1024))
		if count := strings.Count(routes, "default"); count != 4 {
			t.Errorf("%d default routes, want 4:\n%s", count, routes)
		}
		for _, query := range []string{"ip route get 8.8.8.8", "ip -6 route get 2001:db8::1"} {
			wantHas(t, query, p.ns.sh(t, query), "dev net1")
		}
		problems, err := Problems(h, p.sandbox, p.expectation(""))
		if err != nil || len(problems) > 0 {
			t.Errorf("Problems: %q, %v", problems, err)
		}
	}
	t.Log("2 families, 3 calls")
}

// A runtime may have switched IPv6 off in the pod.
func TestIPv6SwitchedOffInPod(t *testing.T) {
	inNode(t)
	h := openHost(t)
	keys := []string{"all", "default"}
	for i, key := range keys {
		p := newPod(t, fmt.Sprint("c", i), "10.241.4.7", "fd00:241::7")
		p.ns.sh(t, "echo 1 >/proc/sys/net/ipv6/conf/"+key+"/disable_ipv6")
		p.attach(t, h)
		wantPodTables(t, p)
		problems, err := Problems(h, p.sandbox, p.expectation(""))
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: Problems: %q, %v", key, problems, err)
		}
		must(t, h.DeleteVeth(p.veth.HostName))
	}
	t.Logf("%d switches", len(keys))
}

func TestConfigureMissingLinks(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7")
	for name, err := range map[string]error{"pod": p.sandbox.ConfigurePod(p.podEnd(false)), "host": h.ConfigureHost(p.hostEnd())} {
		if !errors.Is(err, unix.ENODEV) {
			t.Errorf("%s: %v, want ENODEV", name, err)
		}
	}
	if got, err := h.HostAddrs("vnetmissing"); err != nil || got != nil {
		t.Errorf("HostAddrs of no link: %v, %v", got, err)
	}
	t.Log("3 missing links")
}
