package template

import (
	"fmt"
	"strconv"
	"strings"
)

// Options is what a deployment would be told, and what its resources are wanted for.
type Options struct {
	Parameters    *Object // values by name, taken as they are; nil: none
	Subscription  string  // id of the subscription that is deployed to
	ResourceGroup string  // name of the resource group
	Deployment    string  // name of the deployment
	// Wanted reports whether resources of a type are to be resolved. What others
	// say is looked at only where a wanted one refers to it.
	Wanted func(kind string) bool
	// Nameless reports whether resources of a type are of use though their name, or a part of
	// it, is not known; nil: none are.
	Nameless func(kind string) bool
	// ParseJSON reads the text that the function json() is given.
	ParseJSON func(text string) (Value, error)
}

// Resource is one resource that a deployment would make.
type Resource struct {
	Path   string // where the template has it, such as resources[2]; copies have their number behind it
	Type   string // in full, such as Microsoft.Network/networkSecurityGroups/securityRules
	Name   string // in full, such as web-nsg/allow-ssh
	ID     string // resource id
	Parent string // id of the resource that it is part of, or ""
	// Unnamed tells why parts of the name or id are placeholders; nil: none are.
	Unnamed error
	// Properties are resolved. What cannot be known is a *Fault in its place.
	Properties Value
}

// Problem is something that keeps a template from being resolved, or that is not part of it.
type Problem struct {
	Path     string // of the resource, or of what is in its place
	Property string // of the resource, such as "name"
	Fault    *Fault
	Warning  bool // nothing is wrong, but something is left out
}

const deploymentType = "Microsoft.Resources/deployments"

// Resolve returns the wanted resources of a template, in its order, and what is
// wrong with it. Conditions, loops, child resources and nested deployments are
// resolved; of a nested deployment the resources follow in its place.
func Resolve(doc *Object, with Options) ([]Resource, []Problem) {
	e := &evaluator{with: with, parsed: map[string]parsing{}, fixed: map[fixedCall]Value{}}
	at := place{with.Subscription, with.ResourceGroup}
	if !intoGroup(doc.text("$schema")) {
		at.group = ""
	}
	w := &walk{evaluator: e}
	w.resources(doc, around{in: env{scope: newScope(doc, with.Parameters, at, with.Deployment)}, place: at})
	if err := w.over(); err != nil {
		e.told = append(e.told, Problem{Path: "resources", Property: "resources", Fault: &Fault{Reason: err}})
	}
	return w.made, e.told
}

// over tells the limit that the template goes beyond: then nothing more is looked at.
func (w *walk) over() error {
	switch {
	case w.instances > maxResources:
		return fmt.Errorf("the template makes more than %d resources, the limit", maxResources)
	case len(w.told) >= maxProblems:
		return fmt.Errorf("the template has more than %d problems", maxProblems)
	}
	return w.spend(0)
}

// intoGroup reports whether a template with this schema is deployed to a resource group,
// not to a subscription, a management group or a tenant.
func intoGroup(schema string) bool {
	schema = strings.ToLower(schema)
	for _, to := range []string{"subscription", "managementgroup", "tenant"} {
		if strings.Contains(schema, to+"deploymenttemplate") {
			return false
		}
	}
	return true
}

// walk goes through the resources of a template.
type walk struct {
	*evaluator
	made []Resource
	all  func(*instance) // of an index: gets every resource, and nobody is told of problems
}

// around is what surrounds resources.
type around struct {
	in     env
	place  place
	parent *instance
	path   string
}

// instance is one resource: of a loop, one of its rounds.
type instance struct {
	body         *Object
	in           env
	place        place
	path         string
	symbol       string // its name in a template whose resources are an object
	kind, name   string
	parent       *instance
	existing     bool // not made, only spoken of
	made         bool // the properties are resolved
	busy         bool
	properties   Value
	nestedOutput *Object
}

func (w *walk) tell(path, property string, f *Fault) {
	if w.all == nil {
		w.told = append(w.told, Problem{Path: path, Property: property, Fault: f})
	}
}

// resources goes through the resources of a template or, as children, of a resource:
// an array or, with symbolic names, an object.
func (w *walk) resources(of *Object, a around) {
	v, _ := of.Get("resources")
	path := strings.TrimPrefix(a.path+".resources", ".")
	switch list := v.(type) {
	case nil:
	case []Value:
		for i, r := range list {
			w.resource(r, "", path+"["+strconv.Itoa(i)+"]", a)
		}
	case *Object:
		for symbol, r := range list.All() {
			w.resource(r, symbol, path+"."+shorten(symbol), a)
		}
	default:
		w.tell(path, "resources", &Fault{Reason: fmt.Errorf("it is %s, where an array or an object belongs", kindOf(v))})
	}
}

// resource resolves one entry: none, one or, in a loop, many resources.
func (w *walk) resource(v Value, symbol, path string, a around) {
	if w.spend(resourceSteps) != nil || w.over() != nil {
		return
	}
	body, ok := v.(*Object)
	if !ok {
		w.tell(path, "resources", &Fault{Reason: fmt.Errorf("it is %s, where an object belongs", kindOf(v))})
		return
	}
	one := &instance{body: body, in: a.in, place: a.place, path: path, symbol: symbol, parent: a.parent}
	if existing, _ := body.Get("existing"); existing == true {
		one.existing = true
	}
	var fault *Fault
	if one.kind, fault = w.word(one, "type"); fault != nil {
		w.tell(path, "type", fault)
		return
	}
	one.kind = fullType(one)
	if w.spend(len(one.kind)/4) != nil {
		return
	}
	if !w.relevant(one) {
		return
	}
	copies, _ := body.Get("copy")
	if copies == nil {
		w.instance(one)
		return
	}
	loopBody, ok := copies.(*Object)
	if !ok {
		w.tell(path, "copy", &Fault{Reason: fmt.Errorf("it is %s, where an object belongs", kindOf(copies))})
		return
	}
	count, err := w.count(a.in, loopBody)
	if err != nil {
		w.tell(path, "copy", &Fault{Expression: loopBody.text("count"), Reason: within("the count of the loop", err)})
		return
	}
	for i := range count {
		if w.over() != nil {
			return
		}
		round := *one
		round.in.loops = &loop{name: loopBody.text("name"), index: i, outer: a.in.loops}
		round.path += fmt.Sprintf(" (copy %d)", i)
		if symbol != "" {
			round.symbol = fmt.Sprintf("%s[%d]", symbol, i)
		}
		w.instance(&round)
	}
}

// relevant reports whether a resource is looked at: a wanted one, or one that has
// others in it.
func (w *walk) relevant(i *instance) bool {
	return w.all != nil || !i.existing && (w.with.Wanted(i.kind) || i.isDeployment() && w.concerns(i.body))
}

// word resolves a member that must be a string that is not empty.
func (w *walk) word(i *instance, key string) (string, *Fault) {
	source, _ := i.body.Get(key)
	text, _ := source.(string)
	v, err := known(w.resolve(i.in, source))
	if err != nil {
		return "", faultOf(err, text)
	}
	s, ok := v.(string)
	if !ok || s == "" {
		return "", &Fault{Expression: text, Reason: fmt.Errorf("the %s is %s, where a string belongs that is not empty", key, kindOf(v))}
	}
	return s, nil
}

// faultOf returns an error as a fault, of the expression if it is of none.
func faultOf(err error, expression string) *Fault {
	if f, ok := err.(*Fault); ok { //nolint:errorlint // a fault within another one is not it
		return f
	}
	return &Fault{Expression: expression, Reason: err}
}

// fullType writes the type of a child with its parent's.
func fullType(i *instance) string {
	if i.parent == nil || hasPrefixFold(i.kind, i.parent.kind+"/") {
		return i.kind
	}
	return i.parent.kind + "/" + i.kind
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// fullName writes the name of a child with its parent's, unless it has that already.
func fullName(i *instance) string {
	if i.parent == nil || strings.Count(i.name, "/")+1 == strings.Count(i.kind, "/") && hasPrefixFold(i.name, i.parent.name+"/") {
		return i.name
	}
	return i.parent.name + "/" + i.name
}

// id is the resource's id; an error where the name has too many parts or too few.
func (i *instance) id() (string, error) {
	return idOf(i.place.String(), i.kind, strings.Split(i.name, "/"))
}

// instance resolves one resource and what is in it.
func (w *walk) instance(i *instance) {
	w.instances++
	if w.over() != nil {
		return
	}
	deployed, fault := w.condition(i)
	if fault != nil {
		w.tell(i.path, "condition", fault)
		return
	}
	nested, _ := i.body.Get("resources")
	if !deployed && nested == nil {
		return
	}
	if i.name, fault = w.word(i, "name"); fault != nil && !i.isDeployment() { // whose names are of no interest
		w.tell(i.path, "name", fault)
		return
	}
	i.name = fullName(i)
	if w.spend((len(i.name)+len(i.symbol))/4) != nil {
		return
	}
	switch {
	case !deployed: // which does not mean its children: they have conditions of their own
	case w.all != nil:
		w.all(w.placed(i))
	case i.isDeployment():
		w.deployment(i)
	default:
		w.make(i)
	}
	w.resources(i.body, around{in: i.in, place: i.place, parent: i, path: i.path})
}

func (i *instance) isDeployment() bool { return strings.EqualFold(i.kind, deploymentType) }

func (w *walk) condition(i *instance) (bool, *Fault) {
	source, ok := i.body.Get("condition")
	if !ok {
		return true, nil
	}
	text, _ := source.(string)
	v, err := known(w.resolve(i.in, source))
	if err != nil {
		return false, faultOf(err, text)
	}
	if s, ok := v.(string); ok && (strings.EqualFold(s, "true") || strings.EqualFold(s, "false")) {
		return strings.EqualFold(s, "true"), nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, &Fault{Expression: text, Reason: fmt.Errorf("the condition is %s, where true or false belongs", kindOf(v))}
	}
	return b, nil
}

// make adds a wanted resource.
func (w *walk) make(i *instance) {
	id, err := i.id()
	if err != nil {
		w.tell(i.path, "name", &Fault{Expression: i.body.text("name"), Reason: err})
		return
	}
	p, unnamed := placeholderIn(id)
	if unnamed && !w.nameless(i.kind, strings.Split(i.name, "/")) {
		source := i.body.text("name")
		w.tell(i.path, "name", &Fault{Expression: source, Reason: w.because(i.in, source, p, causes)})
		return
	}
	r := Resource{Path: i.path, Type: i.kind, Name: spelled(i.name), ID: spelled(id)}
	if unnamed {
		r.Unnamed = p.reason()
	}
	if at := strings.LastIndexByte(i.name, '/'); at >= 0 {
		r.Parent, _ = idOf(i.place.String(), i.kind[:strings.LastIndexByte(i.kind, '/')], strings.Split(i.name[:at], "/"))
		r.Parent = spelled(r.Parent)
	}
	r.Properties, err = w.propertiesOf(i)
	if err != nil {
		r.Properties = faultOf(err, "")
	}
	w.made = append(w.made, r)
}

// propertiesOf resolves the properties of a resource, once.
func (e *evaluator) propertiesOf(i *instance) (Value, error) {
	if i.busy {
		return nil, fmt.Errorf("the properties of %s need themselves", quote(i.name))
	}
	if !i.made {
		i.busy = true
		source, _ := i.body.Get("properties")
		in := i.in
		in.settled = true
		i.properties = e.resolve(in, source)
		i.busy, i.made = false, true
	}
	return i.properties, nil
}
