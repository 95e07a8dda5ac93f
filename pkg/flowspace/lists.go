package flowspace

import "github.com/vnet-cni/vnet-cni/pkg/nsg"

// The functions below take lists of rules of the box's direction that are tried in
// their order, the last of which matches every flow.

// Work bounds the time that answers take, which for the worst of rules would be
// longer than anybody waits: about a hundred million a second. Questions use it up
// together, each of them a part; without any left the answer is that it is unknown.
type Work struct{ Left int }

// part is what one question may use of a work of which it costs some to ask it.
func (w *Work) part(most, asking int) int {
	w.Left -= asking
	return max(min(most, w.Left), 0)
}

// askingWork is what a rule costs before flows are divided, as placeWork.
const askingWork = 50

// CompareRules is Compare for lists of rules. Verdicts have no group.
func CompareRules(within Box, before, after []*nsg.PolicyRule, limit int) Comparison {
	return newComparer(limit, dividingWork).compare(within, [][]*nsg.PolicyRule{before, nil, after, nil})
}

// Sameness is whether two lists of rules give the same access to all flows.
type Sameness uint8

// What can be known of it.
const (
	Unknown Sameness = iota // finding out takes too much work
	Same
	Different
)

// AreSame tells whether two lists give the same access to all flows of a box.
func AreSame(within Box, before, after []*nsg.PolicyRule, w *Work) Sameness {
	most := w.part(questionWork, askingWork*(len(before)+len(after)))
	if most == 0 {
		return Unknown
	}
	work, result := most, Same
	defer func() { w.Left -= most - work }()
	for _, ipv6 := range [...]bool{false, true} {
		s, j := newComparedSpace(within, ipv6, [][]*nsg.PolicyRule{before, nil, after, nil})
		if s == nil {
			continue
		}
		d := &divider{space: s, judge: j, budget: &work, unknown: j.unknown()}
		root := d.divide()
		for _, answer := range d.restricted().answers(root) {
			switch int(answer) {
			case nobody:
			case d.unknown:
				result = Unknown
			default:
				return Different
			}
		}
	}
	return result
}

// questionWork bounds the work for one question about a rule, of which there may be
// a thousand.
const questionWork = 10_000_000

// Deciding returns the rules of a list that decide about any flow of a box, each
// with a box of flows that it decides. It is false when not all of them are known.
func Deciding(within Box, rules []*nsg.PolicyRule, w *Work) (map[*nsg.PolicyRule]Box, bool) {
	most := w.part(dividingWork, askingWork*len(rules))
	found, all, work := map[*nsg.PolicyRule]Box{}, true, most
	for _, ipv6 := range [...]bool{false, true} {
		s := newSpace(within, ipv6, rules, nil)
		if s == nil {
			continue
		}
		d := &divider{space: s, judge: regionJudge{side{s}}, budget: &work, unknown: len(s.rules) + 1}
		root := d.divide()
		r := d.restricted()
		for _, answer := range r.answers(root) {
			if int(answer) == d.unknown {
				all = false
				continue
			}
			rule := s.rule(int(answer))
			if _, known := found[rule]; !known {
				found[rule] = r.path(root, answer)
			}
		}
	}
	w.Left -= most - work
	return found, all
}

// Covered reports whether it is proven that every flow of the box matches one of the
// rules, which need not end in one that matches everything.
func Covered(b Box, rules []*nsg.PolicyRule, w *Work) bool {
	nothing := &nsg.PolicyRule{Rule: &nsg.Rule{Direction: b.Direction, Access: nsg.Deny, Protocol: nsg.AnyProtocol},
		Source: nsg.Match{Addresses: nsg.AllAddresses()}, Destination: nsg.Match{Addresses: nsg.AllAddresses()}}
	list := make([]*nsg.PolicyRule, 0, len(rules)+1)
	for _, r := range rules {
		rule := *r.Rule
		rule.Access = nsg.Allow
		list = append(list, &nsg.PolicyRule{Rule: &rule, Source: r.Source, Destination: r.Destination})
	}
	everything := *nothing.Rule
	everything.Access = nsg.Allow
	all := &nsg.PolicyRule{Rule: &everything, Source: nothing.Source, Destination: nothing.Destination}
	return AreSame(b, append(list, nothing), []*nsg.PolicyRule{all}, w) == Same
}
