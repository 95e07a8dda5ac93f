package routes

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// whole is a configuration with every kind of route.
func whole(t testing.TB) Config {
	return configured(t, "0.0.0.0/0 via 10.241.0.9", "10.241.0.0/16 leave", "192.0.2.0/24 drop", "198.51.100.0/24 via 10.9.0.4",
		"::/0 via fd00:10:241::9", "fd00:10:241::/64 leave", "2001:db8:1::/48 drop")
}

// Apply writes the difference only, Problems names all of it, and Remove leaves the
// tables as they were.
func TestApplyRepairsAndRemoves(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := n.tables()
	c, table := whole(t), fmt.Sprint(Table("pods"))
	c.Routes = slices.DeleteFunc(c.Routes, func(r Route) bool { return r.Via == addr("10.9.0.4") }) // is behind a router, and so never held
	if r := n.apply(c); r.Changed != 4+6+4 || len(r.Faults) != 0 {
		t.Errorf("%+v", r)
	}
	if r := n.apply(c); r.Changed != 0 {
		t.Errorf("again: %+v", r)
	}
	good := n.tables()
	damages := []struct{ what, command, problem string }{
		{"a rule", "ip rule del from 10.241.4.0/24 lookup main", "rule from 10.241.4.0/24 lookup main priority 7678 suppress_prefixlength 31 is missing"},
		{"the other rule", "ip rule del from 10.241.4.0/24 lookup " + table, "rule from 10.241.4.0/24 lookup " + table + " priority 7679 is missing"},
		{"a rule of IPv6", "ip -6 rule del from fd00:10:241::400/120 lookup " + table, "rule from fd00:10:241::400/120 lookup " + table + " priority 7679 is missing"},
		{"another rule", "ip rule add from 10.241.5.0/24 lookup " + table + " pref 7679 proto 87", "rule from 10.241.5.0/24 lookup " + table + " priority 7679 should not be there"},
		{"a dropping route", "ip route del 192.0.2.0/24 table " + table, "route blackhole 192.0.2.0/24 table " + table + " is missing"},
		{"an appliance's route", "ip route change default via 10.241.0.8 dev eth0 onlink proto 87 table " + table, "route 0.0.0.0/0 via 10.241.0.9 table " + table + " is missing"},
		{"a hole", "ip route add 192.0.2.9 via 10.241.255.254 table " + table, "route 192.0.2.9/32 via 10.241.255.254 table " + table + " should not be there"},
		{"a hole in IPv6", "ip -6 route add throw 2001:db8:1::9 table " + table, "route throw 2001:db8:1::9/128 table " + table + " should not be there"},
		{"all routes", "ip route flush table " + table, "route throw 10.241.0.0/16 table " + table + " is missing"},
		{"all IPv6 routes", "ip -6 route flush table " + table, "route throw fd00:10:241::/64 table " + table + " is missing"},
		{"the uplink was down", "ip link set eth0 down; ip link set eth0 up; ip addr add fd00:10:241::1/64 dev eth0 nodad 2>/dev/null || true; ip route add default via 10.241.255.254; ip -6 route replace default via fd00:10:241::ffff",
			"route 0.0.0.0/0 via 10.241.0.9 table " + table + " is missing"},
	}
	for _, d := range damages {
		n.sh(d.command)
		if problems, _ := n.problems(c); !slices.Contains(problems, d.problem) {
			t.Errorf("%s: %q, want %q", d.what, problems, d.problem)
		}
		if n.holds(c) {
			t.Errorf("%s: it is said to be whole", d.what)
		}
		if r := n.apply(c); r.Changed == 0 || len(r.Faults) > 0 {
			t.Errorf("%s: %+v", d.what, r)
		}
		if problems, _ := n.problems(c); len(problems) > 0 || !n.holds(c) {
			t.Errorf("%s: after the repair %q, held %t", d.what, problems, n.holds(c))
		}
	}
	if now := n.tables(); now != good {
		t.Errorf("after the repairs:\n%s\nwant\n%s", now, good)
	}
	if n.holds(Config{Network: "pods"}) {
		t.Error("rules are there, and none are said to be")
	}
	n.do(func(k *Kernel) error { return k.Remove("pods") })
	if now := n.tables(); now != before || !n.holds(Config{Network: "pods"}) {
		t.Errorf("left:\n%s\nwant\n%s", now, before)
	}
	t.Logf("%d damages", len(damages))
}

// Without the uplink, what is for the appliance goes nowhere instead of elsewhere.
func TestApplianceGone(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := configured(t, "203.0.113.0/24 via 10.241.0.9")
	n.apply(c)
	if got := n.decision(pod4, testnet.Outside4); got != "10.241.0.9" {
		t.Fatal(got)
	}
	n.sh("ip link set eth0 down; ip route add default via 10.241.9.9 dev vnet0 onlink")
	if got := n.decision(pod4, testnet.Outside4); got != "drop" {
		t.Errorf("without the uplink: %s", got)
	}
	if r := n.apply(c); len(r.Faults) != 0 { // it is behind the router of the default route now
		t.Errorf("%+v", r)
	}
	n.sh("ip route del default")
	if r := n.apply(c); len(r.Faults) != 1 || n.decision(pod4, testnet.Outside4) != "drop" {
		t.Errorf("without any route: %+v, %s", r, n.decision(pod4, testnet.Outside4))
	}
	t.Log("3 states")
}

// What is half done by a process that was killed is found and finished, or removed,
// after each of its steps.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := n.tables()
	first, second := whole(t), configured(t, "0.0.0.0/0 drop", "192.0.2.0/24 via 10.241.0.9", "10.241.0.0/16 leave")
	n.apply(second)
	good := n.tables()
	n.do(func(k *Kernel) error { return k.Remove("pods") })
	steps := 0
	for _, way := range []struct{ from, to Config }{{Config{Network: "pods"}, first}, {first, second}, {second, first}, {first, Config{Network: "pods"}}} {
		for stop := 0; ; stop++ {
			n.apply(way.from)
			whole := n.half(way.to, stop)
			steps++
			if present := n.present(); !present && stop > 0 && stop < whole {
				t.Errorf("after %d steps nothing is found", stop)
			}
			n.apply(second)
			if now := n.tables(); now != good {
				t.Fatalf("after %d steps:\n%s\nwant\n%s", stop, now, good)
			}
			if stop == whole {
				break
			}
		}
	}
	n.do(func(k *Kernel) error { return k.Remove("pods") })
	if now := n.tables(); now != before {
		t.Errorf("left:\n%s\nwant\n%s", now, before)
	}
	t.Logf("%d interruptions", steps)
}

func (n node) present() (found bool) {
	n.do(func(k *Kernel) (err error) {
		found, err = k.Present("pods")
		return err
	})
	return found
}

// half makes the first requests of a plan, and returns how many there are.
func (n node) half(c Config, stop int) (whole int) {
	n.do(func(k *Kernel) error {
		want, err := k.wanted(c)
		if err != nil {
			return err
		}
		have, err := k.observe(c.Network, want, true)
		if err != nil {
			return err
		}
		all := slices.Concat(plan(want, have)...)
		whole = len(all)
		return k.conn.Do(all[:min(stop, whole)]...)
	})
	return whole
}

func BenchmarkHolds(b *testing.B) {
	for _, count := range []int{0, 5, 400} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			n := newNode(b)
			c := configured(b)
			for i := range count {
				c.Routes = append(c.Routes, list(b, fmt.Sprintf("20.%d.%d.0/24 via 10.241.0.9", i/256, i%256))...)
			}
			n.apply(c)
			n.do(func(k *Kernel) error {
				for b.Loop() {
					if held, err := k.Holds(c); err != nil || !held {
						b.Fatal(held, err)
					}
				}
				return nil
			})
		})
	}
}
