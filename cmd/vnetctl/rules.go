package main

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

// rulesFor is what the firewall has to hold for these leases, the oldest first:
// all their families, and the masquerading that the latest was attached with.
func rulesFor(network, stateDir string, leases []ipam.Lease) firewall.Network {
	var latest attachment.Record
	var addrs []netip.Addr
	for _, l := range leases {
		r, ours, err := attachment.Of(l)
		if err != nil || !ours {
			continue // no rules of ours are for it
		}
		latest = r
		addrs = append(addrs, attachment.Addrs(l)...)
	}
	rules := latest.Rules(network, stateDir, addrs)
	rules.Pods = func() ([]netip.Addr, error) { return addrs, nil }
	return rules
}

// rulesOf reports whether the network has rules of its own, or, if it is the
// last one, whether the node has the rules that all networks share.
//
// Masquerading needs two sets more than the node's, and one of them has a name
// that depends on what is excepted, which nobody knows any more. So it is absent
// in any case, and fewer than two additional faults mean that the other is there.
func (n *node) rulesOf(network string, last bool) (bool, error) {
	const own = 2
	for _, ipv6 := range []bool{false, true} {
		shared := firewall.Network{Name: network, IPv4: !ipv6, IPv6: ipv6}
		missing, err := n.Firewall.Problems(shared, netip.Addr{})
		if err != nil {
			return false, err
		}
		if last && len(missing) == 0 {
			return true, nil
		}
		masquerading := shared
		masquerading.Masquerade = true
		more, err := n.Firewall.Problems(masquerading, netip.Addr{})
		if err != nil {
			return false, err
		}
		if len(more)-len(missing) < own {
			return true, nil
		}
	}
	return false, nil
}
