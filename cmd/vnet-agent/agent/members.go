package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
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
		pods, left := limited(n.Pods)
		if left > 0 {
			faults = append(faults, fmt.Sprintf("node %s: its pods name more than %d groups: %d of the names are left out", n.Node, maxNames, left))
		}
		for _, e := range pods {
			if own := within(e.Addresses, ranges[n.Node]); len(own) > 0 {
				list = append(list, members.Member{Addrs: own, Group: e.NSG, ASGs: e.ASGs})
			}
		}
	}
	p.tellAll("InvalidNodePods", faults)
	changed, err := p.node.SyncMembers(p.Paths.State, p.config.Network, list)
	if p.learned = changed; changed {
		p.Log.Info("the pods of other nodes changed", "pods", len(list))
	}
	return err
}

// maxNames is how many groups the pods of one node may be in: each is a set in every
// other node's kernel, and making sets takes longer the more there are.
const maxNames = 512

// limited leaves out the names of groups beyond the limit, and tells how many. A pod
// whose NSG is left out has one that nobody knows: what enters here for it is denied.
func limited(pods []kube.PodEntry) (out []kube.PodEntry, left int) {
	names := map[string]bool{}
	known := func(name string) bool {
		if !names[name] && len(names) >= maxNames {
			left++
			return false
		}
		names[name] = true
		return true
	}
	for _, e := range pods {
		if e.NSG != "" && !known("nsg "+e.NSG) {
			e.NSG = overLimit
		}
		e.ASGs = slices.DeleteFunc(slices.Clone(e.ASGs), func(a string) bool { return !known("asg " + a) })
		out = append(out, e)
	}
	return out, left
}

// overLimit is the key of a group that no document has.
const overLimit = "/too-many-groups"

// within are the addresses that a node may speak for: a node that was broken into
// must not put others' pods into groups.
func within(addrs []netip.Addr, ranges []netip.Prefix) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	})
}
