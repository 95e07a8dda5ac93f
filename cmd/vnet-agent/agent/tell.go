package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

// again is after how long an Event is sent again about what is wrong still. The API
// server keeps one for an hour, unless it is told otherwise (kube-apiserver --event-ttl).
const again = 30 * time.Minute

// told is what was said about something, and when it was sent.
type told struct {
	what string
	at   time.Time
}

// tell says that something is wrong: in an Event, unless the same was said about the
// same thing not long ago and has been wrong since. What comes first counts.
func (p *pass) tell(about kube.Ref, reason, message string) {
	p.tellUnless(about, reason+message, reason, message)
}

// tellUnless sends an Event unless this pass has told of the same thing, or those
// before it the same.
func (p *pass) tellUnless(about kube.Ref, same, reason, message string) {
	if _, already := p.telling[about]; already {
		return
	}
	if last := p.told[about]; last.what == same && p.now().Sub(last.at) < again {
		p.telling[about] = last
		return
	}
	p.telling[about] = told{same, p.now()}
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
