package nsg

import "slices"

// Tags is what service tags mean to a network.
type Tags struct {
	// VirtualNetwork is the address space of the network and of its peers.
	VirtualNetwork AddressSet
	// Services holds the prefixes of the tags of a downloaded file by their
	// names in lower case. Nil without such a file.
	Services map[string]AddressSet
}

// Policy is a group with the addresses of its tags: all that it takes to judge
// a flow. NewPolicy makes it.
//
// Rules is the complete list for a plain first match, the inbound rules before
// the outbound ones. In each direction it begins with what the platform drops
// whatever the group says. Outbound, the group's own rules for the tags
// AzurePlatform* follow and then a rule that allows the platform's addresses, so
// that no ordinary rule decides about those. The ordinary rules come last, and
// the last of all, DenyAllInBound or DenyAllOutBound, matches every flow.
type Policy struct {
	Group *Group
	Rules []PolicyRule

	outbound int      // where the outbound rules begin
	indices  [2]index // of the inbound and of the outbound rules
}

// PolicyRule is a rule with the addresses of both sides.
type PolicyRule struct {
	*Rule
	Source, Destination Match
}

// Match is the addresses and ports of one side of a rule.
type Match struct {
	Addresses AddressSet // every address of both families where the rule has "*"; none where it has ASGs
	ASGs      []string   // membership in any of them matches; where there are addresses too, of one of these
	Ports     []PortRange
}

// NewPolicy gives the tags of a group's rules their addresses. What a tag that
// nobody knows means is not guessed: each is an error, and the policy is nil.
func NewPolicy(g *Group, t Tags) (*Policy, []Finding) {
	rules := firstMatchOrder(g)
	r := resolver{tags: &t, known: map[string]AddressSet{}, report: &report{file: g.File, nsg: g.Name}}
	p := &Policy{Group: g, Rules: make([]PolicyRule, len(rules))}
	for i, rule := range rules {
		p.Rules[i] = PolicyRule{Rule: rule,
			Source:      r.match(rule, "sourceAddressPrefix", &rule.Source),
			Destination: r.match(rule, "destinationAddressPrefix", &rule.Destination)}
		if rule.Direction == Inbound {
			p.outbound = i + 1
		}
	}
	if r.report.failed {
		return nil, r.report.findings
	}
	p.indices = [2]index{newIndex(p.direction(Inbound)), newIndex(p.direction(Outbound))}
	return p, r.report.findings
}

// firstMatchOrder returns the group's rules and the platform's in the order that
// Policy describes.
func firstMatchOrder(g *Group) []*Rule {
	var rules []*Rule
	for _, d := range [...]Direction{Inbound, Outbound} {
		rules = appendAll(rules, platformDenies(d))
		var ordinary []*Rule
		for i := range g.Rules {
			switch rule := &g.Rules[i]; {
			case rule.Direction != d:
			case d == Outbound && isPlatformTag(rule.Destination.Tag):
				rules = append(rules, rule)
			default:
				ordinary = append(ordinary, rule)
			}
		}
		if d == Outbound {
			rules = appendAll(rules, []Rule{allowPlatform()})
		}
		rules = slices.Concat(rules, ordinary)
	}
	return rules
}

func appendAll(rules []*Rule, more []Rule) []*Rule {
	for i := range more {
		rules = append(rules, &more[i])
	}
	return rules
}

// resolver turns the sides of rules into addresses. Sides of one tag share a set.
type resolver struct {
	tags   *Tags
	known  map[string]AddressSet // of tags, by name as spelt; "" is every address
	report *report
}

func (r resolver) match(rule *Rule, property string, e *Endpoint) Match {
	return Match{Addresses: r.addresses(rule, property, e), ASGs: e.ASGs, Ports: e.Ports}
}

// addresses returns those of one side of a rule: none where it has application
// security groups.
func (r resolver) addresses(rule *Rule, property string, e *Endpoint) AddressSet {
	switch {
	case len(e.ASGs) > 0:
		return AddressSet{}
	case len(e.Prefixes) > 0:
		return NewAddressSet(e.Prefixes...)
	}
	if s, known := r.known[e.Tag]; known {
		return s
	}
	s, found := AllAddresses(), true
	if e.Tag != "" {
		s, found = r.tags.Resolve(e.Tag)
	}
	if !found {
		place{report: r.report, rule: rule.Name}.fail(CodeInvalidPrefix, property, e.Tag, "%s", r.tags.unknown(e.Tag))
		return AddressSet{}
	}
	r.known[e.Tag] = s
	return s
}
