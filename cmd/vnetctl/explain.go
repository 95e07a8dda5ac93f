package main

import (
	"cmp"
	"net/netip"
	"strconv"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// diagnostic is the output for programs of vnetctl test-ip-flow --explain, which
// is that of az network watcher run-configuration-diagnostic. appliedTo is
// "subnet" or "interface": there is no resource.
type diagnostic struct {
	Results []diagnosticResult `json:"results"`
}

type diagnosticResult struct {
	Profile     diagnosticProfile `json:"profile"`
	GroupResult groupResult       `json:"networkSecurityGroupResult"`
}

type diagnosticProfile struct {
	Direction       nsg.Direction `json:"direction"`
	Protocol        nsg.Protocol  `json:"protocol"`
	Source          netip.Addr    `json:"source"`
	Destination     netip.Addr    `json:"destination"`
	DestinationPort string        `json:"destinationPort"`
}

type groupResult struct {
	Access nsg.Access       `json:"securityRuleAccessResult"`
	Groups []evaluatedGroup `json:"evaluatedNetworkSecurityGroups"`
}

type evaluatedGroup struct {
	AppliedTo   string       `json:"appliedTo"`
	ID          string       `json:"networkSecurityGroupId"` // its name where the document has no id
	MatchedRule matchedRule  `json:"matchedRule"`
	Rules       []ruleResult `json:"rulesEvaluationResult"`
}

type matchedRule struct {
	RuleName string     `json:"ruleName"`
	Action   nsg.Access `json:"action"`
}

type ruleResult struct {
	Name            string `json:"name"`
	Protocol        bool   `json:"protocolMatched"`
	Source          bool   `json:"sourceMatched"`
	SourcePort      bool   `json:"sourcePortMatched"`
	Destination     bool   `json:"destinationMatched"`
	DestinationPort bool   `json:"destinationPortMatched"`
}

func (a *app) printExplanation(j *judges, q question, v nsg.Verdict) error {
	if a.json() {
		return a.printJSON(j.diagnostic(q, v))
	}
	if len(v.Levels) > 0 {
		if err := a.printTable(j.explanationRows(q, v)); err != nil {
			return err
		}
		if err := a.printf("\n"); err != nil {
			return err
		}
	}
	return a.printVerdict(j.answers[v.Rule])
}

// policyOf is the policy of a level of evaluation.
func (j *judges) policyOf(l nsg.Level) *nsg.Policy {
	if l.Name == "subnet" {
		return j.subnet
	}
	return j.iface
}

func (j *judges) diagnostic(q question, v nsg.Verdict) diagnostic {
	r := diagnosticResult{GroupResult: groupResult{Access: v.Access, Groups: []evaluatedGroup{}}}
	port, anyPort := q.RemotePort, q.anyRemotePort
	r.Profile = diagnosticProfile{q.Direction, q.Protocol, q.Local, q.Remote, ""}
	if q.Direction == nsg.Inbound {
		r.Profile.Source, r.Profile.Destination = q.Remote, q.Local
		port, anyPort = q.LocalPort, q.anyLocalPort
	}
	if r.Profile.DestinationPort = strconv.Itoa(int(port)); anyPort || q.Protocol != nsg.TCP && q.Protocol != nsg.UDP {
		r.Profile.DestinationPort = "*"
	}
	for _, l := range v.Levels {
		g := evaluatedGroup{l.Name, cmp.Or(l.Group.ID, l.Group.Name), matchedRule{l.Rule.FullName(), l.Rule.Access}, []ruleResult{}}
		for _, e := range j.policyOf(l).Explain(q.Flow) {
			m := e.Reasons
			g.Rules = append(g.Rules, ruleResult{e.Rule.FullName(), m.Protocol, m.Source, m.SourcePort, m.Destination, m.DestinationPort})
		}
		r.GroupResult.Groups = append(r.GroupResult.Groups, g)
	}
	return diagnostic{[]diagnosticResult{r}}
}

// explanationRows tell of each rule which of its conditions the flow meets, and
// which rules count: the first of each level that matches, and of those the one
// that answers.
func (j *judges) explanationRows(q question, v nsg.Verdict) [][]string {
	rows := [][]string{{"LEVEL", "NSG", "PRIORITY", "RULE", "ACCESS",
		"PROTOCOL", "SOURCE", "SOURCE PORT", "DESTINATION", "DESTINATION PORT", "VERDICT"}}
	for _, l := range v.Levels {
		for _, e := range j.policyOf(l).Explain(q.Flow) {
			verdict := ""
			switch e.Rule {
			case v.Rule:
				verdict = "answers"
			case l.Rule:
				verdict = "matches first"
			}
			row := []string{l.Name, cell(l.Group.Name, maxNameCell), priority(e.Rule.Rule), cell(e.Rule.FullName(), 0), e.Rule.Access.String()}
			m := e.Reasons
			for _, met := range []bool{m.Protocol, m.Source, m.SourcePort, m.Destination, m.DestinationPort} {
				row = append(row, yesNo(met))
			}
			rows = append(rows, append(row, orDash(verdict)))
		}
	}
	return rows
}

// priority is "-" for what the platform does.
func priority(r *nsg.Rule) string {
	if r.Platform {
		return "-"
	}
	return strconv.Itoa(r.Priority)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
