package flowspace

import (
	"encoding/binary"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// compareJudge tells flows apart until the access before, of the first two lists,
// is the one after, of the other two; or until both rules are known.
type compareJudge struct {
	side
	kinds   []uint32 // by rule: equal for rules that match the same and give the same
	changed [4]map[entry]bool
}

// newComparedSpace makes the space of the lists' rules in as small a box as has all
// flows that change; nil if there are none.
func newComparedSpace(within Box, ipv6 bool, lists [][]*nsg.PolicyRule) (*space, compareJudge) {
	s := newSpace(within, ipv6, lists...)
	if s == nil {
		return nil, compareJudge{}
	}
	j := newCompareJudge(s)
	changed := j.changedRules()
	if len(changed) == 0 {
		return nil, compareJudge{}
	}
	if len(changed) > fewChanged || slices.ContainsFunc(changed, func(i int) bool { return s.rules[i].matchesAll() }) {
		return s, j
	}
	if s = newSpace(within.Intersect(s.around(changed)), ipv6, lists...); s == nil {
		return nil, compareJudge{}
	}
	return s, newCompareJudge(s)
}

// fewChanged is how many rules are likely to lie in a small box.
const fewChanged = 50

// changedRules lists the rules that have no partner. Flows that match none of them do
// not change.
func (j compareJudge) changedRules() []int {
	var out []int
	for i, list := range j.lists {
		for _, e := range list {
			if j.changed[i][e&^3] {
				out = append(out, e.rule())
			}
		}
	}
	return out
}

// around returns a box around the flows of some rules.
func (s *space) around(rules []int) Box {
	var hull Box
	for n, i := range rules {
		for m, b := range OfRule(s.rules[i].PolicyRule) {
			if n == 0 && m == 0 {
				hull = b
			}
			hull = around(hull, b)
		}
	}
	return hull
}

// matchesAll reports whether every flow of the space matches the rule.
func (r *rule) matchesAll() bool { return r.last < 0 && len(r.asgs[0])+len(r.asgs[1]) == 0 }

func newCompareJudge(s *space) compareJudge {
	j := compareJudge{side: side{s}, kinds: kindsOf(s)}
	for i := range 2 {
		j.changed[i], j.changed[i+2] = j.unmatched(s.lists[i], s.lists[i+2])
	}
	return j
}

func (j compareJudge) answer(lists [][]entry) (int, bool) {
	before, knownBefore := j.settle(lists[:2])
	after, knownAfter := j.settle(lists[2:])
	if a := j.outcome(lists[:2]); a != both && a == j.outcome(lists[2:]) || j.alike(lists) {
		return nobody, true
	}
	return before*j.width() + after, knownBefore && knownAfter
}

// width is how many answers a side has.
func (j compareJudge) width() int { return len(j.space.rules) + 1 }

func (j compareJudge) unknown() int { return j.width() * j.width() }

// rules returns the rules of an answer.
func (j compareJudge) rules(answer int) (before, after *nsg.PolicyRule) {
	return j.rule(answer / j.width()), j.rule(answer % j.width())
}

// matters reports whether the entry has no partner in the list that its own is
// compared with. A flow that meets none of those gets the same verdict from both. Of
// a list that was dropped nobody can tell any more what was in it: then all count.
func (j compareJudge) matters(lists [][]entry, i int, e entry) bool {
	return len(lists[(i+2)%4]) == 0 || j.changed[i][e&^3]
}

// outcome is what two lists that are settled can give.
func (s side) outcome(lists [][]entry) accesses {
	switch a, b := lists[0], lists[1]; {
	case len(a)+len(b) == 0:
		return onlyAllow
	case len(b) == 0:
		return s.common(a)
	case len(a) == 0:
		return s.common(b)
	default: // the first has both
		if s.common(b) == onlyDeny {
			return onlyDeny
		}
		return both
	}
}

// alike reports whether the lists before give what those after do, as far as one can
// see without dividing.
func (j compareJudge) alike(lists [][]entry) bool {
	for i := range 2 {
		if (len(lists[i]) == 0) != (len(lists[i+2]) == 0) {
			return false
		}
	}
	return slices.Equal(j.form(lists[0]), j.form(lists[2])) && slices.Equal(j.form(lists[1]), j.form(lists[3]))
}

// form returns a list in a form that others which give the same may have as well:
// without rules at the end that give what the last does, and in order of kinds
// where that makes no difference.
func (j compareJudge) form(list []entry) []uint32 {
	end := len(list)
	for end > 1 && j.access(list[end-2]) == j.access(list[end-1]) {
		end-- // what it decides, the last one decides as well
	}
	if end == 0 {
		return nil
	}
	out := j.inRuns(list[:end-1])
	return append(out, uint32(j.access(list[end-1])))
}

func (j compareJudge) access(e entry) nsg.Access { return j.space.rules[e.rule()].Access }

// kind tells entries apart that differ in what they match or give.
func (j compareJudge) kind(e entry) uint32 { return j.kinds[e.rule()]<<2 | uint32(e&3) }

// inRuns returns the entries' kinds, where runs of entries that give the same are
// sorted.
func (j compareJudge) inRuns(list []entry) []uint32 {
	out := make([]uint32, 0, len(list)+1)
	for from := 0; from < len(list); {
		to := from
		for ; to < len(list) && j.access(list[to]) == j.access(list[from]); to++ {
			out = append(out, j.kind(list[to]))
		}
		slices.Sort(out[from:to])
		from = to
	}
	return out
}

// kindsOf numbers the rules by what they match in the space, and by their access.
func kindsOf(s *space) []uint32 {
	known := map[string]uint32{}
	out := make([]uint32, len(s.rules))
	for i := range s.rules {
		r := &s.rules[i]
		key := []byte{byte(r.Access)}
		for _, set := range r.sets {
			key = binary.AppendVarint(key, int64(set))
		}
		for _, asgs := range r.asgs {
			key = binary.AppendVarint(key, int64(len(asgs)))
			for _, a := range asgs {
				key = binary.AppendVarint(key, int64(a))
			}
		}
		n, found := known[string(key)]
		if !found {
			n = uint32(len(known))
			known[string(key)] = n
		}
		out[i] = n
	}
	return out
}

// unmatched returns the entries of each list that are not in the longest list that
// is a part of both, where the order within runs of one access does not matter.
func (j compareJudge) unmatched(a, b []entry) (ofA, ofB map[entry]bool) {
	a, b = j.sortedRuns(a), j.sortedRuns(b)
	for len(a) > 0 && len(b) > 0 && j.kind(a[0]) == j.kind(b[0]) {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && j.kind(a[len(a)-1]) == j.kind(b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	same := func(x, y int) bool { return j.kind(a[x]) == j.kind(b[y]) }
	length := make([][]uint16, len(a)+1) // of that list, from these places on
	for x := len(a); x >= 0; x-- {
		length[x] = make([]uint16, len(b)+1)
		for y := len(b) - 1; y >= 0 && x < len(a); y-- {
			if length[x][y] = max(length[x+1][y], length[x][y+1]); same(x, y) {
				length[x][y] = length[x+1][y+1] + 1
			}
		}
	}
	ofA, ofB = map[entry]bool{}, map[entry]bool{}
	x, y := 0, 0
	for x < len(a) || y < len(b) {
		switch {
		case x < len(a) && y < len(b) && same(x, y):
			x, y = x+1, y+1
		case y == len(b) || x < len(a) && length[x+1][y] >= length[x][y+1]:
			ofA[a[x]&^3] = true
			x++
		default:
			ofB[b[y]&^3] = true
			y++
		}
	}
	return ofA, ofB
}

// sortedRuns returns the list with runs of one access in the order of kinds.
func (j compareJudge) sortedRuns(list []entry) []entry {
	list = slices.Clone(list)
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && j.access(list[to]) == j.access(list[from]) {
			to++
		}
		slices.SortStableFunc(list[from:to], func(x, y entry) int { return int(j.kind(x)) - int(j.kind(y)) })
		from = to
	}
	return list
}
