// Package page draws a matrix of who can talk to whom as one HTML page that needs
// nothing else: no network, no font, and no script to be read.
//
// It knows how an answer looks. It must not know how one is found.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

//go:embed page.html
var pageText string

//go:embed style.css
var styleText string

//go:embed script.js
var scriptText string

// Page is what to draw.
type Page struct {
	Title  string
	About  []string // lines below the title: where the matrix comes from, and when
	Matrix *reach.Matrix
}

// content is what the template is given.
type content struct {
	Page
	Policy  string // of the browser: nothing but what is in the page
	Style   template.CSS
	Script  template.JS
	Data    template.JS
	Legend  []mark
	Figures []figure
	Answers []answer
}

// Write draws the page.
func Write(w io.Writer, p Page) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	p.Title = printable(p.Title)
	p.About = slices.Clone(p.About)
	for i := range p.About {
		p.About[i] = printable(p.About[i])
	}
	c := content{Page: p, Policy: browserPolicy(), Style: template.CSS(styleText), Script: template.JS(scriptText),
		Legend: legend(p.Matrix), Figures: figures(p.Matrix), Answers: answers(p.Matrix)}
	data, err := json.Marshal(dataOf(p.Matrix, c.Figures)) // which writes < > and & as escapes
	if err != nil {
		return fmt.Errorf("write the page's data: %w", err)
	}
	c.Data = template.JS(data)
	if err := t.Execute(w, &c); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// printable replaces what is no visible character: it could hide a name, or turn
// it round.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) || c == '\n' {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

// browserPolicy forbids everything but the page's own script, should a name find a
// way to be taken for one.
func browserPolicy() string {
	sum := sha256.Sum256([]byte(scriptText))
	return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// data is what the script knows of the figures.
type data struct {
	Figures map[string]figureData `json:"figures"`
	Words   []string              `json:"words"` // by answer
}

type figureData struct {
	Width  int      `json:"width"` // of a cell
	Height int      `json:"height"`
	Names  []string `json:"names"`
	About  []string `json:"about"`
	Block  []int    `json:"block"` // by row or column, its row in cells
	Self   []int    `json:"self"`  // rows that are one machine
	Cells  [][]int  `json:"cells"` // answers by block and block
}

func dataOf(m *reach.Matrix, figures []figure) data {
	d := data{Figures: map[string]figureData{}}
	for _, a := range m.Answers {
		d.Words = append(d.Words, a.Words())
	}
	for _, f := range figures {
		d.Figures[f.ID] = f.data
	}
	return d
}
