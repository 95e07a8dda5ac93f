package link

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// wholePod is a pod with everything, and its node with the uplink up0.
func wholePod(t *testing.T) (namespace, *Host, testPod) {
	t.Helper()
	node := inNode(t)
	uplinks(t, "up0")
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7", "fd00:241::7")
	p.routes = []Route{{Dst: prefixes("10.9.0.0/16")[0]}, {Dst: prefixes("fd99::/48")[0]}}
	p.attach(t, h)
	up, _, err := h.Link("up0")
	must(t, err)
	must(t, h.AddProxy(up.Index, p.addrs))
	return node, h, p
}

// A healthy pair has none, and looking at it changes nothing.
func TestProblemsOfAHealthyPair(t *testing.T) {
	node, h, p := wholePod(t)
	p.settle(t)
	before := node.state(t) + p.ns.state(t)
	const looks = 10
	for range looks {
		problems, err := Problems(h, p.sandbox, p.expectation("up0"))
		if err != nil || len(problems) > 0 {
			t.Fatalf("Problems: %q, %v", problems, err)
		}
	}
	if changes := changed(before, node.state(t)+p.ns.state(t)); len(changes) > 0 {
		t.Errorf("looking changed something:\n%s", strings.Join(changes, "\n"))
	}
	t.Logf("%d looks, %d lines of state", looks, strings.Count(before, "\n"))
}

// Every single damage is told, and only that one, and is still there afterwards.
func TestProblemsOfADamagedPair(t *testing.T) {
	type damage struct {
		inPod         bool
		command, want string
	}
	rows := []damage{
		{false, "ip route del 10.241.4.7", "route to 10.241.4.7"},
		{false, "ip -6 route del fd00:241::7", "route to fd00:241::7"},
		{false, "ip neigh del 10.241.4.7 dev HOST", "neighbour 10.241.4.7"},
		{false, "ip neigh replace fd00:241::7 dev HOST lladdr 02:00:00:00:00:09 nud permanent", "neighbour fd00:241::7 on HOST of the node has MAC 02:00:00:00:00:09"},
		{false, "ip neigh del proxy 10.241.4.7 dev up0", "proxy neighbour 10.241.4.7"},
		{false, "ip neigh del proxy fd00:241::7 dev up0", "proxy neighbour fd00:241::7"},
		{false, "sysctl -qw net.ipv4.ip_forward=0", "the node does not forward IPv4"},
		{false, "sysctl -qw net.ipv6.conf.all.forwarding=0", "the node does not forward IPv6"},
		{false, "ip link set HOST address 02:00:00:00:00:08", "MAC 02:00:00:00:00:08 instead of aa:aa"},
		{true, "ip link set eth0 address 02:00:00:00:00:08", "MAC 02:00:00:00:00:08 instead of"},
		{true, "ip addr del 10.241.4.7/32 dev eth0", "address 10.241.4.7/32"},
		{true, "ip -6 addr del fd00:241::7/128 dev eth0", "address fd00:241::7/128"},
		{true, "ip route del default", "route default via 169.254.1.1"},
		{true, "ip -6 route del default", "route default via fe80::1234:5678:9abc"},
		{true, "ip route del 10.9.0.0/16", "route 10.9.0.0/16 via"},
		{true, "ip -6 route del fd99::/48", "route fd99::/48 via"},
		{true, "ip neigh del 169.254.1.1 dev eth0", "neighbour 169.254.1.1"},
		{true, "ip neigh replace fe80::1234:5678:9abc dev eth0 lladdr 02:00:00:00:00:09 nud permanent", "neighbour fe80::1234:5678:9abc"},
		{true, "ip link set eth0 down", "link eth0 on the pod is down"},
		{false, "ip link set HOST down", "link HOST on the node is down"},
		{false, "ip link del HOST", "link HOST is gone from the node"},
		{false, "ip link del up0", "the uplink up0 is gone"},
	}
	for _, row := range rows {
		t.Run(row.want, func(t *testing.T) {
			_, h, p := wholePod(t)
			fill := func(s string) string { return strings.ReplaceAll(s, "HOST", p.veth.HostName) }
			if row.inPod {
				p.ns.sh(t, fill(row.command))
			} else {
				testhost.Sh(t, fill(row.command))
			}
			problems, err := Problems(h, p.sandbox, p.expectation("up0"))
			must(t, err)
			if !slices.ContainsFunc(problems, func(s string) bool { return strings.Contains(s, fill(row.want)) }) {
				t.Errorf("%q is not told: %q", fill(row.want), problems)
			}
			single := !strings.Contains(row.command, "link ") && !strings.Contains(row.command, "addr del")
			if single && len(problems) != 1 {
				t.Errorf("one damage, but %q", problems)
			}
			again, err := Problems(h, p.sandbox, p.expectation("up0"))
			must(t, err)
			if fmt.Sprint(again) != fmt.Sprint(problems) {
				t.Errorf("the second look tells %q, the first %q", again, problems)
			}
		})
	}
	t.Logf("%d kinds of damage", len(rows))
}

// A write of the sysctl for all interfaces, whatever it was, switches IPv6 on behind a
// pod that has no address of it, where nothing filters what it sends.
func TestProblemsOfIPv6SwitchedOn(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7")
	p.attach(t, h)
	want := "IPv6 is switched on for link " + p.veth.HostName
	for _, row := range []struct {
		do   func()
		told bool
	}{
		{func() {}, false},
		{func() { testhost.Sh(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=0") }, true},
		{func() { must(t, h.ConfigureHost(p.hostEnd())) }, false},
	} {
		row.do()
		problems, err := Problems(h, p.sandbox, p.expectation(""))
		if got := strings.Contains(strings.Join(problems, "; "), want); err != nil || got != row.told || !got && len(problems) > 0 {
			t.Errorf("Problems: %q, %v; told is %t, want %t", problems, err, got, row.told)
		}
	}
	t.Log("1 switch, and 1 repair")
}

// An interface of the right name that is another pair's is told.
func TestProblemsOfAForeignPeer(t *testing.T) {
	_, h, p := wholePod(t)
	other := newPod(t, "c2")
	must(t, h.CreateVeth(other.veth, other.sandbox))
	e := p.expectation("")
	e.HostName = other.veth.HostName
	problems, err := Problems(h, p.sandbox, e)
	if err != nil || !strings.Contains(strings.Join(problems, "; "), "not the other end of "+other.veth.HostName) {
		t.Errorf("Problems: %q, %v", problems, err)
	}
	t.Log("1 foreign peer")
}
