package flowspace

import "encoding/binary"

// judge says when flows need not be divided any more.
type judge interface {
	// answer looks at the rules that flows of one place may meet, in lists that end in
	// a rule that all of them meet. It returns what the answer to all of these flows
	// is, if they have the same, and else drops entries that do not matter.
	answer(lists [][]entry) (answer int, found bool)

	// matters reports whether the i-th list's entry is one of those without which flows
	// get the answer nobody. It is asked of lists that have no answer yet.
	matters(lists [][]entry, i int, e entry) bool
}

// divider builds the diagram of a space.
type divider struct {
	*space
	judge   judge
	diagram diagram
	budget  *int // of work: so many looks at a rule or a class, about 10 ns each
	unknown int  // the answer where the budget is used up
	seen    map[string]node
	key     []byte
	marks   []marks // by dimension
}

// placeWork is what a place costs besides the looks at its rules and classes, in
// such looks: about 10 ns each.
const placeWork = 1500

// divide returns the diagram's root.
func (d *divider) divide() node {
	d.diagram.known, d.seen = map[string]node{}, map[string]node{}
	d.marks = make([]marks, d.dimensions())
	return d.place(0, d.lists)
}

// place returns the node of the flows that have met the given entries so far, and
// are to be told apart by the dimensions from the given one on.
func (d *divider) place(dimension int, lists [][]entry) node {
	if a, found := d.judge.answer(lists); found {
		return answerNode(a)
	}
	dimension = d.dividing(dimension, lists)
	key := d.keyOf(dimension, lists)
	if n, found := d.seen[string(key)]; found {
		return n
	}
	if *d.budget <= 0 {
		return answerNode(d.unknown)
	}
	*d.budget -= placeWork
	stored := string(key)
	var n node
	if dimension < asgDimensions {
		n = d.byClasses(dimension, lists)
	} else {
		n = d.byMembership(dimension, lists)
	}
	d.seen[stored] = n
	return n
}

// dividing returns the first dimension from the given one on of which an entry
// asks something.
func (d *divider) dividing(from int, lists [][]entry) int {
	best := d.dimensions()
	for _, list := range lists {
		for _, e := range list {
			best = min(best, d.firstAsked(&d.rules[e.rule()], e, from))
			if best == from {
				return best
			}
		}
	}
	return best
}

func (s *space) firstAsked(r *rule, e entry, from int) int {
	for d := from; d <= r.last; d++ {
		if r.sets[d] != everything {
			return d
		}
	}
	first := s.dimensions()
	for end, dimensions := range r.asgs {
		if !e.waits(end) {
			continue
		}
		for _, d := range dimensions {
			if d >= from {
				first = min(first, d)
				break
			}
		}
	}
	return first
}

// keyOf encodes the arguments of place.
func (d *divider) keyOf(dimension int, lists [][]entry) []byte {
	key := binary.AppendUvarint(d.key[:0], uint64(dimension))
	for _, list := range lists {
		key = binary.AppendUvarint(key, uint64(len(list)))
		for _, e := range list {
			key = binary.AppendUvarint(key, uint64(e))
		}
	}
	d.key = key
	return key
}

// closes reports whether all flows of a place meet the entry when they have been
// told apart up to the dimension.
func (s *space) closes(e entry, dimension int) bool {
	return e.settled() && s.rules[e.rule()].last <= dimension
}

// byMembership divides by an application security group.
func (d *divider) byMembership(dimension int, lists [][]entry) node {
	end := d.asgs[dimension-asgDimensions].end
	in, out := make([][]entry, len(lists)), make([][]entry, len(lists))
	for i, list := range lists {
		*d.budget -= len(list)
		in[i] = d.kept(dimension, list, func(e entry, asked, _ bool) (entry, bool) {
			if asked {
				return e.satisfied(end), true
			}
			return e, true
		})
		out[i] = d.kept(dimension, list, func(e entry, asked, last bool) (entry, bool) { return e, !asked || !last })
	}
	branches := map[node][]int32{}
	for class, lists := range [...][][]entry{isMember: in, isNoMember: out} {
		n := d.place(dimension+1, lists)
		branches[n] = append(branches[n], int32(class))
	}
	return d.diagram.choice(dimension, 2, branches, 0, 0)
}

// kept returns what becomes of a list behind an ASG's dimension. next is asked what
// becomes of an entry: asked says that its rule waits for that ASG, and last that it
// is the last one that would do.
func (d *divider) kept(dimension int, list []entry, next func(e entry, asked, last bool) (entry, bool)) []entry {
	end := d.asgs[dimension-asgDimensions].end
	var out []entry
	for _, e := range list {
		asked, last := false, false
		if e.waits(end) {
			asgs := d.rules[e.rule()].asgs[end]
			for i, a := range asgs {
				if a == dimension {
					asked, last = true, i == len(asgs)-1
				}
			}
		}
		e, keep := next(e, asked, last)
		if !keep {
			continue
		}
		if out = append(out, e); d.closes(e, dimension) {
			break
		}
	}
	return out
}
