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
	res  template.Resource
	part value
}

// additions are those parts whose resource the template does not make. Whether another
// document has it is known when all are read.
func additions(resources []template.Resource, built []value) []addition {
	made := make(map[string]bool, len(resources))
	for _, res := range resources {
		made[strings.ToLower(res.ID)] = true
	}
	var out []addition
	for i, res := range resources {
		if partsOf(res.Type) != "" && !made[strings.ToLower(res.Parent)] {
			out = append(out, addition{res, built[i]})
		}
	}
	return out
}

// settle puts what templates add to resources of other documents into them, as deploying
// it does: a part of the same name is replaced.
func (d *Documents) settle() {
	for _, r := range d.unsettled {
		for _, a := range r.additions {
			r.add(a)
		}
		r.finish()
	}
	d.unsettled = nil
}

func (r *reader) add(a addition) {
	d := r.docs
	switch partsOf(a.res.Type) {
	case "securityRules":
		if g := ownerOf(r, a, "network security group", d.Groups, groupIdentity); g != nil {
			r.group = g.Name
			g.Rules = addPart(r, a, groupIdentity(g), g.Rules, r.securityRule, sameRule)
		}
	case "routes":
		if t := ownerOf(r, a, "route table", d.RouteTables, tableIdentity); t != nil {
			t.Routes = addPart(r, a, tableIdentity(t), t.Routes, r.route, sameRoute)
		}
	case "subnets":
		if n := ownerOf(r, a, "virtual network", d.VirtualNetworks, networkIdentity); n != nil {
			n.Subnets = addPart(r, a, networkIdentity(n), n.Subnets, r.subnet, sameSubnet)
		}
	case "virtualNetworkPeerings":
		if n := ownerOf(r, a, "virtual network", d.VirtualNetworks, networkIdentity); n != nil {
			n.Peerings = addPart(r, a, networkIdentity(n), n.Peerings, r.peering, samePeering)
		}
	}
	r.group, r.rule = "", ""
}

// ownerOf finds the resource that a part is added to, and tells why where there is none.
// What is not known of where the template is deployed may be anything.
func ownerOf[T any](r *reader, a addition, what string, all []T, of func(*T) identity) *T {
	if owner, err := lookUp(what, all, a.res.Parent, of); err == nil {
		return owner
	}
	var found []*T
	var ids []string
	for i := range all {
		if id := of(&all[i]); id.mayBe(a.res.Parent) {
			found, ids = append(found, &all[i]), append(ids, cmp.Or(id.id, id.name))
		}
	}
	switch len(found) {
	case 1:
		return found[0]
	case 0:
		r.orphan(a)
		return nil
	}
	r.tell(nsg.Finding{
		Severity: nsg.Error, Code: ScopeUnknown, Property: "name", Value: a.res.Name,
		Message: a.res.Path + ": " + word(a.res.Name) + " may be part of several: " + enumerate(ids) +
			"; vnetctl is told where the template is deployed by --resource-group and --subscription",
	})
	return nil
}

// mayBe reports whether an id with placeholders may be the resource's; one that is known
// by its name alone is any with this name.
func (i identity) mayBe(id string) bool {
	if i.id == "" {
		return strings.EqualFold(i.name, lastSegment(id))
	}
	have, want := strings.Split(strings.Trim(i.id, "/"), "/"), strings.Split(strings.Trim(id, "/"), "/")
	return slices.EqualFunc(have, want, func(have, want string) bool {
		return strings.EqualFold(have, want) || want == placeholderSubscription || want == placeholderGroup
	})
}

// orphan tells of a part whose resource is in no document: to whose rules it would be
// added is not known. Subnets and peerings of such a network are in many templates, and
// no group depends on them.
func (r *reader) orphan(a addition) {
	f := nsg.Finding{
		Severity: nsg.Error, Code: Missing, Property: "name", Value: a.res.Name,
		Message: a.res.Path + ": " + word(a.res.Name) + " is part of a resource that is in no document: " + word(a.res.Parent),
	}
	if ofNetwork(a.res.Type) {
		f.Severity, f.Code = nsg.Warning, Skipped
		f.Message = a.res.Path + ": " + word(a.res.Name) + " is not read: it is part of a virtual network that is in no document: " + word(a.res.Parent)
	}
	r.tell(f)
}

// addPart adds a part to those of its resource. Two templates that add different ones of
// one name contradict each other: which is deployed last is not known.
func addPart[T part](r *reader, a addition, owner identity, parts []T, read func(value) T, same func(a, b T) bool) []T {
	p, ok := readPart(r, a.part, read)
	if !ok {
		return parts
	}
	name := nameOf(p)
	key := placeOf(partsOf(a.res.Type), name, "") + " of " + placeOf("", owner.name, owner.id)
	i := slices.IndexFunc(parts, func(x T) bool { return strings.EqualFold(nameOf(x), name) })
	other, twice := r.docs.added[key]
	if r.docs.added == nil {
		r.docs.added = map[string]string{}
	}
	r.docs.added[key] = r.file
	switch {
	case i < 0:
		return append(parts, p)
	case same(parts[i], p):
	case twice:
		r.tell(nsg.Finding{
			Severity: nsg.Error, Code: Conflict, Property: "name", Value: a.res.Name,
			Message: a.res.Path + ": " + word(a.res.Name) + " is here (" + r.file + ") with other contents than in " + other,
		})
	default:
		r.tell(nsg.Finding{
			Severity: nsg.Warning, Code: Replaced, Property: "name", Value: a.res.Name,
			Message: a.res.Path + ": " + word(a.res.Name) + " takes the place of the one in " + owner.file,
		})
		parts[i] = p
	}
	return parts
}
