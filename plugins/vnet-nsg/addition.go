package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// addition is an ADD on its way: each step reads what earlier ones found out.
type addition struct {
	*verb.Call
	*verb.Attempt
	attachment.Claimed // Known: this ADD completes an earlier one

	pod    pod
	chosen verb.Groups
}

// findPod learns which addresses and links the main plugin gave to the pod, and that
// the node's packet filter sees what goes through them. An address of the node itself is
// no pod's: it would be judged as one.
func (a *addition) findPod() error {
	var err error
	if a.pod, err = podOf(a.Conf.PrevResult, a.Key.IfName); err != nil {
		return err
	}
	for _, addr := range a.pod.addrs {
		use, err := a.Node.Host.AddressUse(addr)
		if err != nil {
			return cnierr.Wrap(cnierr.Kernel, err)
		}
		if use.Local {
			return cnierr.Errorf(cnierr.AddressTaken, "prevResult: address %s is the node's own", addr)
		}
	}
	if err := a.pod.find(a.Node.Host, a.Sandbox); err != nil {
		return err
	}
	ipv4, ipv6 := a.pod.families()
	for _, e := range a.pod.ends {
		if err := e.Filtered(ipv4, ipv6); err != nil {
			return unfiltered(err)
		}
	}
	return nil
}

// unfiltered gives an error about a pod's links its code.
func unfiltered(err error) error {
	if errors.Is(err, link.ErrUnfiltered) {
		return cnierr.Wrap(cnierr.Unfiltered, err)
	}
	return cnierr.Wrap(cnierr.Kernel, err)
}

// refuseTwoJudges refuses a pod that vnet has under security groups by its own
// configuration.
func (a *addition) refuseTwoJudges() error {
	twice, err := a.Node.Firewall.Judges(a.pod.addrs...)
	if err != nil {
		return attachment.OfFirewall(err)
	}
	if twice {
		return cnierr.Errorf(cnierr.Config, "nsg: vnet has the pod with %s under security groups already: leave nsg out of its configuration, or vnet-nsg out of the chain of network %s",
			a.pod, a.Conf.Name)
	}
	return nil
}

// chooseGroups finds the security groups that will judge the pod.
func (a *addition) chooseGroups() (err error) {
	a.chosen, err = a.ChooseGroups(judged(a.Conf), groupsOf(a.Conf))
	return err
}

// claim writes down what is about to be done, before anything is.
func (a *addition) claim() error {
	record := attachment.Record{
		Sandbox: a.Netns, Pod: a.PodName(), Judged: true, Foreign: true,
		Group: a.chosen.Group, ASGs: a.chosen.ASGs,
	}
	for _, e := range a.pod.ends {
		record.Ends = append(record.Ends, attachment.EndOf(e))
	}
	record.HostVeth = record.Ends[0].Name
	l := ipam.Lease{Key: a.Key, Since: time.Now().UTC()}
	for _, addr := range a.pod.addrs {
		l.Addresses = append(l.Addresses, netip.PrefixFrom(addr, addr.BitLen()))
	}
	var err error
	if a.Claimed, err = a.Node.Claim(a.Conf.StateDir, judged(a.Conf), l, record); err != nil || a.Known {
		return err // what a living pod has is not taken from it because a repeated ADD fails
	}
	a.Undo.PushRecord("forget the attachment", func() error {
		_, _, err := storeOf(a.Conf).Release(a.Key)
		return cnierr.OfStore(err)
	})
	return nil
}

// filter makes the pod known to the packet filter.
func (a *addition) filter() error {
	network := judged(a.Conf)
	rules := a.Record.Rules(network, a.Conf.StateDir, a.pod.addrs)
	rules.Judging = a.chosen.Rules.Judging(a.Record.FilterPod())
	if !a.Known {
		a.Undo.Push(fmt.Sprintf("take %s out of the packet filter", a.pod), func() error {
			// Out of all groups' sets: it may have been given others since.
			return a.Node.Leave(a.Conf.StateDir, network, a.Lease)
		})
	}
	return a.Node.Join(rules, a.Key, a.Record, a.pod.addrs, a.Known)
}

// regroup takes a pod that was there before to the groups that it is to have now.
func (a *addition) regroup() error {
	if !a.Known || !a.Record.Lost && a.Record.Group == a.chosen.Group && slices.Equal(a.Record.ASGs, a.chosen.ASGs) {
		return nil
	}
	_, err := a.Node.Choose(a.Conf.StateDir, judged(a.Conf), a.Key, a.chosen.Group, a.chosen.ASGs)
	return err
}

// settle ends flows that began before the pod had its rules, and makes sure that it is there
// still.
func (a *addition) settle() error {
	return a.Node.Settle(a.Conf.StateDir, judged(a.Conf), a.Claimed, a.chosen.Rules)
}
