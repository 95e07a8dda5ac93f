package flowspace

import (
	"cmp"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Policies judge flows: nil is no group at that level.
type Policies struct{ Subnet, Interface *nsg.Policy }

// Comparison is how verdicts on the flows of a box change when other policies take
// over. Flows that are neither in a change nor undivided keep their access.
type Comparison struct {
	Changes []Change // the one with the smallest box first

	// Undivided are flows whose access may change: the work that finding out takes was
	// used up. Nil when there are none.
	Undivided *Part
}

// Change is the flows that one rule allowed and another denies, or the other way
// about.
type Change struct {
	Before, After nsg.Verdict // without levels, as in a Region
	Part
}

// Part is flows of a comparison.
type Part struct {
	// Boxes are disjoint and have all the flows, the smallest description first. They
	// are nil when there are too many.
	Boxes  []Box
	Count  int      // of boxes; where Boxes is nil, before any were joined; 0: not counted
	Hull   Box      // a box around all of them, the smallest if they were counted
	Sample nsg.Flow // one of the flows
}

// Compare tells for which flows of the box the access is not the same before and
// after. It lists no more boxes than limit in all.
func Compare(within Box, before, after Policies, limit int) Comparison {
	return compare(within, before, after, limit, dividingWork)
}

// The work of a comparison, which bounds its time to some seconds: that of dividing,
// and that of drawing boxes.
const (
	dividingWork = 200_000_000
	drawingWork  = 20_000_000
)

func compare(within Box, before, after Policies, limit, work int) Comparison {
	d := within.Direction
	p, q := pathOf(d, before.Subnet, before.Interface), pathOf(d, after.Subnet, after.Interface)
	c := newComparer(limit, work)
	c.before, c.after = p, q
	return c.compare(within, slices.Concat(p.lists(d), q.lists(d)))
}

// ruleChange is the rules that decide before and after; nil is no group.
type ruleChange struct{ before, after *nsg.PolicyRule }

// comparer gathers what changes in both families.
type comparer struct {
	limit         int // of boxes in the end
	allowance     int // of boxes that may still be drawn and joined
	dividing      int // work that may still be done
	drawing       int
	before, after path

	spoken  [2]map[*nsg.Rule]*nsg.PolicyRule // before and after: which one speaks for all of a rule
	parts   map[ruleChange]*Part
	order   []ruleChange
	unknown *Part
}

func newComparer(limit, work int) *comparer {
	return &comparer{limit: limit, allowance: joinable * limit, dividing: work, drawing: drawingWork, parts: map[ruleChange]*Part{},
		spoken: [2]map[*nsg.Rule]*nsg.PolicyRule{{}, {}}}
}

// compare compares what two lists of rules, one asked after the other, give with
// what two others do.
func (c *comparer) compare(within Box, lists [][]*nsg.PolicyRule) Comparison {
	for _, ipv6 := range [...]bool{false, true} {
		s, j := newComparedSpace(within, ipv6, lists)
		if s != nil {
			c.family(s, j)
		}
	}
	return c.comparison()
}

func (c *comparer) family(s *space, j compareJudge) {
	d := &divider{space: s, judge: j, budget: &c.dividing, unknown: j.unknown()}
	root := d.divide()
	d.budget = &c.drawing
	r := d.restricted()
	for _, answer := range r.answers(root) {
		switch int(answer) {
		case nobody:
		case d.unknown:
			c.unknown = c.joined(c.unknown, c.part(r, root, answer))
		default:
			before, after := j.rules(int(answer))
			key := ruleChange{c.speaker(0, before), c.speaker(1, after)}
			if c.parts[key] == nil {
				c.order = append(c.order, key)
			}
			c.parts[key] = c.joined(c.parts[key], c.part(r, root, answer))
		}
	}
}

// speaker returns the one under which the rule's flows are told: a list may have a rule
// in several parts.
func (c *comparer) speaker(side int, r *nsg.PolicyRule) *nsg.PolicyRule {
	if r == nil {
		return nil
	}
	if c.spoken[side][r.Rule] == nil {
		c.spoken[side][r.Rule] = r
	}
	return c.spoken[side][r.Rule]
}

// part returns the flows that get an answer.
func (c *comparer) part(r *restricted, root node, answer int32) *Part {
	if c.drawing <= 0 {
		return &Part{Hull: r.within, Sample: r.path(root, answer).Sample()}
	}
	only := r.to(root, answer)
	count := r.boxes(only, countMost, map[node]int{})
	p := &Part{Count: count, Hull: r.hull(only), Sample: r.path(root, answer).Sample()}
	if count <= c.allowance {
		c.allowance -= count
		p.Boxes = joined(r.walk(only, r.within, nil))
		p.Count = len(p.Boxes)
	}
	return p
}

// joined returns the flows of two parts, the first of which may be nil, as one.
func (c *comparer) joined(p, q *Part) *Part {
	switch {
	case p == nil:
		return q
	case p.Boxes != nil && q.Boxes != nil:
		p.Boxes = joined(append(p.Boxes, q.Boxes...))
		p.Count = len(p.Boxes)
	case p.Count == 0 || q.Count == 0:
		p.Boxes, p.Count = nil, 0
	default:
		p.Boxes, p.Count = nil, min(p.Count+q.Count, countMost)
	}
	p.Hull = around(p.Hull, q.Hull)
	return p
}

// countMost is how far boxes are counted.
const countMost = 1 << 40

// comparison puts what was found in order.
func (c *comparer) comparison() Comparison {
	out := Comparison{Undivided: c.unknown}
	for _, key := range c.order {
		out.Changes = append(out.Changes, Change{verdictOf(c.before, key.before), verdictOf(c.after, key.after), *c.parts[key]})
	}
	terms := map[ruleChange]int{}
	for i := range out.Changes {
		ch := &out.Changes[i]
		terms[ruleChange{ch.Before.Rule, ch.After.Rule}] = ch.sort()
	}
	sortBy(out.Changes, func(ch Change) int { return terms[ruleChange{ch.Before.Rule, ch.After.Rule}] })
	listed := 0
	for i := range out.Changes {
		out.Changes[i].cut(&listed, c.limit)
	}
	if c.unknown != nil {
		c.unknown.sort()
		c.unknown.cut(&listed, c.limit)
	}
	return out
}

// cut drops the boxes when together with those listed so far they are too many.
func (p *Part) cut(listed *int, limit int) {
	if *listed+len(p.Boxes) > limit {
		p.Boxes = nil
	}
	*listed += len(p.Boxes)
}

func verdictOf(p path, r *nsg.PolicyRule) nsg.Verdict {
	if r == nil {
		return nsg.Verdict{Access: nsg.Allow}
	}
	return nsg.Verdict{Access: r.Access, Rule: r, Group: p.group(r)}
}

// sort puts the boxes in order and returns the length of the smallest description;
// after all others come parts that have none.
func (p *Part) sort() int {
	if len(p.Boxes) == 0 {
		return countMost
	}
	sortBy(p.Boxes, Box.Terms)
	p.Sample = p.Boxes[0].Sample()
	return p.Boxes[0].Terms()
}

// sortBy sorts by a number that is asked for once.
func sortBy[T any](list []T, number func(T) int) {
	type numbered struct {
		value  T
		number int
	}
	all := make([]numbered, len(list))
	for i, v := range list {
		all[i] = numbered{v, number(v)}
	}
	slices.SortStableFunc(all, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	for i := range all {
		list[i] = all[i].value
	}
}
