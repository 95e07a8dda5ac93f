package attachment

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/members"
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

// Pods lists a network's pods with their groups, for whoever makes the rules: those
// of this node, and those that other nodes are known to have. An address that is leased
// here is nobody else's, whatever another node says: a node's range may be another's
// by now.
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
		remote, err := members.Read(stateDir, network)
		if err != nil {
			return nil, err
		}
		return append(pods, elsewhere(remote, leases)...), nil
	}
}

// elsewhere are the members with what addresses of theirs no lease has.
func elsewhere(remote []members.Member, leases []ipam.Lease) []firewall.Pod {
	leased := map[netip.Addr]bool{}
	for _, l := range leases {
		for _, a := range Addrs(l) {
			leased[a] = true
		}
	}
	var pods []firewall.Pod
	for _, m := range remote {
		p := firewall.Pod{Group: m.Group, ASGs: m.ASGs, Remote: true}
		for _, a := range m.Addrs {
			if !leased[a] {
				p.Addrs = append(p.Addrs, a)
			}
		}
		if len(p.Addrs) > 0 {
			pods = append(pods, p)
		}
	}
	return pods
}

// leasedOnNode returns those of every network: the guard is one for all.
func leasedOnNode(stateDir string) ([]netip.Addr, error) {
	networks, err := ipam.Networks(stateDir)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, n := range networks {
		if IsChained(n) {
			continue // not ours to guard
		}
		addrs, err := leased(stateDir, n)
		if err != nil {
			return nil, err
		}
		list = append(list, addrs...)
	}
	return list, nil
}
