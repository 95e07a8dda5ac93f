package testnet

import (
	"github.com/vnet-cni/vnet-cni/ipam"
)

// addLeases lists the leases of every network in the node's state directory.
func (s State) addLeases(n *Node) {
	n.t.Helper()
	networks, err := ipam.Networks(n.StateDir())
	must(n.t, "list the networks in "+n.StateDir(), err)
	for _, network := range networks {
		leases, err := ipam.New(ipam.Options{Dir: n.StateDir(), Network: network}).Leases()
		must(n.t, "read the leases of "+network, err)
		for _, l := range leases {
			s.add("lease", "%s %s %s %v", network, l.ContainerID, l.IfName, l.Addresses)
		}
	}
}
