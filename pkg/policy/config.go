package policy

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Config is what a network's configuration says about security groups, and what
// else decides the meaning of their tags.
type Config struct {
	Documents      []string       `json:"documents"`
	Subnet         string         `json:"subnet,omitempty"` // name or id of the subnet's group; "": none
	VirtualNetwork []netip.Prefix `json:"virtualNetwork,omitempty"`
	SameNodeFree   bool           `json:"sameNodeFree,omitempty"`

	Pools  []netip.Prefix `json:"pools,omitempty"`  // subnets of the pods
	Uplink []netip.Prefix `json:"uplink,omitempty"` // prefixes that the node is connected to

	Own []nsg.AddressRange `json:"own,omitempty"` // what this node leases of the subnets
}

func (c Config) equal(d Config) bool {
	return slices.Equal(c.Documents, d.Documents) && c.Subnet == d.Subnet && c.SameNodeFree == d.SameNodeFree &&
		slices.Equal(c.VirtualNetwork, d.VirtualNetwork) && slices.Equal(c.Pools, d.Pools) &&
		slices.Equal(c.Uplink, d.Uplink) && slices.Equal(c.Own, d.Own)
}

// Space is what the tag VirtualNetwork stands for with these documents: the configured
// space, else that of the documents and the pods, else what the node sees.
func (c Config) Space(d *arm.Documents) []netip.Prefix {
	if len(c.VirtualNetwork) > 0 {
		return c.VirtualNetwork
	}
	space := c.documented(d)
	if len(space) == 0 {
		space = c.Uplink
	}
	return nsg.NewAddressSet(slices.Concat(space, c.Pools)...).Prefixes()
}

// documented returns the address space of the virtual network that the pods are
// in, and of its peers. A single document is it in any case: the pods of an
// overlay are in no subnet.
func (c Config) documented(d *arm.Documents) []netip.Prefix {
	var space []netip.Prefix
	for _, v := range d.VirtualNetworks {
		if len(d.VirtualNetworks) > 1 && !c.inside(v.AddressSpace) {
			continue
		}
		space = append(space, v.AddressSpace...)
		for _, p := range v.Peerings {
			if !p.AccessDenied && (p.State == "" || p.State == "Connected") {
				space = append(space, p.RemoteAddressSpace...)
			}
		}
	}
	return space
}

func (c Config) inside(space []netip.Prefix) bool {
	return slices.ContainsFunc(space, func(s netip.Prefix) bool {
		return slices.ContainsFunc(c.Pools, s.Overlaps)
	})
}
