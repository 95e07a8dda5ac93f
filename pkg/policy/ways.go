package policy

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// ways are what a node does with its pods' packets by the routes of their subnet; none
// where the user has no route. Of Azure's own routes only those count that keep a
// shorter route of the user from what they are for: from the virtual network and its
// peers, and an appliance from what Azure drops. The others the node has itself, or not:
// Azure's network behind it, if it is there, drops what it drops.
func ways(all nexthop.Routes) []routes.Route {
	var user, out []routes.Route
	for _, r := range all {
		switch {
		case r.Invalid:
		case r.Source == nexthop.User:
			user = append(user, wayOf(r))
		case r.Type != nexthop.Internet:
			out = append(out, wayOf(r))
		}
	}
	if len(user) == 0 {
		return nil
	}
	out = slices.DeleteFunc(out, func(r routes.Route) bool { return r.Way == routes.Drop && !forwarded(r.Prefix, user) })
	return append(out, user...)
}

// forwarded tells whether an appliance would get what is for the prefix.
func forwarded(p netip.Prefix, user []routes.Route) bool {
	return slices.ContainsFunc(user, func(r routes.Route) bool {
		return r.Way == routes.Forward && r.Prefix.Bits() < p.Bits() && r.Prefix.Contains(p.Addr())
	})
}

// wayOf is what the node does by a route. What is the network's, goes out of it or to
// its gateway goes as the node's own tables have it: a node elsewhere than in Azure is
// likely to be where the gateway would lead.
func wayOf(r nexthop.Route) routes.Route {
	switch r.Type {
	case nexthop.VirtualAppliance:
		return routes.Route{Prefix: r.Prefix, Way: routes.Forward, Via: r.Address}
	case nexthop.None:
		return routes.Route{Prefix: r.Prefix, Way: routes.Drop}
	}
	return routes.Route{Prefix: r.Prefix, Way: routes.Leave}
}

// tableName is the id or name of the user's route table; "" where it has no route.
func tableName(all nexthop.Routes) string {
	for _, r := range all {
		if r.Source == nexthop.User {
			return r.Table
		}
	}
	return ""
}

func (i index) routing(network string) routes.Config {
	return routes.Config{Network: network, Sources: i.Config.Sources, Routes: i.Routes}
}

// Routing is what the network's pods take beside the node's own routes.
func (r *Rules) Routing() routes.Config { return r.want.routing(r.network) }

// Routing is that of what is in force in the network; false where nothing is.
func Routing(stateDir, network string) (routes.Config, bool) {
	i, found := readIndex(stateDir, network)
	return i.routing(network), found
}

// Effective are the routes of the pods' subnet, and what is odd about its table; no
// routes where an earlier version put in force what is.
func (v *View) Effective() (nexthop.Routes, []nsg.Finding) {
	return v.contents.Effective, v.contents.RouteWarnings
}

// Way is what the node does with what a pod sends to the address.
func (v *View) Way(dst netip.Addr) routes.Way {
	var longest routes.Route
	for _, r := range v.index.Routes {
		if r.Prefix.Contains(dst) && r.Prefix.Bits() > longest.Prefix.Bits() {
			longest = r
		}
	}
	return longest.Way
}

// Routing is what pods take beside the node's own routes, and the id or name of the
// route table that says so; "" where none does.
func (v *View) Routing() (table string, list []routes.Route) {
	return v.index.RouteTable, v.index.Routes
}
