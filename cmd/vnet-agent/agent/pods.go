package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// attached is one attachment of the agent's network.
type attached struct {
	key    ipam.Key
	lease  ipam.Lease
	record attachment.Record
}

// attachments are the pods of this node, as their leases have them.
func (p *pass) attachments() ([]attached, error) {
	leases, err := attachment.Store(p.Paths.State, p.config.Network).Leases()
	if err != nil {
		return nil, err
	}
	var list []attached
	for _, l := range leases {
		if r, ours, err := attachment.Of(l); err == nil && ours {
			list = append(list, attached{l.Key, l, r})
		}
	}
	return list, nil
}

// answerForPods lets neighbours reach pods again that a link which was set down has cut off.
func (p *pass) answerForPods(context.Context) error {
	again, err := p.node.AnswerAgain(p.Paths.State, p.config.Network)
	if len(again) > 0 {
		p.Log.Info("answer for pods again", "addresses", again)
	}
	return err
}

// notApplied is the reason of the Event that says so.
const notApplied = "SecurityGroupNotApplied"

// followChoices gives running pods the groups that their annotations, or those of
// their namespace, have come to name.
func (p *pass) followChoices(context.Context) error {
	if p.rules == nil {
		return nil // nobody is judged, or it was said why not
	}
	if slices.Contains(p.Cluster.Lost(), "pods") {
		return nil // by now a pod may be another of that name, to which its ADD gave groups
	}
	list, err := p.attachments()
	if err != nil {
		return err
	}
	pods, namespaces := p.Cluster.Pods(), p.Cluster.Namespaces()
	var errs []error
	for _, a := range list {
		pod, known := pods[a.record.Pod]
		namespace, there := namespaces[pod.Namespace]
		if !known || !there || pod.Terminating {
			continue // nobody says anything about it now
		}
		if !a.record.Judged {
			p.tell(kube.PodRef(pod), notApplied, fmt.Sprintf("pod %s was attached while nsg.disabled was set: it gets groups of its own when it is started again", a.record.Pod))
			continue
		}
		group, asgs, err := p.chosen(a, pod, namespace)
		if err != nil { // the node is as it should be: who may write a pod must not stop an upgrade
			p.tell(kube.PodRef(pod), notApplied, fmt.Sprintf("pod %s: %v", a.record.Pod, err))
			continue
		}
		if err := p.choose(a, group, asgs); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", a.record.Pod, err))
		}
	}
	return errors.Join(errs...)
}

// chosen are the groups that an ADD of the pod would choose now, where it may: the key
// of its NSG, and its ASGs.
func (p *pass) chosen(a attached, pod kube.Pod, namespace kube.Choice) (key string, asgs []string, err error) {
	wanted, err := wantedBy(pod, namespace)
	if err != nil {
		return "", nil, err
	}
	if wanted.NSG != "" {
		if key, err = p.rules.Group(wanted.NSG); err != nil {
			return "", nil, fmt.Errorf("%s: %w", annotationOf(pod, "nsg"), err)
		}
	}
	asgs = wanted.ASGNames()
	if a.has(key, asgs) {
		return key, asgs, nil // whoever allowed it then
	}
	return key, asgs, errors.Join(p.permits(pod, "nsg", nonEmpty(wanted.NSG, key)...), p.permits(pod, "asgs", asgs...))
}

// permits tells whether the pod may have the groups that its annotation names.
func (p *pass) permits(pod kube.Pod, annotation string, names ...string) error {
	for _, name := range names {
		if !p.conf.Permits(pod.Namespace, name) {
			return fmt.Errorf("%s: nsg.allowed does not have %q for the pods of namespace %s", annotationOf(pod, annotation), name, pod.Namespace)
		}
	}
	return nil
}

// annotationOf names the annotation that counts: the pod's, or else its namespace's.
func annotationOf(pod kube.Pod, key string) string {
	whose := "namespace " + pod.Namespace
	if key == "nsg" && pod.HasNSG || key == "asgs" && pod.HasASGs {
		whose = "the pod"
	}
	return "annotation vnet-cni.io/" + key + " of " + whose
}

func (a attached) has(group string, asgs []string) bool {
	return a.record.Group == group && slices.Equal(a.record.ASGs, asgs)
}

// choose gives the attachment these groups, unless its ADD or DEL is under way: the
// next pass comes.
func (p *pass) choose(a attached, group string, asgs []string) error {
	if a.has(group, asgs) && !a.record.Lost {
		return nil
	}
	changed, err := p.node.Choose(p.Paths.State, p.config.Network, a.key, group, asgs)
	if changed {
		p.Log.Info("pod has other security groups", "pod", a.record.Pod, "nsg", group, "asgs", asgs)
	}
	if err != nil && cnierr.Object(err).Code == cnierr.TryAgain {
		return nil
	}
	return err
}

// wantedBy is what the pod's annotations say, and where they say nothing its
// namespace's. The reader is that of the plugin, so that both refuse the same.
func wantedBy(pod kube.Pod, namespace kube.Choice) (netconf.Default, error) {
	var wanted netconf.Default
	for _, c := range []struct {
		key, own, namespace string
		has                 bool
	}{{"nsg", pod.NSG, namespace.NSG, pod.HasNSG}, {"asgs", pod.ASGs, namespace.ASGs, pod.HasASGs}} {
		value := c.own
		if !c.has {
			value = c.namespace
		}
		if !c.has && value == "" {
			continue
		}
		data, err := json.Marshal(map[string]string{c.key: value})
		if err != nil {
			return netconf.Default{}, err
		}
		read, err := netconf.ReadDefault(data)
		if err != nil {
			return netconf.Default{}, fmt.Errorf("%s: %s", annotationOf(pod, c.key), strings.TrimPrefix(err.Error(), "default."+c.key+": "))
		}
		wanted.NSG, wanted.ASGs = wanted.NSG+read.NSG, wanted.ASGs+read.ASGs // it has one of both
	}
	return wanted, nil
}

func nonEmpty(names ...string) []string {
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

// publish tells the agents of other nodes who is in which group here, and so whom to
// judge.
func (p *pass) publish(ctx context.Context) error {
	if p.conf == nil {
		return nil // it was said why; what is published holds
	}
	list, err := p.attachments()
	if err != nil {
		return err
	}
	entries := []kube.PodEntry{}
	for _, a := range list {
		if p.conf.NSG != nil {
			entries = append(entries, kube.PodEntry{Addresses: attachment.Addrs(a.lease), NSG: a.record.Group, ASGs: a.record.ASGs})
		}
	}
	return p.Cluster.Publish(ctx, entries)
}

// leasePoll is how often the agent looks whether a pod came or went: pods are to
// be known elsewhere soon, and the plugin does not wait for an agent to tell.
const leasePoll = 250 * time.Millisecond

// watchLeases wakes the agent when the lease store was written.
func (a *Agent) watchLeases(ctx context.Context) {
	var last time.Time
	tick := time.NewTicker(leasePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if written := a.leasesWritten(); !written.Equal(last) {
			last = written
			a.Changed()
		}
	}
}

func (a *Agent) leasesWritten() time.Time {
	a.mu.Lock()
	conf := a.state.conf
	a.mu.Unlock()
	if conf == nil {
		return time.Time{}
	}
	info, err := os.Stat(filepath.Join(a.Paths.State, conf.Name+".db"))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
