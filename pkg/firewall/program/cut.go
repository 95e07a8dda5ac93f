package program

import (
	"slices"
)

// bestCut tries one cut in each dimension and returns the node with the one
// that leaves the fewest lines on the larger side; nil when none is of use.
func (n *node) bestCut() *node {
	var best *node
	for d := range dimensions {
		if d.ofPorts() && n.region.protocols != onlyTCP && n.region.protocols != onlyUDP {
			continue
		}
		at, ok := n.middle(d)
		if !ok {
			continue
		}
		c := n.divided(d, at)
		if best == nil || c.better(best) {
			best = c
		}
	}
	if best == nil || !best.useful(len(n.lines)) {
		return nil
	}
	return best
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

func (n *node) better(m *node) bool { return n.score() < m.score() }

// useful reports whether a cut spares the larger side enough of the lines.
func (n *node) useful(lines int) bool {
	return max(len(n.in.lines), len(n.rest.lines)) <= lines-max(1, lines/16)
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
