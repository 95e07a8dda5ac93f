package overlay

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew")

// text is a state as people read it.
func (s state) text() string {
	var b strings.Builder
	if s.device != nil {
		fmt.Fprintln(&b, *s.device)
	}
	lines(&b, s.addrs)
	lines(&b, s.fdb)
	lines(&b, s.neighs)
	lines(&b, s.rules)
	lines(&b, s.routes)
	return b.String()
}

func lines[T thing](b *strings.Builder, list []T) {
	for _, t := range list {
		fmt.Fprintln(b, t)
	}
}

// cluster is a configuration with the ways that the kernel would tell.
type cluster struct {
	Config
	up    uplink
	reach map[netip.Addr]way
}

func (c cluster) render(t testing.TB) desired {
	t.Helper()
	n, err := c.normalised()
	must(t, err)
	return render(n, c.up, c.reach)
}

var eth0 = uplink{name: "eth0", index: 2, mtu: 1500, ethernet: true}

func node(name string, list []netip.Addr, cidrs ...string) Node {
	return Node{Name: name, Addrs: list, PodCIDRs: prefixes(cidrs...)}
}

// TestGolden shows the wanted state of clusters, what is skipped and why, and the
// changes that lead from the first one's state to it.
func TestGolden(t *testing.T) {
	t.Parallel()
	self := node("self", addrs("10.0.0.1", "fd00::1"), "10.244.1.0/24", "fd00:1::/64")
	near := node("near", addrs("10.0.0.2", "fd00::2"), "10.244.2.0/24", "fd00:2::/64")
	beyond := node("beyond", addrs("10.9.0.3", "fd00:9::3"), "10.244.3.0/24", "fd00:3::/64")
	reach := map[netip.Addr]way{near.Addrs[0]: onLink, near.Addrs[1]: onLink}
	only := func(n Node, i int) Node { n.Addrs = n.Addrs[i : i+1]; return n }
	with := func(e Encapsulation, self Node, others ...Node) cluster {
		return cluster{Config{Self: self, Others: others, Encapsulation: e}, eth0, reach}
	}
	wireguard := with(Auto, self, near)
	wireguard.up = uplink{name: "wg0", index: 3, mtu: 1420}
	wireguardNever := wireguard
	wireguardNever.Encapsulation = Never
	mine := with(Auto, self, node("e", addrs("10.0.0.6"), "10.244.6.0/24"))
	mine.reach = map[netip.Addr]way{netip.MustParseAddr("10.0.0.6"): local}
	rows := []struct {
		what string
		cluster
	}{
		{"one near, one beyond a router", with(Auto, self, near, beyond)},
		{"all near", with("", self, near)},
		{"never", with(Never, self, near, beyond)},
		{"always", with(Always, self, near, beyond)},
		{"always, and nobody there", with(Always, self)},
		{"nobody there", with(Auto, self)},
		{"nodes with IPv4 only", with(Auto, only(self, 0), only(near, 0), only(beyond, 0))},
		{"nodes with IPv6 only", with(Auto, only(self, 1), only(near, 1), only(beyond, 1))},
		{"nodes of different families", with(Auto, only(self, 0), only(beyond, 1))},
		{"the same, never", with(Never, only(self, 0), only(beyond, 1))},
		{"no pod CIDR of our own", with(Auto, node("self", self.Addrs), near, beyond)},
		{"an uplink without a link layer", wireguard},
		{"the same, never", wireguardNever},
		{"nodes that cannot be reached", with(Auto, self,
			node("a", nil, "10.244.4.0/24"), node("b", addrs("10.0.0.5")), node("c", addrs("10.0.0.1"), "10.244.4.0/24"),
			node("d", addrs("10.0.0.6"), "10.244.1.0/24", "fd00:1::/80", "10.0.0.0/16", "0.0.0.0/0", "169.254.0.0/24", "224.0.0.0/24", "10.244.0.0/16"),
			node("e", addrs("10.9.0.7"), "10.244.7.0/24"), node("f", addrs("10.9.0.8"), "10.244.7.0/24"))},
		{"pod CIDRs that begin at one address", with(Auto, self,
			node("a", addrs("10.9.0.7"), "10.244.8.0/23"), node("b", addrs("10.9.0.8"), "10.244.8.0/24", "10.244.9.0/24"))},
		{"an address that the node has unknowingly", mine},
		{"a pod CIDR of our own that cannot be", with(Auto, node("self", self.Addrs, "10.0.0.0/24"), beyond)},
		{"odd pod CIDRs", with(Always, node("self", self.Addrs, "10.244.1.1/32", "fd00:1::/128"),
			node("a", addrs("10.9.0.3", "fd00:9::3"), "10.244.4.9/24", "10.244.5.0/24", "fd00:4::/128"))},
	}
	first := rows[0].render(t)
	var got strings.Builder
	for _, row := range rows {
		want := row.render(t)
		fmt.Fprintf(&got, "== %s\n%smtu %d\n", row.what, want.text(), want.mtu)
		for _, s := range want.skipped {
			fmt.Fprintln(&got, "skipped:", s)
		}
		fmt.Fprintln(&got, "-- from the first")
		for _, c := range plan(want, observed{state: first.state}).changes {
			fmt.Fprintln(&got, c)
		}
	}
	const golden = "testdata/golden.txt"
	if *update {
		must(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got.String() != string(want) {
		t.Errorf("%s differs:\n%s", golden, difference(string(want), got.String()))
	}
	t.Logf("%d clusters", len(rows))
}

// drawCluster makes small clusters with few addresses, so that everything that
// can collide does.
func drawCluster(t *rapid.T) cluster {
	v4 := rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 9).Draw(t, "host"))})
	})
	v6 := rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(rapid.IntRange(1, 9).Draw(t, "host"))})
	})
	cidr := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(rapid.IntRange(0, 9).Draw(t, "net"))}), rapid.SampledFrom([]int{23, 24, 24, 24, 24, 32}).Draw(t, "bits"))
		}),
		rapid.Custom(func(t *rapid.T) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 2: 1, 7: byte(rapid.IntRange(0, 9).Draw(t, "net"))}), rapid.SampledFrom([]int{63, 64, 64, 64, 128}).Draw(t, "bits"))
		}),
		rapid.SampledFrom(prefixes("10.0.0.0/24", "0.0.0.0/0", "::/0", "fd00::/16", "10.0.0.4/32")),
	)
	nodes := rapid.Custom(func(t *rapid.T) Node {
		n := Node{Name: "n" + string(rapid.RuneFrom([]rune("abcdefgh")).Draw(t, "name")), PodCIDRs: rapid.SliceOfN(cidr, 0, 3).Draw(t, "cidrs")}
		if rapid.Bool().Draw(t, "IPv4") {
			n.Addrs = append(n.Addrs, v4.Draw(t, "IPv4"))
		}
		if rapid.Bool().Draw(t, "IPv6") {
			n.Addrs = append(n.Addrs, v6.Draw(t, "IPv6"))
		}
		return n
	})
	c := cluster{reach: map[netip.Addr]way{}, up: uplink{
		name: "eth0", index: 2, mtu: rapid.SampledFrom([]int{1300, 1500, 9000}).Draw(t, "mtu"), ethernet: rapid.IntRange(0, 5).Draw(t, "tunnel") > 0,
	}}
	c.Self = nodes.Filter(func(n Node) bool { return len(n.Addrs) > 0 }).Draw(t, "self")
	c.Others = rapid.SliceOfNDistinct(nodes, 0, 6, func(n Node) string { return n.Name }).Draw(t, "others")
	c.Encapsulation = rapid.SampledFrom([]Encapsulation{"", Auto, Auto, Never, Always}).Draw(t, "encapsulation")
	for _, n := range c.Others {
		for _, a := range n.Addrs {
			c.reach[a] = rapid.SampledFrom([]way{far, onLink, onLink, local}).Draw(t, "way")
		}
	}
	return c
}

// The wanted state of any cluster is whole and leads nobody astray.
func TestWantedState(t *testing.T) {
	t.Parallel()
	count, routed, skipped := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(t)
		n, err := c.normalised()
		if err != nil {
			t.Fatal(err)
		}
		want := render(n, c.up, c.reach)
		count, routed, skipped = count+1, routed+len(want.routes), skipped+len(want.skipped)
		checkRoutes(t, n, want)
		for _, o := range n.Others { // nobody is forgotten
			for _, p := range o.PodCIDRs {
				led := slices.ContainsFunc(want.routes, func(r route) bool { return r.dst == p && want.owner[r] == o.Name })
				told := slices.ContainsFunc(want.skipped, func(s string) bool {
					return strings.HasPrefix(s, "node "+o.Name+": ") && (strings.Contains(s, p.String()) || strings.Contains(s, "address"))
				})
				if !led && !told {
					t.Fatalf("%s of %s is neither routed nor skipped:\n%s%q", p, o.Name, want.text(), want.skipped)
				}
			}
		}
		others := slices.Clone(c.Others)
		slices.Reverse(others)
		c.Others = others
		n, _ = c.normalised()
		if again := render(n, c.up, c.reach); again.text() != want.text() {
			t.Fatalf("another order of nodes:\n%s", difference(want.text(), again.text()))
		}
	})
	t.Logf("%d clusters, %d routes, %d reasons", count, routed, skipped)
}

func checkRoutes(t *rapid.T, c Config, want desired) {
	places := map[place]bool{}
	for _, r := range want.routes {
		if places[r.place()] {
			t.Fatalf("two routes like %s", r)
		}
		places[r.place()] = true
		if r.table == RouteTable {
			continue
		}
		for _, p := range c.Self.PodCIDRs {
			if p.Overlaps(r.dst) {
				t.Fatalf("%s leads to our own pods, %s", r, p)
			}
		}
		for _, n := range append([]Node{c.Self}, c.Others...) {
			for _, a := range n.Addrs {
				if r.dst.Contains(a) {
					t.Fatalf("%s leads to the node at %s", r, a)
				}
			}
		}
		if (r.dev == DeviceName) != r.onlink || r.dev == DeviceName && want.device == nil {
			t.Fatalf("%s with device %v", r, want.device)
		}
		if r.dev != DeviceName {
			continue
		}
		i := slices.IndexFunc(want.neighs, func(n neighbour) bool { return n.addr == r.via })
		if i < 0 || !want.forwards(want.neighs[i].mac) {
			t.Fatalf("%s has no neighbour or no forwarding entry", r)
		}
	}
	hops := map[netip.Addr]mac{}
	for _, n := range want.neighs { // the kernel holds one entry an address
		if other, taken := hops[n.addr]; taken {
			t.Fatalf("%s, and %s", n, other)
		}
		hops[n.addr] = n.mac
	}
	if (want.device != nil) != (c.Encapsulation == Always || len(want.fdb) > 0) {
		t.Fatalf("device %v, encapsulation %s, %d far ends", want.device, c.Encapsulation, len(want.fdb))
	}
	for _, f := range want.fdb {
		if f.mac[0]&3 != 2 || f.mac == want.device.mac || f.to.Is4() != want.device.local.Is4() {
			t.Fatalf("%s, %s", f, want.device)
		}
	}
}

// Whatever the kernel holds, the changes lead to the wanted state, and from there
// to no other.
func TestPlanLeadsThere(t *testing.T) {
	t.Parallel()
	count, changes := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		render := func(c cluster) desired {
			n, err := c.normalised()
			if err != nil {
				t.Fatal(err)
			}
			return render(n, c.up, c.reach)
		}
		want := render(drawCluster(t))
		have := observed{state: render(drawCluster(t)).state}
		damage(t, &have)
		p := plan(want, have)
		count, changes = count+1, changes+len(p.changes)
		for _, c := range p.changes {
			simulate(t, &have.state, c)
		}
		if got := sorted(have.text()); got != sorted(want.text()) {
			t.Fatalf("%s\nafter %v", difference(sorted(want.text()), got), p.changes)
		}
		if again := plan(want, have); len(again.changes) != 0 {
			t.Fatalf("once more: %v", again.changes)
		}
	})
	t.Logf("%d clusters, %d changes", count, changes)
}

// damage changes what is there, as somebody could.
func damage(t *rapid.T, o *observed) {
	odd := rapid.SampledFrom([]bool{false, false, true})
	for i := range o.fdb {
		o.fdb[i].odd = odd.Draw(t, "fdb")
	}
	for i := range o.neighs {
		if odd.Draw(t, "neighbour") {
			o.neighs[i].mac[5]++
		}
	}
	for i := range o.routes {
		o.routes[i].odd = odd.Draw(t, "route")
		if odd.Draw(t, "metric") {
			o.routes[i].metric = 7
		}
	}
	if o.device != nil && odd.Draw(t, "device") {
		o.device.up, o.device.mtu = false, 1200
	}
}

// simulate does with a state what the kernel would do with itself.
func simulate(t *rapid.T, s *state, c change) {
	switch v := c.what.(type) {
	case device:
		switch c.verb {
		case add:
			if s.device != nil {
				t.Fatalf("%s: there is one", c)
			}
			s.device = &v
		case replace:
			s.device = &v
		case remove:
			*s = state{rules: s.rules, routes: s.without().routes}
		}
	case address:
		s.addrs = put(t, s.addrs, v, c, func(address) bool { return false })
	case forward: // one entry for a unicast address; removing goes by both
		if c.verb == remove {
			s.fdb = slices.DeleteFunc(s.fdb, func(o forward) bool { return o.mac == v.mac && o.to == v.to })
			return
		}
		s.fdb = put(t, s.fdb, v, c, func(o forward) bool { return o.mac == v.mac })
	case neighbour:
		s.neighs = put(t, s.neighs, v, c, func(o neighbour) bool { return o.addr == v.addr })
	case rule:
		s.rules = put(t, s.rules, v, c, func(rule) bool { return false })
	case route:
		same := func(o route) bool { return o.place() == v.place() && o.metric == v.metric }
		if c.verb == add && slices.ContainsFunc(s.routes, same) {
			t.Fatalf("%s: file exists", c)
		}
		if c.verb != remove && v.dev == DeviceName && s.device == nil {
			t.Fatalf("%s: no such device", c)
		}
		s.routes = put(t, s.routes, v, c, same)
	}
}

// put adds or removes v; what same tells is replaced.
func put[T comparable](t *rapid.T, list []T, v T, c change, same func(T) bool) []T {
	if c.verb != remove {
		return append(slices.DeleteFunc(list, same), v)
	}
	i := slices.Index(list, v)
	if i < 0 {
		t.Fatalf("%s: it is not there", c)
	}
	return slices.Delete(list, i, i+1)
}

func sorted(text string) string {
	list := strings.Split(text, "\n")
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// A node's hardware address is its own, local and unicast.
func TestTunnelMAC(t *testing.T) {
	t.Parallel()
	seen := map[mac]netip.Addr{}
	a, b := netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("fd00::")
	const count = 1 << 16
	for range count {
		for _, x := range []netip.Addr{a, b} {
			m := tunnelMAC(x)
			if other, taken := seen[m]; taken || m[0]&3 != 2 {
				t.Fatalf("%s: %s, as %s", x, m, other)
			}
			seen[m] = x
		}
		a, b = a.Next(), b.Next()
	}
	t.Logf("%d addresses", len(seen))
}
