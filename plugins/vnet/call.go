package main

import (
	"net"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// call is what the runtime asks of one attachment.
type call struct{ *verb.Call }

// readStrict reads a call whose configuration has to be right.
func readStrict(cmd *skel.CmdArgs) (*call, error) {
	c, err := verb.ReadStrict(netconf.VNet, cmd)
	return &call{c}, err
}

// readLenient reads a call that has to work whatever became of the configuration.
func readLenient(cmd *skel.CmdArgs) (*call, error) {
	c, err := verb.ReadLenient(netconf.VNet, cmd)
	return &call{c}, err
}

func (c *call) store() *ipam.Store { return attachment.Store(c.Conf.StateDir, c.Conf.Name) }

func (c *call) hostVeth() string {
	return link.HostName(c.Conf.Name, c.Key.ContainerID, c.Key.IfName)
}

// podMAC is the one that was asked for, else one of our own making.
func (c *call) podMAC() net.HardwareAddr {
	if mac := c.Conf.RequestedMAC(c.Args); mac != nil {
		return mac
	}
	return link.PodMAC(c.Conf.Name, c.Key.ContainerID, c.Key.IfName)
}

// delegate is the foreign IPAM plugin of the configuration.
func (c *call) delegate() *attachment.Delegate {
	return &attachment.Delegate{Type: c.Conf.IPAM.Type, Config: c.Stdin, Args: c.Raw}
}
