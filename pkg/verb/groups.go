package verb

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
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Groups are the security groups that judge a pod.
type Groups struct {
	Rules *policy.Rules
	Group string   // key of the group of its interface; "": none
	ASGs  []string // in lower case
}

// ChooseGroups finds the security groups that will judge the pod, before it gets
// anything: documents that cannot be used, or a group that it may not have, cost
// nothing then. network is the name that the rules are kept under, and config what its
// configuration, which has security groups, makes of the documents.
func (c *Call) ChooseGroups(network string, config policy.Config) (Groups, error) {
	group, asgs, err := c.wantedGroups()
	if err != nil {
		return Groups{}, err
	}
	rules, err := attachment.OpenRules(c.Conf.StateDir, network, config)
	if err != nil {
		return Groups{}, cnierr.Wrap(cnierr.Documents, err)
	}
	chosen := Groups{Rules: rules, ASGs: asgs}
	for _, asg := range asgs {
		if err := c.permit("application security group", asg); err != nil {
			return Groups{}, err
		}
	}
	if group == "" {
		return chosen, nil
	}
	if err := c.permit("network security group", group); err != nil {
		return Groups{}, err
	}
	if chosen.Group, err = rules.Group(group); err != nil {
		if c.Conf.RequestedNSG(c.Args) == "" {
			err = fmt.Errorf("default of namespace %s: %w", c.Args.PodNamespace, err)
		}
		return Groups{}, cnierr.Wrap(cnierr.Documents, err)
	}
	// By its id as well: a name may be permitted that is another group's here.
	return chosen, c.permit("network security group", chosen.Group)
}

// wantedGroups is the pod's own NSG and ASGs, each of them its namespace's default
// where the pod asks for none.
func (c *Call) wantedGroups() (group string, asgs []string, err error) {
	group, asgs = c.Conf.RequestedNSG(c.Args), c.Conf.RequestedASGs(c.Args)
	file := c.Conf.DefaultFile(c.Args)
	if file == "" || group != "" && len(asgs) > 0 {
		return group, asgs, nil
	}
	def, err := c.awaitDefault(file)
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
func (c *Call) awaitDefault(file string) (netconf.Default, error) {
	data, err := os.ReadFile(file)
	for deadline := time.Now().Add(defaultWait); errors.Is(err, fs.ErrNotExist); data, err = os.ReadFile(file) {
		if time.Now().After(deadline) {
			return netconf.Default{}, cnierr.Errorf(cnierr.TryAgain, "namespace %s is not known in %s yet: no file tells the default security groups of its pods",
				c.Args.PodNamespace, c.Conf.NSG.Namespaces)
		}
		time.Sleep(defaultPoll)
	}
	if err != nil {
		return netconf.Default{}, cnierr.Errorf(cnierr.Documents, "default security groups of namespace %s: %w", c.Args.PodNamespace, err)
	}
	def, err := netconf.ReadDefault(data)
	if err != nil {
		return netconf.Default{}, cnierr.Errorf(cnierr.Documents, "default security groups of namespace %s: %s: %w", c.Args.PodNamespace, file, err)
	}
	return def, nil
}

// permit refuses a group that the configuration does not allow to the pod's
// namespace.
func (c *Call) permit(what, name string) error {
	if c.Conf.Permits(c.Args.PodNamespace, name) {
		return nil
	}
	return cnierr.Errorf(cnierr.Forbidden, "%s %q: nsg.allowed of network %s does not have it for the pods of namespace %s",
		what, name, c.Conf.Name, c.Args.PodNamespace)
}
