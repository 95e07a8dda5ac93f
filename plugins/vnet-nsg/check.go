package main

import (
	"fmt"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

// check compares a pod's record with prevResult and with what the kernel has of its
// links, sets and rules.
func check(cmd *skel.CmdArgs) error {
	c, err := verb.ReadStrict(netconf.VNetNSG, cmd)
	if err != nil {
		return err
	}
	return c.Check(judged(c.Conf), func(l ipam.Lease, _ *attachment.Record) ([]string, error) { return resultProblems(c, l) })
}

// resultProblems compares the record with the chain's result.
func resultProblems(c *verb.Call, l ipam.Lease) ([]string, error) {
	p, err := podOf(c.Conf.PrevResult, c.Key.IfName)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, a := range attachment.Addrs(l) {
		if !a.IsLinkLocalUnicast() && !slices.Contains(p.addrs, a) {
			problems = append(problems, fmt.Sprintf("prevResult lacks the judged address %s", a))
		}
	}
	for _, a := range p.addrs {
		if !slices.Contains(attachment.Addrs(l), a) {
			problems = append(problems, fmt.Sprintf("prevResult has the address %s, which nobody judges", a))
		}
	}
	return problems, nil
}
