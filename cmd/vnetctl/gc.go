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
	kindRules = "rules" // packet filter rules and sets, of a network or of all
)

// gcEntry is one thing that gc removed or kept, in the output for programs.
type gcEntry struct {
	Kind        string `json:"kind"`
	Network     string `json:"network"` // "" for the rules that all networks share
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
			"packet filter rules of networks without any lease. What is or may be alive is kept.",
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
	node    *node
	all     []networkLeases   // as the run began
	orphans []link.Attachment // host veths without a lease, as the run began
	report  gcReport
	errs    []error
}

func (c *collection) run() error {
	// Links before leases: a link that is being made has its lease already.
	links, err := c.node.Host.Attachments()
	if err != nil {
		return err
	}
	if c.all, err = c.allLeases(); err != nil {
		return err
	}
	c.orphans = orphans(links, c.all)
	for _, n := range c.all {
		for _, l := range n.leases {
			c.failed(c.collectLease(n.network, l.Key))
		}
	}
	for _, o := range c.orphans {
		c.failed(c.collectLink(o))
	}
	c.collectAllRules()
	return errors.Join(c.errs...)
}

// allLeases are the leases of all networks as they are now.
func (c *collection) allLeases() ([]networkLeases, error) {
	networks, err := ipam.Networks(c.stateDir)
	if err != nil {
		return nil, err
	}
	return c.leases(networks)
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
	return c.collectJudged(network, l)
}

// collectJudged removes a lease unless its pod lives or, while that was found
// out, became another one.
func (c *collection) collectJudged(network string, l ipam.Lease) error {
	record, ours := recordOf(network, l)
	if !ours {
		return nil // of another main plugin: what its pod is made of is not known
	}
	is, why, err := c.node.podLife(record)
	if err != nil || is == living && (record.Sandbox == "" || !link.SandboxGone(record.Sandbox)) {
		return err
	}
	e := gcEntry{kindLease, network, l.ContainerID, l.IfName, joined(attachment.Addrs(l)), record.HostVeth, why}
	return c.settle(e, is, func() (string, error) {
		if same, err := c.unchanged(network, l); err != nil || !same {
			return changedMeanwhile, err
		}
		return "", c.detach(c.node, network, l)
	})
}

// collectLink removes a host veth without a lease. An address that somebody
// holds a lease of stays that one's: only the link goes.
func (c *collection) collectLink(o link.Attachment) error {
	is, why, err := c.node.vethLife(o.HostName)
	if err != nil {
		return err
	}
	e := gcEntry{kindLink, o.Network, o.ContainerID, o.IfName, joined(o.Addrs), o.HostName, "no lease, and " + why}
	return c.settle(e, is, func() (string, error) {
		now, err := c.allLeases()
		if err != nil || len(orphans([]link.Attachment{o}, now)) == 0 {
			return changedMeanwhile, err
		}
		free := slices.DeleteFunc(slices.Clone(o.Addrs), func(a netip.Addr) bool { return leased(a, now) })
		nothing := func() error { return nil }
		return "", c.node.Remove(c.stateDir, o.Network, attachment.Record{HostVeth: o.HostName, Uplink: o.Uplink, Lost: true}, free, nothing)
	})
}

func leased(a netip.Addr, all []networkLeases) bool {
	return slices.ContainsFunc(all, func(n networkLeases) bool {
		return slices.ContainsFunc(n.leases, func(l ipam.Lease) bool { return slices.Contains(attachment.Addrs(l), a) })
	})
}

// settle removes what is gone, and notes either way what became of it. The
// removal may find a reason to keep it after all.
func (c *collection) settle(e gcEntry, is life, remove func() (keep string, err error)) error {
	if is == gone && !c.report.DryRun {
		keep, err := remove()
		if err != nil {
			return err
		}
		if keep != "" {
			is, e.Reason = unknown, keep
		}
	}
	if is == gone {
		c.report.Removed = append(c.report.Removed, e)
	} else {
		c.report.Kept = append(c.report.Kept, e)
	}
	return nil
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
	if e.Kind == kindRules && e.Network == "" {
		return "the packet filter rules that all networks share: " + e.Reason
	}
	if e.Kind == kindRules {
		return fmt.Sprintf("the packet filter rules of network %s: %s", e.Network, e.Reason)
	}
	what := e.Address
	if e.Kind == kindLink || what == "" {
		what = "link " + e.HostVeth
	}
	return fmt.Sprintf("%s of container %s, interface %s, in network %s: %s", what, e.ContainerID, e.IfName, e.Network, e.Reason)
}
