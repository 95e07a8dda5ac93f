package agent

import (
	"context"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

// collectEvery is how often the runtime is asked for its sandboxes.
const collectEvery = 10 * time.Second

// collect removes what containers have left behind that the runtime does not know.
// The attachments are listed before the runtime is asked: a pod that starts in
// between is on neither list.
func (p *pass) collect(ctx context.Context) error {
	now := time.Now()
	if now.Sub(p.collected) < collectEvery {
		return nil
	}
	p.collected = now
	listed, err := collect.List(p.node, p.Paths.State, p.config.Network)
	if err != nil {
		return err
	}
	known, err := p.Runtime.Sandboxes(ctx)
	if err != nil {
		return err
	}
	orphans := p.orphans.Look(now, listed, known)
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
