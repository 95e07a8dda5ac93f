package nsg

import (
	"net/netip"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxDescription is the length of a rule's description in characters.
const maxDescription = 140

// The priorities of a group's own rules.
const (
	minPriority = 100
	maxPriority = 4096
)

// parse reads the rule, the group's i-th. What is invalid is reported and left
// at its zero value.
func (p place) parse(d *RuleDefinition, i int) Rule {
	p.name(p, d.Name, "rule "+itoa(i+1)+" of the group")
	if n := utf8.RuneCountInString(d.Description); n > maxDescription {
		p.warn(CodeDescriptionLength, "description", d.Description,
			"the description has %d characters; Azure allows %d", n, maxDescription)
	}
	r := Rule{
		Name:        d.Name,
		Protocol:    value(p, "protocol", d.Protocol, ParseProtocol),
		Access:      value(p, "access", d.Access, ParseAccess),
		Direction:   value(p, "direction", d.Direction, ParseDirection),
		Priority:    p.priority(d.Priority),
		Source:      p.endpoint("source", &d.Source),
		Destination: p.endpoint("destination", &d.Destination),
	}
	p.oneFamily(d, &r)
	p.limit("applicationSecurityGroups", len(r.Source.ASGs)+len(r.Destination.ASGs), maxRuleASGs,
		"application security groups in the rule")
	p.neverMatches(&r)
	return r
}

// value reads a property that has a few known values and no alternative.
func value[T any](p place, property, s string, parse func(string) (T, error)) T {
	v, err := parse(s)
	switch {
	case err == nil:
	case s == "":
		p.fail(CodeParameterMissing, property, s, "the rule has no %s", property)
	default:
		p.fail(CodeInvalidValue, property, s, "%v", err)
	}
	return v
}

func (p place) priority(s string) int {
	if s == "" {
		p.fail(CodeParameterMissing, "priority", s, "the rule has no priority")
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n < minPriority || n > maxPriority {
		p.fail(CodeInvalidPriority, "priority", s, "priority %q is not a whole number from %d to %d",
			s, minPriority, maxPriority)
		return 0
	}
	return int(n)
}

// oneFamily reports the first prefix whose family is not that of the rule's first
// one. "*", tags and application security groups are of both.
func (p place) oneFamily(d *RuleDefinition, r *Rule) {
	all := slices.Concat(r.Source.Prefixes, r.Destination.Prefixes)
	i := slices.IndexFunc(all, func(q netip.Prefix) bool { return q.Addr().Is4() != all[0].Addr().Is4() })
	if i < 0 {
		return
	}
	property, list := "sourceAddressPrefix", d.Source.Prefixes
	if i >= len(r.Source.Prefixes) {
		property, list = "destinationAddressPrefix", d.Destination.Prefixes
	}
	if len(list) > 0 {
		property += "es"
	}
	p.fail(CodeMixedFamilies, property, all[i].String(), "one rule has IPv4 and IPv6: %v and %v", all[0], all[i])
}

// neverMatches warns of a rule that no packet can match: ports belong to TCP and
// UDP only, so a rule for another protocol that names some is without effect.
func (p place) neverMatches(r *Rule) {
	switch r.Protocol {
	case ICMP, ESP, AH:
	default:
		return
	}
	if len(r.Source.Ports)+len(r.Destination.Ports) > 0 {
		p.warn(CodeNeverMatches, "protocol", r.Protocol.String(),
			"the rule matches nothing: it names ports, and %v has none; write * for the ports", r.Protocol)
	}
}
