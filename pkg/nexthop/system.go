package nexthop

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

// system are Azure's routes in a subnet of the network, which may be nil. user are
// those of the subnet's table: one for all of IPv4 takes some of the system's away.
func system(v *arm.VirtualNetwork, user []Route) []Route {
	var routes []Route
	add := func(t Type, prefixes ...netip.Prefix) {
		for _, p := range prefixes {
			routes = append(routes, Route{Prefix: p.Masked(), Type: t, Source: Default})
		}
	}
	if v != nil {
		add(VnetLocal, v.AddressSpace...)
		for _, p := range v.Peerings {
			if p.Connected() {
				add(VNetPeering, p.RemoteAddressSpace...)
			}
		}
	}
	space := slices.Clone(routes)
	if !overridesDefault(user) {
		for _, p := range reserved() {
			if !slices.ContainsFunc(space, func(r Route) bool { return holds(r.Prefix, p) }) {
				add(None, p)
			}
		}
	}
	add(Internet, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	return routes
}

// reserved are the prefixes of RFC 1918 and RFC 6598. Azure drops what is sent to
// them, unless the network or a peer has them.
func reserved() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16}), 12),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10),
	}
}

// overridesDefault reports whether the user sends all of IPv4 to an appliance or a
// gateway: Azure removes the routes for reserved prefixes then, or nothing in them
// would get there. The page tells it of an appliance. Of Internet and None it tells
// nothing: the routes stay, which drop.
func overridesDefault(user []Route) bool {
	return slices.ContainsFunc(user, func(r Route) bool {
		return r.Prefix == netip.PrefixFrom(netip.IPv4Unspecified(), 0) &&
			(r.Type == VirtualAppliance || r.Type == VirtualNetworkGateway)
	})
}

// holds reports whether all of p is in outer.
func holds(outer, p netip.Prefix) bool {
	return outer.Bits() <= p.Bits() && outer.Contains(p.Addr())
}
