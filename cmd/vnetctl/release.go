package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
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
	same, err := collect.Unchanged(a.stateDir, network, lease)
	if err == nil && !same {
		err = fmt.Errorf("container %s, interface %s, in network %s: %s", key.ContainerID, key.IfName, network, collect.ChangedMeanwhile)
	}
	if err == nil {
		err = collect.Detach(node.Node.Node, a.stateDir, a.cniPath, network, lease)
	}
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(leaseEntries([]collect.Leases{{Network: network, Leases: []ipam.Lease{lease}}}))
	}
	return a.printf("released %s of container %s, interface %s, in network %s\n",
		joined(attachment.Addrs(lease)), key.ContainerID, key.IfName, network)
}

// refuseUnlessGone is an error unless nobody can be using the attachment any
// more. Being damaged does not make a pod dead.
func (n *node) refuseUnlessGone(network string, l ipam.Lease) error {
	what := fmt.Sprintf("container %s, interface %s, in network %s with %s", l.ContainerID, l.IfName, network, joined(attachment.Addrs(l)))
	record, ours := collect.RecordOf(network, l)
	if !ours {
		return fmt.Errorf("%s was attached by another main plugin, and whether the pod lives cannot be told: "+
			"in use, its address would be leased twice; --force releases it nevertheless", what)
	}
	is, why, err := n.Life(record)
	switch {
	case err != nil:
		return fmt.Errorf("tell whether %s is alive: %w; --force releases it nevertheless", what, err)
	case is == collect.Living:
		return fmt.Errorf("%s is alive: %s; --force releases it nevertheless", what, why)
	case is == collect.Unknown:
		return fmt.Errorf("%s may be alive: %s; --force releases it nevertheless", what, why)
	}
	return nil
}
