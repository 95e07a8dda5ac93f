package page_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
	"github.com/vnet-cni/vnet-cni/pkg/reach/page"
	"github.com/vnet-cni/vnet-cni/pkg/reach/reachtest"
)

var update = flag.Bool("update", false, "write testdata/page.html anew")

func made(t testing.TB, ends []reach.End) *reach.Matrix {
	t.Helper()
	m, err := reach.Make(ends, reach.Question{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func drawn(t testing.TB, p page.Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := page.Write(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPage(t *testing.T) {
	t.Parallel()
	const golden = "testdata/page.html"
	got := drawn(t, page.Page{Title: "Who can talk to whom", About: []string{"Documents conf/nsg"}, Matrix: made(t, reachtest.Cluster(5))})
	for _, file := range []string{"style.css", "script.js"} { // which is in the page as it is, once
		text, err := os.ReadFile(file)
		if err != nil || strings.Count(got, string(text)) != 1 {
			t.Fatalf("%s is in the page %d times (%v)", file, strings.Count(got, string(text)), err)
		}
		got = strings.Replace(got, string(text), file, 1)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	lines, wanted := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(lines), len(wanted)) {
		if i >= len(lines) || i >= len(wanted) || lines[i] != wanted[i] {
			t.Fatalf("%s differs from line %d on (-update writes it anew)", golden, i+1)
		}
	}
	t.Logf("%d lines", len(lines))
}

// element is a start tag of a page.
type element struct {
	name  string
	attrs map[string]string
}

func (e element) number(t testing.TB, attr string) int {
	t.Helper()
	n, err := strconv.Atoi(e.attrs[attr])
	if err != nil {
		t.Fatalf("%s of %v: %v", attr, e, err)
	}
	return n
}

// raw is what XML would not take as it is: a script and a style sheet are no markup.
var raw = regexp.MustCompile(`(?s)<(script|style)([^>]*)>.*?</(script|style)>`)

// elements reads a page as XML, which is stricter than a browser.
func elements(t testing.TB, text string) []element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(raw.ReplaceAllString(text, "<$1$2></$1>")))
	d.Strict = true
	var list []element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		start, is := token.(xml.StartElement)
		if !is {
			continue
		}
		e := element{start.Name.Local, map[string]string{}}
		for _, a := range start.Attr {
			e.attrs[a.Name.Local] = a.Value
		}
		list = append(list, e)
	}
}

// worlds are matrices of every size class of figures.
func worlds(t testing.TB) map[string]*reach.Matrix {
	all := map[string]*reach.Matrix{"nobody": made(t, nil), "hostile": made(t, hostile())}
	for _, n := range []int{4, 12, 13, 50, 250} {
		all[strconv.Itoa(n)] = made(t, reachtest.Cluster(n))
	}
	all["strangers"] = made(t, reachtest.Strangers(40, 100))
	return all
}

// The page needs nothing but itself: it refers to nothing that is not in it.
// TestMarkedHeadsFit: the drawing has room for a head's letters as they are, so that the
// one of the chosen cell must not get wider.
func TestMarkedHeadsFit(t *testing.T) {
	t.Parallel()
	style, err := os.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	marked := regexp.MustCompile(`text\.on \{([^}]*)\}`).FindSubmatch(style)
	if marked == nil || regexp.MustCompile(`font|letter-spacing`).Match(marked[1]) {
		t.Errorf("the style of a marked head: %s", marked)
	}
}

func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	references := 0
	for name, m := range worlds(t) {
		text := drawn(t, page.Page{Title: name, Matrix: m})
		list := elements(t, text)
		ids := map[string]bool{}
		for _, e := range list {
			if id := e.attrs["id"]; id != "" {
				if ids[id] {
					t.Errorf("%s: two elements have the id %s", name, id)
				}
				ids[id] = true
			}
		}
		for _, e := range list {
			for attr, value := range e.attrs {
				switch {
				case attr == "href" || attr == "src" || strings.HasPrefix(value, "url("):
					references++
					target := strings.TrimSuffix(strings.TrimPrefix(value, "url("), ")")
					if !strings.HasPrefix(target, "#") || !ids[target[1:]] {
						t.Errorf("%s: %s of %s refers to %s", name, attr, e.name, value)
					}
				case strings.HasPrefix(attr, "on") || attr == "style":
					t.Errorf("%s: %s has %s", name, e.name, attr)
				}
			}
			switch e.name {
			case "link", "img", "iframe", "object", "embed", "image", "use", "base", "foreignObject":
				t.Errorf("%s: there is a %s", name, e.name)
			}
		}
		rest := strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, "")
		for _, word := range []string{"http:", "https:", "@import", "@font-face", "fetch(", "eval(", "innerHTML"} {
			if strings.Contains(rest, word) {
				t.Errorf("%s: the page has %s", name, word)
			}
		}
	}
	t.Logf("%d references", references)
}

// figureData is what the page's script is given, as page.go documents it.
type figureData struct {
	Width, Height int
	Names, About  []string
	Block, Self   []int
	Cells         [][]int
}

type pageData struct {
	Figures map[string]figureData
	Words   []string
}

func dataOf(t testing.TB, text string) pageData {
	t.Helper()
	const open = `<script type="application/json" id="data">`
	_, rest, found := strings.Cut(text, open)
	body, _, closed := strings.Cut(rest, "</script>")
	var d pageData
	if err := json.Unmarshal([]byte(body), &d); err != nil || !found || !closed {
		t.Fatalf("the page's data: %v", err)
	}
	return d
}

// Every pair of ends has a cell, with its answer, without a script and with one.
func TestPageIsComplete(t *testing.T) {
	t.Parallel()
	cells := 0
	for name, m := range worlds(t) {
		text := drawn(t, page.Page{Title: name, Matrix: m})
		d := dataOf(t, text)
		f, wanted := d.Figures["ends"], len(m.Ends)*len(m.Ends)
		drawnCells := fill(t, elements(t, text), f)
		for at, answer := range drawnCells {
			cells++
			if want := m.Between(at[0], at[1]); answer != want {
				t.Fatalf("%s: cell %v has answer %d, want %d", name, at, answer, want)
			}
			if got := f.Cells[f.Block[at[0]]][f.Block[at[1]]]; got != m.Between(at[0], at[1]) && at[0] != at[1] {
				t.Fatalf("%s: the data of cell %v have answer %d", name, at, got)
			}
		}
		if len(drawnCells) != wanted || len(f.Names) != len(m.Ends) || len(d.Words) != len(m.Answers) {
			t.Errorf("%s: %d cells, %d names, %d answers; want %d, %d, %d", name, len(drawnCells), len(f.Names), len(d.Words), wanted, len(m.Ends), len(m.Answers))
		}
		for i := range m.Answers {
			if !strings.Contains(text, fmt.Sprintf(`<article id="a%d">`, i)) {
				t.Errorf("%s: answer %d is not told", name, i)
			}
		}
	}
	t.Logf("%d cells", cells)
}

// fill returns the answers of the cells that the last figure's areas cover, the
// machines' own cells over the rest.
func fill(t testing.TB, list []element, f figureData) map[[2]int]int {
	t.Helper()
	out := map[[2]int]int{}
	inside, answer := false, 0
	for _, e := range list {
		switch {
		case e.name == "figure":
			inside = e.attrs["id"] == "ends"
		case !inside:
		case e.name == "a":
			answer = element{attrs: map[string]string{"n": strings.TrimPrefix(e.attrs["href"], "#a")}}.number(t, "n")
		case e.name == "rect" && strings.HasPrefix(e.attrs["fill"], "url("):
			x, y, w, h := e.number(t, "x")/f.Width, e.number(t, "y")/f.Height, e.number(t, "width")/f.Width, e.number(t, "height")/f.Height
			for row := y; row < y+h; row++ {
				for column := x; column < x+w; column++ {
					if _, twice := out[[2]int{row, column}]; twice {
						t.Fatalf("cell %d,%d is drawn twice", row, column)
					}
					out[[2]int{row, column}] = answer
				}
			}
		case e.attrs["class"] == "selves":
			for _, row := range f.Self {
				if !strings.Contains(e.attrs["d"], fmt.Sprintf("M%d,%dh", row*f.Width, row*f.Height)) {
					t.Errorf("the cell of row %d with itself is not drawn", row)
				}
				out[[2]int{row, row}] = 0
			}
		}
	}
	return out
}

const (
	script = `</script><svg onload=alert(1)>`
	image  = `"><img src=x onerror='alert(1)'>`
	title  = `</title></text><script>alert(1)</script>{{.Title}}`
)

// hostile is ends whose names, groups and memberships are markup.
func hostile() []reach.End {
	g, findings := nsg.New(nsg.Definition{Name: image, Rules: []nsg.RuleDefinition{{Name: script, Priority: "100", Direction: "Inbound", Access: "Allow", Protocol: "Tcp",
		Source:      nsg.EndpointDefinition{ASGs: []string{image}, Port: "*"},
		Destination: nsg.EndpointDefinition{Prefix: "*", Port: "80"}}}})
	if g == nil {
		panic(fmt.Sprint(findings))
	}
	p, _ := nsg.NewPolicy(g, nsg.Tags{})
	var ends []reach.End
	for i, name := range []string{script, image, title, "javascript:alert(1)", "\u2028\u0000\ufffe\xff", strings.Repeat("long ", 400)} {
		ends = append(ends, reach.End{Name: name, Kind: reach.Named, Places: []reach.Place{{Subnet: p, ASGs: []string{image, title},
			Addresses: reachtest.Set(fmt.Sprintf("10.241.0.%d/32", i))}}})
	}
	return ends
}

// No text of somebody else's is taken for markup, wherever it stands.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	text := drawn(t, page.Page{Title: title, About: []string{script, image}, Matrix: made(t, hostile())})
	harmless := drawn(t, page.Page{Title: "x", About: []string{"x", "x"}, Matrix: made(t, reachtest.Cluster(6))})
	count := func(text, name string) (n int) {
		for _, e := range elements(t, text) {
			if e.name == name {
				n++
			}
		}
		return n
	}
	for _, name := range []string{"script", "style", "img", "title", "html", "head", "body"} {
		got, want := count(text, name), count(harmless, name)
		if name == "title" { // a cell and a head have one each, of as many ends
			want = got
		}
		if got != want {
			t.Errorf("%d elements %s, want %d", got, name, want)
		}
	}
	for _, word := range []string{"<svg onload", "<img", "</title></text><script>", "\x00", "\u2028"} {
		if strings.Contains(text, word) {
			t.Errorf("the page has %q", word)
		}
	}
	names := dataOf(t, text).Figures["ends"].Names
	for _, want := range []string{script, image, title} {
		found := false
		for _, n := range names {
			found = found || n == want
		}
		if !found {
			t.Errorf("the data lack the name %q", want)
		}
	}
	t.Logf("%d bytes of page, %d hostile names", len(text), len(names))
}

// benchmarks are matrices of few sorts of ends and one of 250 sorts.
func benchmarks(b *testing.B, run func(b *testing.B, ends []reach.End)) {
	for _, c := range []struct {
		name string
		ends []reach.End
	}{
		{"ends=50", reachtest.Cluster(50)},
		{"ends=250", reachtest.Cluster(250)},
		{"ends=250/all-different", reachtest.Strangers(250, 500)},
	} {
		b.Run(c.name, func(b *testing.B) { run(b, c.ends) })
	}
}

func BenchmarkPage(b *testing.B) {
	benchmarks(b, func(b *testing.B, ends []reach.End) {
		m, size := made(b, ends), 0
		for b.Loop() {
			size = len(drawn(b, page.Page{Title: "benchmark", Matrix: m}))
		}
		b.ReportMetric(float64(size)/1024, "KiB/page")
	})
}

func BenchmarkMatrix(b *testing.B) {
	benchmarks(b, func(b *testing.B, ends []reach.End) {
		for b.Loop() {
			made(b, ends)
		}
	})
}
