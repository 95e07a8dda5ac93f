// Package network knows what a network configuration means on this node: its
// uplink, its subnets, what is never masqueraded, and what the packet filter
// holds for it. The plugin's verbs ask it, and so does whoever puts the same
// rules in force before a pod is there.
//
// It changes nothing, and must not know verbs or one pod's attachment.
package network

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// defaultMTU is for a node without any uplink, where nothing else says it.
const defaultMTU = 1500

// Uplink finds where the VNet is. In mode overlay a node that has none, and whose
// configuration names none, gets one without a name, with an MTU of 1500 bytes. In
// mode vnet it has to be able to answer for pods. For an uplink that is missing or
// cannot serve errors.Is(err, link.ErrNoUplink) holds; others are the kernel's.
func Uplink(h *link.Host, c *netconf.Conf) (link.Uplink, error) {
	up, err := h.FindUplink(c.Uplink, Subnets(c))
	flat := c.Mode == netconf.ModeVNet
	switch {
	case err == nil && flat:
		err = up.Answers()
	case errors.Is(err, link.ErrNoUplink) && !flat && c.Uplink == "":
		up, err = link.Uplink{Link: link.Link{MTU: defaultMTU}}, nil
	}
	return up, err
}

// Subnets are those of the configured pools; none with a foreign IPAM plugin.
func Subnets(c *netconf.Conf) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range c.IPAM.Pools {
		list = append(list, p.Subnet)
	}
	return list
}

// Exceptions are the destinations that are never masqueraded to: the configured
// ones, the own pools and, where the pods are in the node's own subnet, what the
// uplink is connected to. A neighbour of the node has no route back to the pods of
// an overlay. Nil without masquerading.
func Exceptions(c *netconf.Conf, up link.Uplink) []netip.Prefix {
	if c.Masquerade == nil {
		return nil
	}
	list := slices.Concat(c.Masquerade.Except, Subnets(c))
	if c.Mode == netconf.ModeVNet {
		list = append(list, connected(up)...)
	}
	return list
}

// connected are the prefixes that the uplink is in.
func connected(up link.Uplink) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range up.Prefixes {
		if !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.Masked())
		}
	}
	return list
}

// Groups is what decides the meaning of the network's documents. The
// configuration has to have security groups.
func Groups(c *netconf.Conf, up link.Uplink) policy.Config {
	return policy.Config{
		Documents: c.NSG.Documents, Subnet: c.NSG.Subnet,
		VirtualNetwork: c.NSG.VirtualNetwork, SameNodeFree: c.NSG.SameNodeFree, RouteTable: c.NSG.RouteTable,
		Pools: Subnets(c), Uplink: connected(up), Own: leasable(c, up), Sources: sources(c, up),
	}
}

// leasable are the addresses that this node can give to a pod.
func leasable(c *netconf.Conf, up link.Uplink) []nsg.AddressRange {
	var own []nsg.AddressRange
	for _, p := range c.IPAM.Pools {
		for _, r := range p.Leasable() {
			own = append(own, nsg.AddressRange{First: r.First, Last: r.Last})
		}
	}
	return nsg.AddressesIn(own...).Minus(nsg.NewAddressSet(never(up)...)).Ranges()
}

// sources are the prefixes of the ranges, which are fewer with what Azure reserves in
// them, for nobody sends from that.
func sources(c *netconf.Conf, up link.Uplink) []netip.Prefix {
	var own []nsg.AddressRange
	for _, p := range c.IPAM.Pools {
		if len(p.Ranges) == 0 {
			own = append(own, nsg.NewAddressSet(p.Subnet).Ranges()...)
		}
		for _, r := range p.Ranges {
			own = append(own, nsg.AddressRange{First: r.First, Last: r.Last})
		}
	}
	return nsg.AddressesIn(own...).Minus(nsg.NewAddressSet(never(up)...)).Prefixes()
}

// never are the addresses that no pod gets whatever the pools.
func never(up link.Uplink) []netip.Prefix {
	var list []netip.Prefix
	for _, a := range append(up.Addrs(), up.Gateways...) {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// Rules is what the packet filter has to hold for a pod with an address from each
// pool. Judging is nil: it is from policy.Open with Groups, and whoever has that
// sets it.
func Rules(c *netconf.Conf, up link.Uplink) firewall.Network {
	r := attachment.Record{Masquerade: c.Masquerade != nil, Except: Exceptions(c, up)}
	n := r.Rules(c.Name, c.StateDir, nil)
	n.IPv4, n.IPv6 = hasFamily(c.IPAM.Pools, false), hasFamily(c.IPAM.Pools, true)
	return n
}

// hasFamily tells whether a pool is of the family. A foreign IPAM plugin's pools
// are unknown: then IPv4 is what every node has to be able to filter.
func hasFamily(pools []ipam.Pool, ipv6 bool) bool {
	for _, p := range pools {
		if p.Subnet.Addr().Is6() == ipv6 {
			return true
		}
	}
	return len(pools) == 0 && !ipv6
}
