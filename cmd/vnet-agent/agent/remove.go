package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
	"github.com/vnet-cni/vnet-cni/pkg/overlay"
)

// retry is how long the agent waits before it tries again to remove everything.
const retry = 5 * time.Second

// RunRemoval removes everything, and then is ready until the context ends.
func (a *Agent) RunRemoval(ctx context.Context) {
	for {
		err := a.Remove(ctx)
		a.mu.Lock()
		a.state.began, a.state.ended, a.state.err = a.now(), a.now(), err
		a.mu.Unlock()
		wait := make(<-chan time.Time)
		if err != nil {
			a.Log.Error("not everything is removed", "error", err)
			wait = time.After(retry)
		} else {
			a.Log.Info("everything is removed")
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		}
	}
}

// Remove takes everything of ours off the node, the runtime's configuration first,
// so that no pod comes meanwhile, and what it needs to find the rest last. Pods that
// still run lose their network. What is gone already is success.
func (a *Agent) Remove(ctx context.Context) error {
	p := &pass{Agent: a}
	if err := p.withdraw(); err != nil {
		return err
	}
	var err error
	if p.node, err = attachment.OpenNode(); err != nil {
		return err
	}
	defer p.node.Close()
	networks, err := p.networks()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		if err := p.removeNetwork(n); err != nil {
			errs = append(errs, fmt.Errorf("remove network %s: %w", n, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := p.endTunnel(overlay.Remove); err != nil {
		return err
	}
	_, err = nodefiles.RemoveBinaries(a.Paths.Binaries)
	return errors.Join(err, nodefiles.RemoveAll(a.Paths.Data), nodefiles.RemoveAll(a.Paths.State), a.Cluster.Unpublish(ctx))
}

// networks are those with a lease store, and those that may have got rules before
// their first pod.
func (p *pass) networks() ([]string, error) {
	networks, err := ipam.Networks(p.Paths.State)
	if err != nil {
		return nil, err
	}
	if good := p.lastGood(); good != nil {
		networks = append(networks, good.Network)
	}
	slices.Sort(networks)
	return slices.Compact(networks), nil
}

// removeNetwork removes every attachment, and then what they shared.
func (p *pass) removeNetwork(network string) error {
	if _, err := p.node.SyncMembers(p.Paths.State, network, nil); err != nil {
		return err // what enters here for other nodes' pods needs the rules
	}
	leases, err := attachment.Store(p.Paths.State, network).Leases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if err := p.endPortMappings(network, l); err != nil {
			return err
		}
		if err := collect.Detach(p.node, p.Paths.State, p.Paths.Binaries, network, l); err != nil {
			return err
		}
	}
	return p.node.RemoveRules(p.Paths.State, network)
}

// endPortMappings takes the node's ports from an attachment for which nobody will call
// the plugins of our configuration any more. It is the image's portmap that does: the runtime's may
// be gone. Portmap finds its rules by the container, whatever the ports, but looks for
// none unless there is one.
func (p *pass) endPortMappings(network string, l ipam.Lease) error {
	config := fmt.Sprintf(`{"cniVersion": %q, "name": %q, "type": "portmap", "runtimeConfig": {"portMappings":
		[{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}]}}`, cniVersion, network)
	return attachment.Delegate{Type: "portmap", Config: json.RawMessage(config)}.Return(l.Key, "", p.Paths.Source)
}
