package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

// filter makes the pod known to the packet filter before a packet can come from it.
func (a *addition) filter() error {
	rules := a.record.Rules(a.Conf.Name, a.Conf.StateDir, a.addrs)
	if a.rules != nil {
		rules.Judging = a.rules.Judging(a.record.FilterPod())
	}
	for _, addr := range a.addrs {
		// Before Ensure: it fills new sets from the leases, ours among them.
		a.onFailure(fmt.Sprintf("take %s out of the packet filter", addr), func() error {
			// Out of all groups' sets: it may have been given others since.
			return a.Node.Forget(a.Conf.Name, attachment.Record{Lost: true}, addr)
		})
	}
	return a.Node.Join(rules, a.Key, a.record, a.addrs, a.known)
}

// route makes sure of the routes that a route table gives to the pod, before it sends.
func (a *addition) route() error {
	if a.rules == nil {
		return nil
	}
	err := a.Node.Route(a.Conf.StateDir, a.rules.Routing(), a.addrs...)
	if errors.Is(err, firewall.ErrLocked) {
		return cnierr.Wrap(cnierr.TryAgain, err)
	}
	return cnierr.Wrap(cnierr.Kernel, err)
}

// leave takes addresses out of the sets that only an old record speaks of.
func (a *addition) leave(old attachment.Record, addrs []netip.Addr) error {
	return attachment.OfFirewall(a.Node.Firewall.RemovePod(a.Conf.Name, old.FilterPod(addrs...)))
}
