package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// counterEntry is one rule in the output for programs of vnetctl counters.
type counterEntry struct {
	Network   string        `json:"network"`
	NSG       string        `json:"nsg"`   // "" when the group is not in force any more
	Level     string        `json:"level"` // "subnet" or "interface"
	Direction nsg.Direction `json:"direction"`
	Priority  int           `json:"priority"` // 0 for the platform's rules and for removed ones
	Rule      string        `json:"rule"`
	Access    string        `json:"access"`
	Packets   uint64        `json:"packets"`
	Bytes     uint64        `json:"bytes"`
}

func (a *app) countersCommand() *cobra.Command {
	var network string
	c := &cobra.Command{
		Use:   "counters",
		Short: "Show what the rules in force have counted",
		Long: "Show for every rule of the security groups in force how many packets, and bytes, it has decided\n" +
			"about. Only the first packet of a flow asks the rules, and what follows before it is answered: of a\n" +
			"denied flow every attempt. What was counted before rules were replaced is included.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.counters(c, network) },
	}
	a.networkFlag(c, &network)
	return c
}

// networkFlag adds --network for commands about networks with security groups.
func (a *app) networkFlag(c *cobra.Command, network *string) {
	c.Flags().StringVar(network, "network", "", "only this one (default: all that have security groups in force)")
	must(c.RegisterFlagCompletionFunc("network", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, err := policy.Networks(a.stateDir)
		return names, completed(err)
	}))
}

// judgedNetworks are the networks that --network leaves.
func (a *app) judgedNetworks(c *cobra.Command, network string) ([]string, error) {
	all, err := policy.Networks(a.stateDir)
	if err != nil || !c.Flags().Changed("network") {
		return all, err
	}
	if !slices.Contains(all, network) {
		return nil, fmt.Errorf("--network %q: no such network has security groups in force in %s", network, a.stateDir)
	}
	return []string{network}, nil
}

func (a *app) counters(c *cobra.Command, network string) error {
	networks, err := a.judgedNetworks(c, network)
	if err != nil {
		return err
	}
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	entries := []counterEntry{}
	for _, n := range networks {
		more, err := a.countersOf(node, n)
		if err != nil {
			return err
		}
		entries = append(entries, more...)
	}
	if a.json() {
		return a.printJSON(entries)
	}
	if len(entries) == 0 {
		return a.printNothing("security groups in force")
	}
	return a.printTable(counterRows(entries))
}

// countersOf reads the counters of one network: those of the kernel, and what
// rules had counted that were replaced since.
func (a *app) countersOf(n *node, network string) ([]counterEntry, error) {
	v, err := policy.InForce(a.stateDir, network)
	if err != nil {
		return nil, err
	}
	now, err := n.Firewall.Counts(a.stateDir, network)
	if err != nil {
		return nil, err
	}
	hits, err := v.Hits(now)
	if err != nil {
		return nil, err
	}
	var entries []counterEntry
	for _, h := range hits {
		entries = append(entries, counterEntry{network, h.NSG, h.Level, h.Direction, h.Priority, h.Rule, h.Access, h.Packets, h.Bytes})
	}
	return entries, nil
}

func counterRows(entries []counterEntry) [][]string {
	rows := [][]string{{"NETWORK", "NSG", "LEVEL", "DIRECTION", "PRIORITY", "RULE", "ACCESS", "PACKETS", "BYTES"}}
	for _, e := range entries {
		number := "-"
		if e.Priority != 0 {
			number = strconv.Itoa(e.Priority)
		}
		rows = append(rows, []string{e.Network, orDash(cell(e.NSG, maxNameCell)), orDash(e.Level), e.Direction.String(), number,
			cell(e.Rule, 0), orDash(e.Access), strconv.FormatUint(e.Packets, 10), strconv.FormatUint(e.Bytes, 10)})
	}
	return rows
}
