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
	byID := strings.HasPrefix(nameOrID, "/")
	var found []*nsg.Definition
	for i := range d.Groups {
		g := &d.Groups[i]
		if byID && strings.EqualFold(g.ID, nameOrID) || !byID && strings.EqualFold(g.Name, nameOrID) {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, d.unknownGroup(nameOrID)
	}
	var places []string
	for _, g := range found {
		places = append(places, cmp.Or(g.ID, "the one without an id in "+g.File))
	}
	return nil, fmt.Errorf("network security group %s is ambiguous: %s", quote(nameOrID), enumerate(places))
}

// named is how many names an error lists.
const named = 5

func (d *Documents) unknownGroup(nameOrID string) error {
	if len(d.Groups) == 0 {
		return fmt.Errorf("network security group %s is in no document: they hold no group", quote(nameOrID))
	}
	wanted := strings.ToLower(lastSegment(nameOrID))
	var near, all []string
	for _, g := range d.Groups {
		name := cmp.Or(g.ID, g.Name)
		if !strings.HasPrefix(nameOrID, "/") {
			name = g.Name
		}
		if isNear(wanted, strings.ToLower(g.Name)) {
			near = append(near, name)
		}
		all = append(all, name)
	}
	if len(near) > 0 {
		return fmt.Errorf("network security group %s is in no document; near: %s", quote(nameOrID), enumerate(near))
	}
	return fmt.Errorf("network security group %s is in no document; there are: %s", quote(nameOrID), enumerate(all))
}

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
