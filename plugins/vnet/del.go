package main

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/network"
)

// del takes an attachment down: CNI spec section "DEL". Neither the pod's
// namespace nor a configuration that still matches is needed, and what is gone
// already is success.
func del(cmd *skel.CmdArgs) error {
	c, err := readLenient(cmd)
	if err != nil {
		return err
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	node.Brief = true
	store := c.store()
	lease, _, err := store.Get(c.Key)
	if err != nil {
		return cnierr.OfStore(err)
	}
	return c.detach(node, store, lease)
}

// detach removes what a lease and the kernel show of the attachment, and then
// the lease. An empty lease is one that was lost: the host veth is found by its
// name, and the addresses by its routes.
func (c *call) detach(node *attachment.Node, store *ipam.Store, lease ipam.Lease) error {
	record, known, err := attachment.Of(lease)
	addrs := attachment.Addrs(lease)
	if err != nil || !known { // an unreadable record must not keep the pod for ever
		record = attachment.Record{HostVeth: c.hostVeth(), Uplink: c.uplinkName(node), Lost: true}
		routed, err := node.Host.HostAddrs(record.HostVeth)
		if err != nil {
			return cnierr.Wrap(cnierr.Kernel, err)
		}
		addrs = append(addrs, routed...)
	}
	return node.Remove(c.Conf.StateDir, c.Conf.Name, c.Key, record, addrs, func() error {
		if err := c.returnForeign(record); err != nil {
			return err
		}
		_, _, err := store.Release(c.Key)
		return cnierr.OfStore(err)
	})
}

// uplinkName guesses where the node may answer for an attachment without a record.
func (c *call) uplinkName(node *attachment.Node) string {
	if c.Conf.Mode != netconf.ModeVNet {
		return ""
	}
	up, err := node.Host.FindUplink(c.Conf.Uplink, network.Subnets(c.Conf))
	if err != nil {
		return "" // no uplink, no entry on it
	}
	return up.Name
}

// returnForeign gives the address back to the IPAM plugin that the record names. Where
// nobody knows, for the record was lost or an ADD was killed before it wrote one, that is
// the configuration's.
func (c *call) returnForeign(r attachment.Record) error {
	d := r.Delegate
	if d == nil && r.Lost && c.Conf.IPAM.Delegated() {
		d = c.delegate()
	}
	if d == nil {
		return nil
	}
	return d.Return(c.Key, c.Netns, c.Path)
}
