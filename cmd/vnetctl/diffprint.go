package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// diffOutput is the output for programs of vnetctl diff.
type diffOutput struct {
	Comparisons []comparisonOutput `json:"comparisons"`
	OnlyOld     []string           `json:"onlyOld"` // groups that are in one of the documents only
	OnlyNew     []string           `json:"onlyNew"`
}

type comparisonOutput struct {
	NSG          string         `json:"nsg"` // of the subnet, or the one that is compared; "" is none
	InterfaceNSG string         `json:"interfaceNSG"`
	Equivalent   bool           `json:"equivalent"`
	Changes      []changeOutput `json:"changes"`
	Undivided    []partOutput   `json:"undivided"` // flows that may change, by direction
}

type changeOutput struct {
	Before flowAnswer `json:"before"`
	After  flowAnswer `json:"after"`
	partOutput
}

// partOutput is flows. Where they are too many boxes, flows is empty and boxes
// tells how many there are; 0 is not known.
type partOutput struct {
	Boxes  int           `json:"boxes"`
	Flows  []boxOutput   `json:"flows"`
	Hull   flowspace.Box `json:"hull"`
	Sample flowText      `json:"sample"`
}

type boxOutput struct {
	Box    flowspace.Box `json:"box"`
	Sample flowText      `json:"sample"`
}

func (a *app) printDiff(r *diffResult) error {
	if a.json() {
		return a.printJSON(r.output())
	}
	t := diffTables{titles: r.titles}
	for i := range r.comparisons {
		t.add(&r.comparisons[i])
	}
	if err := t.print(a); err != nil {
		return err
	}
	for _, only := range []struct {
		where string
		names []string
	}{{"OLD", r.onlyOld}, {"NEW", r.onlyNew}} {
		for _, name := range only.names {
			if err := a.printf("%s is in %s only and was compared with nothing\n", cell(name, 0), only.where); err != nil {
				return err
			}
		}
	}
	if !r.changes() {
		return a.printf("%s compared: no flow changes its verdict\n", counted(len(r.comparisons), "group"))
	}
	return nil
}

func (r *diffResult) output() diffOutput {
	out := diffOutput{[]comparisonOutput{}, append([]string{}, r.onlyOld...), append([]string{}, r.onlyNew...)}
	for _, c := range r.comparisons {
		o := comparisonOutput{NSG: c.subnet, InterfaceNSG: c.iface, Equivalent: true, Changes: []changeOutput{}, Undivided: []partOutput{}}
		for _, f := range c.found {
			for _, ch := range f.Changes {
				o.Changes = append(o.Changes, changeOutput{answerOf(ch.Before), answerOf(ch.After), outputOf(&ch.Part)})
			}
			if f.Undivided != nil {
				o.Undivided = append(o.Undivided, outputOf(f.Undivided))
			}
		}
		o.Equivalent = len(o.Changes)+len(o.Undivided) == 0
		out.Comparisons = append(out.Comparisons, o)
	}
	return out
}

func outputOf(p *flowspace.Part) partOutput {
	out := partOutput{Boxes: p.Count, Flows: []boxOutput{}, Hull: p.Hull, Sample: textOf(p.Sample)}
	for _, b := range p.Boxes {
		out.Flows = append(out.Flows, boxOutput{b, textOf(b.Sample())})
	}
	return out
}

// answerOf is a verdict as test-ip-flow answers it.
func answerOf(v nsg.Verdict) flowAnswer {
	if v.Rule == nil {
		return flowAnswer{Access: v.Access}
	}
	return flowAnswer{v.Access, v.Rule.FullName(), v.Group.Name}
}

// textOf is a flow as people and programs write it.
func textOf(f nsg.Flow) flowText {
	end := func(a netip.Addr, port uint16) string {
		if f.Protocol != nsg.TCP && f.Protocol != nsg.UDP {
			return a.String()
		}
		return netip.AddrPortFrom(a, port).String()
	}
	return flowText{Direction: f.Direction.String(), Protocol: f.Protocol.String(), Local: end(f.Local, f.LocalPort),
		Remote: end(f.Remote, f.RemotePort), LocalASGs: f.LocalASGs, RemoteASGs: f.RemoteASGs}
}

// diffTables are the rows for people: boxes, sums, and what was not divided.
type diffTables struct {
	titles  titles
	boxes   []boxRow
	sums    [][]string
	unknown [][]string
}

type boxRow struct {
	terms int
	cells []string
}

// maxEndCell is how wide the end of a flow may become in a table.
const maxEndCell = 64

func (t *diffTables) add(c *comparison) {
	name := namesOf(c.before, c.after)
	ends := func(b flowspace.Box) []string {
		return []string{b.Direction.String(), b.Protocols.String(),
			cell(b.Source.Describe(name), maxEndCell), cell(b.Destination.Describe(name), maxEndCell)}
	}
	for _, f := range c.found {
		for _, ch := range f.Changes {
			rules := []string{t.ruleCell(ch.Before), t.ruleCell(ch.After)}
			for _, b := range ch.Boxes {
				t.boxes = append(t.boxes, boxRow{b.Terms(), slices.Concat([]string{changeCell(&ch)}, ends(b), rules, []string{cell(textOf(b.Sample()).String(), 0)})})
			}
			if ch.Boxes == nil {
				t.sums = append(t.sums, slices.Concat([]string{changeCell(&ch), countCell(ch.Count)}, ends(ch.Hull), rules, []string{cell(textOf(ch.Sample).String(), 0)}))
			}
		}
		if u := f.Undivided; u != nil {
			for _, b := range u.Boxes {
				t.unknown = append(t.unknown, append([]string{"1"}, ends(b)...))
			}
			if u.Boxes == nil {
				t.unknown = append(t.unknown, append([]string{countCell(u.Count)}, ends(u.Hull)...))
			}
		}
	}
}

func changeCell(ch *flowspace.Change) string {
	return fmt.Sprintf("%v -> %v", ch.Before.Access, ch.After.Access)
}

// ruleCell names a rule and its group.
func (t *diffTables) ruleCell(v nsg.Verdict) string {
	if v.Rule == nil {
		return "-"
	}
	return cell(v.Rule.FullName(), 0) + " (" + titleCell(t.titles.of(v.Group)) + ")"
}

func countCell(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// namesOf finds the tag that stands for a set of addresses in rules before and after.
func namesOf(before, after flowspace.Policies) func(nsg.AddressSet) string {
	type named struct {
		name string
		set  nsg.AddressSet
	}
	var tags []named
	for _, p := range []*nsg.Policy{before.Subnet, before.Interface, after.Subnet, after.Interface} {
		if p == nil {
			continue
		}
		for i := range p.Rules {
			r := &p.Rules[i]
			for _, t := range []named{{r.Rule.Source.Tag, r.Source.Addresses}, {r.Rule.Destination.Tag, r.Destination.Addresses}} {
				if t.name != "" && !slices.ContainsFunc(tags, func(o named) bool { return o.name == t.name && o.set.Equal(t.set) }) {
					tags = append(tags, t)
				}
			}
		}
	}
	return func(s nsg.AddressSet) string {
		i := slices.IndexFunc(tags, func(t named) bool { return t.set.Equal(s) })
		if i < 0 || slices.ContainsFunc(tags, func(t named) bool { return t.name == tags[i].name && !t.set.Equal(s) }) {
			return privateName(s) // or it means one thing before and another after
		}
		return tags[i].name
	}
}

func (t *diffTables) print(a *app) error {
	slices.SortStableFunc(t.boxes, func(x, y boxRow) int { return cmp.Compare(x.terms, y.terms) })
	heading := []string{"DIRECTION", "PROTOCOL", "SOURCE", "DESTINATION"}
	rows := [][]string{slices.Concat([]string{"CHANGE"}, heading, []string{"BEFORE", "AFTER", "SAMPLE"})}
	for _, r := range t.boxes {
		rows = append(rows, r.cells)
	}
	sums := append([][]string{slices.Concat([]string{"CHANGE", "BOXES"}, heading, []string{"BEFORE", "AFTER", "SAMPLE"})}, t.sums...)
	unknown := append([][]string{slices.Concat([]string{"BOXES"}, heading)}, t.unknown...)
	for _, table := range []struct {
		rows  [][]string
		intro string
	}{
		{rows, ""},
		{sums, "changes with too many boxes to list: some of the flows within\n"},
		{unknown, "flows that may change: too much work to divide further\n"},
	} {
		if len(table.rows) == 1 {
			continue
		}
		if err := a.printf("%s", table.intro); err != nil {
			return err
		}
		if err := a.printTable(table.rows); err != nil {
			return err
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	return t.summary(a)
}

// summary counts what changes.
func (t *diffTables) summary(a *app) error {
	if len(t.boxes)+len(t.sums)+len(t.unknown) == 0 {
		return nil
	}
	line := "1 box of flows that change"
	if len(t.boxes) != 1 {
		line = fmt.Sprintf("%d boxes of flows that change", len(t.boxes))
	}
	if len(t.sums) > 0 {
		line += ", " + counted(len(t.sums), "change") + " summed up"
	}
	if len(t.unknown) > 0 {
		line += ", and flows that may change"
	}
	return a.printf("%s\n", line)
}
