package collect

import (
	"slices"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Attachment is what a container has of a network: a lease or, where that was lost,
// the host veth alone.
type Attachment struct {
	Network string
	Lease   ipam.Lease       // of a link alone only its Key is set
	Link    *link.Attachment // of a link alone; else nil
}

// same reports whether nothing happened to the attachment between two lists.
func (a Attachment) same(b Attachment) bool {
	if a.Link == nil || b.Link == nil {
		return a.Link == b.Link && sameLease(a.Lease, b.Lease)
	}
	return a.Link.HostName == b.Link.HostName && slices.Equal(a.Link.Addrs, b.Link.Addrs)
}

// List returns the attachments of a network, or of all with "", that Orphans can
// judge. It has to be called before the runtime is asked for its containers: what
// the runtime begins afterwards is then not on the list. Leases of other main
// plugins are left out, as nobody knows what their pods are made of.
func List(n *attachment.Node, stateDir, network string) ([]Attachment, error) {
	all, links, err := look(n, stateDir)
	if err != nil {
		return nil, err
	}
	var list []Attachment
	for _, of := range all {
		for _, l := range of.Leases {
			if _, ours := RecordOf(of.Network, l); ours {
				list = append(list, Attachment{Network: of.Network, Lease: l})
			}
		}
	}
	for _, o := range links {
		k := ipam.Key{ContainerID: o.ContainerID, IfName: o.IfName}
		list = append(list, Attachment{Network: o.Network, Lease: ipam.Lease{Key: k}, Link: &o})
	}
	return slices.DeleteFunc(list, func(a Attachment) bool { return network != "" && a.Network != network }), nil
}

// Orphans remembers which attachments are of containers that the runtime does not
// know, and since when. A runtime knows a container only once its ADD succeeded
// (containerd), which the kubelet gives four minutes: whoever is missing once may
// be about to live.
type Orphans struct {
	grace   time.Duration
	missing map[attachmentKey]missing
}

type attachmentKey struct {
	network string
	ipam.Key
}

type missing struct {
	since time.Time
	seen  Attachment
}

// NewOrphans returns a memory without any orphan. grace is how long an attachment's
// container has to be unknown.
func NewOrphans(grace time.Duration) *Orphans {
	return &Orphans{grace: grace, missing: map[attachmentKey]missing{}}
}

// Look compares what List listed with the ids of the containers that the runtime
// knew afterwards, and returns what to remove: the attachments whose containers
// were unknown at each look for no less than the grace, and that did not change
// during that time. Where the runtime did not answer there is nothing to look at.
func (o *Orphans) Look(now time.Time, listed []Attachment, known map[string]struct{}) (remove []Attachment) {
	missingNow := make(map[attachmentKey]missing, len(o.missing))
	for _, a := range listed {
		if _, alive := known[a.Lease.ContainerID]; alive {
			continue
		}
		k := attachmentKey{a.Network, a.Lease.Key}
		m, before := o.missing[k]
		switch {
		case !before || !m.seen.same(a):
			m = missing{now, a}
		case now.Sub(m.since) >= o.grace:
			remove = append(remove, a)
		}
		missingNow[k] = m
	}
	o.missing = missingNow
	return remove
}

// unknownContainer is why an orphan goes.
const unknownContainer = "the runtime does not know the container"

// Remove removes the attachments that Look returned, each unless it changed since it
// was listed, and the rules of networks without any lease. It looks at no process
// and enters no namespace. The report tells what was done even if there is an error.
func Remove(n *attachment.Node, o Options, orphans []Attachment) (Report, error) {
	c, err := begin(n, o)
	if err != nil {
		return c.report, err
	}
	for _, a := range orphans {
		if a.Link != nil {
			c.failed(c.settleLink(*a.Link, Gone, unknownContainer))
		} else {
			c.failed(c.orphan(a))
		}
	}
	return c.end()
}

// orphan removes an attachment that nobody removed or renewed meanwhile.
func (c *collection) orphan(a Attachment) error {
	l, found, err := attachment.Store(c.StateDir, a.Network).Get(a.Lease.Key)
	if err != nil || !found {
		return err
	}
	record, ours := RecordOf(a.Network, a.Lease)
	if !ours {
		return nil
	}
	if !sameLease(l, a.Lease) {
		return c.settleLease(a.Network, a.Lease, record, Unknown, ChangedMeanwhile)
	}
	return c.settleLease(a.Network, a.Lease, record, Gone, unknownContainer)
}
