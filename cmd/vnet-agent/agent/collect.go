package agent

import (
	"context"
	"slices"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

// collectEvery is how often the runtime is asked for its sandboxes.
const collectEvery = 10 * time.Second

// collect removes what containers have left behind that the runtime does not know.
// In between its last outcome holds.
func (p *pass) collect(ctx context.Context) error {
	if now := p.now(); now.Sub(p.asked) >= collectEvery {
		p.asked, p.answer = now, p.collectAt(ctx, now)
	}
	return p.answer
}

// collectAt lists the attachments before it asks the runtime: a pod that starts in
// between is on neither list.
func (p *pass) collectAt(ctx context.Context, now time.Time) error {
	listed, err := collect.List(p.node, p.Paths.State, p.config.Network)
	if err != nil {
		return err
	}
	known, err := p.Runtime.Sandboxes(ctx)
	if err != nil {
		return err
	}
	orphans := p.dead(p.orphans.Look(now, listed, known), listed, known)
	if len(orphans) == 0 {
		return nil
	}
	report, err := collect.Remove(p.node, collect.Options{StateDir: p.Paths.State, Keep: []string{p.config.Network}}, orphans)
	for _, e := range report.Removed {
		p.stats.collected.WithLabelValues(e.Kind).Inc()
		p.Log.Info("removed what was left behind", "what", e.String())
	}
	return err
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
