package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

// tell sends an Event, unless the same was sent last about the same thing: a pass
// comes every few seconds.
func (a *Agent) tell(about kube.Ref, reason, message string) {
	id := fmt.Sprint(about)
	if a.told[id] == reason+message {
		return
	}
	a.told[id] = reason + message
	a.Log.Warn(message, "reason", reason, "about", about.Name)
	a.Cluster.Event(about, true, reason, message)
}

// untell forgets what was told: when it happens again, it is news.
func (a *Agent) untell(about kube.Ref) { delete(a.told, fmt.Sprint(about)) }

func (p *pass) tellNode(reason, message string) {
	p.tell(kube.NodeRef(p.Node, reason), reason, message)
}

// tellAll tells what is wrong in one respect, all of it in one Event.
func (p *pass) tellAll(reason string, faults []string) {
	if len(faults) == 0 {
		p.untell(kube.NodeRef(p.Node, reason))
		return
	}
	p.tellNode(reason, strings.Join(faults, "; "))
}

// watchPools tells of a pool that has no address left.
func (p *pass) watchPools(context.Context) error {
	if p.conf == nil {
		return nil
	}
	stats, err := attachment.Store(p.Paths.State, p.config.Network).Stats(p.conf.IPAM.Pools)
	if err != nil {
		return err
	}
	const reason = "PoolExhausted"
	for _, s := range stats {
		if s.Free+s.Cooling == 0 {
			p.tellNode(reason, fmt.Sprintf("pool %s of network %s has no free address: %d of %d are leased", s.Subnet, p.config.Network, s.Used, s.Size))
			return nil
		}
	}
	p.untell(kube.NodeRef(p.Node, reason))
	return nil
}
