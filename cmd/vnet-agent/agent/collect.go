package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

// collectEvery is how often the runtime is asked for its sandboxes.
const collectEvery = 10 * time.Second

// inquiry is what the runtime was asked, and what it answered.
type inquiry struct {
	listed []collect.Attachment // before it was asked
	at     time.Time
	known  map[string]struct{}
	err    error
}

// collect removes what containers have left behind that the runtime does not know.
// In between its last outcome holds. A runtime that takes long is not waited for: the
// answer is for one of the next passes.
func (p *pass) collect(ctx context.Context) error {
	if now := p.now(); p.inquiry == nil && now.Sub(p.asked) >= collectEvery {
		p.asked = now
		if p.inquiry, p.answer = p.inquire(ctx, now); p.answer != nil {
			return p.answer
		}
	}
	if p.inquiry == nil {
		return p.answer
	}
	select {
	case q := <-p.inquiry:
		p.inquiry, p.answer = nil, p.collectBy(q)
	case <-time.After(patience):
	}
	return p.answer
}

// inquire lists the attachments before it asks the runtime: a pod that starts in
// between is on neither list.
func (p *pass) inquire(ctx context.Context, now time.Time) (chan inquiry, error) {
	listed, err := collect.List(p.node, p.Paths.State, p.config.Network)
	if err != nil {
		return nil, err
	}
	answer, runtime := make(chan inquiry, 1), p.Runtime
	go func() {
		known, err := runtime.Sandboxes(ctx)
		answer <- inquiry{listed, now, known, err}
	}()
	return answer, nil
}

func (p *pass) collectBy(q inquiry) error {
	if q.err != nil {
		return q.err
	}
	orphans := p.dead(p.orphans.Look(q.at, q.listed, q.known), q.listed, q.known)
	if len(orphans) == 0 {
		return nil
	}
	var errs []error
	orphans = slices.DeleteFunc(orphans, func(a collect.Attachment) bool {
		err := p.endPortMappings(a.Network, a.Lease)
		errs = append(errs, err)
		return err != nil // else its address would serve another pod, which had its ports
	})
	report, err := collect.Remove(p.node, collect.Options{StateDir: p.Paths.State, Keep: []string{p.config.Network}}, orphans)
	for _, e := range report.Removed {
		p.stats.collected.WithLabelValues(e.Kind).Inc()
		p.Log.Info("removed what was left behind", "what", e.String())
	}
	return errors.Join(append(errs, err)...)
}

// dead are those orphans whose pods the API server does not have here either, or has
// in another sandbox. Else the runtime that was asked is not theirs.
func (p *pass) dead(orphans, listed []collect.Attachment, known map[string]struct{}) []collect.Attachment {
	alive := map[string]bool{} // pods with a sandbox that the runtime knows
	for _, a := range listed {
		if _, there := known[a.Lease.ContainerID]; there {
			alive[podOf(a)] = true
		}
	}
	pods := p.Cluster.Pods()
	return slices.DeleteFunc(orphans, func(a collect.Attachment) bool {
		pod, here := pods[podOf(a)]
		return here && !pod.Terminating && !alive[podOf(a)]
	})
}

// podOf is the pod's namespace and name; "" where no record tells.
func podOf(a collect.Attachment) string {
	r, _ := collect.RecordOf(a.Network, a.Lease)
	return r.Pod
}
