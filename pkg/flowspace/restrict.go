package flowspace

import (
	"cmp"
	"slices"
)

// nobody is the answer of flows that a diagram is not about.
const nobody = 1<<31 - 2

// restricted makes diagrams of the flows that get one answer out of a diagram of
// many. What only told other answers apart is gone from them, so that they have far
// fewer paths.
type restricted struct {
	*divider
	ways    [][]way   // by choice: ascending by answer
	reached [][]int32 // by choice: the answers below it, ascending

	round int32
	seen  []int32 // by choice: the round in which it was done
	done  []node  // by choice: what it became then
}

// way leads from a choice to an answer: by a branch, or by the rest.
type way struct{ answer, branch int32 }

// byRest is the branch of ways by the rest.
const byRest = -1

func (d *divider) restricted() *restricted {
	n := len(d.diagram.choices)
	return &restricted{divider: d, ways: make([][]way, n), reached: make([][]int32, n), seen: make([]int32, n), done: make([]node, n)}
}

// answers lists the answers below a node, ascending.
func (r *restricted) answers(n node) []int32 {
	if n.isAnswer() {
		return []int32{int32(n.answer())}
	}
	if r.reached[n] == nil {
		r.explore(n)
	}
	return r.reached[n]
}

func (r *restricted) explore(n node) {
	c := &r.diagram.choices[n]
	var ways []way
	add := func(to node, branch int32) {
		if to.isAnswer() {
			ways = append(ways, way{int32(to.answer()), branch})
			return
		}
		for _, a := range r.answers(to) {
			ways = append(ways, way{a, branch})
		}
	}
	for i, b := range c.branches {
		add(b.to, int32(i))
	}
	add(c.rest, byRest)
	slices.SortFunc(ways, func(a, b way) int {
		return cmp.Or(cmp.Compare(a.answer, b.answer), cmp.Compare(a.branch, b.branch))
	})
	var answers []int32
	for i, w := range ways {
		if i == 0 || w.answer != ways[i-1].answer {
			answers = append(answers, w.answer)
		}
	}
	*r.budget -= len(ways)
	r.ways[n], r.reached[n] = ways, answers
}

// waysTo returns the ways from a choice to an answer.
func (r *restricted) waysTo(n node, answer int32) []way {
	compare := func(w way, a int32) int { return cmp.Compare(w.answer, a) }
	from, _ := slices.BinarySearchFunc(r.ways[n], answer, compare)
	to, _ := slices.BinarySearchFunc(r.ways[n], answer+1, compare)
	return r.ways[n][from:to]
}

// to returns the diagram of the flows that get the answer, and of nobody else. The
// answer is one of those below the root.
func (r *restricted) to(root node, answer int32) node {
	r.round++
	return r.under(root, answer)
}

func (r *restricted) under(n node, answer int32) node {
	if n.isAnswer() {
		return n
	}
	if r.seen[n] == r.round {
		return r.done[n]
	}
	branches := map[node][]int32{}
	c := r.diagram.choices[n] // a copy: choices are added meanwhile
	left := r.classes(c.dimension)
	for _, w := range r.waysTo(n, answer) {
		b := (*branch)(nil)
		if w.branch == byRest {
			b = r.rest(&r.diagram.choices[n])
		} else {
			b = &c.branches[w.branch]
		}
		*r.budget -= 10 + len(b.classes)
		to := r.under(b.to, answer)
		branches[to] = append(branches[to], b.classes...)
		left -= len(b.classes)
	}
	to := r.diagram.choice(c.dimension, r.classes(c.dimension), branches, answerNode(nobody), left)
	r.seen[n], r.done[n] = r.round, to
	return to
}

// path returns the box of a path to an answer below the node.
func (r *restricted) path(n node, answer int32) Box {
	b := r.within
	for !n.isAnswer() {
		c := &r.diagram.choices[n]
		to := r.rest(c)
		if w := r.waysTo(n, answer)[0]; w.branch != byRest {
			to = &c.branches[w.branch]
		}
		b = r.step(c, to, b)
		n = to.to
	}
	return b
}

// boxes counts the paths of a diagram that do not lead to nobody, but no further
// than to most.
func (d *divider) boxes(n node, most int, counted map[node]int) int {
	if n.isAnswer() {
		if n.answer() == nobody {
			return 0
		}
		return 1
	}
	if sum, found := counted[n]; found {
		return sum
	}
	c := &d.diagram.choices[n]
	sum := d.boxes(c.rest, most, counted)
	for _, b := range c.branches {
		sum = min(sum+d.boxes(b.to, most, counted), most)
	}
	counted[n] = sum
	return sum
}
