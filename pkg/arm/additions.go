package arm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm/template"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// addition is a part that a template puts into a resource that it does not make itself,
// for instance a rule into a group that has been there before.
type addition struct {
	path, name string // as the template has it
	key        string // of the list that it belongs to
	parent     string // id of the resource that it is part of
	part       value
}

// additionsOf are those parts whose resource the template does not make. Whether another
// document has it is known when all are read; until then nothing else of the template
// must live on in them.
func (r *reader) additionsOf(resources []template.Resource, built []value) []addition {
	made := make(map[string]bool, len(resources))
	for _, res := range resources {
		made[strings.ToLower(res.ID)] = true
	}
	var out []addition
	for i, res := range resources {
		if key := partsOf(res.Type); key != "" && !made[strings.ToLower(res.Parent)] {
			r.scopeInName(res)
			out = append(out, addition{res.Path, strings.Clone(res.Name), key, res.Parent, built[i]})
		}
	}
	return out
}

// ownerKind is what the resource is that an addition is part of.
func (a addition) ownerKind() string {
	switch a.key {
	case "securityRules":
		return groupKind
	case "routes":
		return tableKind
	}
	return networkKind
}

// settle puts what templates add to resources of other documents into them, as deploying
// it does: a part of the same name is replaced.
func (d *Documents) settle() {
	if len(d.unsettled) == 0 {
		return
	}
	d.findOwners()
	for _, r := range d.unsettled {
		for _, a := range r.additions {
			r.add(a)
		}
		r.group, r.rule, r.home = "", "", home{}
		r.finish()
	}
	d.unsettled, d.owners = nil, nil
}

func (r *reader) add(a addition) {
	d := r.docs
	r.group, r.rule, r.home = "", "", home{}
	switch a.key {
	case "securityRules":
		if g := ownerOf(r, a, d.Groups, groupIdentity); g != nil {
			r.group = g.Name
			g.Rules = addPart(r, a, groupIdentity(g), g.Rules, r.securityRule, sameRule)
		}
	case "routes":
		if t := ownerOf(r, a, d.RouteTables, tableIdentity); t != nil {
			t.Routes = addPart(r, a, tableIdentity(t), t.Routes, r.route, sameRoute)
		}
	case "subnets":
		if n := ownerOf(r, a, d.VirtualNetworks, networkIdentity); n != nil {
			n.Subnets = addPart(r, a, networkIdentity(n), n.Subnets, r.subnet, sameSubnet)
		}
	case "virtualNetworkPeerings":
		if n := ownerOf(r, a, d.VirtualNetworks, networkIdentity); n != nil {
			n.Peerings = addPart(r, a, networkIdentity(n), n.Peerings, r.peering, samePeering)
		}
	}
}

// findOwners looks all additions' resources up at once: there may be many of both.
func (d *Documents) findOwners() {
	d.owners = map[string][]int{}
	for _, r := range d.unsettled {
		for _, a := range r.additions {
			d.owners[placeOf(a.ownerKind(), "", a.parent)] = nil
		}
	}
	findAmong(d, groupKind, d.Groups, groupIdentity)
	findAmong(d, tableKind, d.RouteTables, tableIdentity)
	findAmong(d, networkKind, d.VirtualNetworks, networkIdentity)
}

func findAmong[T any](d *Documents, what string, all []T, of func(*T) identity) {
	for i := range all {
		for _, id := range unplaced(of(&all[i]).id) {
			if found, wanted := d.owners[placeOf(what, "", id)]; wanted {
				d.owners[placeOf(what, "", id)] = append(found, i)
			}
		}
	}
}

// Where an id has the place of its resource, among its segments.
const (
	subscriptionAt = 2
	groupAt        = 4
)

func segments(id string) []string { return strings.Split("/"+strings.Trim(id, "/"), "/") }

// unplaced are the ids that a resource may have in templates of which it is not known
// where they are deployed: with a placeholder for either part of the place, or both.
func unplaced(id string) []string {
	parts := segments(id)
	if len(parts) <= groupAt {
		return nil
	}
	var out []string
	subscription, group := parts[subscriptionAt], parts[groupAt]
	for _, place := range [][2]string{{placeholderSubscription, group}, {subscription, placeholderGroup}, {placeholderSubscription, placeholderGroup}} {
		parts[subscriptionAt], parts[groupAt] = place[0], place[1]
		if id := strings.Join(parts, "/"); !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// ownersOf tells where in their list the resources stand that an addition may be part of:
// the one with just its id, or those whose id is that but for placeholders; and one that
// is known by its name alone.
func (d *Documents) ownersOf(a addition) []int {
	if at, known := d.places[placeOf(a.ownerKind(), "", a.parent)]; known {
		return []int{at}
	}
	found := d.owners[placeOf(a.ownerKind(), "", a.parent)]
	if at, known := d.places[placeOf(a.ownerKind(), lastSegment(a.parent), "")]; known {
		found = append(slices.Clip(found), at)
	}
	return found
}

// ownerOf finds the resource that a part is added to, and tells why where there is none.
func ownerOf[T any](r *reader, a addition, all []T, of func(*T) identity) *T {
	found := r.docs.ownersOf(a)
	switch len(found) {
	case 0:
		r.orphan(a)
		return nil
	case 1:
		owner := &all[found[0]]
		r.home = home{parent: a.parent, owner: of(owner).id}
		return owner
	}
	f := nsg.Finding{Severity: nsg.Error, Code: ScopeUnknown, Property: "name", Value: a.name}
	if r.told < toldOfDocument { // to list them is to sort them
		var ids []string
		for _, at := range found {
			ids = append(ids, cmp.Or(of(&all[at]).id, of(&all[at]).name))
		}
		f.Message = a.path + ": " + word(a.name) + " may be part of several: " + enumerate(ids) +
			"; vnetctl is told where the template is deployed by --resource-group and --subscription"
	}
	r.tell(f)
	return nil
}

// orphan tells of a part whose resource is in no document: to whose rules it would be
// added is not known. Subnets and peerings of such a network are in many templates, and
// no group depends on them.
func (r *reader) orphan(a addition) {
	f := nsg.Finding{
		Severity: nsg.Error, Code: Missing, Property: "name", Value: a.name,
		Message: a.path + ": " + word(a.name) + " is part of a resource that is in no document: " + word(a.parent),
	}
	if a.ownerKind() == networkKind {
		f.Severity, f.Code = nsg.Warning, Skipped
		f.Message = a.path + ": " + word(a.name) + " is not read: it is part of a virtual network that is in no document: " + word(a.parent)
	}
	r.tell(f)
}

// home tells where a template is deployed that did not know it: where the resource is
// that it adds to.
type home struct{ parent, owner string } // the resource's id in the template and its own

// placed is an id without those placeholders that stand for a place which is known now. One
// that the documents have with them is that of a resource which a template makes.
func (r *reader) placed(id string) string {
	if r.home.owner == "" || !strings.HasPrefix(id, "/") {
		return id
	}
	for _, what := range []string{groupKind, networkKind, asgKind, tableKind} {
		if _, made := r.docs.places[placeOf(what, "", id)]; made {
			return id
		}
	}
	parts, parent, owner := segments(id), segments(r.home.parent), segments(r.home.owner)
	for at, placeholder := range [...]string{subscriptionAt: placeholderSubscription, groupAt: placeholderGroup} {
		if placeholder != "" && at < min(len(parts), len(parent), len(owner)) && strings.EqualFold(parts[at], placeholder) && strings.EqualFold(parent[at], placeholder) {
			parts[at] = owner[at]
		}
	}
	return strings.Join(parts, "/")
}

// extended is a resource that templates add parts to; parts are known by their names in
// lower case.
type extended struct {
	at    map[string]int    // where they stand
	added map[string]string // which file adds one
	files map[string]string // which file one is from, unless from the resource's
}

func extensionKey(list, kind, name, id string) string { return list + " of " + placeOf(kind, name, id) }

// extension is what is known of the parts of one kind of a resource.
func extension[T part](d *Documents, a addition, owner identity, parts []T) *extended {
	key := extensionKey(a.key, a.ownerKind(), owner.name, owner.id)
	x, known := d.extensions[key]
	if known {
		return x
	}
	x = &extended{at: make(map[string]int, len(parts)), added: map[string]string{}, files: map[string]string{}}
	for i, p := range parts {
		x.at[strings.ToLower(nameOf(p))] = i
	}
	if d.extensions == nil {
		d.extensions = map[string]*extended{}
	}
	d.extensions[key] = x
	return x
}

// RuleFile is where a group's rule was read: another file than the group's if a template
// adds it.
func (d *Documents) RuleFile(g *nsg.Definition, rule string) string {
	if x, known := d.extensions[extensionKey("securityRules", groupKind, g.Name, g.ID)]; known {
		return cmp.Or(x.files[strings.ToLower(rule)], g.File)
	}
	return g.File
}

// addPart adds a part to those of its resource. Two templates that add different ones of
// one name contradict each other: which is deployed last is not known.
func addPart[T part](r *reader, a addition, owner identity, parts []T, read func(value) T, same func(a, b T) bool) []T {
	p, ok := readPart(r, a.part, read)
	if !ok {
		return parts
	}
	x, name := extension(r.docs, a, owner, parts), strings.ToLower(nameOf(p))
	other, twice := x.added[name]
	x.added[name] = r.file
	i, there := x.at[name]
	if !there {
		x.at[name], x.files[name] = len(parts), r.file
		return append(parts, p)
	}
	p = over(parts[i], p)
	switch {
	case same(parts[i], p):
	case twice:
		r.conflict(a.path+":", a.name, "", other)
	default:
		r.tell(nsg.Finding{
			Severity: nsg.Warning, Code: Replaced, Property: "name", Value: a.name,
			Message: a.path + ": " + word(a.name) + " takes the place of the one in " + owner.file,
		})
		parts[i], x.files[name] = p, r.file
	}
	return parts
}

// over is a part that is deployed over another one. A peering to the same network keeps
// what no template says of it.
func over[T part](before, p T) T {
	was, _ := any(before).(Peering)
	is, isPeering := any(p).(Peering)
	if !isPeering || !strings.EqualFold(was.RemoteNetwork, is.RemoteNetwork) {
		return p
	}
	is.State = cmp.Or(is.State, was.State)
	if len(is.RemoteAddressSpace) == 0 {
		is.RemoteAddressSpace = was.RemoteAddressSpace
	}
	return any(is).(T) //nolint:forcetypeassert // T is Peering
}
