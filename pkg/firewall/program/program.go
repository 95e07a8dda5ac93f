package program

import (
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Program is what decides about the flows of one group, direction and family.
// A packet enters the first chain. Where it is denied it is dropped; where it is
// allowed the program returns to whoever called it.
type Program struct {
	IPv6   bool
	Chains []Chain
}

// Chain is rules that are tried in their order. The last one of a chain matches
// everything, so that no packet leaves the program undecided.
type Chain struct {
	Name  string
	Rules []Rule
}

// Rule is one rule as iptables has it.
type Rule struct {
	Match  Match
	Target Target
	Goto   string // the chain to go on in; with target Goto
	Name   string // full name of the group's rule; "" for a branch of the tree
}

// Target is what happens to a packet that a rule matches.
type Target uint8

// The targets of rules.
const (
	Drop Target = iota
	Return
	Goto // the program goes on in another chain, and never comes back
)

// Match is the conditions of a rule. All of them have to hold.
type Match struct {
	Protocol         nsg.Protocol // AnyProtocol: none
	SourcePorts      Ports
	DestinationPorts Ports
	Source           Address
	Destination      Address
}

// Ports is a condition on a port. The zero value is none.
type Ports struct {
	Ranges []nsg.PortRange
	Set    *Set // instead, where there are more ranges than a rule holds
}

// Address is a condition on an address. The zero value is none.
type Address struct {
	Range  nsg.AddressRange // a single range; valid when its First is
	Prefix netip.Prefix     // or a single prefix
	Set    *Set             // or a set
	Not    bool             // of the set: the address is not in it
}

// Set is an ipset that rules match. Its name tells its content, so that another
// content is another set and none is ever changed under the rules that match it.
type Set struct {
	Name     string
	Type     SetType
	Prefixes []netip.Prefix  // of a NetSet: none inside another, and no /0
	Ports    []nsg.PortRange // of a PortSet
	ASGs     []string        // of an ASGList, or the one ASG of an ASGSet
	Members  []string        // of an ASGList: the names of the sets in it
}

// SetType tells what a set has in it.
type SetType uint8

// The types of sets.
const (
	NetSet  SetType = iota // prefixes
	PortSet                // ports
	ASGSet                 // the addresses of one application security group's members, which come and go
	ASGList                // sets of application security groups
)

// Names gives the names that a program's chains and sets have in the kernel.
type Names struct {
	Chain   func(n int) string          // the entry is 0
	Content func(content string) string // a set with that content, whatever its type
	ASG     func(asg string) string     // the set of the ASG's members
}

// Sets returns the sets that the program's rules match, each once.
func (p *Program) Sets() []*Set {
	var out []*Set
	seen := map[string]bool{}
	add := func(s *Set) {
		if s != nil && !seen[s.Name] {
			seen[s.Name] = true
			out = append(out, s)
		}
	}
	for _, c := range p.Chains {
		for _, r := range c.Rules {
			add(r.Match.SourcePorts.Set)
			add(r.Match.DestinationPorts.Set)
			add(r.Match.Source.Set)
			add(r.Match.Destination.Set)
		}
	}
	return out
}

// Rules returns the number of rules in all chains.
func (p *Program) Rules() int {
	n := 0
	for _, c := range p.Chains {
		n += len(c.Rules)
	}
	return n
}
