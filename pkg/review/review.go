package review

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Codes of the findings; Azure has none for these.
const (
	// CodeShadowed is a rule that never decides, since earlier ones match all its flows.
	CodeShadowed = "SecurityRuleShadowed"
	// CodeDuplicate is a rule that does what an earlier one does: same flows, same access.
	CodeDuplicate = "SecurityRuleDuplicate"
	// CodeAllowBehindDeny is a rule that allows a part of what an earlier one denies.
	CodeAllowBehindDeny = "SecurityRuleAllowBehindDeny"
	// CodeRedundant is a rule without which every flow would have the same access.
	CodeRedundant = "SecurityRuleRedundant"
	// CodeInternet is a rule through which anybody in the Internet reaches SSH, remote
	// desktops, or every port.
	CodeInternet = "SecurityRuleOpenToInternet"
	// CodeUnfinished is a group whose rules overlap so much that it would take too long
	// to look for all of these.
	CodeUnfinished = "NetworkSecurityGroupReviewUnfinished"
)

// Meaning is what the tags of a group stand for.
type Meaning struct {
	Tags nsg.Tags
	// Homeless is that nobody knows what the tag VirtualNetwork stands for. It is taken
	// to be private addresses then, nobody knows which.
	Homeless bool
}

// Findings reviews a group. What is told of rules with a tag that nobody knows holds
// whatever the tag stands for.
func Findings(g *nsg.Group, m Meaning) []nsg.Finding {
	least, most := policies(g, m)
	if least == nil || most == nil {
		return nil
	}
	var out []nsg.Finding
	for _, d := range [...]nsg.Direction{nsg.Inbound, nsg.Outbound} {
		r := newReviewer(g, d, least, most)
		out = append(out, r.review()...)
	}
	return out
}

// policies returns the group's policy with the fewest and with the most addresses
// that its tags may have.
func policies(g *nsg.Group, m Meaning) (least, most *nsg.Policy) {
	few, many := copyOf(m.Tags), copyOf(m.Tags)
	if m.Homeless {
		few.VirtualNetwork, many.VirtualNetwork = nsg.AddressSet{}, PrivateAddresses()
	}
	_, unknown := nsg.NewPolicy(g, m.Tags)
	for _, f := range unknown {
		few.Services[strings.ToLower(f.Value)] = nsg.AddressSet{}
		many.Services[strings.ToLower(f.Value)] = nsg.AllAddresses()
	}
	least, _ = nsg.NewPolicy(g, few)
	most, _ = nsg.NewPolicy(g, many)
	return least, most
}

func copyOf(t nsg.Tags) nsg.Tags {
	services := make(map[string]nsg.AddressSet, len(t.Services))
	for name, s := range t.Services {
		services[name] = s
	}
	return nsg.Tags{VirtualNetwork: t.VirtualNetwork, Services: services}
}

// reviewer looks at the rules of one direction.
type reviewer struct {
	group     *nsg.Group
	direction nsg.Direction
	least     []*nsg.PolicyRule // in the order of evaluation
	most      []*nsg.PolicyRule // the same rules
	any       []*nsg.PolicyRule // the same rules; an end may be in a tag that nobody knows, or not
	internet  nsg.AddressSet
	gone      []bool           // by rule: a finding says that it does nothing
	decides   map[int]nsg.Flow // by rule: a flow that it decides, where one is known
	findings  []numbered
	work      flowspace.Work
}

// reviewWork bounds the work for the rules of one direction: some seconds.
const reviewWork = 250_000_000

// numbered is a finding about the i-th rule.
type numbered struct {
	rule int
	nsg.Finding
}

func newReviewer(g *nsg.Group, d nsg.Direction, least, most *nsg.Policy) *reviewer {
	r := &reviewer{group: g, direction: d, decides: map[int]nsg.Flow{}, work: flowspace.Work{Left: reviewWork}}
	for i := range least.Rules {
		rule := &least.Rules[i]
		if rule.Default && rule.Name == "AllowInternetOutBound" {
			r.internet = rule.Destination.Addresses
		}
		if rule.Direction == d {
			r.least, r.most = append(r.least, rule), append(r.most, &most.Rules[i])
			r.any = append(r.any, whicheverAddresses(rule, &most.Rules[i]))
		}
	}
	r.gone = make([]bool, len(r.least))
	return r
}

// review returns the findings in the order of the rules.
func (r *reviewer) review() []nsg.Finding {
	r.neverDeciding()
	r.redundant()
	if r.direction == nsg.Inbound {
		r.open()
	}
	slices.SortStableFunc(r.findings, func(a, b numbered) int { return a.rule - b.rule })
	var out []nsg.Finding
	for _, f := range r.findings {
		out = append(out, f.Finding)
	}
	if r.work.Left <= 0 {
		out = append(out, nsg.Finding{Severity: nsg.Warning, Code: CodeUnfinished, File: r.group.File, NSG: r.group.Name,
			Property: "securityRules", Value: r.direction.String(),
			Message: fmt.Sprintf("the %v rules overlap so much that not all of them could be looked at: some may never decide", r.direction)})
	}
	return out
}

func (r *reviewer) warn(i int, code, property, value, format string, args ...any) {
	r.findings = append(r.findings, numbered{i, nsg.Finding{Severity: nsg.Warning, Code: code, File: r.group.File, NSG: r.group.Name,
		Rule: r.least[i].Name, Property: property, Value: value, Message: fmt.Sprintf(format, args...)}})
}

// own reports whether the rule is one of the group's own.
func (r *reviewer) own(i int) bool { return !r.least[i].Default && !r.least[i].Platform }

// certain reports whether the rule's addresses are known.
func (r *reviewer) certain(i int) bool { return r.any[i] == r.least[i] }

// all is every flow of the direction.
func (r *reviewer) all() flowspace.Box { return flowspace.All(r.direction) }

// last is the rule that denies everything.
func (r *reviewer) last() *nsg.PolicyRule { return r.least[len(r.least)-1] }

// names words rules in a message.
func names(rules []*nsg.PolicyRule) string {
	var words []string
	for _, r := range rules {
		words = append(words, nameOf(r))
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// nameOf is the name of one of the group's own rules, and of others with their kind.
func nameOf(r *nsg.PolicyRule) string {
	if r.Default || r.Platform {
		return r.FullName()
	}
	return r.Name
}
