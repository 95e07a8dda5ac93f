package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// add attaches a pod: CNI spec section "ADD". Made again for the same container
// and interface it completes or repairs the attachment with the same lease.
func add(cmd *skel.CmdArgs) (err error) {
	c, err := readStrict(cmd)
	if err != nil {
		return err
	}
	sandbox, err := link.OpenSandbox(c.netns)
	if err != nil {
		return cnierr.Wrap(cnierr.Sandbox, err)
	}
	defer sandbox.Close()
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	var undo undo
	defer func() {
		if err != nil {
			err = undo.unwindBy(err, func(unwind func() error) error { return node.Firewall.Leaving(c.conf.StateDir, unwind) })
		}
	}()

	a := &addition{call: c, node: node, sandbox: sandbox, undo: &undo}
	for _, step := range []func() error{
		a.findUplink,
		a.chooseGroups,
		a.lease,
		a.filter,
		a.connect,
		a.configurePod,
		a.configureHost,
		a.answer,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := types.PrintResult(a.result(), c.conf.CNIVersion); err != nil {
		return cnierr.Errorf(cnierr.IO, "write the result: %w", err)
	}
	undo.disarm()
	return nil
}
