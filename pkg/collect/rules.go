package collect

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// RulesFor is what the firewall has to hold for these leases, the oldest first:
// all their families, and the masquerading that the latest was attached with.
func RulesFor(network, stateDir string, leases []ipam.Lease) firewall.Network {
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

// shared stands, among the names of networks, for what all of them share.
const shared = ""

// collectAllRules removes the rules of networks that have nobody left, and the
// shared ones if no network has. All are looked for before any is removed: with a
// network's rules the shared ones may go.
func (c *collection) collectAllRules() {
	var present []string
	for _, network := range c.emptyNetworks() {
		found, err := c.node.RulesPresent(network)
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
// told of; shared is the last of them if there is no other network. Who is to keep
// a network's rules is one of its users.
func (c *collection) emptyNetworks() []string {
	users := map[string]int{}
	for _, network := range c.Keep {
		users[network]++
	}
	for _, n := range c.all {
		users[n.Network] += len(n.Leases)
	}
	for _, o := range c.links {
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
		empty = append(empty, shared)
	}
	return empty
}

func (c *collection) collectRules(network string) error {
	e := Entry{Kind: KindRules, Network: network, Reason: "the network has no lease"}
	if network == shared {
		e.Reason = "no network has a lease"
	}
	return c.settle(e, Gone, func() (string, error) { return c.removeRules(network) })
}

// removeRules takes the rules away, and puts them back for pods that came
// between the look at the leases and the removal.
func (c *collection) removeRules(network string) (keep string, err error) {
	if err := c.node.RemoveRules(c.StateDir, network); err != nil {
		return "", err
	}
	all, err := AllLeases(c.StateDir)
	if err != nil {
		return "", err
	}
	for _, n := range all {
		rules := RulesFor(n.Network, c.StateDir, n.Leases)
		if !rules.IPv4 && !rules.IPv6 {
			continue // Ensure would install the shared ones
		}
		if err := errors.Join(c.node.Firewall.Ensure(rules), c.node.RestoreRoutes(c.StateDir, n.Network)); err != nil {
			return "", err
		}
	}
	left, err := c.node.RulesPresent(network)
	if err == nil && !left && network != shared {
		err = policy.Forget(c.StateDir, network)
	}
	if left {
		keep = "their sets have addresses that no lease tells of, or a pod came in this moment"
	}
	return keep, err
}
