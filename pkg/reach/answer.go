package reach

import (
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Verdict is an answer in one word.
type Verdict uint8

// The verdicts.
const (
	None      Verdict = iota // no flow passes
	Some                     // some pass
	All                      // every flow passes
	Self                     // the end is one machine, and the flow would never leave it
	Beyond                   // both ends are outside: whether they can talk is not for these groups to say
	Undivided                // given up: too many parts
)

// String is the verdict as output has it.
func (v Verdict) String() string {
	switch v {
	case None:
		return "none"
	case Some:
		return "some"
	case All:
		return "all"
	case Self:
		return "self"
	case Beyond:
		return "beyond"
	case Undivided:
		return "undivided"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Answer is what flows from one end to another are told.
type Answer struct {
	Verdict Verdict
	// Passing are the services that pass between all addresses of both ends, from
	// every source port; Partly those that pass for a part of these.
	Passing, Partly Services
	Parts           []Part // those that pass first; none where the verdict is neither None, Some nor All
	// Apart is set where the ends have no address family in common.
	Apart bool
}

// Part is all the flows that the same rules decide about.
type Part struct {
	Access nsg.Access
	// Rules are those that decide: the one that denies, or of each end that has
	// groups the one that allows, the sender's first. None where nobody judges.
	Rules []Rule
	Boxes []Box // disjoint
}

// Rule is a rule that decides, and where it stands.
type Rule struct {
	Side      string        `json:"side"`  // "from" or "to": whose group it is in
	Level     string        `json:"level"` // "subnet" or "interface"
	NSG       string        `json:"nsg"`
	Direction nsg.Direction `json:"direction"`
	Name      string        `json:"name"` // as nsg.Rule.FullName
	Access    nsg.Access    `json:"access"`
}

// Box is flows of some services between some addresses. A flow's addresses are of
// one family, so that a box with both has nothing from one to the other.
type Box struct {
	Services  Services
	FromPorts []nsg.PortRange // source ports; nil is every one
	From, To  Scope
}

// Scope is a part of an end's addresses.
type Scope struct {
	Whole    bool           // all that can talk to the other end
	Family   string         // "IPv4" or "IPv6": all of that family; "" otherwise
	Prefixes nsg.AddressSet // where it is neither
}

// String is the scope in words; "" for the whole.
func (s Scope) String() string {
	switch {
	case s.Whole:
		return ""
	case s.Family != "":
		return s.Family
	}
	return joined(s.Texts())
}

// Texts are the scope's prefixes; empty where it has a word.
func (s Scope) Texts() []string {
	list := []string{}
	for _, p := range s.Prefixes.Prefixes() {
		if p.IsSingleIP() {
			list = append(list, p.Addr().String())
			continue
		}
		list = append(list, p.String())
	}
	return list
}

// Words tell what passes: "everything", "tcp 80,443", "tcp 80, in part tcp 8080".
func (a *Answer) Words() string { return a.words(Services.String) }

// Summary is Words with long lists of ports cut.
func (a *Answer) Summary() string { return a.words(Services.Short) }

func (a *Answer) words(of func(Services) string) string {
	switch {
	case a.Verdict == Self:
		return "never leaves the machine"
	case a.Verdict == Beyond:
		return "not through this network"
	case a.Verdict == Undivided:
		return "too many parts: ask about one port"
	case a.Apart:
		return "no address family in common"
	case a.Partly.IsEmpty():
		return of(a.Passing)
	case a.Passing.IsEmpty():
		return "in part " + of(a.Partly)
	}
	passing := of(a.Passing)
	if all := of(a.Passing.Union(a.Partly)); strings.HasPrefix(passing, everything) && strings.HasPrefix(all, everything) {
		passing = all // it is not lacking what passes in part
	}
	return passing + ", in part " + of(a.Partly)
}

// SourcePorts are the box's as documents write them; empty for every one.
func (b *Box) SourcePorts() []string { return ports(b.FromPorts).texts() }
