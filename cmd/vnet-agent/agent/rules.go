package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// readyKernel turns on forwarding before the first pod does: a node without pods
// passes on what is for a service's endpoints elsewhere.
func (p *pass) readyKernel(context.Context) error {
	uplink := ""
	if p.config.Mode == ModeVNet {
		uplink = p.uplink.Name
	}
	var ipv4, ipv6 bool
	for _, c := range p.self.PodCIDRs {
		ipv4, ipv6 = ipv4 || c.Addr().Is4(), ipv6 || c.Addr().Is6()
	}
	return link.Sysctls(p.Paths.Sysctls).PrepareNode(uplink, ipv4, ipv6)
}

// applianceUnusable is the reason of the Event about routes that only drop.
const applianceUnusable = "ApplianceUnusable"

// enforce puts in force what an ADD would want, before any pod asks for it, and
// repairs what somebody damaged.
func (p *pass) enforce(ctx context.Context) error {
	if p.conf == nil {
		return p.keepRules(ctx) // it was said why
	}
	want := network.Rules(p.conf, p.uplink)
	if p.conf.NSG == nil {
		err := p.endJudging(want)
		p.enforced = err == nil
		return err
	}
	done, err := p.node.Enforce(want, network.Groups(p.conf, p.uplink), p.deep, &p.seen)
	if err != nil && done.Rules == nil {
		return p.fault(documentsRejected, errors.Join(err, p.keepRules(ctx)))
	}
	if err != nil {
		return err
	}
	p.rules, p.enforced = done.Rules, true
	if done.Rejected != "" {
		p.tellNode(documentsRejected, "the last good documents stay in force: "+done.Rejected)
	}
	p.tellAll(applianceUnusable, done.Unrouted)
	if done.Changed {
		p.Log.Info("put security groups in force")
	}
	p.repaired(done)
	return nil
}

// repaired tells of rules that were put right. What they lacked for a pod that has come
// since, here or elsewhere, was not there before.
func (p *pass) repaired(done attachment.Enforced) {
	if done.Changed || p.learned {
		delete(p.done, "rules")
	}
	here := slices.DeleteFunc(done.Pods, func(pod firewall.Pod) bool { return pod.Remote })
	if p.brought("rules", fmt.Sprint(here), len(done.Repaired), nil) {
		p.Log.Info("repaired rules", "damage", done.Repaired)
	}
}

// keepRules makes sure of the rules that the node's pods were attached with, where
// those that are wanted now cannot be had, and of the groups and routes in force.
func (p *pass) keepRules(context.Context) error {
	last := p.lastGood()
	if last == nil {
		return nil // there are none
	}
	leases, err := attachment.Store(p.Paths.State, last.Network).Leases()
	if err != nil {
		return err
	}
	rules := collect.RulesFor(last.Network, p.Paths.State, leases)
	if !rules.IPv4 && !rules.IPv6 {
		return nil // there is no pod
	}
	inForce, err := policy.InForce(p.Paths.State, last.Network)
	if err != nil {
		return p.node.Firewall.Ensure(rules)
	}
	done, err := p.node.Enforce(rules, inForce.Config, p.deep, &p.seen)
	p.repaired(done)
	return err
}

// endJudging makes sure of the rules of a network without security groups, and
// takes away those that it had.
func (p *pass) endJudging(want firewall.Network) error {
	if err := p.node.EndJudging(p.Paths.State, p.config.Network); err != nil {
		return err
	}
	return p.node.Firewall.Ensure(want)
}
