package page

import (
	"fmt"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// answer is what the page tells of an answer.
type answer struct {
	ID    int
	Words string
	Mark  mark
	Parts []part
}

type part struct {
	Access  string
	Nobody  bool // no group judges
	Rules   []reach.Rule
	Boxes   []box
	Partial bool // a box is for a part of the addresses or ports only
}

// box is flows in words.
type box struct{ Services, FromPorts, From, To string }

func answers(m *reach.Matrix) []answer {
	var out []answer
	for i, a := range m.Answers {
		x := answer{ID: i, Words: a.Words(), Mark: markOf(lookOf(a))}
		for _, p := range a.Parts {
			x.Parts = append(x.Parts, partOf(p))
		}
		out = append(out, x)
	}
	return out
}

func partOf(p reach.Part) part {
	out := part{Access: p.Access.String(), Nobody: p.Access == nsg.Allow && len(p.Rules) == 0}
	for _, r := range p.Rules {
		r.Name, r.NSG = printable(r.Name), printable(r.NSG)
		out.Rules = append(out.Rules, r)
	}
	for _, b := range p.Boxes {
		out.Boxes = append(out.Boxes, box{b.Services.String(), reach.PortWords(b.FromPorts), whole(b.From), whole(b.To)})
		out.Partial = out.Partial || len(b.FromPorts) > 0 || !b.From.Whole || !b.To.Whole
	}
	return out
}

// whole is a scope in words that fit a table.
func whole(s reach.Scope) string {
	if words := s.String(); words != "" {
		return strings.ReplaceAll(words, ",", ", ")
	}
	return "all"
}

// about tells what is known of an end.
func about(e *reach.End) string {
	const told = 6
	prefixes := reach.Scope{Prefixes: e.Addresses()}.Texts()
	if n := len(prefixes); n > told {
		prefixes = append(prefixes[:told-1:told-1], fmt.Sprintf("and %d more prefixes", n-told+1))
	}
	lines := []string{strings.Join(prefixes, ", ")}
	if len(e.Places) > 1 {
		return lines[0] + fmt.Sprintf("\nin %d places with groups of their own", len(e.Places))
	}
	p := &e.Places[0]
	if len(p.ASGs) > 0 {
		lines = append(lines, "ASGs "+strings.Join(p.ASGs, ", "))
	}
	for _, g := range [...]struct {
		level  string
		policy *nsg.Policy
	}{{"subnet", p.Subnet}, {"interface", p.Interface}} {
		if g.policy != nil {
			lines = append(lines, g.level+" "+g.policy.Group.Name)
		}
	}
	return printable(strings.Join(lines, "\n"))
}

// members names the ends of a block.
func members(list []reach.End) string {
	const told = 12
	var names []string
	for i := range list {
		if i == told {
			names = append(names, fmt.Sprintf("and %d more", len(list)-told))
			break
		}
		names = append(names, list[i].Name)
	}
	return printable(strings.Join(names, ", "))
}
