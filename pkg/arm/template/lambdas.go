package template

import (
	"fmt"
	"slices"
	"strings"
)

// lambda is a function in a template: lambda('x', …), whose body reads
// lambdaVariables('x'). See
// learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-lambda.
type lambda struct {
	names []string
	body  *node
	in    env
}

func newLambda(in env, n *node) (Value, error) {
	if len(n.args) == 0 {
		return nil, fmt.Errorf("lambda() has no body")
	}
	l := &lambda{body: n.args[len(n.args)-1], in: in}
	for _, a := range n.args[:len(n.args)-1] {
		if a.kind != stringNode {
			return nil, fmt.Errorf("lambda(): the name of a variable must be a string")
		}
		l.names = append(l.names, strings.ToLower(a.text))
	}
	return l, nil
}

// apply evaluates the body with as many of the arguments as it has names for.
func (e *evaluator) apply(l *lambda, args ...Value) (Value, error) {
	if len(l.names) > len(args) {
		return nil, fmt.Errorf("the lambda takes %d variables, and there are %d", len(l.names), len(args))
	}
	in := l.in
	for i, name := range l.names {
		if _, err := known(args[i]); err != nil {
			return nil, err
		}
		in.vars = &binding{name, args[i], in.vars}
	}
	return e.eval(in, l.body)
}

func lambdaFunction(name string) function {
	switch name {
	case "lambdavariables":
		return function{1, 1, (*call).lambdaVariables}
	case "map":
		return function{2, 2, (*call).mapped}
	case "filter":
		return function{2, 2, (*call).filter}
	case "reduce":
		return function{3, 3, (*call).reduce}
	case "toobject":
		return function{2, 3, (*call).toObject}
	case "sort":
		return function{2, 2, (*call).sorted}
	case "groupby":
		return function{2, 2, (*call).groupBy}
	case "mapvalues":
		return function{2, 2, (*call).mapValues}
	}
	return function{}
}

func (c *call) lambdaVariables() (Value, error) {
	name, err := c.str(0)
	if err != nil {
		return nil, err
	}
	v, ok := c.in.vars.get(name)
	if !ok {
		return nil, fmt.Errorf("no lambda around it has a variable %s", quote(name))
	}
	return v, nil
}

// lambda returns an argument that is one.
func (c *call) lambda(i int) (*lambda, error) {
	l, ok := c.args[i].(*lambda)
	if !ok {
		return nil, c.wrong(i, "a lambda")
	}
	return l, nil
}

// each calls a lambda with every element of the first argument and its index.
func (c *call) each(use func(element, result Value) error) error {
	list, err := c.list(0)
	if err != nil {
		return err
	}
	l, err := c.lambda(1)
	if err != nil {
		return err
	}
	for i, v := range list {
		result, err := c.apply(l, v, int64(i))
		if err != nil {
			return within(fmt.Sprintf("element %d", i), err)
		}
		if err := use(v, result); err != nil {
			return within(fmt.Sprintf("element %d", i), err)
		}
	}
	return nil
}

// eachKey is each where the lambda gives keys.
func (c *call) eachKey(use func(element Value, key string) error) error {
	return c.each(func(element, result Value) error {
		key, ok := result.(string)
		if !ok {
			return fmt.Errorf("the key is %s, where a string belongs", kindOf(result))
		}
		if err := c.look(key); err != nil {
			return err
		}
		return use(element, key)
	})
}

func (c *call) mapped() (Value, error) {
	out := []Value{}
	err := c.each(func(_, result Value) error {
		out = append(out, result)
		return nil
	})
	return out, err
}

func (c *call) filter() (Value, error) {
	out := []Value{}
	err := c.each(func(element, result Value) error {
		keep, ok := result.(bool)
		if !ok {
			return fmt.Errorf("the lambda gives %s, where true or false belongs", kindOf(result))
		}
		if keep {
			out = append(out, element)
		}
		return nil
	})
	return out, err
}

func (c *call) reduce() (Value, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	l, err := c.lambda(2)
	if err != nil {
		return nil, err
	}
	at := c.args[1]
	for i, v := range list {
		if at, err = c.apply(l, at, v, int64(i)); err != nil {
			return nil, within(fmt.Sprintf("element %d", i), err)
		}
	}
	return at, nil
}

// toObject makes an object of an array: a lambda for the keys and, if wanted, one for
// the values.
func (c *call) toObject() (Value, error) {
	out := &Object{}
	err := c.eachKey(func(element Value, key string) error {
		if len(c.args) == 3 {
			l, err := c.lambda(2)
			if err != nil {
				return err
			}
			if element, err = c.apply(l, element); err != nil {
				return err
			}
		}
		out.Set(key, element)
		return nil
	})
	return out, err
}

// sorted orders an array by a lambda that tells whether one element comes before another.
func (c *call) sorted() (Value, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	l, err := c.lambda(1)
	if err != nil {
		return nil, err
	}
	before := func(a, b Value) bool {
		if err != nil {
			return false
		}
		var v Value
		if v, err = c.apply(l, a, b); err != nil {
			return false
		}
		yes, ok := v.(bool)
		if !ok {
			err = fmt.Errorf("the lambda gives %s, where true or false belongs", kindOf(v))
		}
		return yes
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b Value) int {
		switch {
		case before(a, b):
			return -1
		case before(b, a):
			return 1
		}
		return 0
	})
	return out, err
}

// groupBy makes an object of arrays: of the elements that have the same key.
func (c *call) groupBy() (Value, error) {
	out := &Object{}
	err := c.eachKey(func(element Value, key string) error {
		v, _ := out.Get(key)
		group, _ := v.([]Value)
		out.Set(key, append(group, element))
		return nil
	})
	return out, err
}

// mapValues makes an object with the same keys.
func (c *call) mapValues() (Value, error) {
	o, err := c.obj(0)
	if err != nil {
		return nil, err
	}
	l, err := c.lambda(1)
	if err != nil {
		return nil, err
	}
	if err := c.spend(o.size()); err != nil {
		return nil, err
	}
	out := &Object{}
	for key, v := range o.All() {
		result, err := c.apply(l, v)
		if err != nil {
			return nil, within(quote(key), err)
		}
		out.Set(key, result)
	}
	return out, nil
}
