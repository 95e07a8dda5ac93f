package flowspace

import "slices"

// hull returns the smallest box around the flows of a diagram that do not lead to
// nobody, of which there are some.
func (d *divider) hull(n node) Box {
	h := hull{divider: d, has: make([][]bool, d.dimensions()), seen: map[node]bool{}}
	for i := range h.has {
		h.has[i] = make([]bool, d.classes(i))
	}
	h.skip(0, d.dimensionOf(n))
	h.add(n)
	b := d.within
	for i, has := range h.has {
		var classes []int32
		for c, yes := range has {
			if yes {
				classes = append(classes, int32(c))
			}
		}
		if len(classes) < len(has) {
			b = d.narrowed(b, i, classes)
		}
	}
	return b
}

// hull is the classes of each dimension that some path has.
type hull struct {
	*divider
	has  [][]bool
	seen map[node]bool
}

func (h *hull) add(n node) {
	if n.isAnswer() || h.seen[n] {
		return
	}
	h.seen[n] = true
	*h.budget -= hullWork
	c := &h.diagram.choices[n]
	h.branch(c, h.rest(c))
	for i := range c.branches {
		h.branch(c, &c.branches[i])
	}
}

func (h *hull) branch(c *choice, b *branch) {
	if b.to == answerNode(nobody) {
		return
	}
	for _, class := range b.classes {
		h.has[c.dimension][class] = true
	}
	h.skip(c.dimension+1, h.dimensionOf(b.to))
	h.add(b.to)
}

// hullWork is what a choice costs in a hull, as placeWork.
const hullWork = 50

// skip notes dimensions of which a path has every class.
func (h *hull) skip(from, to int) {
	for i := from; i < to; i++ {
		for class := range h.has[i] {
			h.has[i][class] = true
		}
	}
}

// dimensionOf returns the dimension that a node is about; for an answer the number
// of dimensions.
func (d *divider) dimensionOf(n node) int {
	if n.isAnswer() {
		return d.dimensions()
	}
	return d.diagram.choices[n].dimension
}

// around returns a box around two boxes of one direction.
func around(a, b Box) Box {
	a.Protocols |= b.Protocols
	for _, e := range [...]struct{ to, from *End }{{&a.Source, &b.Source}, {&a.Destination, &b.Destination}} {
		outside := func(of []string) func(string) bool {
			return func(name string) bool { return !slices.Contains(of, name) }
		}
		e.to.Addresses = e.to.Addresses.Union(e.from.Addresses)
		e.to.Ports = unionPorts(e.to.Ports, e.from.Ports)
		e.to.In = slices.DeleteFunc(slices.Clone(e.to.In), outside(e.from.In))
		e.to.NotIn = slices.DeleteFunc(slices.Clone(e.to.NotIn), outside(e.from.NotIn))
	}
	return a.normal()
}
