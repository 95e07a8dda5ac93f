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
)

// gc releases every attachment of the network that the runtime does not list:
// CNI spec section "GC". Without the list it knows nothing and touches nothing.
func gc(cmd *skel.CmdArgs) error {
	conf, err := netconf.ParseLenient(netconf.VNet, cmd.StdinData)
	if err != nil {
		return err
	}
	if !conf.HasValidAttachments {
		return nil
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	store := attachment.Store(conf.StateDir, conf.Name)
	stale, err := staleLeases(node, store, conf)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range stale {
		c := &call{key: l.Key, path: cmd.Path, conf: conf, stdin: cmd.StdinData}
		if err := c.detach(node, store, l); err != nil {
			errs = append(errs, fmt.Errorf("release container %s, interface %s: %w", l.ContainerID, l.IfName, err))
		}
	}
	if conf.IPAM.Delegated() {
		if err := invoke.DelegateGC(context.Background(), conf.IPAM.Type, cmd.StdinData, nil); err != nil {
			errs = append(errs, cnierr.Wrap(cnierr.Delegate, fmt.Errorf("GC of IPAM plugin %s: %w", conf.IPAM.Type, err)))
		}
	}
	return errors.Join(errs...)
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
