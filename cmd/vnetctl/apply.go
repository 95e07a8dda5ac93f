package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// applyEntry is one network in the output for programs of vnetctl apply.
type applyEntry struct {
	Network string `json:"network"`
	Result  string `json:"result"`
	Reason  string `json:"reason"` // of what was rejected or failed
}

// What applyEntry.Result can be.
const (
	applyApplied   = "applied"   // the documents changed and are in force now
	applyUnchanged = "unchanged" // they did not, and the rules are whole
	applyRepaired  = "repaired"  // they did not, but rules were missing or changed
	applyRejected  = "rejected"  // they are broken: the last good rules stay in force
	applyFailed    = "failed"
)

func (a *app) applyCommand() *cobra.Command {
	var network string
	c := &cobra.Command{
		Use:   "apply",
		Short: "Put changed security group documents in force",
		Long: "Look at the documents of every network with security groups, put them in force if they changed,\n" +
			"and repair rules that somebody removed. Broken documents change nothing: the last good ones stay\n" +
			"in force, and the exit status is 1. Running flows keep their verdict.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.apply(c, network) },
	}
	a.networkFlag(c, &network)
	return c
}

func (a *app) apply(c *cobra.Command, network string) error {
	networks, err := a.judgedNetworks(c, network)
	if err != nil {
		return err
	}
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	entries, failed := []applyEntry{}, false
	for _, n := range networks {
		e := applyEntry{Network: n}
		e.Result, err = a.applyTo(node, n)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return err
		case err != nil:
			e.Result, e.Reason = applyFailed, err.Error()
		case e.Result == applyRejected:
			e.Reason = policy.Rejected(a.stateDir, n)
		}
		failed = failed || e.Reason != ""
		entries = append(entries, e)
	}
	if err := a.printApplied(entries); err != nil {
		return err
	}
	if failed {
		return errReported
	}
	return nil
}

// applyTo puts the documents of one network in force. One network's failure is
// not that of the others.
func (a *app) applyTo(n *node, network string) (string, error) {
	leases, err := a.store(network).Leases()
	if err != nil {
		return "", err
	}
	inForce, err := policy.InForce(a.stateDir, network)
	if err != nil {
		return "", err
	}
	const anew = true // for damage that only a listing would show
	done, err := n.Enforce(withFamilies(collect.RulesFor(network, a.stateDir, leases), inForce.Config), inForce.Config, anew, &firewall.Listing{Once: true})
	switch {
	case err != nil:
		return "", err
	case done.Rejected != "":
		return applyRejected, nil
	case done.Changed:
		return applyApplied, nil
	case len(done.Repaired) > 0:
		return applyRepaired, nil
	}
	return applyUnchanged, nil
}

// withFamilies gives a network without pods the families of its pools.
func withFamilies(n firewall.Network, c policy.Config) firewall.Network {
	if n.IPv4 || n.IPv6 {
		return n
	}
	for _, p := range c.Pools {
		n.IPv4 = n.IPv4 || p.Addr().Is4()
		n.IPv6 = n.IPv6 || p.Addr().Is6()
	}
	return n
}

func (a *app) printApplied(entries []applyEntry) error {
	if a.json() {
		return a.printJSON(entries)
	}
	if len(entries) == 0 {
		return a.printNothing("security groups in force")
	}
	rows := [][]string{{"NETWORK", "RESULT", "REASON"}}
	for _, e := range entries {
		rows = append(rows, []string{e.Network, e.Result, cell(e.Reason, 0)})
	}
	return a.printTable(unlessEmpty(rows, 2))
}
