// Package verb is what the verbs of the plugins that judge pods have in common: the
// call as the runtime makes it, what they open, the choice of security groups for a pod,
// the way back of an ADD that fails, CHECK's comparisons, and the counting of verbs.
//
// It must not know how a pod is attached or judged: what a verb does is in its plugin.
package verb

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// Call is what the runtime asks of one attachment.
type Call struct {
	Key   ipam.Key
	Netns string // path of the pod's network namespace
	Path  string // CNI_PATH
	Conf  *netconf.Conf
	Args  netconf.Args
	Stdin []byte
	Raw   string // CNI_ARGS as it came
}

// ReadStrict reads a call whose configuration has to be right. Errors have the codes
// of netconf's strict reader.
func ReadStrict(p netconf.Plugin, cmd *skel.CmdArgs) (*Call, error) {
	c := callOf(cmd)
	var err error
	if c.Conf, err = netconf.ParseStrict(p, cmd.StdinData); err != nil {
		return nil, err
	}
	if err := netconf.ValidateAttachment(cmd.ContainerID, cmd.IfName); err != nil {
		return nil, err
	}
	if c.Args, err = netconf.ParseArgs(cmd.Args); err != nil {
		return nil, err
	}
	return c, c.Conf.CheckArgs(c.Args)
}

// ReadLenient reads a call that has to work although the configuration was
// edited or the arguments mean nothing any more.
func ReadLenient(p netconf.Plugin, cmd *skel.CmdArgs) (*Call, error) {
	c := callOf(cmd)
	var err error
	if c.Conf, err = netconf.ParseLenient(p, cmd.StdinData); err != nil {
		return nil, err
	}
	return c, netconf.ValidateAttachment(cmd.ContainerID, cmd.IfName)
}

func callOf(cmd *skel.CmdArgs) *Call {
	return &Call{
		Key:   ipam.Key{ContainerID: cmd.ContainerID, IfName: cmd.IfName},
		Netns: cmd.Netns, Path: cmd.Path, Stdin: cmd.StdinData, Raw: cmd.Args,
	}
}

// PodName is what Kubernetes calls the pod, or another runtime the container, which has
// no namespace; "" where the runtime does not tell.
func (c *Call) PodName() string {
	if c.Args.PodName == "" || c.Args.PodNamespace == "" {
		return c.Args.PodName
	}
	return c.Args.PodNamespace + "/" + c.Args.PodName
}
