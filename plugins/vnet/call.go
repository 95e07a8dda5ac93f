package main

import (
	"net"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// call is what the runtime asks of one attachment.
type call struct {
	key   ipam.Key
	netns string
	path  string // CNI_PATH
	conf  *netconf.Conf
	args  netconf.Args
	stdin []byte
	raw   string // CNI_ARGS as it came
}

// readStrict reads a call whose configuration has to be right.
func readStrict(cmd *skel.CmdArgs) (*call, error) {
	c := &call{key: ipam.Key{ContainerID: cmd.ContainerID, IfName: cmd.IfName}, netns: cmd.Netns, path: cmd.Path, stdin: cmd.StdinData, raw: cmd.Args}
	var err error
	if c.conf, err = netconf.ParseStrict(netconf.VNet, cmd.StdinData); err != nil {
		return nil, err
	}
	if err := netconf.ValidateAttachment(cmd.ContainerID, cmd.IfName); err != nil {
		return nil, err
	}
	if c.args, err = netconf.ParseArgs(cmd.Args); err != nil {
		return nil, err
	}
	return c, c.conf.CheckArgs(c.args)
}

// readLenient reads a call that has to work although the configuration was
// edited or the arguments mean nothing any more.
func readLenient(cmd *skel.CmdArgs) (*call, error) {
	c := &call{key: ipam.Key{ContainerID: cmd.ContainerID, IfName: cmd.IfName}, netns: cmd.Netns, path: cmd.Path, stdin: cmd.StdinData, raw: cmd.Args}
	var err error
	if c.conf, err = netconf.ParseLenient(netconf.VNet, cmd.StdinData); err != nil {
		return nil, err
	}
	return c, netconf.ValidateAttachment(cmd.ContainerID, cmd.IfName)
}

func (c *call) store() *ipam.Store { return attachment.Store(c.conf.StateDir, c.conf.Name) }

func (c *call) hostVeth() string {
	return link.HostName(c.conf.Name, c.key.ContainerID, c.key.IfName)
}

// podMAC is the one that was asked for, else one of our own making.
func (c *call) podMAC() net.HardwareAddr {
	if mac := c.conf.RequestedMAC(c.args); mac != nil {
		return mac
	}
	return link.PodMAC(c.conf.Name, c.key.ContainerID, c.key.IfName)
}

// delegate is the foreign IPAM plugin of the configuration.
func (c *call) delegate() *attachment.Delegate {
	return &attachment.Delegate{Type: c.conf.IPAM.Type, Config: c.stdin, Args: c.raw}
}
