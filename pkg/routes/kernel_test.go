package routes

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// node is one with a pod's link and routes to two pods.
type node struct {
	*testnet.Node
	t testing.TB
}

var (
	pod4, other4 = netip.MustParseAddr("10.241.4.7"), netip.MustParseAddr("10.241.9.7") // other4 is of no network of ours
	pod6         = netip.MustParseAddr("fd00:10:241::407")
)

func newNode(t testing.TB) node {
	t.Helper()
	n := node{testnet.New(t).AddNode("n1"), t}
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := n.SetSysctl(s, "1"); err != nil {
			t.Fatal(err)
		}
	}
	n.sh(fmt.Sprintf(`ip link add vnet0 type veth peer name pod0; ip link set vnet0 addrgenmode none; ip link set vnet0 up; ip link set pod0 up
		ip route add %s dev vnet0; ip route add %s dev vnet0; ip -6 route add %s dev vnet0; ip -6 neigh flush dev vnet0`, pod4, other4, pod6))
	// The kernel makes the local route of an IPv6 address in its own time.
	for deadline := time.Now().Add(time.Minute); n.sh("ip -6 route show table local "+n.IPv6.String()) == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is no address of the node", n.IPv6)
		}
	}
	return n
}

func (n node) sh(command string) string {
	n.t.Helper()
	var out, stderr bytes.Buffer
	err := n.Do(func() error {
		cmd := exec.Command("sh", "-ec", command)
		cmd.Stdout, cmd.Stderr = &out, &stderr
		return cmd.Run()
	})
	if err != nil {
		n.t.Fatalf("%s: %v\n%s%s", command, err, out.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(out.String())
}

// tables is all that rules and tables hold, but what the kernel makes by itself.
func (n node) tables() string {
	return n.sh("for f in 4 6; do ip -$f rule; ip -$f route show table all | grep -Ev 'multicast|proto kernel'; done | sed 's/ linkdown//' | sort")
}

func (n node) do(f func(*Kernel) error) {
	n.t.Helper()
	err := n.Do(func() error {
		k, err := Open()
		if err != nil {
			return err
		}
		defer k.Close()
		return f(k)
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n node) apply(c Config) (r Report) {
	n.t.Helper()
	n.do(func(k *Kernel) (err error) {
		r, err = k.Apply(c)
		return err
	})
	return r
}

// holds asks for what is there.
func (n node) holds(c Config) (held bool) {
	n.t.Helper()
	n.do(func(k *Kernel) (err error) {
		held, err = k.Holds(c)
		return err
	})
	return held
}

// problems are those of the network, and its faults.
func (n node) problems(c Config) (problems, faults []string) {
	n.t.Helper()
	n.do(func(k *Kernel) (err error) {
		problems, faults, err = k.Problems(c)
		return err
	})
	return problems, faults
}

// decision is where a packet goes: "drop", or a next hop.
func (n node) decision(src, dst netip.Addr) string {
	routes, err := n.NL.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{Iif: "vnet0", SrcAddr: src.AsSlice()})
	if err != nil || len(routes) == 0 || routes[0].Type == unix.RTN_BLACKHOLE { // as IPv6 has it
		return "drop"
	}
	if routes[0].Gw == nil {
		return "on the link"
	}
	return routes[0].Gw.String()
}

// Whatever the table, the kernel decides as a search for the longest prefix does, for
// packets of the pods and for nobody else's.
func TestDecisions(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	random := rand.New(rand.NewPCG(7, 7))
	asked := map[Way]int{}
	for round := range 12 {
		c := Config{Network: "pods", Sources: []netip.Prefix{prefix("10.241.4.0/24"), prefix("fd00:10:241::400/120")}, Routes: randomRoutes(random)}
		n.apply(c)
		if problems, faults := n.problems(c); len(problems)+len(faults) > 0 {
			t.Fatalf("round %d: %q %q", round, problems, faults)
		}
		for range 60 {
			dst, src, outer := randomAddr(random, false), pod4, other4
			if random.IntN(2) == 0 {
				dst, src, outer = randomAddr(random, true), pod6, netip.Addr{}
			}
			want, way := expected(c.Routes, dst)
			asked[way]++
			if got := n.decision(src, dst); got != want {
				t.Errorf("round %d: from %s to %s: %s, want %s with %v", round, src, dst, got, want, c.Routes)
			}
			if outer.IsValid() && n.decision(outer, dst) != testnet.Gateway4.String() {
				t.Errorf("round %d: %s to %s is led astray", round, outer, dst)
			}
		}
	}
	if min(asked[Leave], asked[Drop], asked[Forward]) < 20 {
		t.Errorf("asked %v: too few of one kind", asked)
	}
	t.Logf("%d questions: %d left, %d dropped, %d forwarded", asked[Leave]+asked[Drop]+asked[Forward], asked[Leave], asked[Drop], asked[Forward])
}

// expected is a search for the longest prefix.
func expected(routes []Route, dst netip.Addr) (string, Way) {
	best := Route{Prefix: netip.PrefixFrom(dst, 0)}
	for _, r := range routes {
		if r.Prefix.Contains(dst) && r.Prefix.Bits() >= best.Prefix.Bits() {
			best = r
		}
	}
	switch {
	case best.Way == Drop:
		return "drop", Drop
	case best.Way == Forward:
		return best.Via.String(), Forward
	case dst.Is4():
		return testnet.Gateway4.String(), Leave
	}
	return testnet.Gateway6.String(), Leave
}

// randomRoutes are of 20.0.0.0/8 and 2001:db8::/32 and what is in them.
func randomRoutes(random *rand.Rand) []Route {
	var out []Route
	for range 30 {
		ipv6 := random.IntN(2) == 0
		a, base := randomAddr(random, ipv6), 8
		via := netip.MustParseAddr(fmt.Sprintf("10.241.0.%d", 10+random.IntN(5)))
		if ipv6 {
			base, via = 32, netip.MustParseAddr(fmt.Sprintf("fd00:10:241::%d", 10+random.IntN(5)))
		}
		r := Route{Prefix: netip.PrefixFrom(a, random.IntN(2)*(base+random.IntN(24))).Masked(), Way: Way(random.IntN(3))}
		if r.Way == Forward {
			r.Via = via
		}
		if !slices.ContainsFunc(out, func(o Route) bool { return o.Prefix == r.Prefix }) {
			out = append(out, r)
		}
	}
	return out
}

func randomAddr(random *rand.Rand, ipv6 bool) netip.Addr {
	a := byte(random.IntN(4) * 64)
	b := byte(random.IntN(256))
	if ipv6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, a, b, 15: 9})
	}
	return netip.AddrFrom4([4]byte{20, a, b, 9})
}

// What leads to the pods of other nodes goes before a shorter route of a user, and before
// one for the same prefix, in whichever order they come.
func TestPodsOfOtherNodes(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := configured(t, "0.0.0.0/0 drop", "10.244.2.0/24 drop", "10.244.3.0/25 drop")
	n.apply(c)
	n.sh("ip route add 10.244.2.0/24 via 10.241.0.2 proto 86; ip route add 10.244.3.0/24 via 10.241.0.3 proto 86; ip route add 10.244.4.0/24 via 10.241.0.4 proto static")
	if problems, _ := n.problems(c); len(problems) != 3 { // two are missing, one is there instead
		t.Errorf("%q", problems)
	}
	n.apply(c)
	if !n.holds(c) {
		t.Error("it is not held")
	}
	rows := map[string]string{"10.244.2.7": "10.241.0.2", "10.244.3.200": "10.241.0.3", "10.244.3.7": "drop", "10.244.4.7": "drop"}
	for dst, want := range rows {
		if got := n.decision(pod4, addr(dst)); got != want {
			t.Errorf("%s: %s, want %s", dst, got, want)
		}
	}
	n.sh("ip route del 10.244.2.0/24 proto 86; ip route del 10.244.3.0/24 proto 86")
	n.apply(c)
	if got := n.decision(pod4, addr("10.244.2.7")); got != "drop" {
		t.Errorf("without the node: %s", got)
	}
	t.Logf("%d decisions", len(rows)+1)
}

// What is reached directly stays so whatever the routes.
func TestOwnPodsAreReachedDirectly(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.apply(configured(t, "0.0.0.0/0 drop", "10.241.4.0/24 drop", "10.241.9.7/32 drop", "::/0 drop"))
	rows := []struct {
		src, dst netip.Addr
		want     string
	}{
		{pod4, addr("10.241.4.7"), "on the link"}, // by its own link: only the decision counts
		{pod4, other4, "on the link"},
		{pod4, n.IPv4, "on the link"},
		{pod4, addr("10.241.4.8"), "drop"},
		{pod4, addr("168.63.129.16"), testnet.Gateway4.String()},
		{pod6, pod6, "on the link"},
		{pod6, n.IPv6, "on the link"},
		{pod6, testnet.Outside6, "drop"},
	}
	for _, row := range rows {
		if got := n.decision(row.src, row.dst); got != row.want {
			t.Errorf("%s to %s: %s, want %s", row.src, row.dst, got, row.want)
		}
	}
	t.Logf("%d decisions", len(rows))
}

// Two networks do not touch each other's, and a pod that goes takes its own rules.
func TestNetworksApart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := n.tables()
	a := configured(t, "192.0.2.0/24 drop")
	b := Config{Network: "other", Sources: []netip.Prefix{prefix("10.241.9.0/24")}, Routes: list(t, "198.51.100.0/24 drop")}
	n.apply(a)
	alone := n.tables()
	n.apply(b)
	if r := n.apply(a); r.Changed != 0 {
		t.Errorf("the first again: %+v", r)
	}
	decisions := []struct {
		src  netip.Addr
		dst  string
		want string
	}{
		{pod4, "192.0.2.1", "drop"}, {pod4, "198.51.100.1", testnet.Gateway4.String()},
		{other4, "192.0.2.1", testnet.Gateway4.String()}, {other4, "198.51.100.1", "drop"},
	}
	for _, d := range decisions {
		if got := n.decision(d.src, addr(d.dst)); got != d.want {
			t.Errorf("%s to %s: %s, want %s", d.src, d.dst, got, d.want)
		}
	}
	single := a
	single.Pods = []netip.Addr{addr("10.241.77.7"), addr("fd00:10:241::7777"), pod4, pod6}
	if r := n.apply(single); r.Changed != 2 { // IPv6 has no routes that need rules
		t.Errorf("a pod outside the pools: %+v", r)
	}
	n.do(func(k *Kernel) error {
		if err := k.Forget(addr("10.241.77.7"), addr("fd00:10:241::7777")); err != nil {
			return err
		}
		return k.Remove("other")
	})
	if now := n.tables(); now != alone {
		t.Errorf("of the first alone:\n%s\nwant\n%s", now, alone)
	}
	n.apply(b)
	n.do(func(k *Kernel) error { return k.Remove("") })
	if now := n.tables(); now != before {
		t.Errorf("left:\n%s\nwant\n%s", now, before)
	}
	t.Logf("%d decisions", len(decisions))
}

// What no packet could be sent through is told and dropped, not tried.
func TestUnusableAppliances(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.sh("ip route add 10.5.0.0/16 via inet6 fe80::1 dev vnet0; ip route add 10.6.0.0/16 nexthop via inet6 fe80::1 dev vnet0 nexthop via inet6 fe80::2 dev vnet0; ip -6 route add fd00:99::/64 dev lo")
	rows := []struct{ route, dst, want string }{
		{"192.0.2.0/24 via 10.5.0.4", "192.0.2.1", "10.5.0.4: the appliance is behind a router of the other address family"},
		{"192.0.2.0/24 via 10.6.0.4", "192.0.2.1", "10.6.0.4: the appliance is behind a router of the other address family"},
		{"2001:db8::/32 via fd00:99::4", "2001:db8::1", "fd00:99::4: the appliance is no host that this node has a route to"},
	}
	for _, row := range rows {
		src := pod4
		if addr(row.dst).Is6() {
			src = pod6
		}
		r := n.apply(configured(t, row.route))
		if len(r.Faults) != 1 || !strings.Contains(r.Faults[0], row.want) || n.decision(src, addr(row.dst)) != "drop" {
			t.Errorf("%s: %q, %s", row.route, r.Faults, n.decision(src, addr(row.dst)))
		}
	}
	n.sh(fmt.Sprintf("ip route add 10.77.0.0/16 via inet6 fe80::1 dev vnet0 table %d", Table("pods")))
	if n.apply(configured(t, rows[0].route)); strings.Contains(n.tables(), "10.77.0.0/16") {
		t.Errorf("somebody's route in the table:\n%s", n.tables())
	}
	t.Logf("%d appliances", len(rows))
}

// Mixed tells of two networks what the kernel does with them: a pod of one takes routes
// of the other.
func TestMixed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	a := Config{Network: "a", Sources: []netip.Prefix{prefix("10.241.4.0/24")}, Routes: list(t, "192.0.2.0/24 drop")}
	rows := []struct {
		what  string
		b     Config
		mixed bool
	}{
		{"a part of the range", Config{Sources: []netip.Prefix{prefix("10.241.4.0/25")}, Routes: list(t, "198.51.100.0/24 drop")}, true},
		{"without routes", Config{Sources: []netip.Prefix{prefix("10.241.0.0/16")}}, true},
		{"a single pod", Config{Pods: []netip.Addr{pod4}, Routes: list(t, "198.51.100.0/24 drop")}, true},
		{"the same routes", Config{Sources: a.Sources, Routes: a.Routes}, false},
		{"another range", Config{Sources: []netip.Prefix{prefix("10.241.5.0/24")}, Routes: list(t, "198.51.100.0/24 drop")}, false},
		{"routes of the other family", Config{Sources: []netip.Prefix{prefix("fd00:10:241::/64")}, Routes: list(t, "198.51.100.0/24 drop")}, false},
	}
	for _, row := range rows {
		row.b.Network = "b"
		n.apply(a)
		n.apply(row.b)
		lost := func(dst string) bool { return n.decision(pod4, addr(dst)) == "drop" }
		if both := row.mixed && len(row.b.Routes) > 0; !lost("192.0.2.1") || lost("198.51.100.1") != both {
			t.Errorf("%s: the kernel: %t, %t", row.what, lost("192.0.2.1"), lost("198.51.100.1"))
		}
		for _, pair := range [][2]Config{{a, row.b}, {row.b, a}} {
			why := pair[0].Mixed(pair[1])
			if (why != "") != row.mixed || row.mixed && !strings.Contains(why, "network "+pair[1].Network) {
				t.Errorf("%s: %q", row.what, why)
			}
		}
		n.do(func(k *Kernel) error { return k.Remove("") })
	}
	t.Logf("%d pairs of networks", len(rows))
}
