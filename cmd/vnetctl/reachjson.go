package main

import (
	"cmp"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// reachReport is the output for programs of vnetctl reach.
type reachReport struct {
	Ends    []reachEnd    `json:"ends"`
	Pairs   []reachPair   `json:"pairs"`
	Answers []reachAnswer `json:"answers"`
}

type reachEnd struct {
	Name   string       `json:"name"`
	Kind   string       `json:"kind"` // pod, end, asg, subnet or outside
	Places []reachPlace `json:"places"`
}

// reachPlace is addresses of an end that are judged alike.
type reachPlace struct {
	Addresses []string `json:"addresses"`
	ASGs      []string `json:"asgs"`
	SubnetNSG string   `json:"subnetNSG"` // "": none
	NSG       string   `json:"nsg"`       // of the interface; "": none
}

type reachPair struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Reaches string `json:"reaches"`
	What    string `json:"what"`
	Answer  int    `json:"answer"` // index in answers
}

type reachAnswer struct {
	Reaches string          `json:"reaches"`
	What    string          `json:"what"`
	Whole   []reach.Service `json:"whole"` // between all addresses
	Partly  []reach.Service `json:"partly"`
	Parts   []reachPart     `json:"parts"`
}

// reachPart is flows that the same rules decide about.
type reachPart struct {
	Access nsg.Access   `json:"access"`
	Rules  []reach.Rule `json:"rules"`
	Flows  []reachFlows `json:"flows"`
}

// reachFlows are of all services, addresses and ports that it has.
type reachFlows struct {
	Services    []reach.Service `json:"services"`
	SourcePorts []string        `json:"sourcePorts"` // empty: every one
	From        []string        `json:"from"`        // prefixes, or one of "all", "IPv4" and "IPv6"
	To          []string        `json:"to"`
}

// output is the selection for programs. Answers that no pair of it has are there as
// well, so that an index means the same in each output.
func (s *selection) output() reachReport {
	r := reachReport{Ends: []reachEnd{}, Pairs: []reachPair{}, Answers: []reachAnswer{}}
	for i := range s.Ends {
		r.Ends = append(r.Ends, reachEndOf(&s.Ends[i]))
	}
	for _, from := range s.from {
		for _, to := range s.to {
			n := s.Between(from, to)
			a := s.Answers[n]
			r.Pairs = append(r.Pairs, reachPair{s.Ends[from].Name, s.Ends[to].Name, s.verdictWord(a.Verdict), a.Words(), n})
		}
	}
	for _, a := range s.Answers {
		out := reachAnswer{s.verdictWord(a.Verdict), a.Words(), a.Passing.List(), a.Partly.List(), []reachPart{}}
		for i := range a.Parts {
			out.Parts = append(out.Parts, reachPartOf(&a.Parts[i]))
		}
		r.Answers = append(r.Answers, out)
	}
	return r
}

func reachEndOf(e *reach.End) reachEnd {
	out := reachEnd{Name: e.Name, Kind: e.Kind.String()}
	for i := range e.Places {
		p := &e.Places[i]
		out.Places = append(out.Places, reachPlace{reach.Scope{Prefixes: p.Addresses}.Texts(), append([]string{}, p.ASGs...), groupOf(p.Subnet), groupOf(p.Interface)})
	}
	return out
}

func groupOf(p *nsg.Policy) string {
	if p == nil {
		return ""
	}
	return p.Group.Name
}

func reachPartOf(p *reach.Part) reachPart {
	out := reachPart{p.Access, append([]reach.Rule{}, p.Rules...), []reachFlows{}}
	for i := range p.Boxes {
		b := &p.Boxes[i]
		out.Flows = append(out.Flows, reachFlows{b.Services.List(), b.SourcePorts(), scopeOutput(b.From), scopeOutput(b.To)})
	}
	return out
}

func scopeOutput(s reach.Scope) []string {
	if s.Whole || s.Family != "" {
		return []string{cmp.Or(s.Family, "all")}
	}
	return s.Texts()
}
