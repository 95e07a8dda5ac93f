package page

import (
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// figure is one matrix as it is drawn. Lengths are in pixels.
type figure struct {
	ID, Title              string
	Width, Height          int // of the cells
	RowWidth, ColumnHeight int // of the heads
	Overhang               int // of the last column's head
	Angle                  int // of the columns' heads, in degrees
	Font                   int
	CellWidth, CellHeight  int
	Glyphs                 []glyph
	Rows, Columns          []head
	Kinds                  []head // beside the first row of each kind
	Areas                  []area
	Texts                  []text
	Selves                 string // a path over the cells of machines with themselves
	Edges, KindEdges       string // paths between blocks and between kinds

	data figureData
}

// head is what a row or a column is called.
type head struct {
	At         int // along the axis, the middle of the cell
	Index      int
	Text, Full string
}

// area is neighbouring cells with the same answer.
type area struct {
	X, Y, Width, Height int
	Answer              int
	Fill                string // the glyph's id
	Title               string
}

// text is words in a cell.
type text struct {
	X, Y int
	Text string
	Look look
}

// unit is one row and column of a figure.
type unit struct {
	label, about string
	kind         reach.Kind
	block        int
	self         bool // its cell with itself is of one machine
}

// Numbers of rows up to which there are words in cells, and cells are large.
const (
	manyForWords = 12
	manyForLarge = 60
)

// figures draws the ends; where there are many and few of them differ, their blocks
// first.
func figures(m *reach.Matrix) []figure {
	full := figure{ID: "ends", Title: fmt.Sprintf("Every end (%d)", len(m.Ends))}
	full.draw(m, ends(m))
	if len(m.Ends) <= manyForWords*2 || len(m.Blocks)*2 > len(m.Ends) {
		return []figure{full}
	}
	few := figure{ID: "blocks", Title: fmt.Sprintf("Ends with the same answers together (%d)", len(m.Blocks))}
	few.draw(m, blocks(m))
	return []figure{few, full}
}

func ends(m *reach.Matrix) []unit {
	var units []unit
	for i, b := range m.Blocks {
		for k := b.First; k < b.First+b.Count; k++ {
			e := &m.Ends[k]
			units = append(units, unit{printable(e.Name), about(e), e.Kind, i, m.Answers[m.Between(k, k)].Verdict == reach.Self})
		}
	}
	return units
}

func blocks(m *reach.Matrix) []unit {
	var units []unit
	for i, b := range m.Blocks {
		e := &m.Ends[b.First]
		u := unit{printable(m.Label(b)), about(e), e.Kind, i, m.Answers[m.BetweenBlocks(i, i)].Verdict == reach.Self}
		if b.Count > 1 {
			u.about = members(m.Ends[b.First : b.First+b.Count])
		}
		units = append(units, u)
	}
	return units
}

// draw lays the figure out.
func (f *figure) draw(m *reach.Matrix, units []unit) {
	f.size(units)
	f.heads(units)
	f.areas(m, units)
	f.lines(units)
	f.data = figureData{Width: f.CellWidth, Height: f.CellHeight, Self: []int{}}
	for i, u := range units {
		f.data.Names = append(f.data.Names, u.label)
		f.data.About = append(f.data.About, u.about)
		f.data.Block = append(f.data.Block, u.block)
		if u.self {
			f.data.Self = append(f.data.Self, i)
		}
	}
	for from := range m.Blocks {
		row := make([]int, len(m.Blocks))
		for to := range m.Blocks {
			row[to] = m.BetweenBlocks(from, to)
		}
		f.data.Cells = append(f.data.Cells, row)
	}
}

// size chooses lengths by the number of rows and the longest name.
func (f *figure) size(units []unit) {
	n := len(units)
	f.CellWidth, f.CellHeight, f.Font, f.Angle = 13, 13, 10, -60
	switch {
	case n <= manyForWords:
		f.CellWidth, f.CellHeight, f.Font, f.Angle = min(max(940/max(n, 1), 97), 150), 40, 13, -35
	case n <= manyForLarge:
		f.CellWidth, f.CellHeight, f.Font, f.Angle = 20, 20, 12, -60
	}
	f.Width, f.Height = n*f.CellWidth, n*f.CellHeight
	longest := 0
	for _, u := range units {
		longest = max(longest, len([]rune(cut(u.label))))
	}
	width := longest*f.Font*58/100 + 10
	f.RowWidth = width + kindWidth
	f.ColumnHeight, f.Overhang = turned(width, f.Angle)
	f.ColumnHeight += f.Font
	f.Glyphs = f.glyphs()
}

// kindWidth is what the names of kinds take, left of the rows' heads.
const kindWidth = 62

// turned is how high and how wide a text is that climbs by an angle.
func turned(width, angle int) (height, across int) {
	if angle == -60 {
		return width * 87 / 100, width / 2
	}
	return width * 58 / 100, width * 82 / 100
}

func (f *figure) heads(units []unit) {
	for i, u := range units {
		name := cut(u.label)
		f.Rows = append(f.Rows, head{i*f.CellHeight + f.CellHeight/2, i, name, u.label + "\n" + u.about})
		f.Columns = append(f.Columns, head{i*f.CellWidth + f.CellWidth/2, i, name, u.label + "\n" + u.about})
		if i == 0 || units[i-1].kind != u.kind {
			f.Kinds = append(f.Kinds, head{At: i*f.CellHeight + f.CellHeight/2, Text: kindWord(u.kind)})
		}
	}
}

// areas fills the cells: in large figures as few areas as blocks allow.
func (f *figure) areas(m *reach.Matrix, units []unit) {
	words := len(units) <= manyForWords
	for first := 0; first < len(units); {
		after := first + 1
		for !words && after < len(units) && units[after].block == units[first].block {
			after++
		}
		f.row(m, units, first, after, words)
		first = after
	}
	var path strings.Builder
	for i, u := range units {
		if u.self {
			fmt.Fprintf(&path, "M%d,%dh%dv%dh-%dz", i*f.CellWidth, i*f.CellHeight, f.CellWidth, f.CellHeight, f.CellWidth)
		}
	}
	f.Selves = path.String()
}

// row fills rows of one block: columns with the same answer are one area.
func (f *figure) row(m *reach.Matrix, units []unit, first, after int, words bool) {
	block := units[first].block
	at := func(column int) int {
		if column == first && after == first+1 && units[first].self {
			return 0
		}
		return m.BetweenBlocks(block, units[column].block)
	}
	for left := 0; left < len(units); {
		right := left + 1
		for !words && right < len(units) && at(right) == at(left) && units[right].kind == units[left].kind {
			right++
		}
		a := m.Answers[at(left)]
		f.Areas = append(f.Areas, area{X: left * f.CellWidth, Y: first * f.CellHeight,
			Width: (right - left) * f.CellWidth, Height: (after - first) * f.CellHeight,
			Answer: at(left), Fill: f.fill(lookOf(a)),
			Title: some(units[first:after]) + " → " + some(units[left:right]) + ": " + a.Words()})
		if words && a.Verdict != reach.Self && a.Verdict != reach.Beyond {
			f.write(a, left*f.CellWidth+26, first*f.CellHeight+f.CellHeight/2)
		}
		left = right
	}
}

// write puts an answer into a cell, in one line or two.
func (f *figure) write(a *reach.Answer, x, y int) {
	const lineHeight, fit = 15, 63 // of a character, in tenths of pixels
	width := (f.CellWidth - 30) * 10 / fit
	lines := wrapped(a.Summary(), width)
	for i, line := range lines {
		f.Texts = append(f.Texts, text{x, y + i*lineHeight - (len(lines)-1)*lineHeight/2, line, lookOf(a)})
	}
}

// wrapped breaks words into two lines at most, near their middle.
func wrapped(words string, width int) []string {
	runes := []rune(words)
	if len(runes) <= width {
		return []string{words}
	}
	at := -1
	for i, c := range runes {
		if c == ' ' && i <= width && (at < 0 || len(runes)-at-1 > width || abs(2*i-len(runes)) < abs(2*at-len(runes))) {
			at = i
		}
	}
	if at < 0 {
		return []string{cutTo(words, width)}
	}
	return []string{string(runes[:at]), cutTo(string(runes[at+1:]), width)}
}

func abs(n int) int { return max(n, -n) }

// some names units.
func some(units []unit) string {
	const told = 3
	var names []string
	for i := range units {
		if i == told && len(units) > told+1 {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(units)-told)
		}
		names = append(names, units[i].label)
	}
	return strings.Join(names, ", ")
}

// lines are drawn where blocks and kinds meet.
func (f *figure) lines(units []unit) {
	var edges, kinds strings.Builder
	for i := 1; i < len(units); i++ {
		to := &edges
		if units[i].kind != units[i-1].kind {
			to = &kinds
		} else if units[i].block == units[i-1].block || f.ID == "blocks" || len(units) <= manyForWords {
			continue
		}
		fmt.Fprintf(to, "M0,%dh%dM%d,0v%d", i*f.CellHeight, f.Width, i*f.CellWidth, f.Height)
	}
	f.Edges, f.KindEdges = edges.String(), kinds.String()
}

// cut shortens a name in its middle, since names of pods differ at their ends.
func cut(name string) string {
	const longest = 30
	runes := []rune(name)
	if len(runes) <= longest {
		return name
	}
	return string(runes[:longest/2]) + "…" + string(runes[len(runes)-longest/2+1:])
}

func cutTo(words string, width int) string {
	runes := []rune(words)
	if len(runes) <= width {
		return words
	}
	return string(runes[:width-1]) + "…"
}

// ColumnsWidth is the width of the columns' heads, the last one's overhang included.
func (f figure) ColumnsWidth() int { return f.Width + f.Overhang }

// ColumnFoot is where the columns' heads begin to climb.
func (f figure) ColumnFoot() int { return f.ColumnHeight - 6 }

// RowFoot is where the rows' heads end.
func (f figure) RowFoot() int { return f.RowWidth - 6 }

// CornerX and CornerY are where the corner's words end.
func (f figure) CornerX() int { return f.RowWidth - 8 }

// CornerY belongs to CornerX.
func (f figure) CornerY() int { return f.ColumnHeight - 8 }
