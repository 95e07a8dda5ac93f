package attachment

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
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

// Pods lists a network's pods with their groups, for whoever makes the rules.
func Pods(stateDir, network string) func() ([]firewall.Pod, error) {
	return func() ([]firewall.Pod, error) {
		leases, err := Store(stateDir, network).Leases()
		if err != nil {
			return nil, err
		}
		var pods []firewall.Pod
		for _, l := range leases {
			r, ours, err := Of(l)
			if err != nil {
				return nil, err
			}
			if ours {
				pods = append(pods, r.FilterPod(Addrs(l)...))
			}
		}
		return pods, nil
	}
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
