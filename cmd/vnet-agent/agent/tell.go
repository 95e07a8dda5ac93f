package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

// tell says that something is wrong: in an Event, unless the pass before has said
// the same about the same thing. What comes first counts.
func (p *pass) tell(about kube.Ref, reason, message string) {
	p.tellUnless(about, reason+message, reason, message)
}

// tellUnless sends an Event unless this pass has told of the same thing, or the one
// before it the same.
func (p *pass) tellUnless(about kube.Ref, same, reason, message string) {
	if _, already := p.telling[about]; already {
		return
	}
	p.telling[about] = same
	if p.told[about] == same {
		return
	}
	p.Log.Warn(message, "reason", reason, "about", about.Name)
	p.Cluster.Event(about, true, reason, message)
}

func (p *pass) tellNode(reason, message string) {
	p.tell(kube.NodeRef(p.Node, reason), reason, message)
}

// tellAll tells what is wrong in one respect, all of it in one Event.
func (p *pass) tellAll(reason string, faults []string) {
	if len(faults) > 0 {
		p.tellNode(reason, strings.Join(faults, "; "))
	}
}

// tellFailure tells that a step fails.
func (p *pass) tellFailure(what string, err error) {
	const reason = "StepFailed"
	p.tellUnless(kube.NodeRef(p.Node, reason+" "+what), what, reason, err.Error())
}

// toldOf is an error that an Event of its own tells of.
type toldOf struct{ error }

func (t toldOf) Unwrap() error { return t.error }

// fault tells of an error that has a reason of its own.
func (p *pass) fault(reason string, err error) error {
	p.tellNode(reason, err.Error())
	return toldOf{err}
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
	var exhausted []string
	for _, s := range stats {
		if s.Free+s.Cooling == 0 {
			exhausted = append(exhausted, fmt.Sprintf("pool %s of network %s has no free address: %d of %d are leased", s.Subnet, p.config.Network, s.Used, s.Size))
		}
	}
	p.tellAll("PoolExhausted", exhausted)
	return nil
}
