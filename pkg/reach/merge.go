package reach

import (
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// piece is flows of one family: a product of sets.
type piece struct {
	services  Services
	fromPorts ports // nil: every one
	from, to  nsg.AddressSet
}

// dimensions of a piece: the key of each, and how to join two pieces that differ
// in nothing else.
var dimensions = [...]struct {
	key  func(*piece) string
	join func(a, b *piece)
}{
	{func(p *piece) string { return p.services.key() },
		func(a, b *piece) { a.services = a.services.Union(b.services) }},
	{func(p *piece) string { return PortWords(p.fromPorts) },
		func(a, b *piece) { a.joinPorts(b) }},
	{func(p *piece) string { return setKey(p.from) },
		func(a, b *piece) { a.from = a.from.Union(b.from) }},
	{func(p *piece) string { return setKey(p.to) },
		func(a, b *piece) { a.to = a.to.Union(b.to) }},
}

// joinPorts adds source ports. All of them are "every one" where nothing without
// ports is meant.
func (p *piece) joinPorts(q *piece) {
	p.fromPorts = p.fromPorts.union(q.fromPorts)
	if p.fromPorts.all() {
		p.fromPorts = nil
	}
}

// merged joins pieces that differ in one dimension only, for as long as there are
// any. The pieces are disjoint, so that what comes out has the same flows.
func merged(list []piece) []piece {
	for {
		before := len(list)
		for d := range dimensions {
			list = joinedBut(list, d)
		}
		if len(list) == before {
			return list
		}
	}
}

// joinedBut joins the pieces that differ in one dimension only.
func joinedBut(list []piece, dimension int) []piece {
	if len(list) < 2 {
		return list
	}
	at := map[string]int{}
	var out []piece
	for i := range list {
		var key strings.Builder
		for d := range dimensions {
			if d != dimension {
				key.WriteString(dimensions[d].key(&list[i]) + "|")
			}
		}
		if k, known := at[key.String()]; known {
			dimensions[dimension].join(&out[k], &list[i])
			continue
		}
		at[key.String()] = len(out)
		out = append(out, list[i])
	}
	return out
}

// order sorts pieces by what they say, so that equal answers look alike.
func order(list []piece) {
	slices.SortFunc(list, func(a, b piece) int {
		for d := range dimensions {
			if c := strings.Compare(dimensions[d].key(&a), dimensions[d].key(&b)); c != 0 {
				return c
			}
		}
		return 0
	})
}
