package main

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
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
	return latest.Rules(network, stateDir, addrs)
}

// everyNetwork stands for what all networks share.
const everyNetwork = ""

// collectAllRules removes the rules of networks that have nobody left, and the
// shared ones if no network has. All are looked for before any is removed: with a
// network's rules the shared ones may go.
func (c *collection) collectAllRules() {
	var present []string
	for _, network := range c.emptyNetworks() {
		found, err := c.node.Firewall.Present(network)
		c.failed(err)
		if found {
			present = append(present, network)
		}
	}
	for _, network := range present {
		c.failed(c.collectRules(network))
	}
}

// emptyNetworks are the networks with nobody left, also those that only a link
// told of; everyNetwork is the last of them if there is no other network.
func (c *collection) emptyNetworks() []string {
	users := map[string]int{}
	for _, n := range c.all {
		users[n.network] += len(n.leases)
	}
	for _, o := range c.orphans {
		users[o.Network]++
	}
	for _, e := range c.report.Removed {
		users[e.Network]--
	}
	var empty []string
	for network, left := range users {
		if left == 0 {
			empty = append(empty, network)
		}
	}
	slices.Sort(empty)
	if len(empty) == len(users) {
		empty = append(empty, everyNetwork)
	}
	return empty
}

func (c *collection) collectRules(network string) error {
	e := gcEntry{Kind: kindRules, Network: network, Reason: "the network has no lease"}
	if network == everyNetwork {
		e.Reason = "no network has a lease"
	}
	return c.settle(e, gone, func() (string, error) { return c.removeRules(network) })
}

// removeRules takes the rules away, and puts them back for pods that came
// between the look at the leases and the removal.
func (c *collection) removeRules(network string) (keep string, err error) {
	if err := c.node.Firewall.Remove(c.stateDir, network); err != nil {
		return "", err
	}
	all, err := c.allLeases()
	if err != nil {
		return "", err
	}
	for _, n := range all {
		rules := rulesFor(n.network, c.stateDir, n.leases)
		if !rules.IPv4 && !rules.IPv6 {
			continue // Ensure would install the shared ones
		}
		if err := c.node.Firewall.Ensure(rules); err != nil {
			return "", err
		}
	}
	left, err := c.node.Firewall.Present(network)
	if err == nil && !left && network != everyNetwork {
		err = policy.Forget(c.stateDir, network)
	}
	if left {
		keep = "their sets have addresses that no lease tells of, or a pod came in this moment"
	}
	return keep, err
}
