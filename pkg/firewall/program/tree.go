package program

import (
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Bounds of a tree. nf_tables refuses a sixteenth chain below another, whether
// entered by jump or goto (NFT_JUMP_STACK_SIZE, linux/netfilter/nf_tables.h).
// Five levels below the base chain are those that lead to a program.
const (
	maxDepth = 6  // chains below a program's entry; that of the default rules is one more
	maxCuts  = 24 // branches on the way to a leaf, in whatever chain

	leafLines = 8 // so few lines are not divided any more

	// growth bounds the rules of all chains to this multiple of the group's own:
	// the time that the kernel takes for a change grows with them.
	growth  = 3
	atLeast = 64 // rules that even a small group may have
)

// Compile returns the program for the policy's rules of one direction in one
// family: a tree that tells packets apart by protocol, ports and addresses until
// few rules are left, which are tried in their order.
func Compile(p *nsg.Policy, d nsg.Direction, ipv6 bool, names Names) *Program {
	lines := linesOf(p, d, ipv6)
	t := newTree(lines, ipv6)
	t.grow()
	return t.emit(names)
}

// Linear returns the same program as one chain with the rules in their order.
func Linear(p *nsg.Policy, d nsg.Direction, ipv6 bool, names Names) *Program {
	lines := linesOf(p, d, ipv6)
	r := wholeRegion(anyProtocol, ipv6)
	t := &tree{ipv6: ipv6, linear: true, roots: []*node{{region: r, lines: r.deciding(lines)}}}
	return t.emit(names)
}

// tree is a program in the making.
type tree struct {
	ipv6     bool
	linear   bool    // nothing is in a chain of its own
	roots    []*node // of TCP, UDP and the rest; or one for all
	defaults []*line // the rules that end every group
	budget   int     // rules that may still be added
}

// node is a place in the tree: a leaf has lines, any other place a cut. What is
// inside the cut goes on in a chain of its own, the rest in the same chain.
type node struct {
	region region
	lines  []*line
	depth  int // chains between the entry and this one
	cuts   int // branches between the root and this place

	cut  *cut
	in   *node
	rest *node
}

// cut is a branch: the values of one dimension that go another way.
type cut struct {
	dimension dimension
	span      span
}

// newTree makes the roots: one for each protocol that has ports, so that ports
// can be told apart, if there is room for the rules that belong to several.
func newTree(lines []*line, ipv6 bool) *tree {
	t := &tree{ipv6: ipv6, budget: max(growth*len(lines), atLeast)}
	for _, l := range lines {
		if l.byDefault {
			t.defaults = append(t.defaults, l)
		}
	}
	t.budget -= len(t.defaults)
	var apart []*node
	for i, p := range []protocols{onlyTCP, onlyUDP, otherProtocols} {
		n := &node{region: wholeRegion(p, ipv6)}
		if i < 2 {
			n.depth = 1
		}
		n.lines = n.region.deciding(lines)
		apart = append(apart, n)
	}
	if size := leafRules(apart...) + 2; size <= t.budget {
		t.roots, t.budget = apart, t.budget-size
		return t
	}
	n := &node{region: wholeRegion(anyProtocol, ipv6)}
	n.lines = n.region.deciding(lines)
	t.roots, t.budget = []*node{n}, t.budget-leafRules(n)
	return t
}

// leafRules counts the rules that the leaves have in a chain.
func leafRules(leaves ...*node) int {
	n := 0
	for _, leaf := range leaves {
		own, shared := leaf.split()
		for _, l := range own {
			n += len(leaf.region.matchProtocols(l))
		}
		if shared {
			n++
		}
	}
	return n
}

// shares reports whether a leaf at or below the place ends in the default rules.
func (n *node) shares() bool {
	if n.cut != nil {
		return n.in.shares() || n.rest.shares()
	}
	_, shared := n.split()
	return shared
}

// split parts a leaf's lines from the default ones at their end, where these are
// worth a chain of their own for all leaves. Trying all of them in their order
// gives what the leaf's give: the others meet no packet of the region.
func (n *node) split() (own []*line, shared bool) {
	i := len(n.lines)
	for i > 0 && n.lines[i-1].byDefault {
		i--
	}
	if len(n.lines)-i < 2 {
		return n.lines, false
	}
	return n.lines[:i], true
}

// grow divides the largest leaf, again and again, until all are small, cannot be
// divided, or there is no room for more rules.
func (t *tree) grow() {
	leaves := slices.Clone(t.roots)
	for len(leaves) > 0 {
		i := largest(leaves)
		n := leaves[i]
		leaves[i] = leaves[len(leaves)-1]
		leaves = leaves[:len(leaves)-1]
		if len(n.lines) <= leafLines {
			return
		}
		if t.divide(n) {
			leaves = append(leaves, n.in, n.rest)
		}
	}
}

func largest(leaves []*node) int {
	best := 0
	for i, n := range leaves {
		if len(n.lines) > len(leaves[best].lines) {
			best = i
		}
	}
	return best
}

// divide cuts a leaf in two if that is worth its rules and there is room.
func (t *tree) divide(n *node) bool {
	if n.depth == maxDepth || n.cuts == maxCuts {
		return false
	}
	best := n.bestCut()
	if best == nil {
		return false
	}
	cost := leafRules(best.in, best.rest) + 1 - leafRules(n)
	if cost > t.budget {
		return false
	}
	t.budget -= cost
	n.cut, n.in, n.rest, n.lines = best.cut, best.in, best.rest, nil
	return true
}
