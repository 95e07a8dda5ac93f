// Package reach answers who can talk to whom: ends against ends, each pair with
// the services that pass, the addresses that they hold for, and the rules that
// decide.
//
// It is pure. It must not know where ends come from (documents, a node's leases, a
// command line) nor how an answer is shown.
package reach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Kind is what sort of end it is. Ends are ordered by it.
type Kind uint8

// The kinds of ends.
const (
	Pod     Kind = iota + 1 // a pod of a node
	Named                   // one that somebody described
	ASG                     // the members of an application security group
	Subnet                  // a subnet of a virtual network
	Outside                 // a network that no security group belongs to
)

// String is the kind as output has it.
func (k Kind) String() string {
	switch k {
	case Pod:
		return "pod"
	case Named:
		return "end"
	case ASG:
		return "asg"
	case Subnet:
		return "subnet"
	case Outside:
		return "outside"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// End is who flows come from or go to: one row and one column of a matrix.
type End struct {
	Name   string
	Kind   Kind
	Places []Place // together all that the end is; at least one
}

// Place is addresses that are judged alike. An end that spreads over several
// subnets has a place in each.
type Place struct {
	Addresses nsg.AddressSet
	ASGs      []string // those that it is a member of, and no others; in lower case

	Subnet, Interface *nsg.Policy // of what it sends and receives; nil is none and allows everything

	// Network is within which memberships are known: the groups of a place take
	// ends of other networks for members of nothing.
	Network string
	// Node is the node that the place is on; "" where that does not matter.
	Node string
	// SameNodeFree exempts what the place sends to ends of its own node, and
	// receives from them, from its groups.
	SameNodeFree bool
}

// Addresses returns those of all places.
func (e *End) Addresses() nsg.AddressSet {
	var all nsg.AddressSet
	for i := range e.Places {
		all = all.Union(e.Places[i].Addresses)
	}
	return all
}

// host reports whether the end is a single machine: no more than one address of
// each family. What it sends to itself never gets as far as a security group. The
// members of an application security group are no single machine even if there is
// only one of them today.
func (e *End) host() bool {
	if len(e.Places) != 1 || e.Kind == ASG {
		return false
	}
	for _, ipv6 := range [...]bool{false, true} {
		ranges := e.Places[0].Addresses.Family(ipv6).Ranges()
		if len(ranges) > 1 || len(ranges) == 1 && ranges[0].First != ranges[0].Last {
			return false
		}
	}
	return true
}

// check finds what no end may be.
func check(ends []End) error {
	seen := map[string]bool{}
	for i := range ends {
		e := &ends[i]
		switch {
		case e.Name == "":
			return errors.New("an end has no name")
		case seen[e.Name]:
			return fmt.Errorf("two ends are called %q", e.Name)
		case len(e.Places) == 0 || slices.ContainsFunc(e.Places, func(p Place) bool { return p.Addresses.IsEmpty() }):
			return fmt.Errorf("end %q: it has no address", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}
