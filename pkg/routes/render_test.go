package routes

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// list reads routes as a state file has them.
func list(t testing.TB, texts ...string) []Route {
	t.Helper()
	var out []Route
	for _, text := range texts {
		var r Route
		if err := r.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// configured is a dual-stack network with these routes.
func configured(t testing.TB, texts ...string) Config {
	t.Helper()
	return Config{Network: "pods", Sources: []netip.Prefix{prefix("10.241.4.0/24"), prefix("fd00:10:241::400/120")}, Routes: list(t, texts...)}
}

func (s state) lines() string {
	var out []string
	for _, r := range s.rules {
		out = append(out, r.String())
	}
	for _, r := range s.routes {
		out = append(out, words(r))
	}
	return tableless(out)
}

// tableless joins lines and calls the table of the network T.
func tableless(lines []string) string {
	return strings.ReplaceAll(strings.Join(lines, "\n"), fmt.Sprint(Table("pods")), "T")
}

func TestRender(t *testing.T) {
	t.Parallel()
	const table = " table T"
	rules4 := []string{
		"rule from 10.241.4.0/24 lookup main priority 7678 suppress_prefixlength 31",
		"rule from 10.241.4.0/24 lookup T priority 7679",
	}
	rules6 := []string{
		"rule from fd00:10:241::400/120 lookup main priority 7678 suppress_prefixlength 127",
		"rule from fd00:10:241::400/120 lookup T priority 7679",
	}
	platform := []string{"route throw 168.63.129.16/32", "route throw 169.254.169.254/32"}
	hops := map[netip.Addr]hop{
		addr("10.241.0.9"): {via: addr("10.241.0.9"), link: 2}, addr("10.9.0.4"): {via: addr("10.241.255.254"), link: 2},
		addr("fd00:10:241::9"): {via: addr("fd00:10:241::9"), link: 2}, addr("10.241.0.1"): {fault: "is this node's own address"},
	}
	rows := []struct {
		what   string
		routes []string
		nodes  []string
		rules  []string
		want   []string
		faults int
	}{
		{"nothing", nil, nil, nil, nil, 0},
		{"only what is left to the network", []string{"10.241.0.0/16 leave", "0.0.0.0/0 leave"}, nil, nil, nil, 0},
		{"drop", []string{"192.0.2.0/24 drop"}, nil, rules4, []string{platform[0], platform[1], "route blackhole 192.0.2.0/24"}, 0},
		{"IPv6 only", []string{"2001:db8::/32 drop", "10.241.0.0/16 leave"}, nil, rules6, []string{"route blackhole 2001:db8::/32"}, 0},
		{"an appliance for all but the virtual network", []string{"0.0.0.0/0 via 10.241.0.9", "10.241.0.0/16 leave"}, nil, rules4,
			[]string{"route blackhole 0.0.0.0/0 metric 65536", "route 0.0.0.0/0 via 10.241.0.9", "route throw 10.241.0.0/16", platform[0], platform[1]}, 0},
		{"an appliance behind a router", []string{"198.51.100.0/24 via 10.9.0.4"}, nil, rules4,
			[]string{platform[0], platform[1], "route blackhole 198.51.100.0/24 metric 65536", "route 198.51.100.0/24 via 10.241.255.254"}, 0},
		{"an appliance that is none", []string{"198.51.100.0/24 via 10.241.0.1"}, nil, rules4,
			[]string{platform[0], platform[1], "route blackhole 198.51.100.0/24"}, 1},
		{"both families", []string{"0.0.0.0/0 drop", "::/0 via fd00:10:241::9"}, nil, append(slices.Clone(rules4), rules6...),
			[]string{"route blackhole 0.0.0.0/0", platform[0], platform[1], "route blackhole ::/0 metric 65536", "route ::/0 via fd00:10:241::9"}, 0},
		{"the platform", []string{"168.63.129.16/32 drop", "169.254.0.0/16 drop"}, nil, rules4,
			[]string{platform[0], "route blackhole 169.254.0.0/16", platform[1]}, 0},
		{"pods of other nodes", []string{"10.244.2.0/24 drop", "10.244.0.0/16 drop"}, []string{"10.244.2.0/24", "fd00:10:244:2::/64"}, rules4,
			[]string{"route blackhole 10.244.0.0/16", "route throw 10.244.2.0/24", platform[0], platform[1]}, 0},
	}
	for _, row := range rows {
		var nodes []fib.Route
		for _, n := range row.nodes {
			nodes = append(nodes, fib.Route{Dst: prefix(n)})
		}
		got := render(configured(t, row.routes...), hops, nodes)
		var want []string
		want = append(want, row.rules...)
		for _, r := range row.want {
			r, metric, last := strings.Cut(r, " metric")
			if r += table; last {
				r += " metric" + metric
			}
			want = append(want, r)
		}
		if lines := got.lines(); lines != strings.Join(want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", row.what, lines, strings.Join(want, "\n"))
		}
		if len(got.faults) != row.faults {
			t.Errorf("%s: faults %q", row.what, got.faults)
		}
	}
	t.Logf("%d configurations", len(rows))
}

func TestHopTo(t *testing.T) {
	t.Parallel()
	rows := []struct {
		appliance string
		entry     fib.Route
		found     bool
		pod       bool
		want      hop
	}{
		{"10.241.0.9", fib.Route{Kind: unix.RTN_UNICAST, Link: 2}, true, false, hop{via: addr("10.241.0.9"), link: 2}},
		{"10.9.0.4", fib.Route{Kind: unix.RTN_UNICAST, Link: 2, Via: addr("10.241.0.1")}, true, false, hop{via: addr("10.241.0.1"), link: 2}},
		{"10.9.0.4", fib.Route{Kind: unix.RTN_UNICAST, Link: 2, Via: addr("fe80::1")}, true, false, hop{fault: "is behind a router of the other address family"}},
		{"10.241.4.7", fib.Route{Kind: unix.RTN_UNICAST, Link: 5}, true, true, hop{fault: "is an address of this node's pods"}},
		{"10.241.0.1", fib.Route{Kind: unix.RTN_LOCAL, Link: 1}, true, false, hop{fault: "is this node's own address"}},
		{"10.241.255.255", fib.Route{Kind: unix.RTN_BROADCAST, Link: 2}, true, false, hop{fault: "is no host that this node has a route to"}},
		{"192.0.2.1", fib.Route{}, false, false, hop{fault: "has no route on this node"}},
	}
	for _, row := range rows {
		if got := hopTo(addr(row.appliance), row.entry, row.found, row.pod); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.appliance, got, row.want)
		}
	}
	t.Logf("%d appliances", len(rows))
}

// A network finds its own rules among those of others, also where both want one.
func TestRulesOf(t *testing.T) {
	t.Parallel()
	p, q := prefix("10.241.4.0/24"), prefix("10.241.5.0/24")
	mine, others := rulesFrom(p, Table("pods"), directPriority), rulesFrom(q, Table("other"), directPriority)
	shared := rulesFrom(p, Table("other"), directPriority)
	orphan := rulesFrom(prefix("10.241.6.0/24"), 0, podDirectPriority)[:1]
	foreign := []fib.Rule{{From: p, Table: Table("pods"), Priority: 5, Longer: -1}, {Table: unix.RT_TABLE_MAIN, Priority: 32766, Longer: -1, Protocol: unix.RTPROT_KERNEL}}
	rows := []struct {
		what        string
		all, wanted []fib.Rule
		want        []fib.Rule
	}{
		{"its own", mine, mine, mine},
		{"beside others'", slices.Concat(others, foreign, mine), nil, mine},
		{"those that nobody has", slices.Concat(orphan, others), nil, orphan},
		{"the one that both want", slices.Concat(mine, shared), mine, slices.Concat(mine, shared[:1])},
		{"the one that only the other wants", shared, nil, nil},
	}
	for _, row := range rows {
		if got := rulesOf("pods", row.all, row.wanted); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.what, got, row.want)
		}
	}
	t.Logf("%d lists", len(rows))
}

// What another program needs to know of a difference is what `ip` would show.
func TestDifferences(t *testing.T) {
	t.Parallel()
	hops := map[netip.Addr]hop{addr("10.241.0.9"): {via: addr("10.241.0.9"), link: 2}}
	want := render(configured(t, "0.0.0.0/0 via 10.241.0.9", "192.0.2.0/24 drop"), hops, nil)
	if got := want.differences(want.state); len(got) != 0 {
		t.Errorf("of the same: %q", got)
	}
	have := state{rules: slices.Clone(want.rules), routes: slices.Clone(want.routes)}
	have.rules = append(have.rules, rulesFrom(prefix("10.241.9.9/32"), Table("pods"), podDirectPriority)...) // of a pod that the caller does not know
	if got := want.differences(have); len(got) != 0 {
		t.Errorf("with another pod: %q", got)
	}
	have.rules[1].From = prefix("10.241.5.0/24")
	have.routes[len(have.routes)-1].Kind = unix.RTN_THROW
	got := tableless(want.differences(have))
	const expected = `rule from 10.241.4.0/24 lookup T priority 7679 is missing
rule from 10.241.5.0/24 lookup T priority 7679 should not be there
route blackhole 192.0.2.0/24 table T is missing
route throw 192.0.2.0/24 table T should not be there`
	if got != expected {
		t.Errorf("%s\nwant\n%s", got, expected)
	}
	if n := len((desired{}).differences(have)); n != len(have.rules)+len(have.routes) {
		t.Errorf("%d differences from nothing", n)
	}
	t.Log("4 states")
}

func TestRouteText(t *testing.T) {
	t.Parallel()
	good := []string{"10.0.0.0/8 via 10.241.0.4", "::/0 via fd00::4", "192.0.2.0/24 drop", "10.241.0.0/16 leave"}
	encoded, err := json.Marshal(list(t, good...))
	var back []Route
	if err == nil {
		err = json.Unmarshal(encoded, &back)
	}
	if err != nil || !slices.Equal(back, list(t, good...)) {
		t.Errorf("%s: %v, %v", encoded, back, err)
	}
	bad := []string{"", "drop", "10.0.0.0/8", "10.0.0.0/8 via", "10.0.0.0/8 via x", "10.0.0.0/8 Drop", "10.0.0.0 drop"}
	for _, text := range bad {
		r := Route{Way: Drop}
		if err := r.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), text) || r.Way != Drop {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	t.Logf("%d texts", len(good)+len(bad))
}

// Tables are above 2³⁰ and below 2³¹, apart from those of every other program, and
// two networks that share one are told.
func TestTable(t *testing.T) {
	t.Parallel()
	names := map[uint32]string{}
	var clash [2]string
	n := 0
	for ; clash[0] == ""; n++ {
		name := "network-" + string(rune('a'+n%26)) + strings.Repeat("x", n/26%50) + string(rune('a'+n/1300%26)) + string(rune('a'+n/33800%26))
		table := Table(name)
		if table>>24 != 'v' {
			t.Fatalf("%s: table %d", name, table)
		}
		if other, taken := names[table]; taken && other != name {
			clash = [2]string{other, name}
		}
		names[table] = name
		if n > 1<<17 {
			t.Fatalf("%d names, and none has the table of another: the test would prove nothing", n)
		}
	}
	err := Clash(clash[0], "other", clash[0], clash[1])
	if err == nil || !strings.Contains(err.Error(), clash[0]) || !strings.Contains(err.Error(), clash[1]) {
		t.Errorf("%v: %v", clash, err)
	}
	if err := Clash("pods", "other", "pods"); err != nil {
		t.Error(err)
	}
	t.Logf("%d names", n)
}
