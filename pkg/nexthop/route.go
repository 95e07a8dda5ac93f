package nexthop

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Type is the kind of a next hop, spelt as Azure's effective routes have it.
type Type string

// The types of next hops.
const (
	VnetLocal             Type = "VnetLocal"             // the virtual network delivers it
	VNetPeering           Type = "VNetPeering"           // a peer does; only of system routes
	Internet              Type = "Internet"              // out of the virtual network
	VirtualAppliance      Type = "VirtualAppliance"      // the address that the route names
	VirtualNetworkGateway Type = "VirtualNetworkGateway" // dropped where there is no gateway
	None                  Type = "None"                  // dropped
)

// Source tells who made a route, spelt as Azure's effective routes have it. There
// are no gateways here, and so nothing from BGP.
type Source string

// The sources of routes.
const (
	Default Source = "Default" // Azure's system
	User    Source = "User"    // a route table
)

// Route is one route of a subnet.
type Route struct {
	Prefix  netip.Prefix `json:"prefix"`
	Type    Type         `json:"type"`
	Address netip.Addr   `json:"address,omitzero"` // of a VirtualAppliance, else invalid
	Source  Source       `json:"source"`
	Name    string       `json:"name,omitempty"`    // of a user's route
	Table   string       `json:"table,omitempty"`   // resource id of the route table, or its name where the document has no id; "" of a system route
	Tag     string       `json:"tag,omitempty"`     // service tag, as written, that Prefix is of; "" where the route has the prefix itself
	Invalid bool         `json:"invalid,omitempty"` // another route has the same prefix and goes before it: Azure calls that state Invalid
}

// Routes is what a subnet has, in the order of decision: of those that hold an
// address and are not invalid, the first decides. That is the longest prefix, and
// of routes with one prefix the user's. IPv4 comes first.
type Routes []Route

// NextHop returns the route that a packet to the address takes. There is one for
// every address of routes that Effective made; where there is none, the answer is
// a route of type None without a source.
func (r Routes) NextHop(dst netip.Addr) Route {
	dst = dst.Unmap().WithZone("")
	for _, route := range r {
		if !route.Invalid && route.Prefix.Contains(dst) {
			return route
		}
	}
	return Route{Type: None}
}

// UserPrefixes are what the tag VirtualNetwork grows by because of the subnet's
// route table, ascending and none in another.
func (r Routes) UserPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, route := range r {
		if route.ExtendsNetwork() {
			out = append(out, route.Prefix)
		}
	}
	return nsg.NewAddressSet(out...).Prefixes()
}

// ExtendsNetwork reports whether the tag VirtualNetwork grows by the route's prefix.
//
// Azure's page "Virtual network service tags" has the tag contain "address
// prefixes used on user-defined routes", whatever their next hop, and warns that it
// "might also contain default routes": one for 0.0.0.0/0 makes it every address. A
// service tag is no prefix that the route uses, and adds nothing.
func (r Route) ExtendsNetwork() bool { return r.Source == User && r.Tag == "" }

// inOrder brings routes into the order of decision and marks those that have no
// say. Routes that are equal in everything else keep the order of the table: Azure
// tells none for two tags with one prefix.
func inOrder(routes []Route) Routes {
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(
			cmp.Compare(a.Prefix.Addr().BitLen(), b.Prefix.Addr().BitLen()),
			cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()),
			a.Prefix.Addr().Compare(b.Prefix.Addr()),
			cmp.Compare(a.rank(), b.rank()))
	})
	for i := 1; i < len(routes); i++ {
		routes[i].Invalid = routes[i].Prefix == routes[i-1].Prefix
	}
	return routes
}
