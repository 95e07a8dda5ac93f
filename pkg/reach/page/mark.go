package page

import (
	"fmt"

	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// look is how an answer is drawn: its verdict, but that a matrix of all services
// would be all "some" if those who get nearly everything looked like those who get
// next to nothing.
type look string

// most is the look of an answer that lacks little.
const most look = "most"

// looks are all of them, in the order of the legend, with their meaning.
var looks = [...]struct {
	look
	meaning string
}{
	{look(reach.All.String()), "all flows pass"},
	{most, "all but a few services pass"},
	{look(reach.Some.String()), "some flows pass"},
	{look(reach.None.String()), "no flow passes"},
	{look(reach.Undivided.String()), "too many parts to tell: ask about one port"},
	{look(reach.Self.String()), "one machine with itself: never filtered"},
	{look(reach.Beyond.String()), "not through this network"},
}

func lookOf(a *reach.Answer) look {
	if a.Verdict == reach.Some && a.Passing.Mostly() {
		return most
	}
	return look(a.Verdict.String())
}

// mark is a look's shape, for those who cannot tell the colours apart that the style
// sheet has for it.
type mark struct {
	Look  look
	Path  string
	Words string // in the legend
}

// glyph is a cell with its mark, which a whole area is filled with.
type glyph struct {
	mark
	ID            string
	Width, Height int // of the cell
}

// glyphs are the figure's cells by look.
func (f *figure) glyphs() []glyph {
	var out []glyph
	size, x := float64(f.CellHeight)-3, 1.5
	if f.CellWidth != f.CellHeight { // there are words beside it
		size, x = 12, 9
	}
	y := (float64(f.CellHeight) - size) / 2
	for _, l := range looks {
		out = append(out, glyph{mark{Look: l.look, Path: l.shape(x, y, size)}, f.fill(l.look), f.CellWidth, f.CellHeight})
	}
	return out
}

func (f *figure) fill(l look) string { return f.ID + "-" + string(l) }

// shape is the path of a mark in a square: the whole square for all, one that lacks
// a corner for most, the half below the diagonal for some, a cross for none.
func (l look) shape(x, y, size float64) string {
	inner := size * 0.3
	switch l {
	case look(reach.All.String()):
		return fmt.Sprintf("M%.4g,%.4gh%.4gv%.4gh-%.4gz", x, y, size, size, size)
	case most:
		half := size / 2
		return fmt.Sprintf("M%.4g,%.4gh%.4gl%.4g,%.4gv%.4gh-%.4gz", x, y, half, half, half, half, size)
	case look(reach.Some.String()):
		return fmt.Sprintf("M%.4g,%.4gv%.4gh%.4gz", x, y, size, size)
	case look(reach.None.String()):
		return fmt.Sprintf("M%.4g,%.4gl%.4g,%.4gm-%.4g,0l%.4g,-%.4g", x+inner, y+inner, size-2*inner, size-2*inner, size-2*inner, size-2*inner, size-2*inner)
	case look(reach.Undivided.String()):
		return fmt.Sprintf("M%.4g,%.4gh%.4g", x+inner, y+size/2, size-2*inner)
	case look(reach.Beyond.String()):
		return fmt.Sprintf("M%.4g,%.4gh%.4g", x+size*0.45, y+size/2, size*0.1)
	}
	return fmt.Sprintf("M%.4g,%.4gl%.4g,-%.4g", x, y+size, size, size)
}

// markOf is an answer's mark beside text.
func markOf(l look) mark { return mark{Look: l, Path: l.shape(1, 1, 14)} }

// legend explains the marks that the matrix has.
func legend(m *reach.Matrix) []mark {
	there := map[look]bool{}
	for _, a := range m.Answers {
		there[lookOf(a)] = true
	}
	var out []mark
	for _, l := range looks {
		if there[l.look] {
			x := markOf(l.look)
			x.Words = l.meaning
			out = append(out, x)
		}
	}
	return out
}

// kindWord is a kind as the heads have it, for several.
func kindWord(k reach.Kind) string {
	switch k {
	case reach.Pod:
		return "pods"
	case reach.Named:
		return "ends"
	case reach.ASG:
		return "ASGs"
	case reach.Subnet:
		return "subnets"
	}
	return "outside"
}

// InnerWidth is the cell's without what is left free between cells.
func (g glyph) InnerWidth() int { return g.Width - 1 }

// InnerHeight belongs to InnerWidth.
func (g glyph) InnerHeight() int { return g.Height - 1 }
