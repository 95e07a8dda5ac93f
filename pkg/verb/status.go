package verb

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Status opens the node and makes what faults finds with it STATUS's error: CNI spec
// section "STATUS". The configuration's own errors keep their codes.
func Status(p netconf.Plugin, cmd *skel.CmdArgs, faults func(*attachment.Node, *Call) error) error {
	conf, err := netconf.ParseStrict(p, cmd.StdinData)
	if err != nil {
		return err
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return unavailable(err)
	}
	defer node.Close()
	return unavailable(faults(node, &Call{Conf: conf, Stdin: cmd.StdinData}))
}

// unavailable gives what is wrong with a node STATUS's code, whatever other it has.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &cnierr.Error{Code: cnierr.Unavailable, Err: err}
}

// DocumentsUsable wants rules that can be in force: those of today's documents or
// the last good ones. Its arguments are those of ChooseGroups.
func (c *Call) DocumentsUsable(network string, config policy.Config) error {
	_, err := policy.Open(c.Conf.StateDir, network, config, attachment.Pods(c.Conf.StateDir, network))
	return err
}

// DefaultsUsable wants the folder with the namespaces' defaults: an ADD would wait
// for a file in it in vain.
func (c *Call) DefaultsUsable() error {
	if c.Conf.NSG == nil || c.Conf.NSG.Namespaces == "" {
		return nil
	}
	if _, err := os.Stat(c.Conf.NSG.Namespaces + "/."); err != nil { // not a file either
		return fmt.Errorf("nsg.namespaces: %w", err)
	}
	return nil
}
