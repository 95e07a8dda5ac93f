package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// defaultIfName is what every runtime calls a pod's first interface.
const defaultIfName = "eth0"

func (a *app) releaseCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "release NETWORK CONTAINERID [IFNAME]",
		Short: "Take an attachment down and release its addresses",
		Long: "Take an attachment down as the runtime's DEL would: link, proxy entries, flows, packet filter,\n" +
			"and then the lease. Refused without --force unless the pod certainly is gone, which of an\n" +
			"attachment made by another main plugin nobody can tell.",
		Args:              cobra.RangeArgs(2, 3),
		ValidArgsFunction: a.completeLease,
		RunE: func(_ *cobra.Command, args []string) error {
			key := ipam.Key{ContainerID: args[1], IfName: defaultIfName}
			if len(args) == 3 {
				key.IfName = args[2]
			}
			return a.release(args[0], key, force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "even if the pod is or may be alive")
	return c
}

func (a *app) release(network string, key ipam.Key, force bool) error {
	lease, found, err := a.store(network).Get(key)
	if err != nil {
		return err
	}
	if !found {
		return errNoLease(network, key)
	}
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	if !force {
		if err := node.refuseUnlessGone(network, lease); err != nil {
			return err
		}
	}
	same, err := a.unchanged(network, lease)
	if err == nil && !same {
		err = fmt.Errorf("container %s, interface %s, in network %s: %s", key.ContainerID, key.IfName, network, changedMeanwhile)
	}
	if err == nil {
		err = a.detach(node, network, lease)
	}
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(leaseEntries([]networkLeases{{network, []ipam.Lease{lease}}}))
	}
	return a.printf("released %s of container %s, interface %s, in network %s\n",
		joined(attachment.Addrs(lease)), key.ContainerID, key.IfName, network)
}

// refuseUnlessGone is an error unless nobody can be using the attachment any
// more. Being damaged does not make a pod dead.
func (n *node) refuseUnlessGone(network string, l ipam.Lease) error {
	what := fmt.Sprintf("container %s, interface %s, in network %s with %s", l.ContainerID, l.IfName, network, joined(attachment.Addrs(l)))
	record, ours := recordOf(network, l)
	if !ours {
		return fmt.Errorf("%s was attached by another main plugin, and whether the pod lives cannot be told: "+
			"in use, its address would be leased twice; --force releases it nevertheless", what)
	}
	is, why, err := n.podLife(record)
	switch {
	case err != nil:
		return fmt.Errorf("tell whether %s is alive: %w; --force releases it nevertheless", what, err)
	case is == living:
		return fmt.Errorf("%s is alive: %s; --force releases it nevertheless", what, why)
	case is == unknown:
		return fmt.Errorf("%s may be alive: %s; --force releases it nevertheless", what, why)
	}
	return nil
}

// recordOf is attachment.Of for a caller who has to go on with a record that
// cannot be decoded: the host veth's name does not need it. Without a record the
// lease is of another main plugin, and ours false.
func recordOf(network string, l ipam.Lease) (r attachment.Record, ours bool) {
	r, ours, err := attachment.Of(l)
	if err != nil {
		return attachment.Record{HostVeth: link.HostName(network, l.ContainerID, l.IfName)}, true
	}
	return r, ours
}

// changedMeanwhile is why a lease is left alone that is not the judged one any more.
const changedMeanwhile = "the runtime attached it anew in this moment"

// unchanged reports whether the lease is still the one that was judged.
func (a *app) unchanged(network string, judged ipam.Lease) (bool, error) {
	l, found, err := a.store(network).Get(judged.Key)
	if err != nil || !found {
		return false, err
	}
	return l.Since.Equal(judged.Since) && slices.Equal(l.Addresses, judged.Addresses) &&
		bytes.Equal(l.Attachment, judged.Attachment), nil
}

// detach takes everything of a lease down and then releases it, in the order of
// DEL: whatever interrupts it, the lease still leads to the rest.
func (a *app) detach(n *node, network string, l ipam.Lease) error {
	record, ours := recordOf(network, l)
	if !ours {
		record = attachment.Record{HostVeth: link.HostName(network, l.ContainerID, l.IfName), Lost: true}
	}
	err := n.Remove(a.stateDir, network, record, attachment.Addrs(l), func() error {
		if record.Delegate != nil {
			if err := record.Delegate.Return(l.Key, record.Sandbox, a.cniPath); err != nil {
				return err
			}
		}
		_, _, err := a.store(network).Release(l.Key)
		return err
	})
	if err != nil {
		return fmt.Errorf("take down container %s, interface %s: %w", l.ContainerID, l.IfName, err)
	}
	return nil
}
