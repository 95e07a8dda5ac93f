package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestPodsAndNodes sends every protocol between pods and nodes, near and far.
func TestPodsAndNodes(t *testing.T) {
	t.Parallel()
	stacks := map[string]func(config){
		"dual stack": nil,
		"IPv4 only":  func(c config) { c.pools(c.ipam["pools"].([]any)[0]) },
		"IPv6 only":  func(c config) { c.pools(c.ipam["pools"].([]any)[1]) },
	}
	for name, change := range stacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, nodes := cluster(t, 2, change)
			n1, n2 := asPod(nodes[0]), asPod(nodes[1])
			a, b, c := attach(t, nodes[0]), attach(t, nodes[0]), attach(t, nodes[1])
			expectStack(t, a, name)
			n := 0
			for _, pair := range [][2]pod{{a, b}, {b, a}, {a, c}, {c, a}, {n1, a}, {n2, a}, {n1, c}} {
				n += expectAll(t, everyProto(pair[0], pair[1], 0))
			}
			for _, node := range []pod{n1, n2} {
				n += expectAll(t, everyProto(a, onlyLike(node, a), 0))
			}
			t.Logf("%d flows", n)
		})
	}
}

func expectStack(t *testing.T, p pod, stack string) {
	t.Helper()
	if has4, want := p.v4.IsValid(), stack != "IPv6 only"; has4 != want {
		t.Errorf("%s: the pod has an IPv4 address: %t", stack, has4)
	}
	if has6, want := p.v6.IsValid(), stack != "IPv4 only"; has6 != want {
		t.Errorf("%s: the pod has an IPv6 address: %t", stack, has6)
	}
}

// onlyLike drops the addresses of p whose family other lacks.
func onlyLike(p, other pod) pod {
	if !other.v4.IsValid() {
		p.v4 = netip.Addr{}
	}
	if !other.v6.IsValid() {
		p.v6 = netip.Addr{}
	}
	return p
}

func outside(f *testnet.Fabric) pod {
	return pod{Pod: &testnet.Pod{NS: f.Outside}, v4: testnet.Outside4, v6: testnet.Outside6}
}

// TestMasquerade wants the node's address outside and the pod's inside the VNet.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			expectMasquerade(t, testnet.WithIptables(backend))
		})
	}
}

func expectMasquerade(t *testing.T, opt testnet.NodeOption) {
	t.Helper()
	f, nodes := cluster(t, 2, func(c config) { c.plugin["masquerade"] = map[string]any{} }, opt)
	f.AddOutside()
	a, b, c := attach(t, nodes[0]), attach(t, nodes[0]), attach(t, nodes[1])
	seen := everyProto(a, outside(f), 0)
	for i := range seen {
		seen[i].peer = like(seen[i].Dst, nodes[0].IPv4, nodes[0].IPv6)
	}
	n := expectAll(t, seen)
	for _, to := range []pod{b, c, asPod(nodes[0]), asPod(nodes[1])} {
		n += expectAll(t, everyProto(a, to, 0))
	}
	t.Logf("%d flows", n)
}

// TestMasqueradeOverlay wants the node's address on everything beside the node:
// neither a neighbour nor the router has a route back to an overlay's pods.
func TestMasqueradeOverlay(t *testing.T) {
	t.Parallel()
	f, nodes := cluster(t, 2, func(c config) {
		c.plugin["mode"], c.plugin["masquerade"] = "overlay", map[string]any{}
		c.pools(poolOf("10.99.1.0/24"), poolOf("fd00:99:1::/64"))
	})
	f.AddOutside()
	a, b := attach(t, nodes[0]), attach(t, nodes[0])
	router := pod{Pod: &testnet.Pod{NS: f.NS}, v4: testnet.Gateway4, v6: testnet.Gateway6}
	n := 0
	for _, to := range []pod{asPod(nodes[1]), router, outside(f)} {
		seen := everyProto(a, to, 0)
		for i := range seen {
			seen[i].peer = like(seen[i].Dst, nodes[0].IPv4, nodes[0].IPv6)
		}
		n += expectAll(t, seen)
	}
	for _, to := range []pod{b, asPod(nodes[0])} {
		n += expectAll(t, everyProto(a, to, 0))
	}
	t.Logf("%d flows", n)
}

// TestMasqueradeExcept wants the pod's address where masquerading is excepted
// or not configured; the outside host has a route back.
func TestMasqueradeExcept(t *testing.T) {
	t.Parallel()
	cases := map[string]func(config){
		"excepted": func(c config) {
			c.plugin["masquerade"] = map[string]any{"except": []string{"203.0.113.0/24", "2001:db8:113::/64"}}
		},
		"not configured": nil,
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, nodes := cluster(t, 1, change)
			f.AddOutside()
			f.RouteToPods()
			a := attach(t, nodes[0])
			n := expectAll(t, everyProto(a, outside(f), 0))
			n += expectAll(t, everyProto(outside(f), a, 0))
			t.Logf("%d flows", n)
		})
	}
}

// TestFirstPacket measures the first packet to pods on another node. The
// kernel's default proxy_delay draws a wait of up to 0.8 s for each, so five
// pods of two families would pass below half of it once in a thousand times.
// A busy machine has its slow moments, and another round follows.
func TestFirstPacket(t *testing.T) {
	t.Parallel()
	const limit, pods = 400 * time.Millisecond, 5
	_, nodes := cluster(t, 2, nil)
	client := attach(t, nodes[0])
	round, slow := 0, []string{"none was sent"}
	for deadline := time.Now().Add(testnet.Patience); len(slow) > 0 && time.Now().Before(deadline); round++ {
		slow = nil
		for range pods {
			to := attach(t, nodes[1])
			for _, dst := range to.addrs() {
				r, err := testnet.Flow{Proto: testnet.ICMP, From: client.NS, To: to.NS, Dst: dst}.Try()
				if err != nil {
					t.Fatal(err)
				}
				if r.RTT > limit {
					slow = append(slow, fmt.Sprintf("%s: %v", dst, r.RTT))
				}
			}
		}
		t.Logf("round %d: %d first echoes, %d slower than %v", round+1, 2*pods, len(slow), limit)
	}
	for _, s := range slow {
		t.Errorf("the first echo took long in each of %d rounds: %s", round, s)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		if got, err := nodes[1].Sysctl(family + "/neigh/" + testnet.Uplink + "/proxy_delay"); err != nil || got != "0" {
			t.Errorf("%s proxy_delay of the uplink is %q (%v), want 0", family, got, err)
		}
	}
}

// TestAddressMovesToAnotherNode gives an address to a pod of another node while
// a third node still believes in the old one.
func TestAddressMovesToAnotherNode(t *testing.T) {
	t.Parallel()
	fixed := map[string]testnet.Attach{
		"capability ips": {Caps: map[string]any{"ips": []string{"10.241.4.77/16", "fd00:10:241::477/64"}}},
		"CNI_ARGS IP":    {Args: "IgnoreUnknown=1;IP=10.241.4.77"},
	}
	for name, at := range fixed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, nodes := cluster(t, 3, func(c config) {
				if at.Args != "" {
					c.pools(pool4(4))
				} else {
					c.pools(pool4(4), pool6(4))
				}
			})
			moveAddress(t, nodes, at)
		})
	}
}

func moveAddress(t *testing.T, nodes []*testnet.Node, at testnet.Attach) {
	t.Helper()
	third := asPod(nodes[2])
	old := attach(t, nodes[0], at)
	if old.v4 != netip.MustParseAddr("10.241.4.77") {
		t.Fatalf("the pod has %s, not the address asked for", old.v4)
	}
	n := expectAll(t, everyProto(third, old, 0))
	for _, addr := range old.addrs() {
		believe(t, nodes[2], nodes[0], addr)
	}
	if err := nodes[0].Del(old.Pod, at); err != nil {
		t.Fatalf("DEL: %v", err)
	}
	// The old node goes: it would forward to the new one what still reaches it.
	if err := nodes[0].NL.LinkSetDown(link(t, nodes[0].NS, testnet.Uplink)); err != nil {
		t.Fatal(err)
	}
	capture := testnet.NewCapture(t, nodes[2].NS, testnet.Uplink)
	now := attach(t, nodes[1], at)
	want, err := nodes[1].MAC(testnet.Uplink)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range now.addrs() {
		frame, err := capture.Wait(testnet.Patience, testnet.Announces(addr))
		if err != nil {
			t.Errorf("no announcement of %s: %v", addr, err)
		} else if got := testnet.AnnouncedMAC(frame); got.String() != want.String() {
			t.Errorf("%s was announced with %s, want the new node's %s", addr, got, want)
		}
	}
	// The old entry would live for 15 s at least, longer than these flows wait.
	n += expectAll(t, everyProto(third, now, 0))
	t.Logf("%d flows, %d addresses moved", n, len(now.addrs()))
}

// believe makes on's neighbour entry for addr one that was just confirmed to be
// owner's.
func believe(t *testing.T, on, owner *testnet.Node, addr netip.Addr) {
	t.Helper()
	mac, err := owner.MAC(testnet.Uplink)
	if err != nil {
		t.Fatal(err)
	}
	entry := neighbour(t, on.NS, testnet.Uplink, addr.String(), mac.String())
	entry.State = 0x02 // NUD_REACHABLE
	if err := on.NL.NeighSet(entry); err != nil {
		t.Fatalf("plant the neighbour %s: %v", addr, err)
	}
}

// TestMTU wants the uplink's MTU, or the configured one, at both ends of the
// pair, and packets of just that size.
func TestMTU(t *testing.T) {
	t.Parallel()
	cases := []struct{ uplink, configured, want int }{{1500, 0, 1500}, {1450, 0, 1450}, {1500, 1400, 1400}}
	for _, c := range cases {
		t.Run(fmt.Sprintf("uplink %d configured %d", c.uplink, c.configured), func(t *testing.T) {
			t.Parallel()
			_, nodes := cluster(t, 2, func(conf config) {
				if c.configured != 0 {
					conf.plugin["mtu"] = c.configured
				}
			}, testnet.WithMTU(c.uplink))
			a, b := attach(t, nodes[0]), attach(t, nodes[1])
			host := link(t, nodes[0].NS, hostVeth(t, a))
			for end, got := range map[string]int{"pod": link(t, a.NS, "eth0").Attrs().MTU, "host": host.Attrs().MTU} {
				if got != c.want {
					t.Errorf("MTU of the %s end is %d, want %d", end, got, c.want)
				}
			}
			expectLargest(t, a, b, c.want)
		})
	}
}

// expectLargest sends unfragmentable echoes that just fit and just do not.
func expectLargest(t *testing.T, from, to pod, mtu int) {
	t.Helper()
	for _, dst := range to.addrs() {
		headers := 20 + 8
		if dst.Is6() {
			headers = 40 + 8
		}
		f := testnet.Flow{Proto: testnet.ICMP, From: from.NS, To: to.NS, Dst: dst, DF: true, Size: mtu - headers}
		if _, err := f.Try(); err != nil {
			t.Errorf("%d bytes: %v", f.Size, err)
		}
		f.Size++
		if _, err := f.Try(); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%d bytes: got %v, want EMSGSIZE", f.Size, err)
		}
		t.Logf("%s: %d bytes pass, %d do not", dst, f.Size-1, f.Size)
	}
}

// hostVeth is the name of the host's end, which the result must tell.
func hostVeth(t *testing.T, p pod) string {
	t.Helper()
	for _, i := range p.result.Interfaces {
		if i.Sandbox == "" && i.Name != testnet.Uplink {
			return i.Name
		}
	}
	t.Fatalf("the result names no interface of the host: %v", p.result)
	return ""
}

// TestForgedSource sends packets with addresses that are not the pod's.
func TestForgedSource(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 2, nil)
	a, b, c := attach(t, nodes[0]), attach(t, nodes[0]), attach(t, nodes[1])
	foreign := pod{v4: netip.MustParseAddr("198.51.100.7"), v6: netip.MustParseAddr("2001:db8:bad::7")}
	passed, dropped := 0, 0
	for _, to := range []pod{b, c, asPod(nodes[0]), asPod(nodes[1])} {
		for _, dst := range to.addrs() {
			arrives(t, a, to, a.like(dst), dst, true)
			passed++
			for _, other := range []pod{b, c, foreign, asPod(nodes[0]), asPod(nodes[1])} {
				if src := other.like(dst); src != dst {
					arrives(t, a, to, src, dst, false)
					dropped++
				}
			}
		}
	}
	t.Logf("%d packets with the pod's own address passed, %d forged ones were sent", passed, dropped)
}

func arrives(t *testing.T, from, to pod, src, dst netip.Addr, want bool) {
	t.Helper()
	within := 50 * time.Millisecond
	if want {
		within = testnet.Patience
	}
	got, err := testnet.ForgeArrives(from.NS, to.NS, src, dst, within)
	if err != nil {
		t.Errorf("%s -> %s: %v", src, dst, err)
	}
	if got != want {
		t.Errorf("a packet of the pod with source %s to %s arrived: %t, want %t", src, dst, got, want)
	}
}

// TestOverlay wants pods of mode overlay to talk and the uplink left alone.
func TestOverlay(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 1, func(c config) {
		c.plugin["mode"] = "overlay"
		c.pools(poolOf("10.99.1.0/24"), poolOf("fd00:99:1::/64"))
	})
	node := nodes[0]
	a, b := attach(t, node), attach(t, node)
	n := expectAll(t, everyProto(a, b, 0))
	n += expectAll(t, everyProto(a, asPod(node), 0))
	n += expectAll(t, everyProto(asPod(node), b, 0))
	if p := testnet.Snapshot(node)["proxy neighbour"]; len(p) != 0 {
		t.Errorf("mode overlay answers for pods on the uplink: %q", p)
	}
	t.Logf("%d flows", n)
}
