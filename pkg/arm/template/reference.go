package template

import (
	"cmp"
	"fmt"
	"strings"
)

// index finds the resources of a template by symbolic name, name or id, in lower case.
// One whose name cannot be known is not in it; nil is a name that several have.
type index struct {
	busy   bool
	places map[string]*instance
}

// find returns the resource that reference() means.
func (c *call) find(of string) (*instance, error) {
	s := c.in.scope
	if s.index == nil {
		s.index = &index{busy: true, places: map[string]*instance{}}
		w := &walk{evaluator: c.evaluator, all: s.index.add}
		w.resources(s.doc, around{in: env{scope: s}, place: s.place})
		s.index.busy = false
	}
	if s.index.busy {
		return nil, fmt.Errorf("a resource's name, condition and copy must not refer to resources")
	}
	i, ok := s.index.places[strings.ToLower(of)]
	if !ok {
		return nil, fmt.Errorf("%s is no resource of the template, and others are known to Azure only", quote(of))
	}
	if i == nil {
		return nil, fmt.Errorf("several resources have the name %s", quote(of))
	}
	return i, nil
}

func (x *index) add(i *instance) {
	var keys []string
	if key := cmp.Or(i.symbol, i.name); key != "" { // with symbolic names, names are none
		keys = append(keys, key)
	}
	if id, err := i.id(); err == nil {
		keys = append(keys, id)
	}
	for _, key := range keys {
		key = strings.ToLower(key)
		if _, twice := x.places[key]; twice {
			x.places[key] = nil
			continue
		}
		x.places[key] = i
	}
}

// reference returns the properties of a resource of the same template as it says
// them; of a deployment, its outputs. With 'Full' it is the whole resource.
func (c *call) reference() (Value, error) {
	of, err := c.str(0)
	if err != nil {
		return nil, err
	}
	full, err := c.asksFull(2)
	if err != nil {
		return nil, err
	}
	return c.referTo(of, full)
}

// references returns what reference says of each resource of a loop.
func (c *call) references() (Value, error) {
	symbol, err := c.str(0)
	if err != nil {
		return nil, err
	}
	full, err := c.asksFull(1)
	if err != nil {
		return nil, err
	}
	body := c.in.scope.doc.object("resources").object(symbol)
	loop := body.object("copy")
	if loop == nil {
		return nil, fmt.Errorf("%s is no resource of the template with a symbolic name and a loop", quote(symbol))
	}
	if _, ok := body.Get("condition"); ok {
		return nil, fmt.Errorf("what it says of %s, which has a condition, is not documented", quote(symbol))
	}
	count, err := c.count(env{scope: c.in.scope}, loop)
	if err != nil {
		return nil, within("the count of the loop", err)
	}
	out := make([]Value, count)
	for i := range out {
		if out[i], err = c.referTo(fmt.Sprintf("%s[%d]", symbol, i), full); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// asksFull reports whether an argument asks for whole resources instead of their properties.
func (c *call) asksFull(i int) (bool, error) {
	if len(c.args) <= i {
		return false, nil
	}
	s, err := c.str(i)
	full := strings.EqualFold(s, "Full")
	if err == nil && !full && !strings.EqualFold(s, "Properties") {
		err = fmt.Errorf("argument %d is neither 'Full' nor 'Properties'", i+1)
	}
	return full, err
}

func (c *call) referTo(of string, full bool) (Value, error) {
	if err := c.look(of); err != nil {
		return nil, err
	}
	i, err := c.find(of)
	if err != nil {
		return nil, err
	}
	if i.existing {
		return nil, fmt.Errorf("%s is not made by the template: what it says is known to Azure only", quote(of))
	}
	properties, err := c.stateOf(i)
	if err != nil || !full {
		return properties, err
	}
	out := &Object{}
	for _, key := range []string{"apiVersion", "location", "tags", "sku", "kind"} {
		if v, ok := i.body.Get(key); ok {
			out.Set(key, c.resolve(i.in, v))
		}
	}
	out.Set("properties", properties)
	return out, nil
}

func (c *call) stateOf(i *instance) (Value, error) {
	if i.isDeployment() {
		return c.outputs(i)
	}
	v, err := c.propertiesOf(i)
	if err != nil {
		return nil, err
	}
	return known(v)
}

// resourceInfo tells what a resource with a symbolic name is.
func (c *call) resourceInfo() (Value, error) {
	symbol, err := c.str(0)
	if err != nil {
		return nil, err
	}
	i, err := c.find(symbol)
	if err != nil {
		return nil, err
	}
	id, err := i.id()
	if err == nil {
		err = c.text(id)
	}
	if err != nil {
		return nil, err
	}
	out := &Object{}
	out.Set("id", id)
	out.Set("name", i.name)
	out.Set("type", i.kind)
	version, _ := i.body.Get("apiVersion")
	out.Set("apiVersion", version)
	return out, nil
}
