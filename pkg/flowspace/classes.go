package flowspace

// marks are where the classes of a dimension are while entries are looked at one
// after the other: each class is in the group of those that the same entries have.
// They serve one division after the other, without being cleared.
type marks struct {
	round  int32
	seen   []int32 // by class: the round in which it was touched
	group  []int32 // by class: its group in that round
	closed []int32 // by class: 1 + the list in which it needs no more entries
	wanted []int32 // by class: the round in which an entry that matters asked for it

	groups []group
	split  []int32 // by group: the one that the present entry made of it
	by     []int32 // by group: the entry, counted from 1, that split it last
}

// group is classes that have met the same entries. The first group is all that met
// none but those that ask nothing of the dimension.
type group struct {
	from  int32 // the group that it was split from
	list  int32 // of the entry that was met
	entry entry
}

// byClasses divides by a dimension that is no ASG's.
func (d *divider) byClasses(dimension int, lists [][]entry) node {
	m := &d.marks[dimension]
	m.begin(d.classes(dimension))
	spared := d.want(m, dimension, lists)
	touched := d.refine(m, dimension, lists, spared)
	classes := d.classes(dimension)
	rest := classes - len(touched)
	members := map[int32][]int32{}
	var order []int32 // groups as they come, so that the result is always the same
	for _, c := range touched {
		g := m.group[c]
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], c)
	}
	groups := m.groups // children use other dimensions' marks
	branches := map[node][]int32{}
	for _, g := range order {
		n := d.place(dimension+1, d.survivors(dimension, lists, groups, g))
		branches[n] = append(branches[n], members[g]...)
	}
	restNode := answerNode(nobody)
	if rest > 0 && !spared {
		restNode = d.place(dimension+1, d.survivors(dimension, lists, groups, 0))
	}
	return d.diagram.choice(dimension, classes, branches, restNode, rest)
}

// want marks the classes that an entry which matters asks for. It reports whether
// all others are nobody's: no entry that matters has them without asking.
func (d *divider) want(m *marks, dimension int, lists [][]entry) bool {
	for i, list := range lists {
		for _, e := range list {
			if d.judge.matters(lists, i, e) && d.rules[e.rule()].sets[dimension] == everything {
				return false
			}
		}
	}
	for i, list := range lists {
		for _, e := range list {
			if !d.judge.matters(lists, i, e) {
				continue
			}
			of := d.of(dimension, d.rules[e.rule()].sets[dimension])
			*d.budget -= len(of)
			for _, c := range of {
				m.wanted[c] = m.round
			}
		}
	}
	return true
}

// refine puts each class that an entry asks for into the group of its entries, and
// returns these classes; but with wantedOnly those that are not wanted are left out.
func (d *divider) refine(m *marks, dimension int, lists [][]entry, wantedOnly bool) []int32 {
	var touched []int32
	step := int32(0)
	for i, list := range lists {
		for _, e := range list {
			*d.budget--
			set := d.rules[e.rule()].sets[dimension]
			if set == everything {
				continue
			}
			step++
			of, closes := d.of(dimension, set), d.closes(e, dimension)
			*d.budget -= len(of)
			for _, c := range of {
				if wantedOnly && m.wanted[c] != m.round {
					continue
				}
				if m.seen[c] != m.round {
					m.seen[c], m.group[c], m.closed[c] = m.round, 0, 0
					touched = append(touched, c)
				}
				if m.closed[c] == int32(i+1) {
					continue
				}
				m.group[c] = m.moved(m.group[c], step, int32(i), e)
				if closes {
					m.closed[c] = int32(i + 1)
				}
			}
		}
	}
	return touched
}

func (m *marks) begin(classes int) {
	if m.seen == nil {
		m.seen, m.group = make([]int32, classes), make([]int32, classes)
		m.closed, m.wanted = make([]int32, classes), make([]int32, classes)
	}
	m.round++
	m.groups = []group{{from: -1}} // a new one: the last division's is still in use
	m.split, m.by = append(m.split[:0], 0), append(m.by[:0], 0)
}

// moved returns the group of what was in a group and has met an entry.
func (m *marks) moved(from, step, list int32, e entry) int32 {
	if m.by[from] == step {
		return m.split[from]
	}
	to := int32(len(m.groups))
	m.groups = append(m.groups, group{from: from, list: list, entry: e})
	m.split, m.by = append(m.split, 0), append(m.by, 0)
	m.split[from], m.by[from] = to, step
	return to
}

// survivors returns the lists of a group: its own entries, and those that ask
// nothing of the dimension, in order, down to the first that all its flows meet.
func (d *divider) survivors(dimension int, lists [][]entry, groups []group, g int32) [][]entry {
	own := make([][]entry, len(lists)) // last one first
	for ; g > 0; g = groups[g].from {
		own[groups[g].list] = append(own[groups[g].list], groups[g].entry)
	}
	out := make([][]entry, len(lists))
	for i, list := range lists {
		mine := own[i]
		*d.budget -= len(list)
		kept := make([]entry, 0, len(list))
		for _, e := range list {
			if d.rules[e.rule()].sets[dimension] != everything {
				if len(mine) == 0 || mine[len(mine)-1] != e {
					continue
				}
				mine = mine[:len(mine)-1]
			}
			if kept = append(kept, e); d.closes(e, dimension) {
				break
			}
		}
		out[i] = kept
	}
	return out
}
