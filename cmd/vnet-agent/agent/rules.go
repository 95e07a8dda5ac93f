package agent

import (
	"context"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
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

// enforce puts in force what an ADD would want, before any pod asks for it, and
// repairs what somebody damaged.
func (p *pass) enforce(context.Context) error {
	if p.conf == nil {
		return nil // it was said why
	}
	want := network.Rules(p.conf, p.uplink)
	if p.conf.NSG == nil {
		err := p.endJudging(want)
		p.enforced = err == nil
		return err
	}
	done, err := p.node.Enforce(want, network.Groups(p.conf, p.uplink), p.deep)
	if err != nil && done.Rules == nil {
		return p.fault(documentsRejected, err)
	}
	if err != nil {
		return err
	}
	p.rules, p.enforced = done.Rules, true
	if done.Rejected != "" {
		p.tellNode(documentsRejected, "the last good documents stay in force: "+done.Rejected)
	}
	if done.Changed {
		p.Log.Info("put security groups in force")
	} else if len(done.Repaired) > 0 {
		p.stats.repaired("rules", len(done.Repaired))
		p.Log.Info("repaired rules", "damage", done.Repaired)
	}
	return nil
}

// endJudging makes sure of the rules of a network without security groups, and
// takes away those that it had.
func (p *pass) endJudging(want firewall.Network) error {
	if policy.Exists(p.Paths.State, p.config.Network) {
		list := attachment.Pods(p.Paths.State, p.config.Network)
		if err := p.node.Firewall.EndJudging(p.Paths.State, p.config.Network, list); err != nil {
			return err
		}
		if err := policy.Forget(p.Paths.State, p.config.Network); err != nil {
			return err
		}
	}
	return p.node.Firewall.Ensure(want)
}
