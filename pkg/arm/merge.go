package arm

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// What documents hold, as findings and errors call it.
const (
	groupKind   = "network security group"
	networkKind = "virtual network"
	tableKind   = "route table"
	asgKind     = "application security group"
)

// addGroup keeps a group, once if the documents hold it more than once.
func (r *reader) addGroup(g nsg.Definition) {
	at, known := r.known(groupKind, g.Name, g.ID, len(r.docs.Groups))
	if !known {
		r.docs.Groups = append(r.docs.Groups, g)
		return
	}
	if other := r.docs.Groups[at]; !sameGroup(other, g) {
		r.conflict(groupKind, g.Name, g.ID, other.File)
	}
}

func (r *reader) addNetwork(n VirtualNetwork) {
	at, known := r.known(networkKind, n.Name, n.ID, len(r.docs.VirtualNetworks))
	if !known {
		r.docs.VirtualNetworks = append(r.docs.VirtualNetworks, n)
		return
	}
	if other := r.docs.VirtualNetworks[at]; !sameNetwork(other, n) {
		r.conflict(networkKind, n.Name, n.ID, other.File)
	}
}

// addASG has nothing to compare: the group is its name.
func (r *reader) addASG(a ApplicationSecurityGroup) {
	if _, known := r.known(asgKind, a.Name, a.ID, len(r.docs.ASGs)); !known {
		r.docs.ASGs = append(r.docs.ASGs, a)
	}
}

func (r *reader) addTable(t RouteTable) {
	at, known := r.known(tableKind, t.Name, t.ID, len(r.docs.RouteTables))
	if !known {
		r.docs.RouteTables = append(r.docs.RouteTables, t)
		return
	}
	if other := r.docs.RouteTables[at]; !slices.Equal(other.Routes, t.Routes) {
		r.conflict(tableKind, t.Name, t.ID, other.File)
	}
}

// known looks a resource up by its id, or by its name if it has no id; one that
// is new will stand at place next.
func (r *reader) known(what, name, id string, next int) (at int, known bool) {
	key := placeOf(what, name, id)
	if r.docs.places == nil {
		r.docs.places = map[string]int{}
	}
	at, known = r.docs.places[key]
	if !known {
		r.docs.places[key] = next
	}
	return at, known
}

// placeOf is what documents have the same of when they mean the same resource.
func placeOf(what, name, id string) string {
	return what + " " + cmp.Or(strings.ToLower(strings.TrimRight(id, "/")), "named "+strings.ToLower(name))
}

func (r *reader) conflict(what, name, id, other string) {
	where := "in " + other
	if other == r.file {
		where = "earlier in the same file"
	}
	r.tell(nsg.Finding{
		Severity: nsg.Error, Code: Conflict, Property: "name", Value: name,
		Message: what + " " + word(cmp.Or(id, name)) + " is here (" + r.file + ") with other contents than " + where,
	})
}

func sameNetwork(a, b VirtualNetwork) bool {
	return slices.Equal(a.AddressSpace, b.AddressSpace) && sameParts(a.Subnets, b.Subnets, sameSubnet) &&
		sameParts(a.Peerings, b.Peerings, samePeering)
}

// sameParts compares parts by their names: exporters differ in their case, and templates in
// their order.
func sameParts[T part](a, b []T, same func(a, b T) bool) bool {
	byName := func(a, b T) int { return cmp.Compare(strings.ToLower(nameOf(a)), strings.ToLower(nameOf(b))) }
	a, b = slices.SortedStableFunc(slices.Values(a), byName), slices.SortedStableFunc(slices.Values(b), byName)
	return slices.EqualFunc(a, b, func(a, b T) bool { return byName(a, b) == 0 && same(a, b) })
}

// sameGroup compares what two groups mean: exporters differ in the order of
// rules, in the case of words, and in whether a single value stands in a list.
func sameGroup(a, b nsg.Definition) bool {
	if len(a.Rules) != len(b.Rules) || a.FlushConnection != b.FlushConnection {
		return false
	}
	return reflect.DeepEqual(canonicalRules(a.Rules), canonicalRules(b.Rules))
}

func canonicalRules(rules []nsg.RuleDefinition) []nsg.RuleDefinition {
	out := make([]nsg.RuleDefinition, len(rules))
	for i, r := range rules {
		r.Name = strings.ToLower(r.Name)
		r.Protocol = strings.ToLower(r.Protocol)
		r.Access = strings.ToLower(r.Access)
		r.Direction = strings.ToLower(r.Direction)
		r.Source = canonicalEndpoint(r.Source)
		r.Destination = canonicalEndpoint(r.Destination)
		out[i] = r
	}
	slices.SortStableFunc(out, func(a, b nsg.RuleDefinition) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func canonicalEndpoint(e nsg.EndpointDefinition) nsg.EndpointDefinition {
	return nsg.EndpointDefinition{
		Prefixes: canonical(e.Prefix, e.Prefixes),
		Ports:    canonical(e.Port, e.Ports),
		ASGs:     canonical("", e.ASGs),
	}
}

func canonical(one string, more []string) []string {
	out := make([]string, 0, len(more)+1)
	for _, s := range append([]string{one}, more...) {
		if s != "" {
			out = append(out, strings.ToLower(s))
		}
	}
	slices.Sort(out)
	return out
}
