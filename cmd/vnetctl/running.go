package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

// runningPod is an attachment of ours, as its lease has it.
type runningPod struct {
	network string
	key     ipam.Key
	addrs   []netip.Addr
	record  attachment.Record
}

// runningPods are the attachments of the node's networks. A record that cannot be
// decoded is of nobody who can be asked for.
func (a *app) runningPods() ([]runningPod, error) {
	networks, err := a.networks(nil)
	if err != nil {
		return nil, err
	}
	all, err := collect.LeasesOf(a.stateDir, networks)
	if err != nil {
		return nil, err
	}
	var pods []runningPod
	for _, n := range all {
		for _, l := range n.Leases {
			if r, ours, err := attachment.Of(l); err == nil && ours {
				pods = append(pods, runningPod{n.Network, l.Key, attachment.Addrs(l), r})
			}
		}
	}
	return pods, nil
}

// end is what judges have to know of the pod and of all the others; free, whether
// traffic between them is judged.
func (p runningPod) end(all []runningPod, free bool) *podEnd {
	e := &podEnd{name: "the pod", addrs: p.addrs, asgs: map[netip.Addr][]string{}, free: map[netip.Addr]bool{}}
	for _, other := range all {
		for _, addr := range other.addrs {
			if other.network == p.network {
				e.asgs[addr] = other.record.ASGs
			}
			if free {
				e.free[addr] = true
			}
		}
	}
	return e
}

// find returns the pod that is meant.
func find(all []runningPod, want string) (runningPod, error) {
	var found []runningPod
	for _, p := range all {
		if p.key.ContainerID == want || p.record.Pod != "" && p.record.Pod == want {
			found = append(found, p)
		}
	}
	found = withoutUnjudged(found)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return runningPod{}, fmt.Errorf("--%s %s: no lease on this node has that container id or namespace/name", flagPod, quoted(want))
	}
	var words []string
	for _, p := range found {
		words = append(words, fmt.Sprintf("%s %s in network %s", p.key.ContainerID, p.key.IfName, p.network))
	}
	return runningPod{}, fmt.Errorf("--%s %s: it has several interfaces: %s", flagPod, quoted(want), strings.Join(words, "; "))
}

// withoutUnjudged leaves out what vnet has of an interface that vnet-nsg judges.
func withoutUnjudged(pods []runningPod) []runningPod {
	return slices.DeleteFunc(slices.Clone(pods), func(p runningPod) bool {
		return !p.record.Judged && slices.ContainsFunc(pods, func(o runningPod) bool {
			return o.key == p.key && o.network == attachment.Chained(p.network)
		})
	})
}

// completePod offers what --pod takes.
func (a *app) completePod(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	pods, err := a.runningPods()
	var words []string
	for _, p := range pods {
		words = append(words, p.key.ContainerID)
		if p.record.Pod != "" {
			words = append(words, p.record.Pod)
		}
	}
	slices.Sort(words)
	return slices.Compact(words), completed(err)
}
