package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// chooseGroups finds the security groups that will judge the pod, before it gets
// anything: documents that cannot be used, or a group that it may not have, cost
// nothing then.
func (a *addition) chooseGroups() error {
	if a.conf.NSG == nil {
		return a.endJudging()
	}
	group, asgs, err := a.wantedGroups()
	if err != nil {
		return err
	}
	rules, err := policy.Open(a.conf.StateDir, a.conf.Name, network.Groups(a.conf, a.uplink), attachment.Pods(a.conf.StateDir, a.conf.Name))
	if err != nil {
		return cnierr.Wrap(cnierr.Documents, err)
	}
	a.rules, a.record.Judged = rules, true
	a.record.ASGs = asgs
	for _, asg := range a.record.ASGs {
		if err := a.permit("application security group", asg); err != nil {
			return err
		}
	}
	if group == "" {
		return nil
	}
	if err := a.permit("network security group", group); err != nil {
		return err
	}
	if a.record.Group, err = rules.Group(group); err != nil {
		if a.conf.RequestedNSG(a.args) == "" {
			err = fmt.Errorf("default of namespace %s: %w", a.args.PodNamespace, err)
		}
		return cnierr.Wrap(cnierr.Documents, err)
	}
	// By its id as well: a name may be permitted that is another group's here.
	return a.permit("network security group", a.record.Group)
}

// wantedGroups is the pod's own NSG and ASGs, each of them its namespace's default
// where the pod asks for none.
func (a *addition) wantedGroups() (group string, asgs []string, err error) {
	group, asgs = a.conf.RequestedNSG(a.args), a.conf.RequestedASGs(a.args)
	file := a.conf.DefaultFile(a.args)
	if file == "" || group != "" && len(asgs) > 0 {
		return group, asgs, nil
	}
	def, err := a.awaitDefault(file)
	if len(asgs) == 0 {
		asgs = def.ASGNames()
	}
	return cmp.Or(group, def.NSG), asgs, err
}

// A namespace's first pod may be here before whoever writes the defaults has heard
// of the namespace.
const (
	defaultWait = 5 * time.Second
	defaultPoll = 20 * time.Millisecond
)

// awaitDefault reads the defaults of the pod's namespace. A namespace without a
// file is not known yet; without defaults of its own it has an empty document.
func (a *addition) awaitDefault(file string) (netconf.Default, error) {
	data, err := os.ReadFile(file)
	for deadline := time.Now().Add(defaultWait); errors.Is(err, fs.ErrNotExist); data, err = os.ReadFile(file) {
		if time.Now().After(deadline) {
			return netconf.Default{}, cnierr.Errorf(cnierr.TryAgain, "namespace %s is not known in %s yet: no file tells the default security groups of its pods",
				a.args.PodNamespace, a.conf.NSG.Namespaces)
		}
		time.Sleep(defaultPoll)
	}
	if err != nil {
		return netconf.Default{}, cnierr.Errorf(cnierr.Documents, "default security groups of namespace %s: %w", a.args.PodNamespace, err)
	}
	def, err := netconf.ReadDefault(data)
	if err != nil {
		return netconf.Default{}, cnierr.Errorf(cnierr.Documents, "default security groups of namespace %s: %s: %w", a.args.PodNamespace, file, err)
	}
	return def, nil
}

// permit refuses a group that the configuration does not allow to the pod's
// namespace.
func (a *addition) permit(what, name string) error {
	if a.conf.Permits(a.args.PodNamespace, name) {
		return nil
	}
	return cnierr.Errorf(cnierr.Forbidden, "%s %q: nsg.allowed of network %s does not have it for the pods of namespace %s",
		what, name, a.conf.Name, a.args.PodNamespace)
}

// endJudging takes away the rules of a network whose configuration has no
// security groups any more.
func (a *addition) endJudging() error {
	if !policy.Exists(a.conf.StateDir, a.conf.Name) {
		return nil
	}
	err := a.node.Firewall.EndJudging(a.conf.StateDir, a.conf.Name, attachment.Pods(a.conf.StateDir, a.conf.Name))
	if err == nil {
		err = policy.Forget(a.conf.StateDir, a.conf.Name)
	}
	return cnierr.Wrap(cnierr.Firewall, err)
}
