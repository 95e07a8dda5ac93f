package main

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

// poolEntry is one pool in the output for programs.
type poolEntry struct {
	Network string       `json:"network"`
	Subnet  netip.Prefix `json:"subnet"`
	Size    uint64       `json:"size"`
	Used    uint64       `json:"used"`
	Free    uint64       `json:"free"`
	Cooling uint64       `json:"cooling"`
}

// leaseEntry is one leased address in the output for programs.
type leaseEntry struct {
	Network     string     `json:"network"`
	ContainerID string     `json:"containerID"`
	IfName      string     `json:"ifName"`
	Address     netip.Addr `json:"address"`
	Since       string     `json:"since"` // RFC 3339; "" when it is unknown
}

// ipamEntries is the output for programs of vnetctl ipam.
type ipamEntries struct {
	Pools  []poolEntry  `json:"pools"`
	Leases []leaseEntry `json:"leases"`
}

func (a *app) ipamCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "ipam [NETWORK]",
		Short:             "Show pools and leases",
		Long:              "Show the pools that addresses were last leased from, and who holds which address.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeNetwork,
		RunE:              func(_ *cobra.Command, args []string) error { return a.ipam(args) },
	}
	c.AddCommand(a.releaseCommand())
	return c
}

func (a *app) ipam(args []string) error {
	networks, err := a.networks(args)
	if err != nil {
		return err
	}
	// Those have no addresses to lease: another IPAM plugin's pods are judged there.
	networks = slices.DeleteFunc(slices.Clone(networks), attachment.IsChained)
	pools, err := a.pools(networks)
	if err != nil {
		return err
	}
	leases, err := collect.LeasesOf(a.stateDir, networks)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(ipamEntries{pools, leaseEntries(leases)})
	}
	return a.printIPAM(pools, leases)
}

// pools counts the addresses of the pools that each store last leased from.
func (a *app) pools(networks []string) ([]poolEntry, error) {
	entries := []poolEntry{}
	for _, n := range networks {
		pools, err := a.store(n).Pools()
		if err != nil {
			return nil, err
		}
		stats, err := a.store(n).Stats(pools)
		if err != nil {
			return nil, err
		}
		for _, s := range stats {
			entries = append(entries, poolEntry{n, s.Subnet, s.Size, s.Used, s.Free, s.Cooling})
		}
	}
	return entries, nil
}

func leaseEntries(all []collect.Leases) []leaseEntry {
	entries := []leaseEntry{}
	for _, n := range all {
		for _, l := range n.Leases {
			for _, addr := range attachment.Addrs(l) {
				entries = append(entries, leaseEntry{n.Network, l.ContainerID, l.IfName, addr, since(l)})
			}
		}
	}
	return entries
}

// since is empty for a lease that was rebuilt from the kernel, which does not say.
func since(l ipam.Lease) string {
	if l.Since.IsZero() {
		return ""
	}
	return l.Since.UTC().Format(time.RFC3339)
}

func (a *app) printIPAM(pools []poolEntry, leases []collect.Leases) error {
	if len(pools) > 0 {
		if err := a.printTable(poolRows(pools)); err != nil {
			return err
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	rows := a.leaseRows(leases)
	if len(rows) == 1 {
		return a.printNothing("leases")
	}
	return a.printTable(rows)
}

func poolRows(pools []poolEntry) [][]string {
	rows := [][]string{{"NETWORK", "SUBNET", "SIZE", "USED", "FREE", "COOLING"}}
	for _, p := range pools {
		row := []string{p.Network, p.Subnet.String()}
		for _, n := range []uint64{p.Size, p.Used, p.Free, p.Cooling} {
			row = append(row, strconv.FormatUint(n, 10))
		}
		rows = append(rows, row)
	}
	return rows
}

func (a *app) leaseRows(all []collect.Leases) [][]string {
	rows := [][]string{{"NETWORK", "ADDRESS", "CONTAINER", "INTERFACE", "POD", "AGE"}}
	for _, n := range all {
		for _, l := range n.Leases {
			held := "" // rebuilt
			if !l.Since.IsZero() {
				held = age(a.now().Sub(l.Since))
			}
			rows = append(rows, []string{n.Network, joined(attachment.Addrs(l)), l.ContainerID, l.IfName, podOf(l), orDash(held)})
		}
	}
	return withPods(rows)
}

// podOf names the pod of a lease, where the runtime told.
func podOf(l ipam.Lease) string {
	r, _, err := attachment.Of(l)
	if err != nil {
		return ""
	}
	return r.Pod
}
