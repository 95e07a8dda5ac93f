package nsg

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// class is rules that share their spans on an axis, as those of one service tag with
// its thousands of ranges do.
type class struct {
	rules []uint64
	depth int // of the sweep: how many of the spans it is in
}

// edge is where a class begins (+1) or ends (-1) to be met.
type edge struct {
	at    number
	class *class
	step  int
}

// newAxis makes the axis of the rules' spans. Rules are of one class if their spans
// are the same slice.
func newAxis(rules []PolicyRule, spansOf func(*PolicyRule) []span) axis {
	var edges []edge
	classes := map[*span]*class{}
	words := (len(rules) + 63) / 64
	for i := range rules {
		spans := spansOf(&rules[i])
		if len(spans) == 0 {
			continue
		}
		c := classes[&spans[0]]
		if c == nil {
			c = &class{rules: make([]uint64, words)}
			classes[&spans[0]] = c
			edges = appendEdges(edges, c, spans)
		}
		c.rules[i/64] |= 1 << (i % 64)
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.at.compare(b.at) })
	return sweep(edges, words)
}

func appendEdges(edges []edge, c *class, spans []span) []edge {
	for _, s := range spans {
		edges = append(edges, edge{at: s.first, class: c, step: 1})
		if s.last != everything[0].last {
			low, carry := bits.Add64(s.last.low, 1, 0)
			edges = append(edges, edge{at: number{s.last.high + carry, low}, class: c, step: -1})
		}
	}
	return edges
}

// sweep walks over the edges and notes the rules that are met between them. The
// spans of a class may overlap.
func sweep(edges []edge, words int) axis {
	var a axis
	met := make([]uint64, words)
	known := map[string][]uint64{}
	for i, e := range edges {
		e.class.depth += e.step
		for w, rules := range e.class.rules {
			if met[w] &^= rules; e.class.depth > 0 {
				met[w] |= rules
			}
		}
		if i+1 == len(edges) || edges[i+1].at != e.at {
			a.starts = append(a.starts, e.at)
			a.rules = append(a.rules, shared(known, met))
		}
	}
	return a
}

// shared returns a copy of the set, the same one for equal sets: the thousands of
// ranges of a service tag make two sets.
func shared(known map[string][]uint64, set []uint64) []uint64 {
	key := make([]byte, 0, 8*len(set))
	for _, word := range set {
		key = binary.LittleEndian.AppendUint64(key, word)
	}
	if s, found := known[string(key)]; found {
		return s
	}
	s := slices.Clone(set)
	known[string(key)] = s
	return s
}
