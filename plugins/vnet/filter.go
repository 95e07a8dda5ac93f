package main

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// chooseGroups finds the security groups that will judge the pod, before it gets
// anything: documents that cannot be used, or a group that it may not have, cost
// nothing then.
func (a *addition) chooseGroups() error {
	if a.conf.NSG == nil {
		return a.endJudging()
	}
	rules, err := policy.Open(a.conf.StateDir, a.conf.Name, a.groupConfig(a.uplink), attachment.Pods(a.conf.StateDir, a.conf.Name))
	if err != nil {
		return cnierr.Wrap(cnierr.Documents, err)
	}
	a.rules, a.record.Judged = rules, true
	a.record.ASGs = a.conf.RequestedASGs(a.args)
	for _, asg := range a.record.ASGs {
		if err := a.permit("application security group", asg); err != nil {
			return err
		}
	}
	group := a.conf.RequestedNSG(a.args)
	if group == "" {
		return nil
	}
	if err := a.permit("network security group", group); err != nil {
		return err
	}
	if a.record.Group, err = rules.Group(group); err != nil {
		return cnierr.Wrap(cnierr.Documents, err)
	}
	// By its id as well: a name may be permitted that is another group's here.
	return a.permit("network security group", a.record.Group)
}

// permit refuses a group that the configuration does not allow to the pod's
// namespace.
func (a *addition) permit(what, name string) error {
	if a.conf.Permits(a.args.PodNamespace, name) {
		return nil
	}
	return cnierr.Errorf(cnierr.Forbidden, "%s %q: nsg.allowed of network %s does not have it for the pods of namespace %s",
		what, name, a.conf.Name, a.args.PodNamespace)
}

// groupConfig is what decides the meaning of the network's documents.
func (c *call) groupConfig(up link.Uplink) policy.Config {
	return policy.Config{
		Documents: c.conf.NSG.Documents, Subnet: c.conf.NSG.Subnet,
		VirtualNetwork: c.conf.NSG.VirtualNetwork, SameNodeFree: c.conf.NSG.SameNodeFree,
		Pools: c.subnets(), Uplink: connected(up), Own: c.leasable(up),
	}
}

// leasable are the addresses that this node can give to a pod.
func (c *call) leasable(up link.Uplink) []nsg.AddressRange {
	var own []nsg.AddressRange
	var never []netip.Prefix
	for _, p := range c.conf.IPAM.Pools {
		for _, r := range p.Leasable() {
			own = append(own, nsg.AddressRange{First: r.First, Last: r.Last})
		}
	}
	for _, a := range append(up.Addrs(), up.Gateways...) {
		never = append(never, netip.PrefixFrom(a, a.BitLen()))
	}
	return nsg.AddressesIn(own...).Minus(nsg.NewAddressSet(never...)).Ranges()
}

// endJudging takes away the rules of a network whose configuration has no
// security groups any more.
func (a *addition) endJudging() error {
	if !policy.Exists(a.conf.StateDir, a.conf.Name) {
		return nil
	}
	err := a.node.Firewall.EndJudging(a.conf.StateDir, a.conf.Name, attachment.Pods(a.conf.StateDir, a.conf.Name))
	if err == nil {
		err = policy.Forget(a.conf.StateDir, a.conf.Name)
	}
	return cnierr.Wrap(cnierr.Firewall, err)
}

// filter makes the pod known to the packet filter before a packet can come from it.
func (a *addition) filter() error {
	rules := a.record.Rules(a.conf.Name, a.conf.StateDir, a.addrs)
	if a.rules != nil {
		rules.Judging = a.rules.Judging(a.record.FilterPod())
	}
	for _, addr := range a.addrs {
		// Before Ensure: it fills new sets from the leases, ours among them.
		a.onFailure(fmt.Sprintf("take %s out of the packet filter", addr), func() error {
			return a.node.Forget(a.conf.Name, attachment.Record{Group: a.record.Group, ASGs: a.record.ASGs}, addr)
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
	err := a.node.Firewall.AddPod(rules, pod)
	for range 2 {
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		if err := a.node.Firewall.Ensure(rules); err != nil {
			return err
		}
		err = a.node.Firewall.AddPod(rules, pod)
	}
	if err != nil {
		return err
	}
	return a.node.Firewall.Ensure(rules)
}

// leave takes addresses out of the sets that only an old record speaks of.
func (a *addition) leave(old attachment.Record, addrs []netip.Addr) error {
	return cnierr.Wrap(cnierr.Firewall, a.node.Firewall.RemovePod(a.conf.Name, old.FilterPod(addrs...)))
}
