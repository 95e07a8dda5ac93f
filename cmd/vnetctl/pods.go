package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// podEntry is one attachment in the output for programs.
type podEntry struct {
	Network     string   `json:"network"`
	ContainerID string   `json:"containerID"`
	IfName      string   `json:"ifName"`
	Address     string   `json:"address"` // of a dual-stack pod: both, with a comma
	HostVeth    string   `json:"hostVeth"`
	Healthy     bool     `json:"healthy"`
	Problems    []string `json:"problems"`
	NSG         string   `json:"nsg"`  // of its interface; "": none
	ASGs        []string `json:"asgs"` // in lower case

	pod string // for people only
}

func (a *app) podsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pods [NETWORK]",
		Short: "Show every attached pod and what is wrong with it",
		Long: "Compare every attachment with what the kernel has of it, on the node and in the pod.\n" +
			"Nothing is changed.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeNetwork,
		RunE:              func(_ *cobra.Command, args []string) error { return a.pods(args) },
	}
}

func (a *app) pods(args []string) error {
	networks, err := a.networks(args)
	if err != nil {
		return err
	}
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	entries, err := a.podEntries(node, networks, args)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(entries)
	}
	if len(entries) == 0 {
		return a.printNothing("pods")
	}
	return a.printTable(podRows(entries))
}

// podEntries judges the attachments with a lease, then the host veths without
// one. The links are read first: an attachment that is being made has its lease
// before its link, so that no new one looks like a leftover.
func (a *app) podEntries(n *node, networks, args []string) ([]podEntry, error) {
	links, err := n.Host.Attachments()
	if err != nil {
		return nil, err
	}
	all, err := collect.LeasesOf(a.stateDir, networks)
	if err != nil {
		return nil, err
	}
	entries := []podEntry{}
	for _, of := range all {
		names := a.groupNames(of.Network)
		for _, l := range of.Leases {
			e, ours, err := n.podEntry(a.stateDir, of.Network, l, names)
			if err != nil {
				return nil, err
			}
			if ours {
				entries = append(entries, e)
			}
		}
	}
	for _, o := range collect.Unleased(links, all) {
		if len(args) == 0 || o.Network == args[0] {
			entries = append(entries, podEntry{Network: o.Network, ContainerID: o.ContainerID, IfName: o.IfName,
				Address: joined(o.Addrs), HostVeth: o.HostName, Problems: []string{"no lease"}, ASGs: []string{}})
		}
	}
	return entries, nil
}

// groupNames returns how people call the security groups of the network: where
// nobody knows any more, as a record does.
func (a *app) groupNames(network string) func(key string) string {
	v, err := policy.InForce(a.stateDir, network)
	if err != nil {
		return func(key string) string { return key }
	}
	return v.Name
}

// podEntry judges one attachment. A lease of another main plugin is not ours to
// judge.
func (n *node) podEntry(stateDir, network string, l ipam.Lease, groupName func(key string) string) (podEntry, bool, error) {
	e := podEntry{Network: network, ContainerID: l.ContainerID, IfName: l.IfName,
		Address: joined(attachment.Addrs(l)), Problems: []string{}, ASGs: []string{}, pod: podOf(l)}
	record, ours, err := attachment.Of(l)
	if err != nil {
		e.HostVeth = attachment.LostRecord(network, l.Key).HostVeth
		e.Problems = append(e.Problems, err.Error())
		return e, true, nil
	}
	if !ours {
		return e, false, nil
	}
	problems, err := n.problems(stateDir, network, l, record)
	if err != nil {
		return e, true, err
	}
	if e.ASGs = append(e.ASGs, record.ASGs...); record.Group != "" {
		e.NSG = groupName(record.Group)
	}
	e.HostVeth, e.Healthy = record.HostVeth, len(problems) == 0
	e.Problems = append(e.Problems, problems...)
	return e, true, nil
}

// problems is attachment's, also for a record that was rebuilt from the kernel
// and does not know the pod's namespace. A question about one pod that the
// kernel did not answer is that pod's problem, unless no other would be either.
func (n *node) problems(stateDir, network string, l ipam.Lease, r attachment.Record) ([]string, error) {
	if r.Sandbox == "" && r.Foreign {
		return []string{"its record was lost: it is judged as before, until it is attached anew or detached"}, nil
	}
	if r.Sandbox == "" {
		holder, err := n.Holder(r.HostVeth)
		if err != nil {
			return nil, err
		}
		if holder == "" {
			return []string{"its lease was rebuilt and its network namespace is not to be found"}, nil
		}
		r.Sandbox = holder
	}
	problems, err := n.Problems(stateDir, network, l, r)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return []string{err.Error()}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at container %s, interface %s: %w", l.ContainerID, l.IfName, err)
	}
	return problems, nil
}

func podRows(entries []podEntry) [][]string {
	rows := [][]string{{"NETWORK", "ADDRESS", "CONTAINER", "INTERFACE", "POD", "NSG", "ASGS", "HOST VETH", "HEALTHY", "PROBLEMS"}}
	for _, e := range entries {
		healthy := "yes"
		if !e.Healthy {
			healthy = "no"
		}
		rows = append(rows, []string{e.Network, e.Address, e.ContainerID, e.IfName, e.pod,
			cell(e.NSG, maxNameCell), cell(strings.Join(e.ASGs, ","), maxValueCell), e.HostVeth, healthy, strings.Join(e.Problems, "; ")})
	}
	rows = unlessEmpty(rows, podColumn+2) // the last one first: the others move
	return withPods(unlessEmpty(rows, podColumn+1))
}
