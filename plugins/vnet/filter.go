package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

// filter makes the pod known to the packet filter before a packet can come from it.
func (a *addition) filter() error {
	rules := a.record.Rules(a.conf.Name, a.conf.StateDir, a.addrs)
	if a.rules != nil {
		rules.Judging = a.rules.Judging(a.record.FilterPod())
	}
	for _, addr := range a.addrs {
		// Before Ensure: it fills new sets from the leases, ours among them.
		a.onFailure(fmt.Sprintf("take %s out of the packet filter", addr), func() error {
			// Out of all groups' sets: it may have been given others since.
			return a.node.Forget(a.conf.Name, attachment.Record{Lost: true}, addr)
		})
	}
	err := a.admit(rules)
	if errors.Is(err, firewall.ErrLocked) {
		return cnierr.Wrap(cnierr.TryAgain, err)
	}
	return cnierr.Wrap(cnierr.Firewall, err)
}

// admit makes the pod a member of the sets and then makes sure of the rules that
// match them. Sets that are missing, the first time or because somebody destroyed
// them, come with the rules.
func (a *addition) admit(rules firewall.Network) error {
	pod := a.record.FilterPod(a.addrs...)
	err := a.join(rules, pod)
	for range 2 {
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		if err := a.node.Firewall.Ensure(rules); err != nil {
			return err
		}
		err = a.join(rules, pod)
	}
	if err != nil {
		return err
	}
	return a.node.Firewall.Ensure(rules)
}

// join is AddPod. A pod that was there before may have been given other groups since
// its record was written: with both, nobody would know of these any more.
func (a *addition) join(rules firewall.Network, pod firewall.Pod) error {
	if !a.known {
		return a.node.Firewall.AddPod(rules, pod)
	}
	return a.node.Firewall.Leaving(a.conf.StateDir, func() error {
		l, _, err := a.store().Get(a.key)
		if err != nil {
			return cnierr.OfStore(err)
		}
		now, ours, err := attachment.Of(l)
		if ours && err == nil && (now.Lost || now.Group != a.record.Group || !slices.Equal(now.ASGs, a.record.ASGs)) {
			return cnierr.Errorf(cnierr.TryAgain, "container %s, interface %s, is given other security groups in this moment", a.key.ContainerID, a.key.IfName)
		}
		return a.node.Firewall.AddPod(rules, pod)
	})
}

// leave takes addresses out of the sets that only an old record speaks of.
func (a *addition) leave(old attachment.Record, addrs []netip.Addr) error {
	return cnierr.Wrap(cnierr.Firewall, a.node.Firewall.RemovePod(a.conf.Name, old.FilterPod(addrs...)))
}
