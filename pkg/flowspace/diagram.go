package flowspace

import (
	"encoding/binary"
	"slices"
)

// node is a place in a diagram: an answer, or a choice. Equal places are one, so
// that two nodes are the same function of a flow if, and only if, they are equal.
type node int32

// diagram is a decision diagram: each choice tells classes of one dimension apart,
// and the choices below it are about later ones. (Gouda and Liu, "Structured
// firewall design", Computer Networks 51, 2007; reduced as Bryant's are, 1986.)
type diagram struct {
	choices []choice
	known   map[string]node
	key     []byte
}

// choice sends each class of a dimension to a node: those of a branch to its, all
// others, which are the most, to the rest's.
type choice struct {
	dimension int
	rest      node
	branches  []branch // ascending by node
	others    *branch  // the classes of the rest, once somebody asked for them
}

type branch struct {
	to      node
	classes []int32 // ascending
	narrow  *Box    // a box of these classes, once somebody asked for it
}

// Answers are nodes below zero, so that choices can be numbered as they come.
func answerNode(answer int) node { return node(-1 - answer) }

func (n node) isAnswer() bool { return n < 0 }

func (n node) answer() int { return int(-1 - n) }

// choice returns the node of a choice. The branches are of different nodes and none
// is empty; classes of none go to rest, if restClasses, how many they are, is not 0.
func (d *diagram) choice(dimension, classes int, branches map[node][]int32, rest node, restClasses int) node {
	if restClasses == 0 {
		rest = most(branches)
	}
	if own := branches[rest]; len(branches) == 0 || len(branches) == 1 && len(own) > 0 {
		return rest
	}
	best, most := rest, restClasses+len(branches[rest])
	for n, list := range branches {
		if n != rest && (len(list) > most || len(list) == most && n < best) {
			best, most = n, len(list)
		}
	}
	if best != rest {
		branches[rest] = others(classes, branches, rest)
	}
	c := choice{dimension: dimension, rest: best}
	for n, list := range branches {
		if n != best {
			slices.Sort(list)
			c.branches = append(c.branches, branch{to: n, classes: list})
		}
	}
	slices.SortFunc(c.branches, func(a, b branch) int { return int(a.to) - int(b.to) })
	return d.node(c)
}

// most returns the node with the most classes.
func most(branches map[node][]int32) node {
	best, n := node(0), 0
	for to, list := range branches {
		if len(list) > n || len(list) == n && to < best {
			best, n = to, len(list)
		}
	}
	return best
}

// others lists the classes that are in no branch but the given one's.
func others(classes int, branches map[node][]int32, but node) []int32 {
	taken := make([]bool, classes)
	for n, list := range branches {
		for _, c := range list {
			taken[c] = n != but
		}
	}
	var out []int32
	for c, t := range taken {
		if !t {
			out = append(out, int32(c))
		}
	}
	return out
}

// node returns the node of the choice, which may be there already.
func (d *diagram) node(c choice) node {
	key := binary.AppendUvarint(d.key[:0], uint64(c.dimension))
	key = binary.LittleEndian.AppendUint32(key, uint32(c.rest))
	for _, b := range c.branches {
		key = binary.LittleEndian.AppendUint32(key, uint32(b.to))
		key = binary.AppendUvarint(key, uint64(len(b.classes)))
		for _, class := range b.classes {
			key = binary.AppendUvarint(key, uint64(class))
		}
	}
	d.key = key
	if n, found := d.known[string(key)]; found {
		return n
	}
	n := node(len(d.choices))
	d.choices = append(d.choices, c)
	d.known[string(key)] = n
	return n
}
