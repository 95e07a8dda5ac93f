// Package collect finds and removes what pods that are gone left behind on a node:
// attachments, host veths without a lease, and the rules of networks that have
// nobody any more.
//
// Who is gone is judged in one of two ways: by the network namespaces that can be
// seen from here (Dead), or by the container runtime's own list over time (Orphans
// and Remove), which needs no view of the node's processes and mounts.
//
// It knows the state directory, the records in the leases and the kernel in the
// current network namespace. It must not know a network configuration, nor how a
// runtime is asked.
package collect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Options say where to collect, and what not.
type Options struct {
	StateDir string
	CNIPath  string   // CNI_PATH for addresses of another IPAM plugin
	DryRun   bool     // only tell what would be removed
	Keep     []string // networks whose rules stay; where no pod is left, those that all share may go with another's
}

// Kinds of what is removed.
const (
	KindLease = "lease" // a whole attachment, its lease included
	KindLink  = "link"  // a host veth without a lease
	KindRules = "rules" // packet filter rules and sets, and routes, of a network or of all
)

// Entry is one thing that was removed or kept.
type Entry struct {
	Kind        string `json:"kind"`
	Network     string `json:"network"` // "" for the rules that all networks share
	ContainerID string `json:"containerID,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	Address     string `json:"address,omitempty"` // of a dual-stack pod: both, with a comma
	HostVeth    string `json:"hostVeth,omitempty"`
	Reason      string `json:"reason"`
}

// String says what it is and why.
func (e Entry) String() string {
	if e.Kind == KindRules && e.Network == shared {
		return "the packet filter rules that all networks share: " + e.Reason
	}
	if e.Kind == KindRules {
		return fmt.Sprintf("the packet filter rules of network %s: %s", e.Network, e.Reason)
	}
	what := e.Address
	if e.Kind == KindLink || what == "" {
		what = "link " + e.HostVeth
	}
	return fmt.Sprintf("%s of container %s, interface %s, in network %s: %s", what, e.ContainerID, e.IfName, e.Network, e.Reason)
}

// Report is what became of everything that looked left behind. What is obviously
// in use stands in neither list.
type Report struct {
	DryRun  bool    `json:"dryRun"`
	Removed []Entry `json:"removed"` // with DryRun: would be
	Kept    []Entry `json:"kept"`    // looks left behind, but is or may be in use
}

// collection is one run. One thing that cannot be removed does not keep it from
// the others.
type collection struct {
	Options
	node   *attachment.Node
	all    []Leases          // as the run began
	links  []link.Attachment // host veths without a lease, as the run began
	report Report
	errs   []error
}

// begin looks at the node.
func begin(n *attachment.Node, o Options) (*collection, error) {
	c := &collection{Options: o, node: n, report: Report{DryRun: o.DryRun, Removed: []Entry{}, Kept: []Entry{}}}
	var err error
	c.all, c.links, err = look(n, o.StateDir)
	return c, err
}

func (c *collection) failed(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

// end removes the rules that nobody needs now, and tells of the run.
func (c *collection) end() (Report, error) {
	c.collectAllRules()
	return c.report, errors.Join(c.errs...)
}

// settle removes what is gone, and notes either way what became of it. The
// removal may find a reason to keep it after all.
func (c *collection) settle(e Entry, is Life, remove func() (keep string, err error)) error {
	if is == Gone && !c.DryRun {
		keep, err := remove()
		if err != nil {
			return err
		}
		if keep != "" {
			is, e.Reason = Unknown, keep
		}
	}
	if is == Gone {
		c.report.Removed = append(c.report.Removed, e)
	} else {
		c.report.Kept = append(c.report.Kept, e)
	}
	return nil
}

// settleLease is settle for an attachment, which stays if its lease changes while
// it is judged.
func (c *collection) settleLease(network string, l ipam.Lease, r attachment.Record, is Life, why string) error {
	e := Entry{KindLease, network, l.ContainerID, l.IfName, joined(attachment.Addrs(l)), r.HostVeth, why}
	return c.settle(e, is, func() (string, error) {
		if same, err := Unchanged(c.StateDir, network, l); err != nil || !same {
			return ChangedMeanwhile, err
		}
		return "", Detach(c.node, c.StateDir, c.CNIPath, network, l)
	})
}

// settleLink is settle for a host veth without a lease. An address that somebody
// holds a lease of stays that one's: only the link goes.
func (c *collection) settleLink(o link.Attachment, is Life, why string) error {
	e := Entry{KindLink, o.Network, o.ContainerID, o.IfName, joined(o.Addrs), o.HostName, "no lease, and " + why}
	return c.settle(e, is, func() (string, error) {
		now, err := AllLeases(c.StateDir)
		if err != nil || len(Unleased([]link.Attachment{o}, now)) == 0 {
			return ChangedMeanwhile, err
		}
		free := slices.DeleteFunc(slices.Clone(o.Addrs), func(a netip.Addr) bool { return leased(a, now) })
		nothing := func() error { return nil }
		k := ipam.Key{ContainerID: o.ContainerID, IfName: o.IfName}
		return "", c.node.Remove(c.StateDir, o.Network, k, attachment.Record{HostVeth: o.HostName, Uplink: o.Uplink, Lost: true}, free, nothing)
	})
}

// joined lists addresses as one value: the addresses of one interface belong together.
func joined(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, ",")
}
