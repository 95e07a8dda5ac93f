package review

import (
	"slices"
	"strconv"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// redundant finds the rules without which every flow would have the same access,
// the last one first: what is told of all of them holds when all are removed.
//
// A rule that denies what Azure's own last rule denies anyway says what is meant,
// and is not told.
func (r *reviewer) redundant() {
	for i := len(r.least) - 1; i >= 0 && r.work.Left > 0; i-- {
		if r.gone[i] || !r.own(i) {
			continue
		}
		boxes := flowspace.OfRule(r.any[i])
		before, after := r.without(i)
		if f, known := r.decides[i]; known && firstOf(after, f).Access != r.least[i].Access || !r.same(boxes, before, after) {
			continue
		}
		takers, known := r.takers(i, boxes, after)
		if !known || r.least[i].Access == nsg.Deny && slices.ContainsFunc(takers, func(t *nsg.PolicyRule) bool { return t.Default }) {
			continue
		}
		r.gone[i] = true
		r.warn(i, CodeRedundant, "name", r.least[i].Name, "without the rule nothing would change: all that it decides is decided in the same way by %s", laterNames(takers))
	}
}

// without returns the rules with and without the i-th, where those of unknown
// addresses are as unfavourable as can be.
func (r *reviewer) without(i int) (before, after []*nsg.PolicyRule) {
	for j := range r.least {
		if r.gone[j] {
			continue
		}
		rule := r.least[j]
		switch {
		case !r.certain(i):
			rule = r.any[j]
		case j > i && rule.Access != r.least[i].Access:
			rule = r.most[j]
		}
		before = append(before, rule)
		if j != i {
			after = append(after, rule)
		}
	}
	return before, after
}

func (r *reviewer) same(boxes []flowspace.Box, before, after []*nsg.PolicyRule) bool {
	for _, b := range boxes {
		if flowspace.AreSame(b, before, after, &r.work) != flowspace.Same {
			return false
		}
	}
	return true
}

// firstOf returns the first rule that matches the flow; the last one matches all.
func firstOf(rules []*nsg.PolicyRule, f nsg.Flow) *nsg.PolicyRule {
	for _, r := range rules {
		if r.Matches(f).All() {
			return r
		}
	}
	return rules[len(rules)-1]
}

// takers returns the later rules that decide when the i-th is gone, in their order,
// if it can be known which.
func (r *reviewer) takers(i int, boxes []flowspace.Box, after []*nsg.PolicyRule) ([]*nsg.PolicyRule, bool) {
	found := map[*nsg.PolicyRule]bool{}
	for _, b := range boxes {
		deciding, all := flowspace.Deciding(b, after, &r.work)
		if !all {
			return nil, false
		}
		for rule := range deciding {
			found[rule] = true
		}
	}
	var out []*nsg.PolicyRule
	for j := i + 1; j < len(r.least); j++ {
		if found[r.least[j]] || found[r.most[j]] || found[r.any[j]] {
			out = append(out, r.least[j])
		}
	}
	return out, true
}

// laterNames words rules that take over.
func laterNames(rules []*nsg.PolicyRule) string {
	if len(rules) == 1 {
		return "the later rule " + names(rules)
	}
	return "the later rules " + names(rules)
}

func priorityOf(r *nsg.PolicyRule) string { return strconv.Itoa(r.Priority) }
