package arm

import (
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm/template"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// template reads the resources that an ARM template would make. Those of types that
// this package does not read are left out without a word, as is what the rest says
// beside their properties.
func (r *reader) template(top value) {
	if len(top.tree.nodes) > maxTemplateValues {
		r.fault(TooLarge, "resources", top, "the template has more than %d values, the limit", maxTemplateValues)
		return
	}
	doc, _ := top.literal().(*template.Object)
	with := &r.docs.deployment
	with.declared(doc)
	resources, problems := template.Resolve(doc, template.Options{
		Parameters: with.parameters, Subscription: with.subscription(), ResourceGroup: with.group(), Deployment: placeholderDeployment,
		Wanted: isRead, Nameless: isNameless, ParseJSON: parseJSON,
	})
	for _, p := range problems {
		r.problem(p)
	}
	built, ok := r.buildAll(resources)
	if !ok {
		return
	}
	children := childrenOf(resources, built)
	r.additions = r.additionsOf(resources, built)
	for i, res := range resources {
		if partsOf(res.Type) != "" {
			continue
		}
		r.scopeInName(res)
		r.children = children[strings.ToLower(res.ID)]
		r.resource(built[i])
		r.children = nil
	}
}

// isRead reports whether resources of a type are read.
func isRead(t string) bool {
	k := kindOfType(t)
	return k != unknown && k != serviceTags || partsOf(t) != ""
}

// isNameless reports whether a resource of a type is read though its name is not known:
// what a group says does not depend on it. What an application security group matches does,
// and a rule that is allowed or denied is told by its name.
func isNameless(t string) bool {
	k := kindOfType(t)
	return k == securityGroup || k == virtualNetwork || k == routeTable || ofNetwork(t)
}

// problem tells what is wrong with a template.
func (r *reader) problem(p template.Problem) {
	f := nsg.Finding{Severity: nsg.Error, Code: Unresolved, Property: p.Property, Value: strings.Clone(shorten(p.Fault.Expression))}
	if p.Warning {
		f.Severity, f.Code = nsg.Warning, Skipped
	}
	f.Message = p.Path + ": "
	if p.Fault.Expression != "" {
		f.Message += "the value of " + shorten(p.Fault.Expression) + " is not known: "
	}
	f.Message += abridge(p.Fault.Reason.Error())
	r.tell(f)
}

// buildAll makes a tree of each resource, as a document would have it.
func (r *reader) buildAll(resources []template.Resource) ([]value, bool) {
	var b builder
	built := make([]value, len(resources))
	for i, res := range resources {
		v, err := b.build(res.Path, asDocument(res))
		if err != nil {
			r.broken(TooLarge, res.Path+": "+err.Error())
			return nil, false
		}
		built[i] = v
	}
	return built, true
}

// asDocument writes a resource as Azure's REST interface would. A group that a template
// makes without rules has none.
func asDocument(res template.Resource) *template.Object {
	out := &template.Object{}
	out.Set("name", lastSegment(res.Name))
	out.Set("id", res.ID)
	out.Set("type", res.Type)
	properties := res.Properties
	if kindOfType(res.Type) == securityGroup {
		properties = withRules(properties)
	}
	out.Set("properties", properties)
	return out
}

func withRules(properties template.Value) template.Value {
	o, isObject := properties.(*template.Object)
	if properties != nil && !isObject {
		return properties
	}
	if _, ok := o.Get("securityRules"); ok {
		return properties
	}
	out := &template.Object{}
	for key, v := range o.All() {
		out.Set(key, v)
	}
	out.Set("securityRules", []template.Value{})
	return out
}

// childrenOf sorts the resources that are part of others: by the other's id in lower
// case, and by the key of its list.
func childrenOf(resources []template.Resource, built []value) map[string]map[string][]value {
	out := map[string]map[string][]value{}
	for i, res := range resources {
		key := partsOf(res.Type)
		if key == "" {
			continue
		}
		parent := strings.ToLower(res.Parent)
		if out[parent] == nil {
			out[parent] = map[string][]value{}
		}
		out[parent][key] = append(out[parent][key], built[i])
	}
	return out
}

// scopeInName warns of a name that has a placeholder in it.
func (r *reader) scopeInName(res template.Resource) {
	if res.Unnamed != nil {
		r.tell(nsg.Finding{
			Severity: nsg.Warning, Code: ScopeUnknown, Property: "name", Value: res.Name,
			Message: res.Path + ": the name or the id has a placeholder in it: " + res.Unnamed.Error(),
		})
		return
	}
	with := &r.docs.deployment
	name := strings.ToLower(res.Name)
	if with.ResourceGroup == "" && strings.Contains(name, placeholderGroup) ||
		with.Subscription == "" && strings.Contains(name, placeholderSubscription) || strings.Contains(name, placeholderDeployment) {
		r.tell(nsg.Finding{
			Severity: nsg.Warning, Code: ScopeUnknown, Property: "name", Value: res.Name,
			Message: res.Path + ": the name depends on where the template is deployed, or under which name, which is not known; " +
				"vnetctl is told the place by --resource-group and --subscription",
		})
	}
}
