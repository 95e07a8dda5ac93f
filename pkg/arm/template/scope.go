package template

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// scope is one template with the values that it was given: what its expressions see.
type scope struct {
	doc        *Object
	given      *Object // parameters' values by name; nil: none
	place      place   // that resourceGroup() and subscription() speak of
	deployment string  // the name that deployment() tells; "" where it is not known

	cells map[string]*cell // parameters and variables that were asked for
	index *index           // of its resources; made when something refers to one
}

// place is where resources are made.
type place struct {
	subscription, group string // group "": the subscription itself
}

// cell is a parameter or variable: evaluated once, when somebody wants it.
type cell struct {
	busy  bool // it is being evaluated: who asks for it now goes in a circle
	value Value
	err   error
}

func newScope(doc, given *Object, at place, deployment string) *scope {
	return &scope{doc: doc, given: given, place: at, deployment: deployment, cells: map[string]*cell{}}
}

// symbolic reports whether the template's language is 2.0, which has symbolic names.
func (s *scope) symbolic() bool {
	v, _ := s.doc.Get("resources")
	_, names := v.(*Object)
	return names || strings.HasPrefix(s.doc.text("languageVersion"), "2.")
}

func cellKey(what, name string) string { return what + " " + strings.ToLower(name) }

// once evaluates a parameter or variable, or returns what it was.
func (s *scope) once(what, name string, eval func() (Value, error)) (Value, error) {
	key := cellKey(what, name)
	c := s.cells[key]
	if c == nil {
		c = &cell{busy: true}
		s.cells[key] = c
		c.value, c.err = eval()
		if c.err == nil {
			c.value, c.err = known(c.value)
		}
		c.busy = false
		if c.err != nil {
			c.err = within("the "+what+" "+quote(name), c.err)
		}
	}
	if c.busy {
		return nil, fmt.Errorf("the %s %s needs itself", what, quote(name))
	}
	return c.value, c.err
}

// parameter returns the value of a parameter: the one given, which is taken as it
// is, or its default, which may be an expression.
func (e *evaluator) parameter(s *scope, name string) (Value, error) {
	def := s.doc.object("parameters").object(name)
	if def == nil {
		return nil, fmt.Errorf("the template has no parameter %s", quote(name))
	}
	return s.once("parameter", name, func() (Value, error) {
		v, err := e.givenOrDefault(s, def, name)
		if err != nil || v == nil {
			return nil, err
		}
		return v, e.checkParameter(def, v)
	})
}

// nullable reports whether a parameter may be null: it says so, or the type does that
// it refers to.
func (e *evaluator) nullable(s *scope, def *Object) bool {
	for range maxNesting {
		if v, _ := def.Get("nullable"); v == true {
			return true
		}
		name, ok := strings.CutPrefix(def.text("$ref"), "#/definitions/")
		if !ok || e.look(name) != nil {
			return false
		}
		def = s.doc.object("definitions").object(name)
	}
	return false
}

// givenOrDefault takes null for no value, as Azure does.
func (e *evaluator) givenOrDefault(s *scope, def *Object, name string) (Value, error) {
	if v, ok := s.given.Get(name); ok && v != nil {
		return known(v)
	}
	if v, ok := def.Get("defaultValue"); ok {
		if v, err := known(e.resolve(env{scope: s}, v)); v != nil || err != nil {
			return v, err
		}
	}
	if e.nullable(s, def) {
		return nil, nil
	}
	return nil, fmt.Errorf("it has no value and no default")
}

// checkParameter holds a value against what the parameter says of itself:
// learn.microsoft.com/azure/azure-resource-manager/templates/parameters. A type that is
// defined elsewhere in the template is not looked at.
func (e *evaluator) checkParameter(def *Object, v Value) error {
	if kind := def.text("type"); !ofType(v, kind) {
		return fmt.Errorf("its value is %s, and its type %s", kindOf(v), quote(kind))
	}
	if err := checkBounds(def, v); err != nil {
		return err
	}
	allowed, _ := def.Get("allowedValues")
	list, ok := allowed.([]Value)
	if !ok {
		return nil
	}
	ok, err := e.allows(list, v)
	if parts, isList := v.([]Value); isList && !ok && err == nil { // of an array each element may be allowed
		ok, err = e.allowsAll(list, parts)
	}
	if err == nil && !ok {
		err = fmt.Errorf("its value is not among the allowed ones")
	}
	return err
}

func (e *evaluator) allowsAll(list, values []Value) (bool, error) {
	for _, v := range values {
		if ok, err := e.allows(list, v); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// allows compares strings in any case, lest somebody's template that Azure takes be
// refused.
func (e *evaluator) allows(list []Value, v Value) (bool, error) {
	s, isText := v.(string)
	for _, a := range list {
		if err := e.look(s); err != nil {
			return false, err
		}
		if t, ok := a.(string); ok && isText && strings.EqualFold(s, literal(t)) {
			return true, nil
		}
		if same, err := e.equal(a, v, 0); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

func ofType(v Value, kind string) bool {
	ok := true
	is := func(name string) bool { return strings.EqualFold(kind, name) }
	switch {
	case is("string") || is("securestring"):
		_, ok = v.(string)
	case is("int"):
		_, ok = v.(int64)
	case is("bool"):
		_, ok = v.(bool)
	case is("array"):
		_, ok = v.([]Value)
	case is("object") || is("secureobject"):
		_, ok = v.(*Object)
	}
	return ok
}

func checkBounds(def *Object, v Value) error {
	size, least, most := int64(0), "minLength", "maxLength"
	switch x := v.(type) {
	case int64:
		size, least, most = x, "minValue", "maxValue"
	case string:
		size = int64(units(x))
	case []Value:
		size = int64(len(x))
	default:
		return nil
	}
	if bound, _ := def.Get(least); compares(bound, size, -1) {
		return fmt.Errorf("%d is below its %s, %v", size, least, bound)
	}
	if bound, _ := def.Get(most); compares(bound, size, 1) {
		return fmt.Errorf("%d is above its %s, %v", size, most, bound)
	}
	return nil
}

// compares reports whether there is a bound and n is below it, with 1 above it.
func compares(bound Value, n int64, sign int) bool {
	b, ok := bound.(int64)
	return ok && (sign < 0 && n < b || sign > 0 && n > b)
}

// variable returns the value of a variable, which a loop may make.
func (e *evaluator) variable(s *scope, name string) (Value, error) {
	all := s.doc.object("variables")
	v, ok := all.Get(name)
	if ok && !strings.EqualFold(name, "copy") { // which holds the loops
		return s.once("variable", name, func() (Value, error) {
			if l, err := e.variableLoop(all, name); l != nil || err != nil {
				return nil, cmp.Or(err, fmt.Errorf("it is there twice, and made by a loop: which value counts is unclear"))
			}
			return e.resolve(env{scope: s}, v), nil
		})
	}
	l, err := e.variableLoop(all, name)
	if err != nil {
		return nil, err
	}
	if l == nil && !ok {
		return nil, fmt.Errorf("the template has no variable %s", quote(name))
	}
	return s.once("variable", name, func() (Value, error) {
		if l == nil {
			return e.resolve(env{scope: s}, v), nil
		}
		return e.array(env{scope: s}, l, true), nil
	})
}

// variableLoop returns the loop that makes a variable, or nil.
func (e *evaluator) variableLoop(variables *Object, name string) (*Object, error) {
	copies, _ := variables.Get("copy")
	loops, err := e.loopsOf(copies)
	if err != nil {
		return nil, within("variables", err)
	}
	for _, l := range loops {
		if strings.EqualFold(l.text("name"), name) {
			return l, nil
		}
	}
	return nil, nil //nolint:nilnil // neither a loop nor an error
}

// userFunction calls a function of the template: it sees its own parameters only. See
// learn.microsoft.com/azure/azure-resource-manager/templates/user-defined-functions.
func (c *call) userFunction() (Value, error) {
	space, name, _ := strings.Cut(c.name, ".")
	def := findFunction(c.in.scope.doc, space, name)
	if def == nil {
		return nil, fmt.Errorf("the template has no function %s", quote(c.as))
	}
	list, _ := def.Get("parameters")
	parameters, _ := list.([]Value)
	if len(parameters) != len(c.args) {
		return nil, fmt.Errorf("%s() takes %d arguments, not %d", c.as, len(parameters), len(c.args))
	}
	in := env{scope: c.in.scope, inUDF: true}
	for i, p := range parameters {
		o, ok := p.(*Object)
		if !ok {
			return nil, fmt.Errorf("%s(): parameter %s of its definition is %s", c.as, strconv.Itoa(i+1), kindOf(p))
		}
		if err := c.checkParameter(o, c.args[i]); err != nil && (c.args[i] != nil || !c.nullable(c.in.scope, o)) {
			return nil, within(fmt.Sprintf("%s(): argument %d", shorten(c.as), i+1), err)
		}
		name := o.text("name")
		if err := c.look(name); err != nil {
			return nil, err
		}
		in.args = &binding{strings.ToLower(name), c.args[i], in.args}
	}
	body, ok := def.object("output").Get("value")
	if !ok {
		return nil, fmt.Errorf("%s(): its definition has no output", c.as)
	}
	v, err := known(c.resolve(in, body))
	if err != nil {
		return nil, within(shorten(c.as)+"()", err)
	}
	return v, nil
}

func findFunction(doc *Object, space, name string) *Object {
	v, _ := doc.Get("functions")
	list, _ := v.([]Value)
	for _, item := range list {
		o, _ := item.(*Object)
		if strings.EqualFold(o.text("namespace"), space) {
			return o.object("members").object(name)
		}
	}
	return nil
}
