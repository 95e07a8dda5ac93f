package flowspace

import (
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// The dimensions, in the order in which flows are divided. Behind them comes one
// for each application security group of each end that a rule names.
const (
	protocolDimension = iota
	destinationPortDimension
	destinationDimension
	sourceDimension
	sourcePortDimension
	asgDimensions // the first of them
)

// everything stands for the set of a rule that asks nothing of a dimension.
const everything = -1

// rule is what matters of a rule within a space.
type rule struct {
	*nsg.PolicyRule
	sets [asgDimensions]int32 // by dimension: its set, or everything
	last int                  // the last dimension, but for ASGs, of which it asks something; -1: of none
	asgs [2][]int             // of source and destination: dimensions, any of which will do; ascending
}

// space is the flows of a box between addresses of one family, and the rules of
// some lists that can match one of them. A rule may be in several lists.
type space struct {
	within Box
	ipv6   bool
	rules  []rule
	lists  [][]entry // in the order given, down to the first rule that matches everything

	protocols axis[uint32]
	ports     [2]axis[uint32] // of source and destination
	addresses [2]axis[netip.Addr]
	asgs      []member // by dimension, from asgDimensions on
}

// member is a dimension: whether an end is in an application security group.
type member struct {
	end  int // 0: the source
	name string
}

// entry is a rule in a list of those that flows meet, by its index in the space.
// The two low bits tell which end still has to be in one of the rule's ASGs.
type entry uint32

func (e entry) rule() int { return int(e >> 2) }

// waits reports whether the end has still to be in one of the ASGs.
func (e entry) waits(end int) bool { return e&(1<<end) != 0 }

// settled reports whether no end has.
func (e entry) settled() bool { return e&3 == 0 }

// satisfied returns the entry when the end is in one of the ASGs.
func (e entry) satisfied(end int) entry { return e &^ (1 << end) }

// newSpace makes the space of the lists' rules in a box.
func newSpace(within Box, ipv6 bool, lists ...[]*nsg.PolicyRule) *space {
	s := &space{within: within.normal(), ipv6: ipv6}
	for _, e := range [...]*End{&s.within.Source, &s.within.Destination} {
		e.Addresses = e.Addresses.Family(ipv6)
	}
	s.within = s.within.normal()
	if s.within.IsEmpty() {
		return nil
	}
	b := newSpaceBuilder(s)
	for _, list := range lists {
		b.list(list)
	}
	b.cut()
	return s
}

// dimensions returns how many there are.
func (s *space) dimensions() int { return asgDimensions + len(s.asgs) }

// classes returns how many a dimension has. Of an ASG they are: in it, not in it.
func (s *space) classes(dimension int) int {
	switch dimension {
	case protocolDimension:
		return len(s.protocols.classes)
	case destinationPortDimension:
		return len(s.ports[1].classes)
	case destinationDimension:
		return len(s.addresses[1].classes)
	case sourceDimension:
		return len(s.addresses[0].classes)
	case sourcePortDimension:
		return len(s.ports[0].classes)
	}
	return 2
}

// The classes of an ASG's dimension.
const (
	isMember = iota
	isNoMember
)

// of returns the classes of a set in a dimension that is no ASG's.
func (s *space) of(dimension int, set int32) []int32 {
	switch dimension {
	case protocolDimension:
		return s.protocols.of[set]
	case destinationPortDimension:
		return s.ports[1].of[set]
	case destinationDimension:
		return s.addresses[1].of[set]
	case sourceDimension:
		return s.addresses[0].of[set]
	}
	return s.ports[0].of[set]
}

// narrowed returns the box with some classes of a dimension only.
func (s *space) narrowed(b Box, dimension int, classes []int32) Box {
	switch dimension {
	case protocolDimension:
		b.Protocols = protocolsIn(pick(s.protocols, classes))
	case destinationPortDimension:
		b.Destination.Ports = portsIn(pick(s.ports[1], classes))
	case destinationDimension:
		b.Destination.Addresses = addressesIn(pick(s.addresses[1], classes))
	case sourceDimension:
		b.Source.Addresses = addressesIn(pick(s.addresses[0], classes))
	case sourcePortDimension:
		b.Source.Ports = portsIn(pick(s.ports[0], classes))
	default:
		m := s.asgs[dimension-asgDimensions]
		e := &b.Source
		if m.end == 1 {
			e = &b.Destination
		}
		if classes[0] == isMember {
			e.In = with(e.In, m.name)
		} else {
			e.NotIn = with(e.NotIn, m.name)
		}
	}
	return b
}

// with returns a sorted list with one name more.
func with(sorted []string, name string) []string {
	i, _ := slices.BinarySearch(sorted, name)
	return slices.Insert(slices.Clone(sorted), i, name)
}

func pick[T comparable](a axis[T], classes []int32) []interval[T] {
	var out []interval[T]
	for _, c := range classes {
		out = append(out, a.classes[c]...)
	}
	return out
}
