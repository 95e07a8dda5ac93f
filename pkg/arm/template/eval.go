package template

import (
	"fmt"
	"strings"
)

// evaluator resolves one template.
type evaluator struct {
	meter
	with   Options
	parsed map[string]parsing // by text; copies of a loop have the same
	fixed  map[fixedCall]Value
	told   []Problem

	placeholders bool // there are some: only then is anything looked through for them
	newGUIDs     int  // that were asked for
}

// fixedCall is a call in one template. Bicep writes what a loop goes through, such as a
// union of rules, into each property of the loop: it is evaluated once.
type fixedCall struct {
	scope *scope
	node  *node
}

type parsing struct {
	node *node
	err  error
}

// env is where an expression stands: what its functions see.
type env struct {
	scope *scope
	loops *loop
	vars  *binding // of lambdas
	args  *binding // of a user's function; nil outside of one
	inUDF bool

	settled bool   // what is resolved is a resource's properties, where no placeholders are left
	key     string // where in them
}

// binding is a name with its value, and those around it.
type binding struct {
	name  string // in lower case
	value Value
	outer *binding
}

func (b *binding) get(name string) (Value, bool) {
	name = strings.ToLower(name)
	for ; b != nil; b = b.outer {
		if b.name == name {
			return b.value, true
		}
	}
	return nil, false
}

// resolve turns a part of a template into what it stands for. What cannot be known
// is a Fault in its place.
func (e *evaluator) resolve(in env, v Value) Value {
	defer e.shallower()
	if err := e.deeper(); err != nil {
		return &Fault{Reason: err}
	}
	switch x := v.(type) {
	case string:
		if !isExpression(x) {
			return literal(x)
		}
		out, err := e.expression(in, x)
		if err != nil {
			if limit := e.spend(faultSteps); limit != nil {
				err = limit
			}
			if len(err.Error()) > maxReason {
				return faultOf(err, x)
			}
			return &Fault{Expression: x, Reason: err}
		}
		if in.settled {
			return e.settle(in, in.key, x, out)
		}
		return out
	case []Value:
		out := make([]Value, len(x))
		for i := range x {
			out[i] = e.resolve(in, x[i])
		}
		return out
	case *Object:
		return e.resolveObject(in, x)
	}
	return v
}

// resolveObject resolves members, whose keys may be expressions, and makes arrays of
// the loops in a member copy.
func (e *evaluator) resolveObject(in env, o *Object) Value {
	out := &Object{}
	for key, v := range o.All() {
		if strings.EqualFold(key, "copy") {
			loops, err := e.loopsOf(v)
			if err != nil {
				return &Fault{Reason: err}
			}
			if loops != nil {
				if err := e.propertyLoops(in, out, loops); err != nil {
					return &Fault{Reason: err}
				}
				continue
			}
		}
		if err := e.look(key); err != nil {
			return &Fault{Reason: err}
		}
		if isExpression(key) {
			name, err := e.key(in, key)
			if err != nil {
				return &Fault{Expression: key, Reason: err}
			}
			key = name
		}
		in.key = key
		if err := out.add(key, e.resolve(in, v)); err != nil {
			return &Fault{Reason: err}
		}
	}
	return out
}

// key evaluates an expression that is an object's key.
func (e *evaluator) key(in env, expression string) (string, error) {
	v, err := e.expression(in, expression)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("the key is %s, where a string belongs", kindOf(v))
	}
	return s, e.look(s)
}

// expression evaluates the text of one. What it finds is never a Fault itself, but
// may hold some.
func (e *evaluator) expression(in env, text string) (Value, error) {
	if err := e.spend(len(text) / 64); err != nil { // which finding it takes
		return nil, err
	}
	p, known := e.parsed[text]
	if !known {
		if err := e.spend(1 + len(text)/8); err != nil {
			return nil, err
		}
		p.node, p.err = parse(text)
		e.parsed[text] = p
	}
	if p.err != nil {
		return nil, p.err
	}
	return e.eval(in, p.node)
}

// eval evaluates a parsed expression.
func (e *evaluator) eval(in env, n *node) (Value, error) {
	defer e.shallower()
	if err := e.deeper(); err != nil {
		return nil, err
	}
	switch n.kind {
	case stringNode:
		return n.text, nil
	case numberNode:
		return n.number, nil
	case propertyNode:
		return e.property(in, n)
	case indexNode:
		return e.index(in, n)
	}
	return e.call(in, n)
}

// known lets no Fault become part of an expression's value unseen.
func known(v Value) (Value, error) {
	if f, ok := v.(*Fault); ok {
		return nil, f
	}
	return v, nil
}

// property takes a property out of what an expression gives.
func (e *evaluator) property(in env, n *node) (Value, error) {
	of, err := e.eval(in, n.args[0])
	if err != nil {
		return nil, err
	}
	return propertyOf(of, n.text)
}

// propertyOf takes one property out of an object.
func propertyOf(of Value, name string) (Value, error) {
	o, ok := of.(*Object)
	if !ok {
		return nil, fmt.Errorf("the property %s of %s, where an object belongs", quote(name), kindOf(of))
	}
	v, ok := o.Get(name)
	if !ok {
		return nil, fmt.Errorf("the property %s is not in the object", quote(name))
	}
	return known(v)
}

// index takes an element out of an array or, by a string, a property out of an object.
func (e *evaluator) index(in env, n *node) (Value, error) {
	of, err := e.eval(in, n.args[0])
	if err != nil {
		return nil, err
	}
	i, err := e.eval(in, n.args[1])
	if err != nil {
		return nil, err
	}
	if name, ok := i.(string); ok {
		if err := e.look(name); err != nil {
			return nil, err
		}
		if err := knownText(name); err != nil {
			return nil, err
		}
		return propertyOf(of, name)
	}
	list, isList := of.([]Value)
	at, isNumber := i.(int64)
	if !isList || !isNumber {
		return nil, fmt.Errorf("an index that is %s into %s", kindOf(i), kindOf(of))
	}
	if at < 0 || at >= int64(len(list)) {
		return nil, fmt.Errorf("the index %d is beyond an array of %d", at, len(list))
	}
	return known(list[at])
}

// call evaluates a function, within loops once if that will do.
func (e *evaluator) call(in env, n *node) (Value, error) {
	if !n.fixed || in.inUDF || in.loops == nil && in.vars == nil {
		return e.evaluate(in, n)
	}
	key := fixedCall{in.scope, n}
	if v, ok := e.fixed[key]; ok {
		return v, nil
	}
	v, err := e.evaluate(in, n)
	if err == nil {
		e.fixed[key] = v
	}
	return v, err
}

// evaluate calls a function; some do not want all arguments to be evaluated.
func (e *evaluator) evaluate(in env, n *node) (Value, error) {
	switch n.text {
	case "if":
		return e.choose(in, n)
	case "and", "or":
		return e.connect(in, n)
	case "coalesce":
		return e.coalesce(in, n)
	case "lambda":
		return newLambda(in, n)
	}
	args := make([]Value, len(n.args))
	for i, a := range n.args {
		v, err := e.eval(in, a)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	c := &call{evaluator: e, in: in, name: n.text, as: n.as, args: args}
	v, err := c.run()
	if err != nil {
		return nil, err
	}
	return known(v)
}

// choose is if(): of the two values only the one that is chosen is evaluated.
func (e *evaluator) choose(in env, n *node) (Value, error) {
	if len(n.args) != 3 {
		return nil, fmt.Errorf("if() takes 3 arguments, not %d", len(n.args))
	}
	yes, err := e.truth(in, n.args[0])
	if err != nil {
		return nil, within("if()", err)
	}
	if yes {
		return e.eval(in, n.args[1])
	}
	return e.eval(in, n.args[2])
}

// truth evaluates a condition.
func (e *evaluator) truth(in env, n *node) (bool, error) {
	v, err := e.eval(in, n)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("the condition is %s, where true or false belongs", kindOf(v))
	}
	return b, nil
}

// connect is and() and or(), which end where the answer is known.
func (e *evaluator) connect(in env, n *node) (Value, error) {
	if len(n.args) < 2 {
		return nil, fmt.Errorf("%s() takes 2 arguments or more, not %d", n.as, len(n.args))
	}
	for _, a := range n.args {
		b, err := e.truth(in, a)
		if err != nil {
			return nil, within(n.as+"()", err)
		}
		if b == (n.text == "or") {
			return b, nil
		}
	}
	return n.text == "and", nil
}

// coalesce is the first argument that is not null; those after it are not evaluated.
func (e *evaluator) coalesce(in env, n *node) (Value, error) {
	for _, a := range n.args {
		if v, err := e.eval(in, a); v != nil || err != nil {
			return v, err
		}
	}
	return nil, nil
}
