package main

import (
	"fmt"

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
			"and then the lease. A healthy attachment of a living pod is refused without --force.",
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
	c.Flags().BoolVar(&force, "force", false, "even if the pod is alive and healthy")
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
		if err := node.refuseLiving(network, lease); err != nil {
			return err
		}
	}
	if err := a.detach(node, network, lease); err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(leaseEntries([]networkLeases{{network, []ipam.Lease{lease}}}))
	}
	return a.printf("released %s of container %s, interface %s, in network %s\n",
		joined(attachment.Addrs(lease)), key.ContainerID, key.IfName, network)
}

// refuseLiving is an error for an attachment that a pod is using. Of a lease
// without a record nothing is known; it is only ever released by name.
func (n *node) refuseLiving(network string, l ipam.Lease) error {
	record, ours, err := attachment.Of(l)
	if err != nil || !ours { // an unreadable record is a reason to release
		return nil
	}
	problems, err := n.problems(network, l, record)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return nil
	}
	return fmt.Errorf("container %s, interface %s, in network %s is alive and healthy with %s: --force releases it nevertheless",
		l.ContainerID, l.IfName, network, joined(attachment.Addrs(l)))
}

// detach takes everything of a lease down and then releases it, in the order of
// DEL: whatever interrupts it, the lease still leads to the rest.
func (a *app) detach(n *node, network string, l ipam.Lease) error {
	record, ours, err := attachment.Of(l)
	if err != nil || !ours {
		record = attachment.Record{HostVeth: link.HostName(network, l.ContainerID, l.IfName)}
	}
	if err := n.Remove(network, record, attachment.Addrs(l)); err != nil {
		return fmt.Errorf("take down container %s, interface %s: %w", l.ContainerID, l.IfName, err)
	}
	if record.Delegate != nil {
		if err := record.Delegate.Return(l.Key, record.Sandbox, a.cniPath); err != nil {
			return err
		}
	}
	_, _, err = a.store(network).Release(l.Key)
	return err
}
