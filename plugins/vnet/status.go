package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// status tells whether the node can serve ADD: CNI spec section "STATUS". The
// kubelet makes a node NotReady on an error, so that only what the node itself
// lacks is one; a pool without free addresses is not.
func status(cmd *skel.CmdArgs) error {
	conf, err := netconf.ParseStrict(netconf.VNet, cmd.StdinData)
	if err != nil {
		return err
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return unavailable(err)
	}
	defer node.Close()
	c := &call{conf: conf}
	return unavailable(errors.Join(
		delegateUsable(c, cmd.StdinData),
		storeUsable(c),
		uplinkUsable(node, c),
		documentsUsable(node, c),
		defaultsUsable(c),
		node.Firewall.Usable(network.Rules(conf, link.Uplink{})),
	))
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &cnierr.Error{Code: cnierr.Unavailable, Err: err}
}

func delegateUsable(c *call, stdin []byte) error {
	if !c.conf.IPAM.Delegated() {
		return nil
	}
	if err := invoke.DelegateStatus(context.Background(), c.conf.IPAM.Type, stdin, nil); err != nil {
		return fmt.Errorf("STATUS of IPAM plugin %s: %w", c.conf.IPAM.Type, err)
	}
	return nil
}

func storeUsable(c *call) error { return c.store().Check() }

func uplinkUsable(node *attachment.Node, c *call) error {
	_, err := network.Uplink(node.Host, c.conf)
	return err
}

// documentsUsable wants rules that can be in force: those of today's documents or
// the last good ones.
func documentsUsable(node *attachment.Node, c *call) error {
	if c.conf.NSG == nil {
		return nil
	}
	up, err := network.Uplink(node.Host, c.conf)
	if err != nil {
		up = link.Uplink{} // uplinkUsable says so, where it matters
	}
	_, err = policy.Open(c.conf.StateDir, c.conf.Name, network.Groups(c.conf, up), attachment.Pods(c.conf.StateDir, c.conf.Name))
	return err
}

// defaultsUsable wants the folder with the namespaces' defaults: an ADD would wait
// for a file in it in vain.
func defaultsUsable(c *call) error {
	if c.conf.NSG == nil || c.conf.NSG.Namespaces == "" {
		return nil
	}
	if _, err := os.Stat(c.conf.NSG.Namespaces + "/."); err != nil { // not a file either
		return fmt.Errorf("nsg.namespaces: %w", err)
	}
	return nil
}
