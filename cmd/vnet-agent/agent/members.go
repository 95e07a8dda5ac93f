package agent

import (
	"context"

	"github.com/vnet-cni/vnet-cni/pkg/members"
)

// learnMembers makes the pods of other nodes known to the rules of this one.
func (p *pass) learnMembers(context.Context) error {
	if p.conf == nil || p.conf.NSG == nil {
		return nil
	}
	var list []members.Member
	for _, n := range p.Cluster.Members() {
		for _, e := range n.Pods {
			list = append(list, members.Member{Addrs: e.Addresses, Group: e.NSG, ASGs: e.ASGs})
		}
	}
	changed, err := p.node.SyncMembers(p.Paths.State, p.config.Network, list)
	if changed {
		p.Log.Info("the pods of other nodes changed", "pods", len(list))
	}
	return err
}
