package program

import (
	"cmp"
	"slices"
)

// bestCut returns the place with the cut that helps most; nil when none is of use.
// Best is one that leaves both sides with clearly fewer lines. Else, one that
// keeps away what none of the lines with a condition can match. Else, in a long
// leaf, one that only repeats the lines on both sides, if those of one can be told apart
// then: lists of prefixes that lie far from each other are like that.
func (n *node) bestCut() *node {
	var halved, spared, doubled *node
	for _, d := range n.cuttable() {
		if at, ok := n.middle(d); ok {
			if c := n.divided(d, at); c.halves(len(n.lines)) {
				halved = better(halved, c)
			}
		}
		for _, at := range n.hull(d) {
			if c := n.divided(d, at); c.spares(len(n.lines)) {
				spared = better(spared, c)
			}
		}
	}
	if best := cmp.Or(halved, spared); best != nil || len(n.lines) <= longLeaf {
		return best
	}
	for _, d := range n.cuttable() {
		if at, ok := n.gap(d); ok {
			if c := n.divided(d, at); c.in.divides() || c.rest.divides() {
				doubled = better(doubled, c)
			}
		}
	}
	return doubled
}

// cuttable lists the dimensions that the region's packets have.
func (n *node) cuttable() []dimension {
	if n.region.protocols == onlyTCP || n.region.protocols == onlyUDP {
		return []dimension{sourcePort, destinationPort, source, destination}
	}
	return []dimension{source, destination}
}

// longLeaf is so many lines that twice as many rules are worth a shorter way.
const longLeaf = 32

// divides reports whether one more cut leaves little more than half of the lines
// on either side.
func (n *node) divides() bool {
	for _, d := range n.cuttable() {
		if at, ok := n.middle(d); ok {
			if c := n.divided(d, at); max(len(c.in.lines), len(c.rest.lines)) <= len(n.lines)*2/3 {
				return true
			}
		}
	}
	return false
}

// gap returns the first value behind the widest stretch, between two that lines
// ask for, that none does.
func (n *node) gap(d dimension) (at value, ok bool) {
	var asked []span
	for _, l := range n.lines {
		if c := l.sides[d]; !c.any && len(c.asgs) == 0 && !c.covers(n.region.spans[d]) {
			asked = append(asked, c.clipped(n.region.spans[d])...)
		}
	}
	asked = joined(asked)
	var widest value
	for i := 1; i < len(asked); i++ {
		if width := asked[i].first.minus(asked[i-1].last); widest.less(width) {
			widest, at, ok = width, asked[i].first, true
		}
	}
	return at, ok
}

// hull returns the values at which begins, and behind which ends, what the lines
// with a condition ask for.
func (n *node) hull(d dimension) []value {
	whole := n.region.spans[d]
	hull := span{first: whole.last, last: whole.first}
	for _, l := range n.lines {
		if c := l.sides[d]; !c.any && len(c.asgs) == 0 && !c.covers(whole) {
			spans := c.clipped(whole)
			if first := spans[0].first; first.less(hull.first) {
				hull.first = first
			}
			if last := spans[len(spans)-1].last; hull.last.less(last) {
				hull.last = last
			}
		}
	}
	var out []value
	if hull.last.less(hull.first) {
		return nil // no line has one
	}
	if whole.first.less(hull.first) {
		out = append(out, hull.first)
	}
	if hull.last.less(whole.last) {
		out = append(out, hull.last.next())
	}
	return out
}

// middle finds the value at which a cut leaves about as many lines below as at
// it and above, with as few as possible on both sides.
func (n *node) middle(d dimension) (at value, ok bool) {
	whole := n.region.spans[d]
	var firsts, lasts, borders []value
	for _, l := range n.lines {
		s, spans := whole, []span(nil)
		if c := l.sides[d]; !c.any && len(c.asgs) == 0 {
			spans = c.clipped(whole)
			s = span{first: spans[0].first, last: spans[len(spans)-1].last}
		}
		firsts, lasts = append(firsts, s.first), append(lasts, s.last)
		for _, b := range spans {
			borders = append(borders, b.first)
			if b.last != whole.last {
				borders = append(borders, b.last.next())
			}
		}
	}
	slices.SortFunc(firsts, value.compare)
	slices.SortFunc(lasts, value.compare)
	slices.SortFunc(borders, value.compare)
	best := 0
	for _, b := range slices.Compact(borders) {
		if b == whole.first {
			continue
		}
		below, _ := slices.BinarySearchFunc(firsts, b, value.compare)
		ended, _ := slices.BinarySearchFunc(lasts, b, value.compare)
		score := score(below, len(lasts)-ended)
		if !ok || score < best {
			at, best, ok = b, score, true
		}
	}
	return at, ok
}

// score is small for a cut with a small larger side and few lines on both.
func score(below, above int) int { return 3*max(below, above) + below + above }

func (n *node) score() int { return score(len(n.in.lines), len(n.rest.lines)) }

// better returns the place with the lower score; best may be nil.
func better(best, c *node) *node {
	if best == nil || c.score() < best.score() {
		return c
	}
	return best
}

// halves reports whether the cut spares the larger side enough of the lines.
func (n *node) halves(lines int) bool {
	return max(len(n.in.lines), len(n.rest.lines)) <= lines-max(1, lines/16)
}

// spares reports whether the cut spares the smaller side most of the lines, and
// repeats few.
func (n *node) spares(lines int) bool {
	in, rest := len(n.in.lines), len(n.rest.lines)
	return min(in, rest) <= lines/2 && in+rest <= lines+lines/8+2
}

// divided returns the place cut at a value of the dimension. The side with fewer
// lines gets the chain: the other goes on without being deeper.
func (n *node) divided(d dimension, at value) *node {
	whole := n.region.spans[d]
	below := n.side(d, span{first: whole.first, last: at.prev()})
	above := n.side(d, span{first: at, last: whole.last})
	in, rest := below, above
	if len(above.lines) < len(below.lines) {
		in, rest = above, below
	}
	in.depth++
	return &node{cut: &cut{dimension: d, span: in.region.spans[d]}, in: in, rest: rest}
}

func (n *node) side(d dimension, s span) *node {
	r := n.region.with(d, s)
	return &node{region: r, lines: r.deciding(n.lines), depth: n.depth, cuts: n.cuts + 1}
}
