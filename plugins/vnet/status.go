package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// status tells whether the node can serve ADD: CNI spec section "STATUS". The
// kubelet makes a node NotReady on an error, so that only what the node itself
// lacks is one; a pool without free addresses is not.
func status(cmd *skel.CmdArgs) error {
	return verb.Status(netconf.VNet, cmd, func(node *attachment.Node, on *verb.Call) error {
		c := &call{on}
		return errors.Join(
			delegateUsable(c),
			storeUsable(c),
			uplinkUsable(node, c),
			documentsUsable(node, c),
			c.DefaultsUsable(),
			node.Firewall.Usable(network.Rules(c.Conf, link.Uplink{})),
		)
	})
}

func delegateUsable(c *call) error {
	if !c.Conf.IPAM.Delegated() {
		return nil
	}
	if err := invoke.DelegateStatus(context.Background(), c.Conf.IPAM.Type, c.Stdin, nil); err != nil {
		return fmt.Errorf("STATUS of IPAM plugin %s: %w", c.Conf.IPAM.Type, err)
	}
	return nil
}

func storeUsable(c *call) error { return c.store().Check() }

// uplinkUsable wants an uplink on which ADD can announce an address.
func uplinkUsable(node *attachment.Node, c *call) error {
	up, err := network.Uplink(node.Host, c.Conf)
	if err == nil && c.Conf.Mode == netconf.ModeVNet && !up.Up {
		err = fmt.Errorf("the uplink %s is down", up.Name)
	}
	return err
}

func documentsUsable(node *attachment.Node, c *call) error {
	if c.Conf.NSG == nil {
		return nil
	}
	up, err := network.Uplink(node.Host, c.Conf)
	if err != nil {
		up = link.Uplink{} // uplinkUsable says so, where it matters
	}
	return c.DocumentsUsable(c.Conf.Name, network.Groups(c.Conf, up))
}
