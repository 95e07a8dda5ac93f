package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
)

// networks returns the networks to speak of: the one that was named, else all
// that have a store. Where there is no state directory there is no network, and
// naming one is no mistake.
func (a *app) networks(args []string) ([]string, error) {
	all, err := ipam.Networks(a.stateDir)
	if err != nil || len(args) == 0 {
		return all, err
	}
	if slices.Contains(all, args[0]) {
		return args[:1], nil
	}
	missing, err := a.stateDirMissing()
	if err != nil || missing {
		return nil, err
	}
	return nil, fmt.Errorf("network %q has no lease store in %s", args[0], a.stateDir)
}

func (a *app) store(network string) *ipam.Store { return attachment.StoreOfAny(a.stateDir, network) }

// node is the node that the command line is about.
type node struct{ *collect.Node }

func openNode() (*node, error) {
	n, err := collect.OpenNode()
	return &node{n}, err
}

// joined lists addresses as one value: the addresses of one interface belong together.
func joined(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, addr := range addrs {
		words[i] = addr.String()
	}
	return strings.Join(words, ",")
}

// errNoLease names a lease that is not there.
func errNoLease(network string, k ipam.Key) error {
	return fmt.Errorf("network %s has no lease for container %s, interface %s", network, k.ContainerID, k.IfName)
}

// completeNetwork offers network names as the first argument.
func (a *app) completeNetwork(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := ipam.Networks(a.stateDir)
	return names, completed(err)
}

// completeLease offers a network, then its containers, then a container's interfaces.
func (a *app) completeLease(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeNetwork(c, args, word)
	}
	leases, err := a.store(args[0]).Leases()
	var words []string
	for _, l := range leases {
		switch {
		case len(args) == 1:
			words = append(words, l.ContainerID)
		case len(args) == 2 && l.ContainerID == args[1]:
			words = append(words, l.IfName)
		}
	}
	slices.Sort(words)
	return slices.Compact(words), completed(err)
}

func completed(err error) cobra.ShellCompDirective {
	if err != nil && !errors.Is(err, ipam.ErrLocked) {
		return cobra.ShellCompDirectiveError
	}
	return cobra.ShellCompDirectiveNoFileComp
}
