package main

import (
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// gc ends the judgement of every pod of the network that the runtime does not list.
func gc(cmd *skel.CmdArgs) error {
	return verb.Collect(netconf.VNetNSG, cmd, func(node *attachment.Node, c *verb.Call) error {
		leases, err := storeOf(c.Conf).Leases()
		if err != nil {
			return cnierr.OfStore(err)
		}
		stale := slices.DeleteFunc(leases, func(l ipam.Lease) bool { return valid(c.Conf, l.Key) })
		return verb.Release(stale, func(l ipam.Lease) error { return detach(node, c.Conf, l) })
	})
}

// valid reports whether the attachment is on the runtime's list. One whose record was
// lost can be any of those.
func valid(c *netconf.Conf, k ipam.Key) bool {
	if attachment.IsLost(k) {
		return len(c.ValidAttachments) > 0
	}
	return slices.ContainsFunc(c.ValidAttachments, func(v types.GCAttachment) bool {
		return v.ContainerID == k.ContainerID && v.IfName == k.IfName
	})
}
