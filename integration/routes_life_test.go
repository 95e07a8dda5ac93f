package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// drops is a table that drops what is for one address of the outside, in both families.
func drops() []udr { return []udr{none("203.0.113.11/32"), none("2001:db8:113::20/128")} }

// expectDrops wants what drops says.
func (w *routed) expectDrops(from pod) {
	w.t.Helper()
	w.sent += expectAll(w.t, w.direct(from, w.fabric.Outside, testnet.Outside4, outside20, testnet.Outside6))
	w.sent += expectSilent(w.t, w.direct(from, w.fabric.Outside, outside11, outside6b))
}

func (w *routed) expectNoDrops(from pod) {
	w.t.Helper()
	w.sent += expectAll(w.t, w.direct(from, w.fabric.Outside, testnet.Outside4, outside11, testnet.Outside6, outside6b))
}

// TestRouteTableFollowsDocuments changes tables without any command: the next ADD puts
// them in force for the pods that run, and a broken one changes nothing.
func TestRouteTableFollowsDocuments(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil, drops()...)
	a := attach(t, w.node)
	w.expectDrops(a)
	w.docs.put("table.json", routeTable("table"))
	b := attach(t, w.node)
	for _, p := range []pod{a, b} {
		w.expectNoDrops(p)
	}
	w.docs.put("table.json", routeTable("table", drops()...))
	attach(t, w.node)
	w.expectDrops(b)
	broken := []struct {
		what  string
		table any
		hint  string
	}{
		{"no prefix", routeTable("table", none("203.0.113.11/24")), "203.0.113.0/24"},
		{"no address", routeTable("table", udr{"203.0.113.0/24", "VirtualAppliance", ""}), "nextHopIpAddress"},
		{"no type", routeTable("table", udr{"203.0.113.0/24", "Nowhere", ""}), "nextHopType"},
		{"two routes for one", routeTable("table", none("203.0.113.0/24"), none("203.0.113.0/24")), "203.0.113.0/24"},
		{"an unknown tag", routeTable("table", none("Storage.WestEurope")), "RouteUnknownServiceTag"},
		{"no JSON", "{", "table.json"},
	}
	for _, row := range broken {
		w.docs.put("table.json", row.table)
		p := attach(t, w.node)
		w.expectDrops(p)
		status, err := w.vnetctl("status")
		if err == nil || !strings.Contains(status, "the last good ones are in force") || !strings.Contains(status, row.hint) {
			t.Errorf("%s: vnetctl status: %v\n%s", row.what, err, status)
		}
		if out, err := w.vnetctl("apply"); err == nil || !strings.Contains(out, "rejected") {
			t.Errorf("%s: vnetctl apply: %v\n%s", row.what, err, out)
		}
	}
	w.expectDrops(a)
	w.change()
	w.expectNoDrops(a)
	w.docs.put("vnet.json", vnetWith("other")) // which no document has: as good as none
	w.docs.put("table.json", routeTable("table", drops()...))
	w.expectNoDrops(attach(t, w.node))
	t.Logf("%d broken tables, %d flows", len(broken), w.sent)
}

// TestRouteTableUnderTraffic flips a table while packets go: what both versions treat
// alike is never lost.
func TestRouteTableUnderTraffic(t *testing.T) {
	t.Parallel()
	var w *routed
	table := func(extra ...udr) []udr {
		return append([]udr{through("203.0.113.0/24", w.appliance.IPv4.String()), through("2001:db8:113::/64", w.appliance.IPv6.String())}, extra...)
	}
	w = newRouted(t, nil)
	w.change0(table())
	w.attach()
	done := make(chan int, 1)
	stop := make(chan struct{})
	end := sync.OnceValue(func() int { close(stop); return <-done })
	t.Cleanup(func() { end() })
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			// TCP repeats what is lost, but not the echo that is sent at the same time.
			n += expectAll(t, w.via(w.a, w.fabric.Outside, testnet.Outside4, testnet.Outside6))
		}
	}()
	const flips = 12
	for i := range flips {
		if i%2 == 0 {
			w.change(table(drops()...)...)
		} else {
			w.change(table()...)
		}
	}
	t.Logf("%d tables under %d flows", flips, end())
}

// change0 is the first table: there is nothing in force that apply could replace.
func (w *routed) change0(routes []udr) {
	w.t.Helper()
	w.docs.put("table.json", routeTable("table", routes...))
}

// TestRouteTableOfPodsOutsideThePools has rules of its own for a pod that the pools of
// today do not have, and for one of a foreign IPAM plugin; they go with the pod.
func TestRouteTableOfPodsOutsideThePools(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil, drops()...)
	a := attach(t, w.node)
	w.conf.pools(pool4(9), pool6(9))
	w.conf.write(w.node)
	b := attach(t, w.node)
	for _, p := range []pod{a, b} {
		w.expectDrops(p)
		if err := w.node.Check(p.Pod); err != nil {
			t.Errorf("CHECK: %v", err)
		}
	}
	w.apply()
	w.expectDrops(a)
	w.sent += expectAll(t, append(everyProto(a, b, 0), everyProto(b, a, 0)...))
	if rules := w.rulesFor(a.v4) + w.rulesFor(a.v6); rules != 4 {
		t.Errorf("%d rules for %v", rules, a.addrs())
	}
	if err := w.node.Del(a.Pod); err != nil {
		t.Fatal(err)
	}
	if rules := w.rulesFor(a.v4) + w.rulesFor(a.v6); rules != 0 {
		t.Errorf("%d rules for %v after DEL", rules, a.addrs())
	}
	foreign := config{network: "foreign", plugin: map[string]any{"type": "vnet", "mode": "overlay", "stateDir": w.node.StateDir(),
		"ipam": map[string]any{"type": "host-local", "ranges": []any{[]any{map[string]any{"subnet": "10.241.77.0/24"}}}}}}
	judged(w.docs.conf(""))(foreign)
	foreign.plugin["nsg"].(map[string]any)["routeTable"] = "table"
	foreign.write(w.node)
	at := testnet.Attach{Network: "foreign"}
	c := attach(t, w.node, at)
	w.shell(w.fabric.NS, "ip route add 10.241.77.0/24 via %s", w.node.IPv4)
	w.sent += expectAll(t, w.direct(c, w.fabric.Outside, testnet.Outside4))
	w.sent += expectSilent(t, w.direct(c, w.fabric.Outside, outside11))
	if err := w.node.Del(c.Pod, at); err != nil {
		t.Fatal(err)
	}
	if rules := w.rulesFor(c.v4); rules != 0 {
		t.Errorf("%d rules for %v after DEL", rules, c.v4)
	}
	t.Logf("%d flows", w.sent)
}

// rulesFor counts the rules for a single address.
func (w *routed) rulesFor(a netip.Addr) (n int) {
	for _, line := range testnet.Snapshot(w.node)["rule"] {
		if strings.Contains(line, fmt.Sprintf(" from %s/%d ", a, a.BitLen())) {
			n++
		}
	}
	return n
}

// TestRouteTableRemoved wants nothing left by vnetctl gc, nor of routes where the
// configuration has no security groups any more.
func TestRouteTableRemoved(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil, drops()...)
	warmUp(t, w.node)
	w.gc()
	before := testnet.Snapshot(w.node)
	a := attach(t, w.node)
	if rules := w.protocol87(); rules == 0 {
		t.Fatal("no rule: the test would prove nothing")
	}
	if err := w.node.Del(a.Pod); err != nil {
		t.Fatal(err)
	}
	w.gc()
	expectNothingLeft(t, before, w.node)
	if n := w.protocol87(); n != 0 {
		t.Errorf("%d rules and routes left", n)
	}
	a = attach(t, w.node)
	w.expectDrops(a)
	delete(w.conf.plugin, "nsg")
	w.conf.write(w.node)
	b := attach(t, w.node)
	w.expectNoDrops(a)
	w.expectNoDrops(b)
	if n := w.protocol87(); n != 0 {
		t.Errorf("%d rules and routes left without security groups", n)
	}
	t.Logf("%d flows", w.sent)
}

// gc wants rules to remove.
func (w *routed) gc() {
	w.t.Helper()
	if out, err := w.vnetctl("gc"); err != nil || !strings.Contains(out, "the packet filter rules of network pods") {
		w.t.Errorf("vnetctl gc: %v\n%s", err, out)
	}
}

// protocol87 counts the rules and routes that pods' routes consist of.
func (w *routed) protocol87() (n int) {
	s := testnet.Snapshot(w.node)
	for _, line := range append(s["rule"], s["route"]...) {
		if strings.Contains(line, "proto 87") {
			n++
		}
	}
	return n
}

// TestRouteTableDamaged damages rules and routes in one way each: CHECK and vnetctl name
// it and change nothing, and the next ADD, or vnetctl apply, repairs it.
func TestRouteTableDamaged(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil)
	w.change0(append(drops(), through("203.0.113.20/32", w.appliance.IPv4.String())))
	p := newPatient(t, w.node, w.conf)
	expectHealthy(t, p, "whole")
	good := only(testnet.Snapshot(w.node), "route", "rule")
	table := strings.TrimSpace(w.mustShell("ip rule | sed -n 's/^7679:.*lookup \\([0-9]*\\).*/\\1/p'"))
	damages := []struct{ name, command, hint string }{
		{"rule gone", "ip rule del pref 7679", "lookup " + table + " priority 7679 is missing"},
		{"rule to the pods gone", "ip rule del pref 7678", "lookup main priority 7678 suppress_prefixlength 31 is missing"},
		{"IPv6 rule gone", "ip -6 rule del pref 7679", "rule from fd00:10:241::400/120"},
		{"route gone", "ip route del 203.0.113.11 table " + table, "route blackhole 203.0.113.11/32 table " + table + " is missing"},
		{"routes gone", "ip route flush table " + table, "203.0.113.20/32 via " + w.appliance.IPv4.String()},
		{"route replaced", "ip route replace 203.0.113.11 via 10.241.255.254 table " + table, "route blackhole 203.0.113.11/32"},
		{"hole in a prefix", "ip -6 route add throw 2001:db8:113::20/127 table " + table, "should not be there"},
	}
	noticed := 0
	for i, d := range damages {
		w.mustShell(d.command)
		if expectNoticed(t, p, d.name) {
			noticed++
		}
		for _, command := range []string{"pods", "status"} {
			if out, _ := w.vnetctl(command); !strings.Contains(out, d.hint) {
				t.Errorf("%s: vnetctl %s lacks %q:\n%s", d.name, command, d.hint, out)
			}
		}
		if i%2 == 0 {
			if out := w.apply(); !strings.Contains(out, "repaired") {
				t.Errorf("%s: vnetctl apply:\n%s", d.name, out)
			}
		} else {
			warmUp(t, w.node)
		}
		for _, line := range testnet.Diff(good, only(testnet.Snapshot(w.node), "route", "rule")) {
			t.Errorf("%s: after the repair: %s", d.name, line)
		}
		expectHealthy(t, p, d.name)
	}
	t.Logf("%d of %d damages noticed", noticed, len(damages))
}

func (w *routed) mustShell(command string) string {
	w.t.Helper()
	out, err := w.node.Shell("sh", "-ec", command)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestRouteTableTold shows an appliance that cannot be one, and what is in force.
func TestRouteTableTold(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil)
	w.change0([]udr{through("203.0.113.11/32", w.node.IPv4.String()), through("203.0.113.20/32", w.appliance.IPv4.String()), none("2001:db8:113::20/128")})
	a := attach(t, w.node) // it is no reason to refuse a pod
	if err := w.node.Check(a.Pod); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	out, err := w.vnetctl("-o", "json", "status")
	var report struct {
		Networks []struct {
			RouteTable       string
			Routes, Problems []string
		}
	}
	if jsonErr := json.Unmarshal([]byte(out[:strings.LastIndexByte(out, '}')+1]), &report); jsonErr != nil || err == nil || len(report.Networks) != 1 {
		t.Fatalf("vnetctl status: %v, %v\n%s", err, jsonErr, out)
	}
	n := report.Networks[0]
	if n.RouteTable != resources+"routeTables/table" {
		t.Errorf("route table %q", n.RouteTable)
	}
	problem := "route 203.0.113.11/32 via " + w.node.IPv4.String() + ": the appliance is this node's own address, so that all of 203.0.113.11/32 is dropped"
	if len(n.Problems) != 1 || n.Problems[0] != problem {
		t.Errorf("problems %q, want %q", n.Problems, problem)
	}
	for _, want := range []string{"10.241.0.0/16 leave", "203.0.113.20/32 via " + w.appliance.IPv4.String(), "2001:db8:113::20/128 drop"} {
		if !strings.Contains(strings.Join(n.Routes, "\n"), want) {
			t.Errorf("routes %q lack %q", n.Routes, want)
		}
	}
	t.Logf("%d routes, %d problems", len(n.Routes), len(n.Problems))
}
