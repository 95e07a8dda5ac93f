package arm

import (
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// securityGroup reads a network security group. Its defaultSecurityRules are
// Azure's own and the same everywhere.
func (r *reader) securityGroup(v value) {
	name, id, ok := r.identity(v)
	if !ok {
		return
	}
	r.group = name
	res := r.open(v)
	g := nsg.Definition{
		Name: name, ID: id, File: r.file,
		FlushConnection: r.truth("flushConnection", res.get("flushConnection")),
	}
	if !res.has("securityRules") && (!res.props.given() || res.props.kind() == objectKind) {
		// az resource list, for one, leaves the properties out.
		r.warn(Incomplete, "securityRules", v, "the group is read as one without rules: the document has no securityRules, not even an empty list")
	}
	g.Rules = readParts(r, "securityRules", res, r.securityRule, sameRule)
	r.rule = ""
	r.addGroup(g)
}

func (r *reader) securityRule(v value) nsg.RuleDefinition {
	r.rule = ""
	name, _, _ := r.identity(v)
	r.rule = name
	res := r.open(v)
	return nsg.RuleDefinition{
		Name:        name,
		Description: r.text("description", res.get("description")),
		Protocol:    r.text("protocol", res.get("protocol")),
		Access:      r.text("access", res.get("access")),
		Direction:   r.text("direction", res.get("direction")),
		Priority:    r.number("priority", res.get("priority")),
		Source:      r.endpoint(res, "source"),
		Destination: r.endpoint(res, "destination"),
	}
}

// endpoint reads one side of a rule. Whether both the singular and the plural
// may be there is not for this package to say: what is not empty is passed on.
func (r *reader) endpoint(res resource, side string) nsg.EndpointDefinition {
	var e nsg.EndpointDefinition
	e.Prefix, e.Prefixes = r.both(res, side+"AddressPrefix", side+"AddressPrefixes")
	e.Port, e.Ports = r.both(res, side+"PortRange", side+"PortRanges")
	key := side + "ApplicationSecurityGroups"
	for _, item := range r.objects(key, res.get(key)) {
		if id := r.reference(key, item); id != "" {
			e.ASGs = append(e.ASGs, id)
		}
	}
	return e
}

func (r *reader) both(res resource, singular, plural string) (one string, more []string) {
	one, more = r.oneOrMore(singular, res.get(singular))
	return one, append(more, r.texts(plural, res.get(plural))...)
}
