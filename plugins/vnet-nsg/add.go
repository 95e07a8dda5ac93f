package main

import (
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// add puts a pod that is attached already under its security groups: CNI spec section
// "ADD". The runtime starts the pod's processes afterwards. Made again for the same
// container and interface it repairs what is missing and gives the pod the groups of
// today.
func add(cmd *skel.CmdArgs) (err error) {
	c, err := verb.ReadStrict(netconf.VNetNSG, cmd)
	if err != nil {
		return err
	}
	if c.Conf.PrevResult == nil {
		return cnierr.Errorf(cnierr.Config, "prevResult: there is none: vnet-nsg stands behind a main plugin")
	}
	attempt, err := c.Begin()
	if err != nil {
		return err
	}
	defer attempt.End(&err)
	a := &addition{Call: c, Attempt: attempt}
	return a.Take(
		a.findPod,
		a.refuseTwoJudges,
		a.chooseGroups,
		a.claim,
		a.filter,
		a.regroup,
		a.settle,
		a.pass,
	)
}
