package reach

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// Matrix is who can talk to whom.
type Matrix struct {
	Question Question
	Ends     []End     // those that get the same answers stand side by side
	Answers  []*Answer // each differs from the others; the first is the one of verdict Self
	Blocks   []Block   // the ends, divided into those with the same answers

	cells [][]int // by block and block, the index of the answer
}

// Block is ends that follow each other, of one kind and with the same answers.
type Block struct{ First, Count int }

// Between returns the index in Answers of what flows from one end to another are
// told, by the ends' indices.
func (m *Matrix) Between(from, to int) int {
	if from == to && m.Ends[from].host() {
		return 0
	}
	return m.cells[m.block(from)][m.block(to)]
}

// BetweenBlocks is Between for any two different ends of two blocks, or for the
// only one of a block with itself.
func (m *Matrix) BetweenBlocks(from, to int) int {
	if b := m.Blocks[from]; from == to && b.Count == 1 {
		return m.Between(b.First, b.First)
	}
	return m.cells[from][to]
}

func (m *Matrix) block(end int) int {
	i, found := slices.BinarySearchFunc(m.Blocks, end, func(b Block, end int) int { return cmp.Compare(b.First, end) })
	if !found {
		i--
	}
	return i
}

// Make asks about the ends, each against each. Ends without a name or an address,
// and names that are there twice, are errors.
func Make(ends []End, q Question) (*Matrix, error) {
	if err := errors.Join(check(ends), q.check()); err != nil {
		return nil, err
	}
	t := table{maker: newMaker(ends, q), pairs: pairs{map[reachedBy][]uint64{}, map[string]int{}}}
	if err := t.fill(ends); err != nil {
		return nil, err
	}
	m := &Matrix{Question: q, Answers: t.answers}
	m.arrange(ends, &t)
	return m, nil
}

// table is answers by class and class.
type table struct {
	maker
	pairs
	class   []int // by end
	example []int // by class, an end of it
	cells   [][]int
	answers []*Answer
	known   map[string]int // index of an answer by all that it says
}

func (t *table) fill(ends []End) error {
	t.known = map[string]int{}
	t.intern(&Answer{Verdict: Self})
	byKey := map[string]int{}
	for i := range ends {
		key := t.key(&ends[i])
		c, known := byKey[key]
		if !known {
			c = len(t.example)
			byKey[key] = c
			t.example = append(t.example, i)
		}
		t.class = append(t.class, c)
	}
	t.cells = make([][]int, len(t.example))
	for from, i := range t.example {
		t.cells[from] = make([]int, len(t.example))
		for to, k := range t.example {
			key, pair := t.pairKey(from, to, &ends[i], &ends[k])
			if known, found := t.told[key]; pair && found {
				t.cells[from][to] = known
				continue
			}
			a, err := t.answer(&ends[i], &ends[k])
			if err != nil {
				return err
			}
			t.cells[from][to] = t.intern(a)
			if pair {
				t.told[key] = t.cells[from][to]
			}
		}
	}
	return nil
}

func (t *table) intern(a *Answer) int {
	key := a.identity()
	i, known := t.known[key]
	if !known {
		i = len(t.answers)
		t.known[key] = i
		t.answers = append(t.answers, a)
	}
	return i
}

// arrange orders the ends so that those with the same answers are neighbours, and
// those of one kind and under the same groups near each other.
func (m *Matrix) arrange(ends []End, t *table) {
	row := t.alike()
	lead := map[int]int{} // of a row, the first end of it in the order of attributes
	order := make([]int, len(ends))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return compare(&ends[a], &ends[b]) })
	for rank, i := range order {
		if _, known := lead[row[t.class[i]]]; !known {
			lead[row[t.class[i]]] = rank
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(ends[a].Kind, ends[b].Kind), cmp.Compare(lead[row[t.class[a]]], lead[row[t.class[b]]]))
	})
	var of []int // by block, its class
	for at, i := range order {
		m.Ends = append(m.Ends, ends[i])
		if n := len(of); n > 0 && row[of[n-1]] == row[t.class[i]] && m.Ends[at-1].Kind == ends[i].Kind {
			m.Blocks[n-1].Count++
			continue
		}
		m.Blocks = append(m.Blocks, Block{First: at, Count: 1})
		of = append(of, t.class[i])
	}
	for _, from := range of {
		cells := make([]int, len(of))
		for i, to := range of {
			cells[i] = t.cells[from][to]
		}
		m.cells = append(m.cells, cells)
	}
}

// alike returns for each class the first one that is told the same, from and to
// whomever.
func (t *table) alike() []int {
	first := map[string]int{}
	out := make([]int, len(t.cells))
	for c := range t.cells {
		var all []byte
		for d := range t.cells {
			for _, v := range [...]int{t.cells[c][d], t.cells[d][c]} {
				all = append(all, byte(v), byte(v>>8), byte(v>>16))
			}
		}
		if _, known := first[string(all)]; !known {
			first[string(all)] = c
		}
		out[c] = first[string(all)]
	}
	return out
}

// compare orders ends by kind, groups, memberships and name.
func compare(a, b *End) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.attributes(), b.attributes()), strings.Compare(counting(a.Name), counting(b.Name)), strings.Compare(a.Name, b.Name))
}

// attributes are what ends are sorted by.
func (e *End) attributes() string {
	p := &e.Places[0]
	return p.Network + "\x00" + groupName(p.Subnet) + "\x00" + groupName(p.Interface) + "\x00" + joined(p.ASGs)
}
