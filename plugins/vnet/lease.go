package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// lease gets the addresses: from our store in this process, or from the foreign
// IPAM plugin that the configuration names.
func (a *addition) lease() error {
	a.dns = a.Conf.DNS
	if a.Conf.IPAM.Delegated() {
		return a.leaseForeign()
	}
	return a.leaseOwn()
}

// occupiedAttempts bounds how many addresses in a row may turn out to be in use
// by somebody whom the store does not know.
const occupiedAttempts = 64

func (a *addition) leaseOwn() error {
	record, err := a.record.Encode()
	if err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	request := ipam.Request{
		Key: a.Key, Pools: a.Conf.IPAM.Pools, Fixed: a.Conf.RequestedIPs(a.Args), Cooldown: a.Conf.IPAM.Cooldown,
		Exclude:    append(a.uplink.Addrs(), a.uplink.Gateways...),
		Attachment: record,
	}
	for range occupiedAttempts {
		l, created, err := a.store().Acquire(request)
		if err != nil {
			return cnierr.OfStore(err)
		}
		a.addrs = attachment.Addrs(l)
		occupied, err := a.occupied(l)
		switch {
		case err == nil && !occupied.IsValid() && created:
			a.Undo.PushRecord("release the lease", a.release)
			return nil
		case err == nil && !occupied.IsValid():
			a.known = true
			return a.renew(l)
		case err != nil && !created:
			return err // a living pod keeps its lease
		}
		if err := a.yield(occupied, err); err != nil {
			return err
		}
		if slices.Contains(request.Fixed, occupied) {
			return cnierr.Errorf(cnierr.AddressTaken, "requested address %s is in use on this node, by nobody that network %s knows", occupied, a.Conf.Name)
		}
	}
	return cnierr.Errorf(cnierr.TryAgain, "network %s: %d addresses in a row are in use on this node without a lease", a.Conf.Name, occupiedAttempts)
}

// renew gives a lease that was there before this ADD today's record. What only
// the old one speaks of is removed first: nobody would find it any more.
func (a *addition) renew(l ipam.Lease) error {
	record, err := a.record.Encode()
	if err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	if bytes.Equal(record, l.Attachment) {
		return nil
	}
	return attachment.OfFirewall(a.Node.Firewall.Leaving(a.Conf.StateDir, func() error {
		if now, found, err := a.store().Get(a.Key); err != nil {
			return cnierr.OfStore(err)
		} else if found {
			l = now // perhaps with other groups than a moment ago
		}
		if old, ours, err := attachment.Of(l); err == nil && ours {
			if err := a.withdraw(old); err != nil {
				return err
			}
		}
		l.Attachment = record
		return cnierr.OfStore(a.store().Record(l))
	}))
}

func (a *addition) withdraw(old attachment.Record) error {
	if old.Uplink != a.record.Uplink {
		if err := a.Node.RemoveProxy(old.Uplink, a.addrs); err != nil {
			return err
		}
	}
	if old.Masquerade && !a.record.Masquerade || !slices.Equal(old.ASGs, a.record.ASGs) ||
		old.Group != a.record.Group || old.Judged && !a.record.Judged || old.Lost {
		return a.leave(old, a.addrs) // filter puts it back where it belongs
	}
	return nil
}

// occupied returns an address of a lease that the node has, or routes to another
// link than ours, already. A store that was lost cannot know of it, nor can one
// of two networks with the same subnet know of the other's.
func (a *addition) occupied(l ipam.Lease) (netip.Addr, error) {
	var own link.Link
	for _, addr := range attachment.Addrs(l) {
		use, err := a.Node.Host.AddressUse(addr)
		if err == nil && use.Routed && own.Index == 0 {
			own, _, err = a.Node.Host.Link(a.hostVeth())
		}
		if err != nil {
			return addr, cnierr.Wrap(cnierr.Kernel, err)
		}
		if use.By(own) {
			return addr, nil
		}
	}
	return netip.Addr{}, nil
}

// yield gives a lease back whose address is somebody else's.
func (a *addition) yield(occupied netip.Addr, cause error) error {
	if err := a.Node.Firewall.Leaving(a.Conf.StateDir, a.release); err != nil {
		return attachment.OfFirewall(err)
	}
	if cause != nil {
		return cause
	}
	return cnierr.OfStore(a.store().Quarantine(occupied))
}

func (a *addition) release() error {
	_, _, err := a.store().Release(a.Key)
	return cnierr.OfStore(err)
}

func (a *addition) leaseForeign() error {
	a.record.Delegate = a.delegate()
	known, found, err := a.store().Get(a.Key)
	if err != nil {
		return cnierr.OfStore(err)
	}
	if found {
		return a.adoptKnown(known)
	}
	// Before the call: a plugin that fails may have leased something (CNI spec,
	// "Delegated plugin execution procedure").
	a.Undo.Push("give the address back to "+a.Conf.IPAM.Type, func() error {
		return a.delegate().Return(a.Key, a.Netns, a.Path)
	})
	result, err := delegateAdd(a.Conf.IPAM.Type, a.Stdin)
	if err != nil {
		return err
	}
	return a.adopt(result)
}

// adoptKnown goes on with what the foreign IPAM plugin answered to an earlier ADD.
func (a *addition) adoptKnown(l ipam.Lease) error {
	a.known, a.addrs = true, attachment.Addrs(l)
	old, _, err := attachment.Of(l)
	if err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	a.record.Routes = old.Routes
	a.takeDNS(old.DNS)
	return a.renew(l)
}

// takeDNS prefers the configuration's.
func (a *addition) takeDNS(answered types.DNS) {
	a.record.DNS = answered
	if len(a.dns.Nameservers) == 0 {
		a.dns = answered
	}
}

// adopt takes over what a foreign IPAM plugin answered.
func (a *addition) adopt(result *types100.Result) error {
	l := ipam.Lease{Key: a.Key, Since: time.Now().UTC()}
	for _, ip := range result.IPs {
		addr, _ := netip.AddrFromSlice(ip.Address.IP)
		bits, _ := ip.Address.Mask.Size()
		if reason := netconf.UnicastFault(addr.Unmap()); reason != "" {
			return cnierr.Errorf(cnierr.Delegate, "%s answered with the address %s, which %s", a.Conf.IPAM.Type, ip.Address.String(), reason)
		}
		l.Addresses = append(l.Addresses, netip.PrefixFrom(addr.Unmap(), bits))
	}
	if len(l.Addresses) == 0 {
		return cnierr.Errorf(cnierr.Delegate, "%s answered without an address", a.Conf.IPAM.Type)
	}
	occupied, err := a.occupied(l)
	if err != nil {
		return err
	}
	if occupied.IsValid() {
		return cnierr.Errorf(cnierr.AddressTaken, "%s answered with the address %s, which is in use on this node", a.Conf.IPAM.Type, occupied)
	}
	a.addrs = attachment.Addrs(l)
	a.record.Routes = extraRoutes(result.Routes)
	a.takeDNS(result.DNS)
	if l.Attachment, err = a.record.Encode(); err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	a.Undo.PushRecord("release the lease", a.release)
	err = a.store().Record(l)
	if errors.Is(err, ipam.ErrTaken) {
		// A DEL gives the address back before it releases our record of it.
		return cnierr.Errorf(cnierr.TryAgain, "%s answered with an address that is being released: %w", a.Conf.IPAM.Type, err)
	}
	return cnierr.OfStore(err)
}

func delegateAdd(plugin string, stdin []byte) (*types100.Result, error) {
	answer, err := invoke.DelegateAdd(context.Background(), plugin, stdin, nil)
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Delegate, fmt.Errorf("ADD of IPAM plugin %s: %w", plugin, err))
	}
	result, err := netconf.CurrentResult(answer)
	if err != nil {
		return nil, cnierr.Errorf(cnierr.Delegate, "answer of IPAM plugin %s: %w", plugin, err)
	}
	return result, nil
}
