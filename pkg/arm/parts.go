package arm

import (
	"reflect"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// part is what a resource lists and what in a template may be a resource of its own.
type part interface {
	nsg.RuleDefinition | Subnet | Peering | Route
}

// readParts reads what a resource lists under a key and then, of a template, those that
// are resources of their own. An export has some in both places: one is enough, and two
// that differ are an error. One with a value that is not known is left out: what is
// wrong with it is told, and judging it by the rest would tell it again.
func readParts[T part](r *reader, key string, res resource, read func(value) T, same func(a, b T) bool) []T {
	var parts []T
	for _, item := range r.objects(key, res.get(key)) {
		if p, ok := readPart(r, item, read); ok {
			parts = append(parts, p)
		}
	}
	if len(r.children[key]) == 0 {
		return parts
	}
	at := make(map[string]int, len(parts))
	for i, p := range parts {
		at[strings.ToLower(nameOf(p))] = i
	}
	for _, child := range r.children[key] {
		p, ok := readPart(r, child, read)
		name := nameOf(p)
		i, twice := at[strings.ToLower(name)]
		switch {
		case !ok:
		case !twice:
			at[strings.ToLower(name)] = len(parts)
			parts = append(parts, p)
		case !same(parts[i], p):
			r.tell(nsg.Finding{
				Severity: nsg.Error, Code: Conflict, Property: "name", Value: name,
				Message: child.path() + ": " + word(name) + " is a resource of its own with other contents than where the template has it before",
			})
		}
	}
	return parts
}

// readPart reports whether all values of a part are known.
func readPart[T part](r *reader, v value, read func(value) T) (T, bool) {
	before := r.unknown
	p := read(v)
	return p, r.unknown == before
}

func nameOf[T part](p T) string {
	switch x := any(p).(type) {
	case nsg.RuleDefinition:
		return x.Name
	case Subnet:
		return x.Name
	case Peering:
		return x.Name
	case Route:
		return x.Name
	}
	return ""
}

func sameRule(a, b nsg.RuleDefinition) bool {
	return reflect.DeepEqual(canonicalRules([]nsg.RuleDefinition{a}), canonicalRules([]nsg.RuleDefinition{b}))
}

// sameSubnet compares what subnets say; only one of the two may have an id.
func sameSubnet(a, b Subnet) bool {
	return slices.Equal(a.Prefixes, b.Prefixes) && strings.EqualFold(a.NSG, b.NSG) && strings.EqualFold(a.RouteTable, b.RouteTable)
}

func samePeering(a, b Peering) bool {
	return a.Connected() == b.Connected() && a.AccessDenied == b.AccessDenied && slices.Equal(a.RemoteAddressSpace, b.RemoteAddressSpace)
}

func sameRoute(a, b Route) bool {
	return strings.EqualFold(a.AddressPrefix, b.AddressPrefix) && strings.EqualFold(a.NextHopType, b.NextHopType) &&
		a.NextHopIPAddress == b.NextHopIPAddress
}
