package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
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
		node.Firewall.Usable(firewall.Network{
			Name: conf.Name, StateDir: conf.StateDir,
			IPv4: hasFamily(conf.IPAM.Pools, false), IPv6: hasFamily(conf.IPAM.Pools, true),
		}),
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
	if c.conf.Mode != netconf.ModeVNet && c.conf.Uplink == "" {
		return nil
	}
	up, err := node.Host.FindUplink(c.conf.Uplink, c.subnets())
	if err != nil || c.conf.Mode != netconf.ModeVNet {
		return err
	}
	return up.Answers()
}

// documentsUsable wants rules that can be in force: those of today's documents or
// the last good ones.
func documentsUsable(node *attachment.Node, c *call) error {
	if c.conf.NSG == nil {
		return nil
	}
	up, err := node.Host.FindUplink(c.conf.Uplink, c.subnets())
	if err != nil {
		up = link.Uplink{} // uplinkUsable says so, where it matters
	}
	_, err = policy.Open(c.conf.StateDir, c.conf.Name, c.groupConfig(up), attachment.Pods(c.conf.StateDir, c.conf.Name))
	return err
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
