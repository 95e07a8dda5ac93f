package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// lease gets the addresses: from our store in this process, or from the foreign
// IPAM plugin that the configuration names.
func (a *addition) lease() error {
	a.dns = a.conf.DNS
	if a.conf.IPAM.Delegated() {
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
		Key: a.key, Pools: a.conf.IPAM.Pools, Fixed: a.conf.RequestedIPs(a.args), Cooldown: a.conf.IPAM.Cooldown,
		Exclude:    append(a.uplink.Addrs(), a.uplink.Gateways...),
		Attachment: record,
	}
	for range occupiedAttempts {
		l, created, err := a.store().Acquire(request)
		if err != nil {
			return cnierr.OfStore(err)
		}
		a.addrs = attachment.Addrs(l)
		if !created {
			a.known = true
			return nil
		}
		occupied, err := a.occupied(l)
		if err == nil && !occupied.IsValid() {
			a.undo.pushRecord("release the lease", a.release)
			return nil
		}
		if err := a.yield(occupied, err); err != nil {
			return err
		}
		if len(request.Fixed) > 0 {
			return cnierr.Errorf(cnierr.AddressTaken, "requested address %s is in use on this node, by nobody that network %s knows", occupied, a.conf.Name)
		}
	}
	return cnierr.Errorf(cnierr.TryAgain, "network %s: %d addresses in a row are in use on this node without a lease", a.conf.Name, occupiedAttempts)
}

// occupied returns an address of a new lease that the node has or routes to a
// single host already. A store that was lost cannot know of it.
func (a *addition) occupied(l ipam.Lease) (netip.Addr, error) {
	for _, addr := range attachment.Addrs(l) {
		use, err := a.node.Host.AddressUse(addr)
		if err != nil {
			return addr, cnierr.Wrap(cnierr.Kernel, err)
		}
		if use.Local {
			return addr, nil
		}
		if use.Index == 0 {
			continue
		}
		own, _, err := a.node.Host.Link(a.hostVeth())
		if err != nil {
			return addr, cnierr.Wrap(cnierr.Kernel, err)
		}
		if own.Index != use.Index {
			return addr, nil
		}
	}
	return netip.Addr{}, nil
}

// yield gives a lease back whose address is somebody else's.
func (a *addition) yield(occupied netip.Addr, cause error) error {
	if err := a.release(); err != nil {
		return err
	}
	if cause != nil {
		return cause
	}
	return cnierr.OfStore(a.store().Quarantine(occupied))
}

func (a *addition) release() error {
	_, _, err := a.store().Release(a.key)
	return cnierr.OfStore(err)
}

func (a *addition) leaseForeign() error {
	a.record.Delegate = &attachment.Delegate{Type: a.conf.IPAM.Type, Config: a.stdin}
	known, found, err := a.store().Get(a.key)
	if err != nil {
		return cnierr.OfStore(err)
	}
	if found {
		a.known, a.addrs = true, attachment.Addrs(known)
		return nil
	}
	result, err := delegateAdd(a.conf.IPAM.Type, a.stdin)
	if err != nil {
		return err
	}
	a.undo.push("give the address back to "+a.conf.IPAM.Type, func() error {
		return a.record.Delegate.Return(a.key, a.netns, a.path)
	})
	return a.adopt(result)
}

// adopt takes over what a foreign IPAM plugin answered.
func (a *addition) adopt(result *types100.Result) error {
	l := ipam.Lease{Key: a.key}
	for _, ip := range result.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		bits, _ := ip.Address.Mask.Size()
		if !ok {
			return cnierr.Errorf(cnierr.Delegate, "%s answered with the address %q", a.conf.IPAM.Type, ip.Address.String())
		}
		l.Addresses = append(l.Addresses, netip.PrefixFrom(addr.Unmap(), bits))
	}
	if len(l.Addresses) == 0 {
		return cnierr.Errorf(cnierr.Delegate, "%s answered without an address", a.conf.IPAM.Type)
	}
	a.addrs = attachment.Addrs(l)
	a.record.Routes = extraRoutes(result.Routes)
	if len(a.dns.Nameservers) == 0 {
		a.dns = result.DNS
	}
	var err error
	if l.Attachment, err = a.record.Encode(); err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	a.undo.pushRecord("release the lease", a.release)
	return cnierr.OfStore(a.store().Record(l))
}

func delegateAdd(plugin string, stdin []byte) (*types100.Result, error) {
	answer, err := invoke.DelegateAdd(context.Background(), plugin, stdin, nil)
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Delegate, fmt.Errorf("ADD of IPAM plugin %s: %w", plugin, err))
	}
	result, err := types100.NewResultFromResult(answer)
	if err != nil {
		return nil, cnierr.Errorf(cnierr.Delegate, "answer of IPAM plugin %s: %w", plugin, err)
	}
	return result, nil
}
