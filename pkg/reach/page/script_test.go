package page_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/reach/page"
)

// What the script asks the page for, and the data.
var (
	idAsked    = regexp.MustCompile(`getElementById\('(\w+)'(?: \+ (\w+))?\)`)
	classAsked = regexp.MustCompile(`(\w+)\.querySelector(?:All)?\('\.(\w+)'\)`)
	headAsked  = regexp.MustCompile(`heads\('(\w+)'\)`)
	keyAsked   = regexp.MustCompile(`\b(f|data)\.(\w+)`)
)

// asked returns what the script asks for by a pattern, each once.
func asked(t testing.TB, script string, pattern *regexp.Regexp) [][]string {
	t.Helper()
	all := pattern.FindAllStringSubmatch(script, -1)
	slices.SortFunc(all, slices.Compare)
	all = slices.CompactFunc(all, slices.Equal)
	if len(all) == 0 {
		t.Fatalf("the script asks for nothing like %v", pattern)
	}
	return all
}

// drawing is what of a figure the script looks for.
type drawing struct {
	classes map[string]int
	heads   map[string][]string // data-i of the heads, by the class of their drawing
	cursor  []string            // the elements in the cursor
}

// drawings are those of a page, by figure.
func drawings(list []element) map[string]*drawing {
	out := map[string]*drawing{}
	var now *drawing
	within := ""
	for _, e := range list {
		switch {
		case e.name == "figure":
			now = &drawing{classes: map[string]int{}, heads: map[string][]string{}}
			out[e.attrs["id"]] = now
		case e.name == "aside":
			return out
		case now == nil:
			continue
		case e.name == "svg":
			within = e.attrs["class"]
		case e.attrs["data-i"] != "":
			now.heads[within] = append(now.heads[within], e.attrs["data-i"])
		case now.classes["cursor"] > 0:
			now.cursor = append(now.cursor, e.name)
		}
		now.classes[e.attrs["class"]]++
	}
	return out
}

// The script finds whatever it asks the page and the data for, in pages of every size.
func TestScriptFindsWhatItAsksFor(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("script.js")
	if err != nil {
		t.Fatal(err)
	}
	script, found := string(text), 0
	for name, m := range worlds(t) {
		got := drawn(t, page.Page{Title: name, Matrix: m})
		ids := map[string]bool{}
		for _, e := range elements(t, got) {
			ids[e.attrs["id"]] = true
		}
		for _, ask := range asked(t, script, idAsked) {
			if found++; ask[2] == "" && !ids[ask[1]] {
				t.Errorf("%s: %s: nothing has that id", name, ask[0])
			}
		}
		all := drawings(elements(t, got))
		for id, d := range all {
			for _, ask := range asked(t, script, classAsked) {
				if found++; d.classes[ask[2]] != 1 {
					t.Errorf("%s, figure %s: %s finds %d elements", name, id, ask[0], d.classes[ask[2]])
				}
			}
			for _, ask := range asked(t, script, headAsked) {
				found++
				wantInOrder(t, fmt.Sprintf("%s, figure %s: %s", name, id, ask[0]), d.heads[ask[1]], len(dataOf(t, got).Figures[id].Names))
			}
			if want := []string{"rect", "rect", "rect"}; !slices.Equal(d.cursor, want) { // across, down and cell
				t.Errorf("%s, figure %s: the cursor has %q, want %q", name, id, d.cursor, want)
			}
		}
		if len(all) == 0 || len(all) != len(dataOf(t, got).Figures) {
			t.Errorf("%s: %d figures, and data of %d", name, len(all), len(dataOf(t, got).Figures))
		}
	}
	_, data, _ := strings.Cut(drawn(t, page.Page{Matrix: made(t, hostile())}), `id="data">`)
	for _, ask := range asked(t, script, keyAsked) {
		if found++; !strings.Contains(data, `"`+ask[2]+`":`) {
			t.Errorf("%s: the data have no such key", ask[0])
		}
	}
	t.Logf("%d questions answered", found)
}

// wantInOrder expects the numbers from 0 on: the script counts.
func wantInOrder(t *testing.T, what string, got []string, n int) {
	t.Helper()
	for i := range max(len(got), n) {
		if i >= len(got) || i >= n || got[i] != strconv.Itoa(i) {
			t.Errorf("%s: %q, want 0 to %d", what, got, n-1)
			return
		}
	}
}

// Whatever cell is chosen, in either figure, the answer that the script looks up is
// the matrix's and is told.
func TestEveryCellHasItsAnswer(t *testing.T) {
	t.Parallel()
	cells, blocks := 0, 0
	for name, m := range worlds(t) {
		text := drawn(t, page.Page{Title: name, Matrix: m})
		ids := map[string]bool{}
		for _, e := range elements(t, text) {
			if e.name == "article" {
				ids[e.attrs["id"]] = true
			}
		}
		for id, f := range dataOf(t, text).Figures {
			between, units := m.Between, len(m.Ends)
			if id == "blocks" {
				between, units = m.BetweenBlocks, len(m.Blocks)
				blocks++
			}
			if len(f.Names) != units || len(f.About) != units || len(f.Block) != units {
				t.Fatalf("%s, figure %s: %d names, %d about, %d blocks; want %d", name, id, len(f.Names), len(f.About), len(f.Block), units)
			}
			for row := range units {
				for column := range units {
					cells++
					if got, want := f.answerAt(row, column), between(row, column); got != want || !ids[fmt.Sprint("a", got)] {
						t.Fatalf("%s, figure %s: cell %d,%d opens answer %d, want %d, told: %t", name, id, row, column, got, want, ids[fmt.Sprint("a", got)])
					}
				}
			}
		}
	}
	if blocks == 0 {
		t.Error("no world has a figure of blocks")
	}
	t.Logf("%d cells, %d figures of blocks", cells, blocks)
}

// answerAt is the script's function of that name.
func (f figureData) answerAt(row, column int) int {
	if row == column && slices.Contains(f.Self, row) {
		return 0
	}
	return f.Cells[f.Block[row]][f.Block[column]]
}
