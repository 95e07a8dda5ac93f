package review

import (
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// neverDeciding finds the rules that never decide: those whose addresses are known,
// and then the others, whatever theirs are.
func (r *reviewer) neverDeciding() {
	r.neverDecidingIn(r.least, r.certain)
	unknown := func(i int) bool { return !r.certain(i) }
	for i := range r.any {
		if r.own(i) && unknown(i) {
			r.neverDecidingIn(r.any, unknown)
			return
		}
	}
}

// neverDecidingIn finds those of some of the rules that never decide.
func (r *reviewer) neverDecidingIn(rules []*nsg.PolicyRule, asked func(i int) bool) {
	deciding, all := flowspace.Deciding(r.all(), rules, &r.work)
	for i, rule := range rules {
		if !asked(i) {
			continue
		}
		if b, decides := deciding[rule]; decides {
			r.decides[i] = b.Sample()
			continue
		}
		if !r.own(i) {
			continue
		}
		boxes := flowspace.OfRule(rule)
		if len(boxes) == 0 {
			if !portsOfNone(rule) {
				r.warn(i, nsg.CodeNeverMatches, "name", rule.Name, "the rule matches nothing: its two ends have no addresses of one family")
			}
			r.gone[i] = true
			continue
		}
		if !all && r.work.Left <= 0 {
			break // nothing more can be proven
		}
		candidates := r.meeting(rules[:i], boxes)
		if !all && !r.covered(boxes, candidates) {
			continue
		}
		r.gone[i] = true
		r.shadowed(i, rule, boxes, candidates)
	}
}

// portsOfNone reports whether the rule names ports of a protocol that has none, of
// which its validation tells.
func portsOfNone(r *nsg.PolicyRule) bool {
	return len(r.Source.Ports)+len(r.Destination.Ports) > 0 && r.Protocol != nsg.AnyProtocol && r.Protocol != nsg.TCP && r.Protocol != nsg.UDP
}

// meeting returns those of the first rules that match any of the boxes' flows, but for
// those that do nothing anyway.
func (r *reviewer) meeting(rules []*nsg.PolicyRule, boxes []flowspace.Box) []*nsg.PolicyRule {
	var out []*nsg.PolicyRule
	for j, earlier := range rules {
		if !r.gone[j] && meet(boxes, flowspace.OfRule(earlier)) {
			out = append(out, earlier)
		}
	}
	return out
}

// meet reports whether any two boxes have a flow in common.
func meet(some, others []flowspace.Box) bool {
	return slices.ContainsFunc(some, func(b flowspace.Box) bool {
		return slices.ContainsFunc(others, func(o flowspace.Box) bool { return !b.Intersect(o).IsEmpty() })
	})
}

// covered reports whether it is proven that each flow of the boxes matches one of
// the rules.
func (r *reviewer) covered(boxes []flowspace.Box, rules []*nsg.PolicyRule) bool {
	for _, b := range boxes {
		if !flowspace.Covered(b, rules, &r.work) {
			return false
		}
	}
	return true
}

// shadowed tells that earlier rules leave the i-th nothing to decide.
func (r *reviewer) shadowed(i int, rule *nsg.PolicyRule, boxes []flowspace.Box, candidates []*nsg.PolicyRule) {
	for _, e := range candidates {
		if r.covered(boxes, []*nsg.PolicyRule{e}) {
			r.shadowedBy(i, rule, e)
			return
		}
	}
	r.warn(i, CodeShadowed, "priority", priorityOf(rule), "the rule never decides: each of its flows matches one of the earlier rules %s",
		names(r.fewest(boxes, candidates)))
}

// shadowedBy tells that one earlier rule has all flows of the i-th.
func (r *reviewer) shadowedBy(i int, rule, e *nsg.PolicyRule) {
	sample := flowWords(flowspace.OfRule(rule)[0].Sample())
	same := r.covered(flowspace.OfRule(e), []*nsg.PolicyRule{rule})
	switch {
	case same && e.Access == rule.Access:
		r.warn(i, CodeDuplicate, "priority", priorityOf(rule), "the rule does what the earlier rule %s does: the same flows, %v", nameOf(e), e.Access)
	case same:
		r.warn(i, CodeShadowed, "priority", priorityOf(rule), "the rule never decides: the earlier rule %s is for the same flows, and gives %v; for example %s",
			nameOf(e), e.Access, sample)
	case e.Access == nsg.Deny && rule.Access == nsg.Allow && !e.Platform:
		r.warn(i, CodeAllowBehindDeny, "priority", priorityOf(rule),
			"the rule allows a part of what the earlier rule %s denies, and never decides: to have an effect it must come first, with a priority below %d; for example %s",
			nameOf(e), e.Priority, sample)
	default:
		r.warn(i, CodeShadowed, "priority", priorityOf(rule), "the rule never decides: each of its flows matches the earlier rule %s, which gives %v", nameOf(e), e.Access)
	}
}

// fewest drops rules as long as the others match all flows of the boxes together.
func (r *reviewer) fewest(boxes []flowspace.Box, rules []*nsg.PolicyRule) []*nsg.PolicyRule {
	for i := len(rules) - 1; i >= 0 && len(rules) > 1; i-- {
		if without := slices.Concat(rules[:i], rules[i+1:]); r.covered(boxes, without) {
			rules = without
		}
	}
	return rules
}
