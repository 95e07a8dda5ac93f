package nsg

import (
	"slices"
	"strings"
)

// endpoint reads the rule's side "source" or "destination".
func (p place) endpoint(side string, d *EndpointDefinition) Endpoint {
	p.one(
		given{side + "AddressPrefix", d.Prefix != "", d.Prefix},
		given{side + "AddressPrefixes", len(d.Prefixes) > 0, strings.Join(d.Prefixes, ",")},
		given{side + "ApplicationSecurityGroups", len(d.ASGs) > 0, strings.Join(d.ASGs, ",")})
	p.one(
		given{side + "PortRange", d.Port != "", d.Port},
		given{side + "PortRanges", len(d.Ports) > 0, strings.Join(d.Ports, ",")})
	var e Endpoint
	p.prefix(&e, side+"AddressPrefix", d.Prefix)
	e.Prefixes = append(e.Prefixes, p.prefixes(side+"AddressPrefixes", d.Prefixes)...)
	e.ASGs = p.asgs(side+"ApplicationSecurityGroups", d.ASGs)
	if d.Port != "*" && d.Port != "" {
		e.Ports = p.ports(side+"PortRange", []string{d.Port})
	}
	e.Ports = append(e.Ports, p.ports(side+"PortRanges", d.Ports)...)
	return e
}

// given is one of several alternatives in a document.
type given struct {
	property string
	present  bool
	value    string
}

// one reports when not exactly one of the alternatives is present.
func (p place) one(alternatives ...given) {
	var names []string
	var first, last given
	present := 0
	for _, g := range alternatives {
		names = append(names, g.property)
		if !g.present {
			continue
		}
		if present == 0 {
			first = g
		}
		last = g
		present++
	}
	switch {
	case present == 0:
		p.fail(CodeParametersMissing, names[0], "", "the rule must have one of %s", strings.Join(names, ", "))
	case present > 1:
		p.fail(CodeAlternatives, last.property, last.value, "the rule has both %s and %s; it may have one of %s",
			first.property, last.property, strings.Join(names, ", "))
	}
}

// asgs reads application security groups: by resource id or by name, which the
// id ends with. Azure compares both in any case.
func (p place) asgs(property string, ids []string) []string {
	var names []string
	for _, id := range ids {
		name := strings.ToLower(id[strings.LastIndexByte(id, '/')+1:])
		if name == "" {
			p.fail(CodeInvalidASG, property, id, "application security group %q has no name", id)
			continue
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
