package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// check compares an attachment with its lease and with prevResult and changes
// nothing: CNI spec section "CHECK". What later plugins of the chain changed
// stands in prevResult and is accepted.
func check(cmd *skel.CmdArgs) error {
	c, err := readStrict(cmd)
	if err != nil {
		return err
	}
	if c.conf.PrevResult == nil {
		return cnierr.Errorf(cnierr.Config, "prevResult: CHECK needs the result of ADD")
	}
	lease, found, err := c.store().Get(c.key)
	if err != nil {
		return cnierr.OfStore(err)
	}
	record, ours, err := attachment.Of(lease)
	if err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	if !found || !ours {
		return cnierr.Errorf(cnierr.Check, "network %s has no lease for container %s, interface %s", c.conf.Name, c.key.ContainerID, c.key.IfName)
	}
	sandbox, err := link.OpenSandbox(c.netns) // a bad CNI_NETNS is not a damaged attachment
	if err != nil {
		return cnierr.Wrap(cnierr.Sandbox, err)
	}
	sandbox.Close()
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	record.Sandbox = c.netns
	problems := resultProblems(c.conf, c.key, lease, &record)
	more, err := node.Problems(c.conf.StateDir, c.conf.Name, lease, record)
	if err != nil {
		return err
	}
	if problems = append(problems, more...); len(problems) > 0 {
		return cnierr.Errorf(cnierr.Check, "%s", strings.Join(problems, "; "))
	}
	if c.conf.IPAM.Delegated() {
		err := invoke.DelegateCheck(context.Background(), c.conf.IPAM.Type, c.stdin, nil)
		return cnierr.Wrap(cnierr.Delegate, err)
	}
	return nil
}

// resultProblems compares the lease with the chain's result. A MAC that a later
// plugin set is taken over into the record.
func resultProblems(conf *netconf.Conf, key ipam.Key, lease ipam.Lease, record *attachment.Record) []string {
	var problems []string
	for _, addr := range attachment.Addrs(lease) {
		if !conf.PrevResultHas(addr) {
			problems = append(problems, fmt.Sprintf("prevResult lacks the leased address %s", addr))
		}
	}
	for _, i := range conf.PrevResult.Interfaces {
		if i.Name == key.IfName && i.Sandbox != "" && i.Mac != "" {
			record.PodMAC = i.Mac
			return problems
		}
	}
	return append(problems, fmt.Sprintf("prevResult lacks the interface %s", key.IfName))
}
