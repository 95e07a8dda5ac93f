package routes

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

// state is what the kernel holds of a network, or is to hold.
type state struct {
	rules  []fib.Rule
	routes []fib.Route
}

// desired is the state that a configuration wants.
type desired struct {
	state
	faults []string
}

// hop is how an appliance is reached.
type hop struct {
	via   netip.Addr // the appliance, or the router on the way there
	link  int
	fault string // why it cannot be a next hop; "": it can
}

// loopback is the index of lo in every network namespace (LOOPBACK_IFINDEX of
// net/flow.h).
const loopback = 1

// hopTo is how the node reaches an appliance, by the entry of its own tables. One
// behind a router is sent to that router: Linux knows no next hop beyond the link.
func hopTo(appliance netip.Addr, entry fib.Route, found, pods bool) hop {
	switch {
	case pods:
		return hop{fault: "is an address of this node's pods"}
	case !found:
		return hop{fault: "has no route on this node"}
	case entry.Kind == unix.RTN_LOCAL:
		return hop{fault: "is this node's own address"}
	case entry.Kind != unix.RTN_UNICAST || entry.Link == 0 || entry.Link == loopback:
		return hop{fault: "is no host that this node has a route to"}
	case entry.Via.IsValid() && entry.Via.Is4() != appliance.Is4():
		return hop{fault: "is behind a router of the other address family"}
	case entry.Via.IsValid():
		return hop{via: entry.Via, link: entry.Link}
	}
	return hop{via: appliance, link: entry.Link}
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// platform are the addresses that pods reach whatever routes a user has: Azure's page
// "What is IP address 168.63.129.16" has that address not be subject to user-defined
// routes, and the metadata service's is never routed.
func platform() []Route {
	return []Route{
		{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32)},
		{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 32)},
	}
}

// Platform tells whether the address is one that no route of a user concerns.
func Platform(a netip.Addr) bool {
	return slices.ContainsFunc(platform(), func(r Route) bool { return r.Prefix.Contains(a) })
}

// lastMetric is that of the routes which drop what an appliance's route no longer takes.
const lastMetric = 1 << 16

// needed tells whether there is a route that changes where packets of pods go; a node
// need not have a family that they have not.
func (c Config) needed() bool { return c.neededFor(true) || c.neededFor(false) }

func (c Config) neededFor(ipv4 bool) bool {
	return (slices.ContainsFunc(c.Sources, func(p netip.Prefix) bool { return p.Addr().Is4() == ipv4 }) ||
		slices.ContainsFunc(c.Pods, func(a netip.Addr) bool { return a.Is4() == ipv4 })) &&
		slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Way != Leave && r.Prefix.Addr().Is4() == ipv4 })
}

// render computes the wanted state. hops has every appliance; nodes are the routes to
// the pods of other nodes, which no route of a user concerns.
func render(c Config, hops map[netip.Addr]hop, nodes []fib.Route) desired {
	want := desired{}
	ways := c.ways(nodes)
	for _, ipv4 := range []bool{true, false} {
		if !c.neededFor(ipv4) {
			continue
		}
		for _, w := range ways {
			if w.Prefix.Addr().Is4() == ipv4 {
				want.route(Table(c.Network), w, hops)
			}
		}
		for _, p := range c.Sources {
			if p.Addr().Is4() == ipv4 {
				want.rules = append(want.rules, rulesFrom(p, Table(c.Network), directPriority)...)
			}
		}
		for _, a := range c.Pods {
			if a.Is4() == ipv4 && !within(a, c.Sources) {
				want.rules = append(want.rules, rulesFrom(netip.PrefixFrom(a, a.BitLen()), Table(c.Network), podDirectPriority)...)
			}
		}
	}
	return want
}

// ways are the routes in order, one for each prefix: what no route of a user concerns
// goes before the user's.
func (c Config) ways(nodes []fib.Route) []way {
	var list []way
	for _, r := range platform() {
		list = append(list, way{r, fib.ToAppliances})
	}
	for _, n := range nodes {
		list = append(list, way{Route{Prefix: n.Dst}, fib.ToNodes})
	}
	for _, r := range c.Routes {
		list = append(list, way{r, fib.ToAppliances})
	}
	slices.SortStableFunc(list, func(a, b way) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return slices.CompactFunc(list, func(a, b way) bool { return a.Prefix == b.Prefix })
}

// way is a route with the protocol that its entries have.
type way struct {
	Route
	protocol uint8
}

// hopsIn are the appliances of a table that are on the node's links.
func hopsIn(table []fib.Route) map[netip.Addr]hop {
	hops := map[netip.Addr]hop{}
	for _, e := range table {
		if e.Kind == unix.RTN_UNICAST {
			hops[e.Via] = hop{via: e.Via, link: e.Link}
		}
	}
	return hops
}

// nodesIn are the entries of a table for the pods of other nodes.
func nodesIn(table []fib.Route) []fib.Route {
	return slices.DeleteFunc(slices.Clone(table), func(e fib.Route) bool { return e.Protocol != fib.ToNodes })
}

// route adds the entries for a prefix.
func (d *desired) route(table uint32, r way, hops map[netip.Addr]hop) {
	e := fib.Route{Table: table, Dst: r.Prefix, Protocol: r.protocol, Kind: unix.RTN_THROW}
	if r.Prefix.Addr().Is6() {
		e.Metric = fib.Metric6
	}
	h := hops[r.Via]
	switch {
	case r.Way == Leave:
	case r.Way == Drop || h.fault != "":
		e.Kind = unix.RTN_BLACKHOLE
	default:
		last := e
		last.Kind, last.Metric = unix.RTN_BLACKHOLE, lastMetric
		d.routes = append(d.routes, last)
		e.Kind, e.Via, e.Link, e.OnLink = unix.RTN_UNICAST, h.via, h.link, true
	}
	if r.Way == Forward && h.fault != "" {
		d.faults = append(d.faults, fmt.Sprintf("route %s: the appliance %s, so that all of %s is dropped", r, h.fault, r.Prefix))
	}
	d.routes = append(d.routes, e)
}

// rulesFrom are the two rules for packets from a prefix, in their order.
func rulesFrom(p netip.Prefix, table, priority uint32) []fib.Rule {
	return []fib.Rule{
		{From: p, Table: unix.RT_TABLE_MAIN, Priority: priority, Longer: p.Addr().BitLen() - 1, Protocol: fib.ToAppliances},
		{From: p, Table: table, Priority: priority + 1, Longer: -1, Protocol: fib.ToAppliances},
	}
}

// ofPod tells the rules of single pods.
func ofPod(r fib.Rule) bool {
	return r.Protocol == fib.ToAppliances && (r.Priority == podDirectPriority || r.Priority == podTablePriority)
}

// rulesOf picks the network's rules: those that lead to its table, and of those to the
// main table the wanted ones and those whose packets no other network's table gets.
func rulesOf(network string, all, wanted []fib.Rule) []fib.Rule {
	elsewhere := map[netip.Prefix]bool{}
	for _, r := range all {
		if r.Protocol == fib.ToAppliances && r.Table != unix.RT_TABLE_MAIN && r.Table != Table(network) {
			elsewhere[r.From] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(r fib.Rule) bool {
		toMain := r.Table == unix.RT_TABLE_MAIN && (!elsewhere[r.From] || slices.Contains(wanted, r))
		return r.Protocol != fib.ToAppliances || r.Table != Table(network) && !toMain
	})
}
