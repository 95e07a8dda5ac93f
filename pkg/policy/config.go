package policy

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Config is what a network's configuration says about security groups, and what
// else decides the meaning of their tags.
type Config struct {
	Documents      []string       `json:"documents"`
	Subnet         string         `json:"subnet,omitempty"` // name or id of the subnet's group; "": none
	VirtualNetwork []netip.Prefix `json:"virtualNetwork,omitempty"`
	SameNodeFree   bool           `json:"sameNodeFree,omitempty"`

	// RouteTable is the name or resource id of the route table of the pods' subnet, and
	// "" where it has none. Nil: the one that the virtual network's document gives to
	// the subnet which holds the Pools.
	RouteTable *string `json:"routeTable,omitempty"`

	Pools  []netip.Prefix `json:"pools,omitempty"`  // subnets of the pods
	Uplink []netip.Prefix `json:"uplink,omitempty"` // prefixes that the node is connected to

	Own []nsg.AddressRange `json:"own,omitempty"` // what this node leases of the subnets
	// Sources are the prefixes that this node's pods are in, and nobody else that sends.
	Sources []netip.Prefix `json:"sources,omitempty"`
}

func (c Config) equal(d Config) bool {
	return slices.Equal(c.Documents, d.Documents) && c.Subnet == d.Subnet && c.SameNodeFree == d.SameNodeFree &&
		c.sameTable(d) && slices.Equal(c.VirtualNetwork, d.VirtualNetwork) && slices.Equal(c.Pools, d.Pools) &&
		slices.Equal(c.Uplink, d.Uplink) && slices.Equal(c.Own, d.Own) && slices.Equal(c.Sources, d.Sources)
}

func (c Config) sameTable(d Config) bool {
	if c.RouteTable == nil || d.RouteTable == nil {
		return c.RouteTable == d.RouteTable
	}
	return *c.RouteTable == *d.RouteTable
}

// Space is what the tag VirtualNetwork stands for with these documents: the configured
// space, else that of the documents and the pods, else what the node sees; not the
// configured one grows by the user's routes. Of a route table that is broken, which
// Routes tells, it takes what can be read.
func (c Config) Space(d *arm.Documents) []netip.Prefix {
	routes, _, err := c.Routes(d)
	if err != nil {
		routes = nil
	}
	return c.space(d, routes)
}

// space is Space with the routes of the pods' subnet.
func (c Config) space(d *arm.Documents, routes nexthop.Routes) []netip.Prefix {
	if len(c.VirtualNetwork) > 0 {
		return c.VirtualNetwork
	}
	space := c.documented(d)
	if len(space) == 0 {
		space = c.Uplink
	}
	return nsg.NewAddressSet(slices.Concat(space, c.Pools, routes.UserPrefixes())...).Prefixes()
}

// documented returns the address space of the virtual network that the pods are
// in, and of its peers.
func (c Config) documented(d *arm.Documents) []netip.Prefix {
	var space []netip.Prefix
	for _, v := range c.networks(d) {
		space = append(space, spaceOf(v)...)
	}
	return space
}

// spaceOf is the address space of a virtual network and of its peers.
func spaceOf(v *arm.VirtualNetwork) []netip.Prefix {
	space := slices.Clone(v.AddressSpace)
	for _, p := range v.Peerings {
		if !p.AccessDenied && p.Connected() {
			space = append(space, p.RemoteAddressSpace...)
		}
	}
	return space
}

// Several returns the names of the virtual networks that the pods are in, if these have
// not the same addresses: what the tag VirtualNetwork stands for depends on which it is.
// Nil where it does not, or the configuration tells it.
func (c Config) Several(d *arm.Documents) []string {
	var names []string
	var first nsg.AddressSet
	differ := false
	for i, v := range c.networks(d) {
		space := nsg.NewAddressSet(spaceOf(v)...)
		if i == 0 {
			first = space
		}
		differ = differ || !space.Equal(first)
		names = append(names, v.Name)
	}
	if !differ || len(c.VirtualNetwork) > 0 {
		return nil
	}
	return names
}

// networks are those that the pods are in: that of the subnet which holds them, else
// whose address space they are in. A single document is it in any case: the pods of an
// overlay are in no subnet. Of several with the same addresses nobody can tell which.
func (c Config) networks(d *arm.Documents) (list []*arm.VirtualNetwork) {
	for _, p := range c.Pools {
		for _, h := range nexthop.HomesOf(d, p) {
			if !slices.Contains(list, h.Network) {
				list = append(list, h.Network)
			}
		}
	}
	if len(list) > 0 {
		return list
	}
	for i := range d.VirtualNetworks {
		if v := &d.VirtualNetworks[i]; len(d.VirtualNetworks) == 1 || c.inside(v.AddressSpace) {
			list = append(list, v)
		}
	}
	return list
}

func (c Config) inside(space []netip.Prefix) bool {
	return slices.ContainsFunc(space, func(s netip.Prefix) bool {
		return slices.ContainsFunc(c.Pools, s.Overlaps)
	})
}
