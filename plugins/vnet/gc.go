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
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// gc releases every attachment of the network that the runtime does not list.
func gc(cmd *skel.CmdArgs) error {
	return verb.Collect(netconf.VNet, cmd, func(node *attachment.Node, c *verb.Call) error {
		store := attachment.Store(c.Conf.StateDir, c.Conf.Name)
		stale, err := staleLeases(node, store, c.Conf)
		if err != nil {
			return err
		}
		err = verb.Release(stale, func(l ipam.Lease) error {
			of := *c
			of.Key = l.Key
			return (&call{&of}).detach(node, store, l)
		})
		return errors.Join(err, collectForeign(c))
	})
}

// collectForeign is the GC of the foreign IPAM plugin, if there is one.
func collectForeign(c *verb.Call) error {
	if !c.Conf.IPAM.Delegated() {
		return nil
	}
	if err := invoke.DelegateGC(context.Background(), c.Conf.IPAM.Type, c.Stdin, nil); err != nil {
		return cnierr.Wrap(cnierr.Delegate, fmt.Errorf("GC of IPAM plugin %s: %w", c.Conf.IPAM.Type, err))
	}
	return nil
}

// staleLeases are the leases, and the links without a lease, of attachments that
// are not valid any more.
func staleLeases(node *attachment.Node, store *ipam.Store, conf *netconf.Conf) ([]ipam.Lease, error) {
	seen := map[ipam.Key]bool{}
	for _, v := range conf.ValidAttachments {
		seen[ipam.Key{ContainerID: v.ContainerID, IfName: v.IfName}] = true
	}
	leases, err := store.Leases()
	if err != nil {
		return nil, cnierr.OfStore(err)
	}
	links, err := node.Host.Attachments()
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Kernel, err)
	}
	for _, a := range links {
		if a.Network == conf.Name {
			leases = append(leases, ipam.Lease{Key: ipam.Key{ContainerID: a.ContainerID, IfName: a.IfName}})
		}
	}
	var stale []ipam.Lease
	for _, l := range leases {
		if !seen[l.Key] {
			seen[l.Key] = true
			stale = append(stale, l)
		}
	}
	return stale, nil
}
