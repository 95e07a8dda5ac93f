package collect

import (
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Dead removes the attachments whose network namespace is gone, the host veths
// that nobody uses, and the rules of networks without any lease. What is or may be
// alive is kept: for everything it takes a view of all the node's processes. The
// report tells what was done even if there is an error.
func Dead(n *Node, o Options) (Report, error) {
	c, err := begin(n.Node, o)
	if err != nil {
		return c.report, err
	}
	for _, of := range c.all {
		for _, l := range of.Leases {
			c.failed(c.deadLease(n, of.Network, l.Key))
		}
	}
	for _, o := range c.links {
		c.failed(c.deadLink(n, o))
	}
	return c.end()
}

// deadLease judges the lease as it is now, not as it was listed: the runtime
// may have attached the container anew.
func (c *collection) deadLease(n *Node, network string, k ipam.Key) error {
	l, found, err := attachment.Store(c.StateDir, network).Get(k)
	if err != nil || !found {
		return err
	}
	return c.judge(n, network, l)
}

// judge removes a lease unless its pod lives or, while that was found out, became
// another one.
func (c *collection) judge(n *Node, network string, l ipam.Lease) error {
	record, ours := RecordOf(network, l)
	if !ours {
		return nil // of another main plugin: what its pod is made of is not known
	}
	is, why, err := n.Life(record)
	if err != nil || is == Living && (record.Sandbox == "" || !link.SandboxGone(record.Sandbox)) {
		return err
	}
	return c.settleLease(network, l, record, is, why)
}

func (c *collection) deadLink(n *Node, o link.Attachment) error {
	is, why, err := n.vethLife(o.HostName)
	if err != nil {
		return err
	}
	return c.settleLink(o, is, why)
}
