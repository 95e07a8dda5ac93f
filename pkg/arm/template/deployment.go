package template

import (
	"fmt"
	"iter"
	"strings"
)

// deployment resolves the resources of a deployment within the template. Its
// expressions are evaluated in the template around it or, where it says so, in
// itself. See
// learn.microsoft.com/azure/azure-resource-manager/templates/linked-templates.
func (w *walk) deployment(i *instance) {
	properties := i.body.object("properties")
	doc := properties.object("template")
	if doc == nil {
		w.told = append(w.told, Problem{Path: i.path, Property: "properties", Warning: true, Fault: &Fault{
			Reason: fmt.Errorf("the deployment %s is not read: its template is not in the document", quote(i.name)),
		}})
		return
	}
	in, at, err := w.nested(i, properties, doc)
	if err != nil {
		w.tell(i.path, "properties", faultOf(err, ""))
		return
	}
	w.resources(doc, around{in: in, place: at, path: i.path + ".properties.template"})
}

// concerns reports whether a deployment may make a resource that is wanted, or is one
// whose template is elsewhere. Of others nothing needs to be known.
func (w *walk) concerns(deployment *Object) bool {
	doc := deployment.object("properties").object("template")
	return doc == nil || w.mentions(doc)
}

// mentions reports whether resources, or those in them, have a type that is wanted.
func (w *walk) mentions(of *Object) bool {
	v, _ := of.Get("resources")
	list, _ := v.([]Value)
	if symbols, ok := v.(*Object); ok {
		for _, r := range symbols.All() {
			list = append(list, r)
		}
	}
	if w.spend(len(list)) != nil {
		return true
	}
	for _, r := range list {
		o, _ := r.(*Object)
		kind := o.text("type")
		if w.spend(len(kind)/4) != nil {
			return true
		}
		deployed := strings.EqualFold(kind, deploymentType)
		if isExpression(kind) || w.with.Wanted(kind) || deployed && w.concerns(o) || !deployed && w.mentions(o) {
			return true
		}
	}
	return false
}

// nested returns what the expressions of a deployment see, and where its resources are.
// Where it does not say, that is the template around it, but with symbolic names itself.
func (e *evaluator) nested(i *instance, properties, doc *Object) (env, place, error) {
	at, err := e.target(i)
	if err != nil {
		return env{}, at, err
	}
	options, _ := properties.object("expressionEvaluationOptions").Get("scope")
	mode, err := known(e.resolve(i.in, options))
	if err != nil {
		return env{}, at, err
	}
	if s, _ := mode.(string); strings.EqualFold(s, "outer") || !strings.EqualFold(s, "inner") && !i.in.scope.symbolic() {
		return i.in, at, nil
	}
	given, err := e.given(i.in, properties)
	return env{scope: newScope(doc, given, at, i.name)}, at, err
}

// given are the values of a deployment's parameters. One by one: a template may need few.
func (e *evaluator) given(in env, properties *Object) (*Object, error) {
	if _, ok := properties.Get("parametersLink"); ok {
		return nil, fmt.Errorf("its parameters are not in the document: it has a parametersLink")
	}
	resolve := func(v Value) Value { return e.resolve(in, v) }
	source, _ := properties.Get("parameters")
	values, ok := source.(*Object)
	if !ok && source != nil {
		v, err := known(resolve(source))
		if values, ok = v.(*Object); !ok && err == nil {
			err = fmt.Errorf("its parameters are %s, where an object belongs", kindOf(v))
		}
		if err != nil {
			return nil, err
		}
		resolve = func(v Value) Value { return v } // what is resolved is not resolved again
	}
	out := &Object{}
	for name, v := range values.All() {
		o, _ := resolve(v).(*Object)
		out.Set(name, ParameterValue(o))
	}
	return out, nil
}

// ParameterValue returns the value in a parameter's object, as deployments and
// parameter files have them: {"value": …}. One that is a reference to a key vault is a Fault.
func ParameterValue(o *Object) Value {
	if v, ok := o.Get("value"); ok {
		return v
	}
	if _, ok := o.Get("reference"); ok {
		return &Fault{Reason: fmt.Errorf("its value is in a key vault, which is known to Azure only")}
	}
	return &Fault{Reason: fmt.Errorf("it is given without a value")}
}

// target is where a deployment makes its resources. One to a subscription, and to none
// of its resource groups, is one to the subscription itself.
func (e *evaluator) target(i *instance) (place, error) {
	at := i.place
	if _, elsewhere := i.body.Get("subscriptionId"); elsewhere {
		at.group = ""
	}
	for key, into := range at.keys() {
		source, ok := i.body.Get(key)
		if !ok {
			continue
		}
		v, err := known(e.resolve(i.in, source))
		if err != nil {
			return at, err
		}
		s, ok := v.(string)
		if !ok || s == "" {
			return at, fmt.Errorf("its %s is %s, where a string belongs that is not empty", key, kindOf(v))
		}
		*into = s
	}
	return at, nil
}

// placed returns an instance in the place that its id has: of a deployment, its target.
func (e *evaluator) placed(i *instance) *instance {
	if i.isDeployment() {
		if at, err := e.target(i); err == nil {
			i.place = at
		}
	}
	return i
}

// keys yields what a deployment says of its target.
func (p *place) keys() iter.Seq2[string, *string] {
	return func(yield func(string, *string) bool) {
		_ = yield("subscriptionId", &p.subscription) && yield("resourceGroup", &p.group)
	}
}

// output resolves one output. One with a loop, {"copy": {count, input}}, is the array that
// the loop makes.
func (e *evaluator) output(in env, v Value) Value {
	o, _ := v.(*Object)
	l := o.object("copy")
	if l == nil {
		return e.resolve(in, v)
	}
	out := &Object{}
	out.Set("value", e.array(in, l, false))
	return out
}

// outputs resolves what a deployment gives back: {name: {type, value}}.
func (e *evaluator) outputs(i *instance) (*Object, error) {
	if i.nestedOutput != nil {
		return i.nestedOutput, nil
	}
	if i.busy {
		return nil, fmt.Errorf("the outputs of %s need themselves", quote(i.name))
	}
	i.busy = true
	defer func() { i.busy = false }()
	properties := i.body.object("properties")
	doc := properties.object("template")
	if doc == nil {
		return nil, fmt.Errorf("the template of the deployment %s is not in the document", quote(i.name))
	}
	in, _, err := e.nested(i, properties, doc)
	if err != nil {
		return nil, err
	}
	out := &Object{}
	for name, v := range doc.object("outputs").All() {
		out.Set(name, e.output(in, v))
	}
	i.nestedOutput = &Object{}
	i.nestedOutput.Set("outputs", out)
	return i.nestedOutput, nil
}
