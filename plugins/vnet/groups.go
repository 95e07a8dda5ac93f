package main

import (
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/network"
)

// chooseGroups finds the security groups that will judge the pod, where its network
// has any.
func (a *addition) chooseGroups() error {
	if a.Conf.NSG == nil {
		// Its configuration may have had some.
		return attachment.OfFirewall(a.Node.EndJudging(a.Conf.StateDir, a.Conf.Name))
	}
	chosen, err := a.ChooseGroups(a.Conf.Name, network.Groups(a.Conf, a.uplink))
	if err != nil {
		return err
	}
	a.rules, a.record.Judged = chosen.Rules, true
	a.record.Group, a.record.ASGs = chosen.Group, chosen.ASGs
	return nil
}
