package arm

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm/template"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Deployment is what Azure is told beside a template when it is deployed, and what
// files do not say.
type Deployment struct {
	Parameters    []string // parameter files, the later one's values counting
	Subscription  string   // id of the subscription; "": a placeholder
	ResourceGroup string   // name of the resource group; "": a placeholder
}

// What ids and names of a template's resources have where nobody tells where it is
// deployed, and under which name.
const (
	placeholderSubscription = "00000000-0000-0000-0000-000000000000"
	placeholderGroup        = "unknown-resource-group"
	placeholderDeployment   = "unknown-deployment"
)

// deployment is a Deployment whose parameter files are read.
type deployment struct {
	Deployment
	parameters *template.Object  // by name
	unused     map[string]origin // of parameters that no template has so far, by name in lower case
}

// origin is where a parameter's value was read.
type origin struct{ file, name string }

func (d *deployment) subscription() string { return cmp.Or(d.Subscription, placeholderSubscription) }
func (d *deployment) group() string        { return cmp.Or(d.ResourceGroup, placeholderGroup) }

// declared notes that a template has its parameters.
func (d *deployment) declared(doc *template.Object) {
	v, _ := doc.Get("parameters")
	parameters, _ := v.(*template.Object)
	for name := range parameters.All() {
		delete(d.unused, strings.ToLower(name))
	}
}

// LoadWith is Load for documents among which are templates: with is what they are
// deployed with. A parameter that none of them has is an error, as it is to Azure.
func LoadWith(paths []string, with Deployment) *Documents {
	d := &Documents{deployment: deployment{Deployment: with}}
	for _, file := range with.Parameters {
		d.readParameters(file)
	}
	d.load(paths)
	for _, key := range slices.Sorted(maps.Keys(d.deployment.unused)) {
		from := d.deployment.unused[key]
		d.Findings = append(d.Findings, nsg.Finding{
			Severity: nsg.Error, Code: UnknownParameter, File: from.file, Property: "parameters", Value: from.name,
			Message: "parameters." + word(from.name) + ": no template among the documents has this parameter",
		})
	}
	return d
}

// readParameters reads one parameter file:
// learn.microsoft.com/azure/azure-resource-manager/templates/parameter-files.
func (d *Documents) readParameters(file string) {
	data, err := readFile(file)
	if err != nil {
		d.unreadable(file, err)
		return
	}
	r := &reader{file: file, docs: d}
	t, err := treeOf(data)
	if err != nil {
		r.broken(codeOf(err), err.Error())
		return
	}
	r.parameters(value{t, 0})
	r.finish()
}

// parameters keeps the values of a parameter file: {"parameters": {…}} or, as az takes
// it too, only what is in there.
func (r *reader) parameters(top value) {
	values := top
	if inner := top.get("parameters"); inner.given() && (isParameters(top) || inner.get("value").kind() == absentKind) {
		values = inner
	}
	if values.kind() != objectKind || top.get("resources").given() {
		r.fault(Malformed, "parameters", top, "this is no parameter file: it has the form {\"parameters\": {\"name\": {\"value\": …}}}")
		return
	}
	with := &r.docs.deployment
	if with.parameters == nil {
		with.parameters, with.unused = &template.Object{}, map[string]origin{}
	}
	for key, v := range values.members() {
		name := key.string()
		if strings.HasPrefix(name, "$") || name == "contentVersion" {
			continue
		}
		parameter, ok := v.literal().(*template.Object)
		if !ok {
			r.fault(WrongType, "parameters", v, "the parameter %s is %s, where an object with a value belongs", quote(name), v.kind())
			continue
		}
		with.parameters.Set(name, template.ParameterValue(parameter))
		with.unused[strings.ToLower(name)] = origin{r.file, strings.Clone(name)}
	}
}
