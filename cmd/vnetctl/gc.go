package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Kinds of what gc removes.
const (
	kindLease = "lease" // a whole attachment, its lease included
	kindLink  = "link"  // a host veth without a lease
	kindRules = "rules" // a network's packet filter rules and sets
)

// gcEntry is one thing that gc removed or kept, in the output for programs.
type gcEntry struct {
	Kind        string `json:"kind"`
	Network     string `json:"network"`
	ContainerID string `json:"containerID,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	Address     string `json:"address,omitempty"`
	HostVeth    string `json:"hostVeth,omitempty"`
	Reason      string `json:"reason"`
}

// gcReport is the output for programs of vnetctl gc. What is obviously in use
// stands in neither list.
type gcReport struct {
	DryRun  bool      `json:"dryRun"`
	Removed []gcEntry `json:"removed"` // with dryRun: would be
	Kept    []gcEntry `json:"kept"`    // looks left behind, but is or may be in use
}

func (a *app) gcCommand() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what pods that are gone left behind",
		Long: "Remove the attachments whose network namespace is gone, host veths that nobody uses, and the\n" +
			"packet filter rules of networks without any lease. What may be alive is kept.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.gc(dryRun) },
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	return c
}

func (a *app) gc(dryRun bool) error {
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	c := &collection{app: a, node: node, report: gcReport{DryRun: dryRun, Removed: []gcEntry{}, Kept: []gcEntry{}}}
	failed := c.run()
	if err := c.print(); err != nil {
		return err
	}
	return failed
}

// collection is one run of gc. One thing that cannot be removed does not keep it
// from the others.
type collection struct {
	*app
	node   *node
	report gcReport
	errs   []error
}

func (c *collection) run() error {
	networks, err := ipam.Networks(c.stateDir)
	if err != nil {
		return err
	}
	// Links before leases: a link that is being made has its lease already.
	links, err := c.node.Host.Attachments()
	if err != nil {
		return err
	}
	all, err := c.leases(networks)
	if err != nil {
		return err
	}
	for _, n := range all {
		for _, l := range n.leases {
			c.failed(c.collectLease(n.network, l.Key))
		}
	}
	for _, o := range orphans(links, all) {
		c.failed(c.collectLink(o, all))
	}
	for _, n := range all {
		c.failed(c.collectRules(n, all))
	}
	return errors.Join(c.errs...)
}

func (c *collection) failed(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

// collectLease judges the lease as it is now, not as it was listed: the runtime
// may have attached the container anew.
func (c *collection) collectLease(network string, k ipam.Key) error {
	l, found, err := c.store(network).Get(k)
	if err != nil || !found {
		return err
	}
	record, ours, err := attachment.Of(l)
	if err != nil {
		return err
	}
	if !ours {
		return nil // of another main plugin: what its pod is made of is not known
	}
	is, why, err := c.node.podLife(record)
	if err != nil || is == living && (record.Sandbox == "" || !link.SandboxGone(record.Sandbox)) {
		return err
	}
	e := gcEntry{kindLease, network, l.ContainerID, l.IfName, joined(attachment.Addrs(l)), record.HostVeth, why}
	return c.settle(e, is, func() error { return c.detach(c.node, network, l) })
}

// collectLink removes a host veth without a lease. An address that somebody
// holds a lease of stays that one's: only the link goes.
func (c *collection) collectLink(o link.Attachment, all []networkLeases) error {
	is, why, err := c.node.vethLife(o.HostName)
	if err != nil {
		return err
	}
	free := slices.DeleteFunc(slices.Clone(o.Addrs), func(a netip.Addr) bool { return leased(a, all) })
	e := gcEntry{kindLink, o.Network, o.ContainerID, o.IfName, joined(o.Addrs), o.HostName, "no lease, and " + why}
	return c.settle(e, is, func() error {
		return c.node.Remove(o.Network, attachment.Record{HostVeth: o.HostName, Uplink: o.Uplink}, free)
	})
}

func leased(a netip.Addr, all []networkLeases) bool {
	return slices.ContainsFunc(all, func(n networkLeases) bool {
		return slices.ContainsFunc(n.leases, func(l ipam.Lease) bool { return slices.Contains(attachment.Addrs(l), a) })
	})
}

// settle removes what is gone, and notes either way what became of it.
func (c *collection) settle(e gcEntry, is life, remove func() error) error {
	if is != gone {
		c.report.Kept = append(c.report.Kept, e)
		return nil
	}
	if !c.report.DryRun {
		if err := remove(); err != nil {
			return err
		}
	}
	c.report.Removed = append(c.report.Removed, e)
	return nil
}

// removedLeases counts the network's leases that this run removed, or would.
func (c *collection) removedLeases(network string) int {
	count := 0
	for _, e := range c.report.Removed {
		if e.Network == network && e.Kind == kindLease {
			count++
		}
	}
	return count
}

// left counts the leases of the network that remain.
func (c *collection) left(n networkLeases) int { return len(n.leases) - c.removedLeases(n.network) }

// keepsLink reports whether a link of the network without a lease was kept.
func (c *collection) keepsLink(network string) bool {
	return slices.ContainsFunc(c.report.Kept, func(e gcEntry) bool { return e.Network == network && e.Kind == kindLink })
}

// collectRules removes the rules of a network that has nobody left.
func (c *collection) collectRules(n networkLeases, all []networkLeases) error {
	if c.left(n) > 0 || c.keepsLink(n.network) {
		return nil
	}
	last := !slices.ContainsFunc(all, func(o networkLeases) bool { return c.left(o) > 0 || c.keepsLink(o.network) })
	present, err := c.node.rulesOf(n.network, last)
	if err != nil || !present {
		return err
	}
	e := gcEntry{Kind: kindRules, Network: n.network, Reason: "the network has no lease"}
	return c.settle(e, gone, func() error { return c.removeRules(n.network) })
}

// removeRules takes the rules away, and puts them back for a pod that came
// between the look at the leases and the removal.
func (c *collection) removeRules(network string) error {
	if err := c.node.Firewall.Remove(c.stateDir, network); err != nil {
		return err
	}
	leases, err := c.store(network).Leases()
	if err != nil || len(leases) == 0 {
		return err
	}
	return c.node.Firewall.Ensure(rulesFor(network, c.stateDir, leases))
}

func (c *collection) print() error {
	if c.json() {
		return c.printJSON(c.report)
	}
	removed := "removed"
	if c.report.DryRun {
		removed = "would remove"
	}
	for _, e := range c.report.Removed {
		if err := c.printf("%s %s\n", removed, e); err != nil {
			return err
		}
	}
	for _, e := range c.report.Kept {
		if err := c.printf("kept %s\n", e); err != nil {
			return err
		}
	}
	if len(c.report.Removed) == 0 && len(c.errs) == 0 {
		return c.printNothing("leftovers to remove")
	}
	return nil
}

// String says what it is and why.
func (e gcEntry) String() string {
	if e.Kind == kindRules {
		return fmt.Sprintf("the packet filter rules of network %s: %s", e.Network, e.Reason)
	}
	what := e.Address
	if e.Kind == kindLink || what == "" {
		what = "link " + e.HostVeth
	}
	return fmt.Sprintf("%s of container %s, interface %s, in network %s: %s", what, e.ContainerID, e.IfName, e.Network, e.Reason)
}
