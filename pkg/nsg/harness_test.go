package nsg

import (
	"net/netip"
	"strconv"
	"testing"
)

// anyEnd is a side that matches everything.
func anyEnd() EndpointDefinition { return EndpointDefinition{Prefix: "*", Port: "*"} }

// plainRule is a valid inbound rule that allows everything.
func plainRule(name string, priority int) RuleDefinition {
	return RuleDefinition{Name: name, Protocol: "*", Access: "Allow", Direction: "Inbound",
		Priority: strconv.Itoa(priority), Source: anyEnd(), Destination: anyEnd()}
}

// changed is a plain rule of priority 100 that f has changed.
func changed(f func(*RuleDefinition)) RuleDefinition {
	r := plainRule("r1", 100)
	f(&r)
	return r
}

func groupOf(rules ...RuleDefinition) Definition {
	return Definition{Name: "web-nsg", File: "nsg.json", Rules: rules}
}

func mustNew(t testing.TB, rules ...RuleDefinition) *Group {
	t.Helper()
	g, findings := New(groupOf(rules...))
	if g == nil {
		t.Fatalf("New: %+v", findings)
	}
	return g
}

// vnetTags is a network of 10.0.0.0/8 and fd00::/8 with one downloaded tag.
func vnetTags() Tags {
	return Tags{VirtualNetwork: set("10.0.0.0/8", "fd00::/8"),
		Services: map[string]AddressSet{"storage.westeurope": set("20.38.0.0/16", "2603:1020::/32")}}
}

func mustPolicy(t testing.TB, rules ...RuleDefinition) *Policy {
	t.Helper()
	p, findings := NewPolicy(mustNew(t, rules...), vnetTags())
	if p == nil {
		t.Fatalf("NewPolicy: %+v", findings)
	}
	return p
}

func set(prefixes ...string) AddressSet {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return NewAddressSet(list...)
}

// flow makes a flow from "10.0.0.4" or "10.0.0.4:80" texts.
func flow(d Direction, p Protocol, local, remote string) Flow {
	f := Flow{Direction: d, Protocol: p}
	f.Local, f.LocalPort = hostPort(local)
	f.Remote, f.RemotePort = hostPort(remote)
	return f
}

func hostPort(s string) (netip.Addr, uint16) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr(), ap.Port()
	}
	return netip.MustParseAddr(s), 0
}
