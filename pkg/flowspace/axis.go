package flowspace

import (
	"encoding/binary"
	"slices"
)

// interval is the points from first to last.
type interval[T comparable] struct{ first, last T }

// line is an ordered set of points.
type line[T comparable] struct {
	compare    func(a, b T) int
	next, prev func(T) T
	end        T // the greatest
}

// axis is the points of a domain cut into classes: points that the same sets have.
type axis[T comparable] struct {
	classes [][]interval[T] // each ascending and not empty
	of      [][]int32       // the classes of each set, ascending
}

// edge is where a set begins or ends to have points.
type edge[T comparable] struct {
	at  T
	set int
}

// cut makes the axis of sets within a domain, which has all their points. The
// intervals of each set are ascending and apart.
func (l line[T]) cut(domain []interval[T], sets [][]interval[T]) axis[T] {
	s := sweep[T]{line: l, known: map[string]int32{}, in: make([]uint64, len(sets)/64+1), domain: len(sets)}
	s.of = make([][]int32, len(sets))
	edges := l.edges(nil, domain, len(sets))
	for i, set := range sets {
		edges = l.edges(edges, set, i)
	}
	slices.SortFunc(edges, func(a, b edge[T]) int { return l.compare(a.at, b.at) })
	for _, e := range edges {
		if e.at != s.from {
			s.emit(func() T { return l.prev(e.at) })
			s.from = e.at
		}
		s.in[e.set/64] ^= 1 << (e.set % 64) // a set does not begin where it ends: intervals are apart
	}
	s.emit(func() T { return l.end })
	return s.axis
}

// edges appends those of a set. Behind the greatest point nothing ends.
func (l line[T]) edges(to []edge[T], set []interval[T], number int) []edge[T] {
	for _, v := range set {
		to = append(to, edge[T]{v.first, number})
		if v.last != l.end {
			to = append(to, edge[T]{l.next(v.last), number})
		}
	}
	return to
}

// sweep walks over the edges and notes which sets have what lies between them.
type sweep[T comparable] struct {
	line[T]
	axis[T]
	known  map[string]int32 // classes by the sets that have them
	in     []uint64         // the sets that have the present point
	domain int              // the bit of the domain
	from   T                // since when nothing changed
}

// emit adds what lies before the present edge to its class.
func (s *sweep[T]) emit(last func() T) {
	if s.in[s.domain/64]&(1<<(s.domain%64)) == 0 {
		return
	}
	key := make([]byte, 0, 8*len(s.in))
	for _, w := range s.in {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	c, found := s.known[string(key)]
	if !found {
		c = int32(len(s.classes))
		s.known[string(key)] = c
		s.classes = append(s.classes, nil)
		for set := range s.domain {
			if s.in[set/64]&(1<<(set%64)) != 0 {
				s.of[set] = append(s.of[set], c)
			}
		}
	}
	s.classes[c] = append(s.classes[c], interval[T]{s.from, last()})
}
