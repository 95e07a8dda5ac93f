package attachment

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/ipam"
)

// leased returns the addresses of a network's pods, for rules that have to be
// made anew while they are running.
func leased(stateDir, network string) ([]netip.Addr, error) {
	leases, err := Store(stateDir, network).Leases()
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, l := range leases {
		if len(l.Attachment) > 0 { // not of vnet-ipam under another main plugin
			list = append(list, Addrs(l)...)
		}
	}
	return list, nil
}

// leasedOnNode returns those of every network: the guard is one for all.
func leasedOnNode(stateDir string) ([]netip.Addr, error) {
	networks, err := ipam.Networks(stateDir)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, n := range networks {
		addrs, err := leased(stateDir, n)
		if err != nil {
			return nil, err
		}
		list = append(list, addrs...)
	}
	return list, nil
}
