package attachment

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Choose gives a running pod another security group, by name or resource id, "" for
// none, and other application security groups. For a group that the documents do not
// have or that cannot be used nothing is changed. Without the lease there is nothing
// to do, and while its ADD or DEL is under way the error has the code TryAgain.
//
// At every moment the pod is judged by the old groups, the new ones or both, and is
// never without rules: the record says first which group it is about to get, then that
// group's rules are made sure of beside those of the old one, then the pod joins the
// new sets and leaves the old ones, and the record names the new groups. Until then it
// is marked as lost: the pod may be in sets of other groups. So whatever interrupts it,
// the next Choose, for whichever groups, or DEL takes the pod out of them. Running flows
// keep their verdict.
func (n *Node) Choose(stateDir, network string, k ipam.Key, group string, asgs []string) (changed bool, err error) {
	rules, err := policy.Reopen(stateDir, network, Pods(stateDir, network))
	if err != nil {
		return false, cnierr.Wrap(cnierr.Documents, err)
	}
	c := choice{node: n, stateDir: stateDir, network: network, key: k}
	if group != "" {
		if c.group, err = rules.Group(group); err != nil {
			return false, cnierr.Wrap(cnierr.Documents, err)
		}
	}
	for _, asg := range asgs {
		c.asgs = append(c.asgs, strings.ToLower(asg))
	}
	if err := n.Firewall.Alone(stateDir, c.begin); err != nil || !c.begun {
		return false, OfFirewall(err)
	}
	if err := c.install(rules); err != nil {
		if _, _, found, failed := c.attached(); failed == nil && !found {
			return false, nil // and with it went the need for the rules
		}
		return false, OfFirewall(err)
	}
	err = n.Firewall.Alone(stateDir, c.end)
	return c.done && err == nil, OfFirewall(err)
}

// choice is a Choose on its way.
type choice struct {
	node              *Node
	stateDir, network string
	key               ipam.Key
	group             string
	asgs              []string

	begun  bool // there is something to do
	done   bool
	lease  ipam.Lease
	record Record
}

// begin records which group the pod is about to get. It runs alone, and so does what
// a DEL does from leaving the sets on: the lease cannot go in between, and come back
// by being recorded.
func (c *choice) begin() error {
	l, r, found, err := c.attached()
	if err != nil || !found {
		return err
	}
	if r.Group == c.group && slices.Equal(r.ASGs, c.asgs) && !r.Lost {
		return nil
	}
	if !r.Judged {
		return cnierr.Errorf(cnierr.Documents, "container %s, interface %s: it was attached without security groups, and gets some only when it is attached anew", c.key.ContainerID, c.key.IfName)
	}
	// An ADD makes the link after it has joined the sets, by groups that it knows.
	if _, made, err := c.node.Host.Link(r.HostVeth); err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	} else if !made {
		return cnierr.Errorf(cnierr.TryAgain, "container %s, interface %s: it is being attached or detached", c.key.ContainerID, c.key.IfName)
	}
	r.Next, r.Lost = c.group, true
	c.begun, c.lease, c.record = true, l, r
	c.node.at("record the beginning")
	return c.write()
}

// install makes sure of the rules of the new group. Somebody who listed the pods
// before it was recorded may be about to take them away; whoever lists them from now
// on makes the rules of the old group and of the new one.
func (c *choice) install(rules *policy.Rules) error {
	n := c.record.Rules(c.network, c.stateDir, Addrs(c.lease))
	n.Judging = rules.Judging(c.record.FilterPod(Addrs(c.lease)...))
	n.Masquerade, n.Except = false, nil // as they were when the pod was attached: others came since
	c.node.at("wait for others")
	if err := c.node.Firewall.Settled(n); err != nil {
		return err
	}
	c.node.at("install the rules")
	if err := c.node.Firewall.Ensure(n); err != nil {
		return err
	}
	missing, err := c.node.Firewall.Problems(n) // the documents may have lost the group again
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("the rules of group %q of network %s are not in place: %s", c.group, c.network, strings.Join(missing, ", "))
	}
	return err
}

// end takes the pod to its new groups, unless the attachment has gone meanwhile or was
// given others still.
func (c *choice) end() error {
	l, _, found, err := c.attached()
	if err != nil || !found || !bytes.Equal(l.Attachment, c.lease.Attachment) {
		return err
	}
	c.record.Group, c.record.ASGs, c.record.Next, c.record.Lost = c.group, c.asgs, "", false
	c.node.at("take it to the new groups")
	if err := c.node.Firewall.Regroup(c.network, c.record.FilterPod(Addrs(c.lease)...)); err != nil {
		return err
	}
	c.node.at("record the end")
	c.done = true
	return c.write()
}

// attached reads the attachment as it is now.
func (c *choice) attached() (l ipam.Lease, r Record, found bool, err error) {
	l, found, err = Store(c.stateDir, c.network).Get(c.key)
	if err != nil || !found {
		return l, r, false, cnierr.OfStore(err)
	}
	r, ours, err := Of(l)
	return l, r, ours, cnierr.Wrap(cnierr.Store, err)
}

func (c *choice) write() error {
	var err error
	if c.lease.Attachment, err = c.record.Encode(); err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	return cnierr.OfStore(Store(c.stateDir, c.network).Record(c.lease))
}
