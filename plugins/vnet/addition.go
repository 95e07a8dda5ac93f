package main

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// addition is an ADD on its way: each step reads what earlier ones found out.
type addition struct {
	*call
	*verb.Attempt

	uplink link.Uplink
	mtu    int
	rules  *policy.Rules // of security groups; nil: the network has none
	record attachment.Record
	addrs  []netip.Addr
	dns    types.DNS
	known  bool // the lease was there already: this ADD completes an earlier one
	repair bool // and so was the veth pair
}

// onFailure adds a reversal to the rollback, unless the attachment was there
// before this ADD: what a living pod has is not taken from it because a repeated
// ADD failed.
func (a *addition) onFailure(what string, do func() error) {
	if !a.known {
		a.Undo.Push(what, do)
	}
}

// findUplink learns where the VNet is and readies the node for routing there.
func (a *addition) findUplink() error {
	up, err := network.Uplink(a.Node.Host, a.Conf)
	if errors.Is(err, link.ErrNoUplink) {
		return cnierr.Wrap(cnierr.Uplink, err)
	}
	if err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	a.uplink, a.mtu = up, up.MTU
	if a.Conf.MTU != 0 {
		a.mtu = a.Conf.MTU
	}
	a.record = attachment.Record{
		HostVeth: a.hostVeth(), Sandbox: a.Netns, PodMAC: a.podMAC().String(),
		Routes: extraRoutes(a.Conf.IPAM.Routes), Pod: a.PodName(),
		Masquerade: a.Conf.Masquerade != nil, Except: network.Exceptions(a.Conf, up),
	}
	if a.Conf.Mode == netconf.ModeVNet {
		a.record.Uplink = up.Name
	}
	return nil
}

// extraRoutes are the configured routes besides the default, which every pod has.
func extraRoutes(routes []*types.Route) []link.Route {
	var list []link.Route
	for _, r := range routes {
		dst, ok := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		if !ok || (ones == 0 && r.Table == nil) {
			continue
		}
		x := link.Route{Dst: netip.PrefixFrom(dst.Unmap(), ones).Masked(), MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
		if r.Table != nil {
			x.Table = *r.Table
		}
		if r.Scope != nil {
			x.Scope = uint8(*r.Scope)
		}
		list = append(list, x)
	}
	return list
}

// connect makes the veth pair, or takes over the one that an earlier ADD of this
// attachment made.
func (a *addition) connect() error {
	v := link.Veth{HostName: a.hostVeth(), PodName: a.Key.IfName, PodMAC: a.podMAC(), MTU: a.mtu}
	err := a.Node.Host.CreateVeth(v, a.Sandbox)
	if errors.Is(err, link.ErrNameTaken) {
		return a.reconnect(v, err)
	}
	// Also after an error: it may be the answer that was lost, not the request.
	// But then the link of an attachment that was there before may be the old one.
	if err == nil || !a.known {
		a.Undo.Push("delete link "+v.HostName, func() error { return a.Node.Host.DeleteVeth(v.HostName) })
	}
	return cnierr.Wrap(cnierr.Kernel, err)
}

// reconnect deals with a name that is taken: the whole pair is kept, half of one or one
// with other MAC addresses is replaced, and what is not ours is left alone.
func (a *addition) reconnect(v link.Veth, taken error) error {
	host, exists, err := a.Node.Host.Link(v.HostName)
	if err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	if !exists {
		return cnierr.Errorf(cnierr.InterfaceTaken, "CNI_IFNAME %q: %w", a.Key.IfName, taken)
	}
	if alias := link.Alias(a.Conf.Name, a.Key.ContainerID, a.Key.IfName); host.Alias != "" && host.Alias != alias {
		return cnierr.Errorf(cnierr.InterfaceTaken, "link %s of the node is of %s, not of %s", host.Name, host.Alias, alias)
	}
	peer, ours, err := a.Sandbox.PeerIn(host, v.PodName)
	if err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	if ours && slices.Equal(peer.MAC, v.PodMAC) && slices.Equal(host.MAC, link.HostMAC) {
		a.repair = true
		return nil
	}
	if !ours && peer.Index != 0 {
		return cnierr.Errorf(cnierr.InterfaceTaken, "CNI_IFNAME %q: %w", a.Key.IfName, taken)
	}
	if err := a.Node.Host.DeleteVeth(v.HostName); err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	a.Undo.Push("delete link "+v.HostName, func() error { return a.Node.Host.DeleteVeth(v.HostName) })
	return cnierr.Wrap(cnierr.Kernel, a.Node.Host.CreateVeth(v, a.Sandbox))
}

// configurePod gives the pod's end its addresses, neighbours and routes.
func (a *addition) configurePod() error {
	return cnierr.Wrap(cnierr.Kernel, a.Sandbox.ConfigurePod(link.PodEnd{
		Name: a.Key.IfName, MAC: a.podMAC(), Addrs: a.addrs, Routes: a.record.Routes, Repair: a.repair,
	}))
}

// configureHost gives the node its route to the pod.
func (a *addition) configureHost() error {
	rules := a.record.Rules(a.Conf.Name, "", a.addrs)
	if err := link.PrepareNode(a.record.Uplink, rules.IPv4, rules.IPv6); err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	err := a.Node.Host.ConfigureHost(link.HostEnd{
		Name: a.hostVeth(), Alias: link.Alias(a.Conf.Name, a.Key.ContainerID, a.Key.IfName),
		PodMAC: a.podMAC(), Addrs: a.addrs, IPv6: rules.IPv6,
	})
	if errors.Is(err, link.ErrAddressUsed) {
		return cnierr.Wrap(cnierr.AddressTaken, err)
	}
	if err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	return cnierr.Wrap(cnierr.Kernel, link.Settle(a.Node.Host, a.hostVeth(), a.Sandbox, a.Key.IfName, a.addrs))
}

// answer makes the node answer for the addresses on the uplink and tells the
// neighbours there.
func (a *addition) answer() error {
	if a.record.Uplink == "" {
		return nil
	}
	a.onFailure("remove the proxy neighbours", func() error {
		return a.Node.Host.RemoveProxy(a.uplink.Index, a.addrs)
	})
	if err := a.Node.Host.AddProxy(a.uplink.Index, a.addrs); err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	return cnierr.Wrap(cnierr.Kernel, link.Announce(a.uplink.Link, a.addrs))
}
