package main

import (
	"context"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// check compares an attachment with its lease and with prevResult. What later plugins of
// the chain changed stands in prevResult and is accepted.
func check(cmd *skel.CmdArgs) error {
	c, err := readStrict(cmd)
	if err != nil {
		return err
	}
	var attached attachment.Record
	err = c.Check(c.Conf.Name, func(lease ipam.Lease, record *attachment.Record) ([]string, error) {
		attached = *record
		return c.resultProblems(lease, record)
	})
	if err != nil {
		return err
	}
	return c.checkForeign(attached)
}

// checkForeign asks the foreign IPAM plugin of the configuration if the address is from
// it, or nobody knows: another configuration may have been there at ADD.
func (c *call) checkForeign(r attachment.Record) error {
	from := r.Delegate != nil && r.Delegate.Type == c.Conf.IPAM.Type
	if !c.Conf.IPAM.Delegated() || !from && !r.Lost {
		return nil
	}
	err := invoke.DelegateCheck(context.Background(), c.Conf.IPAM.Type, c.Stdin, nil)
	return cnierr.Wrap(cnierr.Delegate, err)
}

// resultProblems compares the lease with the chain's result. A MAC that a later
// plugin set is taken over into the record.
func (c *call) resultProblems(lease ipam.Lease, record *attachment.Record) ([]string, error) {
	var problems []string
	for _, addr := range attachment.Addrs(lease) {
		if !c.Conf.PrevResultHas(addr) {
			problems = append(problems, fmt.Sprintf("prevResult lacks the leased address %s", addr))
		}
	}
	for _, i := range c.Conf.PrevResult.Interfaces {
		if i.Name == c.Key.IfName && i.Sandbox != "" && i.Mac != "" {
			if _, err := net.ParseMAC(i.Mac); err != nil {
				return nil, cnierr.Errorf(cnierr.Config, "prevResult: interface %s: mac: value %q is no MAC address", i.Name, i.Mac)
			}
			record.PodMAC = i.Mac
			return problems, nil
		}
	}
	return append(problems, fmt.Sprintf("prevResult lacks the interface %s", c.Key.IfName)), nil
}
