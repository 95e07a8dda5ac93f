package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/members"
)

// learnMembers makes the pods of other nodes known to the rules of this one.
func (p *pass) learnMembers(context.Context) error {
	if p.conf == nil || p.conf.NSG == nil {
		return nil
	}
	ranges := map[string][]netip.Prefix{}
	for _, n := range p.others {
		ranges[n.Name] = n.PodCIDRs
	}
	var list []members.Member
	var faults []string
	for _, n := range p.Cluster.Members() {
		for _, f := range n.Faults {
			faults = append(faults, fmt.Sprintf("node %s: %s", n.Node, f))
		}
		for _, e := range n.Pods {
			if own := within(e.Addresses, ranges[n.Node]); len(own) > 0 {
				list = append(list, members.Member{Addrs: own, Group: e.NSG, ASGs: e.ASGs})
			}
		}
	}
	p.tellAll("InvalidNodePods", faults)
	changed, err := p.node.SyncMembers(p.Paths.State, p.config.Network, list)
	if changed {
		p.Log.Info("the pods of other nodes changed", "pods", len(list))
	}
	return err
}

// within are the addresses that a node may speak for: a node that was broken into
// must not put others' pods into groups.
func within(addrs []netip.Addr, ranges []netip.Prefix) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	})
}
