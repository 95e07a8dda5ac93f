package flowspace

// walk appends the disjoint boxes of flows that do not lead to nobody, as n does
// not itself.
func (d *divider) walk(n node, b Box, boxes []Box) []Box {
	if n.isAnswer() {
		return append(boxes, b)
	}
	c := &d.diagram.choices[n]
	for i := range c.branches {
		if to := &c.branches[i]; to.to != answerNode(nobody) {
			boxes = d.walk(to.to, d.step(c, to, b), boxes)
		}
	}
	if c.rest != answerNode(nobody) {
		boxes = d.walk(c.rest, d.step(c, d.rest(c), b), boxes)
	}
	return boxes
}

// rest returns the classes of a choice that are in no branch, as one.
func (d *divider) rest(c *choice) *branch {
	if c.others == nil {
		lists := map[node][]int32{}
		for _, b := range c.branches {
			lists[b.to] = b.classes
		}
		c.others = &branch{to: c.rest, classes: others(d.classes(c.dimension), lists, c.rest)}
	}
	return c.others
}

// step returns a box with the classes of a branch only. What these are is worked
// out once.
func (d *divider) step(c *choice, to *branch, b Box) Box {
	if c.dimension >= asgDimensions {
		return d.narrowed(b, c.dimension, to.classes)
	}
	if to.narrow == nil {
		only := d.narrowed(Box{}, c.dimension, to.classes)
		to.narrow = &only
	}
	switch c.dimension {
	case protocolDimension:
		b.Protocols = to.narrow.Protocols
	case destinationPortDimension:
		b.Destination.Ports = to.narrow.Destination.Ports
	case destinationDimension:
		b.Destination.Addresses = to.narrow.Destination.Addresses
	case sourceDimension:
		b.Source.Addresses = to.narrow.Source.Addresses
	case sourcePortDimension:
		b.Source.Ports = to.narrow.Source.Ports
	}
	return b
}
