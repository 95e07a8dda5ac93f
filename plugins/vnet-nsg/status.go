package main

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// status tells whether the node can serve ADD: CNI spec section "STATUS". Only what
// the node itself lacks is an error. How the main plugin will connect pods, it cannot
// know.
func status(cmd *skel.CmdArgs) error {
	return verb.Status(netconf.VNetNSG, cmd, func(node *attachment.Node, c *verb.Call) error {
		return errors.Join(
			storeOf(c.Conf).Check(),
			c.DocumentsUsable(judged(c.Conf), groupsOf(c.Conf)),
			c.DefaultsUsable(),
			node.Firewall.Usable(families(c.Conf)),
		)
	})
}

// families is a network of those that pods of the virtual network have.
func families(c *netconf.Conf) firewall.Network {
	ipv6 := slices.ContainsFunc(c.NSG.VirtualNetwork, func(p netip.Prefix) bool { return p.Addr().Is6() })
	return firewall.Network{StateDir: c.StateDir, Foreign: true, IPv4: true, IPv6: ipv6}
}
