package arm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Group finds a network security group by its resource id or its name; neither
// depends on case. The error for an unknown one lists names that are near, the
// error for an ambiguous name lists the ids that it may mean.
func (d *Documents) Group(nameOrID string) (*nsg.Definition, error) {
	return lookUp(groupKind, d.Groups, nameOrID, groupIdentity)
}

// Title is what the group is called: its name, or its id where several groups have the
// name.
func (d *Documents) Title(g *nsg.Definition) string {
	if _, err := d.Group(g.Name); err != nil {
		return cmp.Or(g.ID, g.Name)
	}
	return g.Name
}

// RouteTable finds a route table as Group finds a group.
func (d *Documents) RouteTable(nameOrID string) (*RouteTable, error) {
	return lookUp(tableKind, d.RouteTables, nameOrID, tableIdentity)
}

// VirtualNetwork finds a virtual network as Group finds a group.
func (d *Documents) VirtualNetwork(nameOrID string) (*VirtualNetwork, error) {
	return lookUp(networkKind, d.VirtualNetworks, nameOrID, networkIdentity)
}

// identity is how a resource can be called.
type identity struct{ name, id, file string }

func groupIdentity(g *nsg.Definition) identity   { return identity{g.Name, g.ID, g.File} }
func tableIdentity(t *RouteTable) identity       { return identity{t.Name, t.ID, t.File} }
func networkIdentity(v *VirtualNetwork) identity { return identity{v.Name, v.ID, v.File} }

// lookUp finds the resource that is meant; what is its kind, for errors.
func lookUp[T any](what string, all []T, nameOrID string, of func(*T) identity) (*T, error) {
	byID := strings.HasPrefix(nameOrID, "/")
	var found []*T
	var places []string
	for i := range all {
		r := of(&all[i])
		if byID && strings.EqualFold(r.id, nameOrID) || !byID && strings.EqualFold(r.name, nameOrID) {
			found = append(found, &all[i])
			places = append(places, cmp.Or(r.id, "the one without an id in "+r.file))
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, unknownResource(what, all, nameOrID, of)
	}
	return nil, fmt.Errorf("%s %s is ambiguous: %s", what, quote(nameOrID), enumerate(places))
}

// named is how many names an error lists.
const named = 5

func unknownResource[T any](what string, known []T, nameOrID string, of func(*T) identity) error {
	if len(known) == 0 {
		return fmt.Errorf("%s %s is in no document: they hold no %s", what, quote(nameOrID), lastWord(what))
	}
	wanted := strings.ToLower(lastSegment(nameOrID))
	var near, all []string
	for i := range known {
		r := of(&known[i])
		name := cmp.Or(r.id, r.name)
		if !strings.HasPrefix(nameOrID, "/") {
			name = r.name
		}
		if isNear(wanted, strings.ToLower(r.name)) {
			near = append(near, name)
		}
		all = append(all, name)
	}
	if len(near) > 0 {
		return fmt.Errorf("%s %s is in no document; near: %s", what, quote(nameOrID), enumerate(near))
	}
	return fmt.Errorf("%s %s is in no document; there are: %s", what, quote(nameOrID), enumerate(all))
}

// lastWord is "group" of "network security group".
func lastWord(what string) string { return what[strings.LastIndexByte(what, ' ')+1:] }

// enumerate lists the first few names in order.
func enumerate(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if len(names) > named {
		more = fmt.Sprintf(" and %d more", len(names)-named)
		names = names[:named]
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = word(n)
	}
	return strings.Join(quoted, ", ") + more
}

// longestName bounds the comparison of names; Azure's have 80 characters.
const longestName = 100

// isNear tells whether one name contains the other or differs by a slip or two.
func isNear(a, b string) bool {
	if a == "" || b == "" || len(a) > longestName || len(b) > longestName {
		return false
	}
	return strings.Contains(a, b) || strings.Contains(b, a) || nsg.Edits(a, b) <= 1+min(len(a), len(b))/6
}

// lastSegment returns what follows the last slash: a resource id's name.
func lastSegment(id string) string {
	id = strings.TrimRight(id, "/")
	return id[strings.LastIndexByte(id, '/')+1:]
}
