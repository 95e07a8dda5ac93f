package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
	"github.com/vnet-cni/vnet-cni/pkg/reach/page"
)

// selection is what of a matrix is to be told.
type selection struct {
	*reach.Matrix
	from, to []int // ends
	all      bool  // nobody named any
}

// selection finds the ends that --from and --to name.
func (q *reachQuestion) selection(m *reach.Matrix) (*selection, error) {
	from, err := selected(m, flagFrom, q.from)
	if err != nil {
		return nil, err
	}
	to, err := selected(m, flagTo, q.to)
	return &selection{m, from, to, len(q.from)+len(q.to) == 0}, err
}

func selected(m *reach.Matrix, flag string, names []string) ([]int, error) {
	var list []int
	for i := range m.Ends {
		if len(names) == 0 || slices.Contains(names, m.Ends[i].Name) {
			list = append(list, i)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(m.Ends, func(e reach.End) bool { return e.Name == name }) {
			return nil, fmt.Errorf("--%s %s: there is no such end%s", flag, quoted(name), didYouMean(m, name))
		}
	}
	return list, nil
}

// didYouMean offers the nearest name, if one is near.
func didYouMean(m *reach.Matrix, name string) string {
	best, near := len(name)/4+2, ""
	for i := range m.Ends {
		if d := nsg.Edits(name, m.Ends[i].Name); d < best {
			best, near = d, m.Ends[i].Name
		}
	}
	if near == "" {
		return ""
	}
	return "; did you mean " + quoted(near) + "?"
}

// oneService reports whether not every service was asked about.
func (s *selection) oneService() bool { return s.Question.Protocol != nsg.AnyProtocol }

// verdictWord is a verdict in output: of one service, whether it is allowed.
func (s *selection) verdictWord(v reach.Verdict) string {
	if !s.oneService() {
		return v.String()
	}
	switch v {
	case reach.All:
		return "allowed"
	case reach.Some:
		return "partly"
	case reach.None:
		return "denied"
	}
	return v.String()
}

// printReach tells people. Of one pair it tells the rules.
func (a *app) printReach(s *selection) error {
	switch {
	case len(s.from) == 1 && len(s.to) == 1 && !s.all:
		return a.printPair(s)
	case s.all:
		return a.printRows(s.blockRows())
	}
	return a.printRows(s.endRows())
}

func (a *app) printRows(rows [][]string) error {
	const what = 3
	if len(rows) == 1 {
		return a.printf("no two ends that could talk to each other\n")
	}
	return a.printTable(unlessEmpty(rows, what))
}

// blockRows tells of ends with the same answers together.
func (s *selection) blockRows() [][]string {
	rows := [][]string{{"FROM", "TO", "REACHES", "WHAT"}}
	label := func(i int) string { return s.Label(s.Blocks[i]) }
	for from := range s.Blocks {
		rows = append(rows, s.rows(label(from), len(s.Blocks), label, func(to int) *reach.Answer { return s.Answers[s.BetweenBlocks(from, to)] })...)
	}
	return rows
}

func (s *selection) endRows() [][]string {
	rows := [][]string{{"FROM", "TO", "REACHES", "WHAT"}}
	label := func(i int) string { return s.Ends[s.to[i]].Name }
	for _, from := range s.from {
		rows = append(rows, s.rows(s.Ends[from].Name, len(s.to), label, func(to int) *reach.Answer { return s.Answers[s.Between(from, s.to[to])] })...)
	}
	return rows
}

// rows are those of one sender: receivers with the same answer share one.
func (s *selection) rows(from string, n int, label func(int) string, answer func(int) *reach.Answer) [][]string {
	const shared = 4
	var rows [][]string
	at := map[string]int{} // the last row of an answer
	count := map[string]int{}
	for to := range n {
		a := answer(to)
		if a.Verdict == reach.Self || a.Verdict == reach.Beyond {
			continue
		}
		word, what, name := s.verdictWord(a.Verdict), a.Summary(), cell(label(to), 0)
		if s.oneService() && a.Verdict != reach.Some {
			what = "" // the verdict says it
		}
		if key := word + what; count[key]%shared > 0 {
			rows[at[key]][1] += ", " + name
			count[key]++
		} else {
			at[key] = len(rows)
			count[key]++
			rows = append(rows, []string{cell(from, 0), name, word, what})
		}
	}
	return rows
}

// printPair tells which rules decide between two ends.
func (a *app) printPair(s *selection) error {
	from, to := s.from[0], s.to[0]
	answer := s.Answers[s.Between(from, to)]
	if err := a.printf("%s -> %s: %s, %s\n", cell(s.Ends[from].Name, 0), cell(s.Ends[to].Name, 0), s.verdictWord(answer.Verdict), answer.Words()); err != nil {
		return err
	}
	if len(answer.Parts) == 0 {
		return nil
	}
	rows := [][]string{{"ACCESS", "WHAT", "SOURCE PORTS", "FROM", "TO", "DECIDED BY"}}
	for i := range answer.Parts {
		rows = append(rows, partRows(&answer.Parts[i])...)
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return a.printTable(withSourcePorts(rows))
}

// withSourcePorts drops their column where nothing depends on them.
func withSourcePorts(rows [][]string) [][]string {
	const what, column = 1, 2
	matter := slices.ContainsFunc(rows[1:], func(row []string) bool { return row[column] != "" })
	for i, row := range rows {
		switch {
		case !matter:
			rows[i] = slices.Delete(row, column, column+1)
		case row[what] != "" && row[column] == "":
			row[column] = "all"
		}
	}
	return rows
}

// partRows has a line for each box and each rule, side by side.
func partRows(p *reach.Part) [][]string {
	var rows [][]string
	for i := range max(len(p.Boxes), len(p.Rules), 1) {
		row := []string{"", "", "", "", "", ""}
		if i == 0 {
			row[0] = p.Access.String()
		}
		if i < len(p.Boxes) {
			b := &p.Boxes[i]
			row[1], row[2], row[3], row[4] = b.Services.String(), reach.PortWords(b.FromPorts), wholeOr(b.From), wholeOr(b.To)
		}
		switch {
		case i < len(p.Rules):
			r := &p.Rules[i]
			whose := map[string]string{"from": "sender", "to": "receiver"}[r.Side]
			row[5] = cell(fmt.Sprintf("%s  (%s, %s's %s)", r.Name, r.NSG, whose, r.Level), 0)
		case i == 0:
			row[5] = "no security group"
		}
		rows = append(rows, row)
	}
	return rows
}

func wholeOr(s reach.Scope) string {
	if words := s.String(); words != "" {
		return words
	}
	return "all"
}

// writeReachPage draws the page, and writes it once it is drawn.
func (a *app) writeReachPage(q *reachQuestion, m *reach.Matrix) error {
	var b bytes.Buffer
	if err := page.Write(&b, page.Page{Title: "Who can talk to whom", About: q.about(a), Matrix: m}); err != nil {
		return err
	}
	if q.html == "-" {
		if _, err := a.out.Write(b.Bytes()); err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
		return nil
	}
	if err := writeWhole(q.html, b.Bytes()); err != nil {
		return fmt.Errorf("--%s %s: %w", flagHTML, quoted(q.html), err)
	}
	return nil
}

// writeWhole writes a file by renaming, so that one which cannot be written leaves what
// was there. What is no file, such as a pipe, is written to as it is.
func writeWhole(path string, data []byte) error {
	mode := os.FileMode(0o644)
	switch info, err := os.Stat(path); {
	case err == nil && !info.Mode().IsRegular():
		return os.WriteFile(path, data, mode)
	case err == nil:
		mode = info.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	next := path + ".new"
	err := os.WriteFile(next, data, mode)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		_ = os.Remove(next)
	}
	return err
}

// about tells where the matrix comes from.
func (q *reachQuestion) about(a *app) []string {
	where := "The pods of this node"
	if len(q.documents) > 0 {
		where = "Documents " + strings.Join(q.documents, ", ")
	}
	what := "all services"
	if q.protocol != "" {
		what = strings.TrimSpace(strings.ToUpper(q.protocol) + " " + q.port)
	}
	return []string{fmt.Sprintf("%s, %s, as of %s", where, what, a.now().UTC().Format("2006-01-02 15:04 UTC"))}
}
