package template

import (
	"fmt"
	"strings"
)

// call is a function with its arguments evaluated.
type call struct {
	*evaluator
	in   env
	name string // in lower case
	as   string // as written
	args []Value
}

// function is how a function is called. Functions are found in switches: a map of
// them would be made in every process that links this package.
type function struct {
	least, most int // arguments; most < 0: any number
	run         func(*call) (Value, error)
}

func (c *call) run() (Value, error) {
	for _, a := range c.args {
		if s, ok := a.(string); ok {
			if err := c.look(s); err != nil {
				return nil, err
			}
			if p, ok := placeholderIn(s); ok && !p.carriedBy(c.name) {
				return nil, within(c.as+"()", p.reason())
			}
		}
	}
	if strings.Contains(c.name, ".") {
		return c.userFunction()
	}
	for _, find := range [...]func(string) function{
		textFunction, listFunction, numberFunction, scopeFunction, lambdaFunction,
	} {
		f := find(c.name)
		if f.run == nil {
			continue
		}
		if len(c.args) < f.least || f.most >= 0 && len(c.args) > f.most {
			return nil, fmt.Errorf("%s() takes %s, not %d", c.as, f.arity(), len(c.args))
		}
		v, err := f.run(c)
		if err != nil && c.name != "parameters" && c.name != "variables" { // whose errors name what was asked for
			err = within(c.as+"()", err)
		}
		if err != nil {
			return nil, err
		}
		return v, c.weigh(v)
	}
	return nil, c.unknown()
}

// unknown tells why a function has no value here.
func (c *call) unknown() error {
	switch name := c.name; {
	case name == "environment" || name == "providers" || name == "pickzones" || name == "managementgroup" ||
		name == "tenant" || name == "deployer" || strings.HasPrefix(name, "list"):
		return fmt.Errorf("what %s() says is known to Azure only", c.as)
	}
	return fmt.Errorf("the function %s() is not known here", quote(c.as))
}

func (f function) arity() string {
	switch {
	case f.most < 0:
		return fmt.Sprintf("%d arguments or more", f.least)
	case f.least != f.most:
		return fmt.Sprintf("%d to %d arguments", f.least, f.most)
	case f.least == 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", f.least)
}

// weigh takes the steps that a function's result is worth, unless it is one that there
// was before: an array in a variable may be asked for as often as it has elements.
func (c *call) weigh(v Value) error {
	switch c.name {
	case "parameters", "variables", "lambdavariables", "tryget", "first", "last", "indexfromend", "tryindexfromend", "reduce", "reference":
		return nil
	}
	switch x := v.(type) {
	case string:
		return c.text(x)
	case []Value:
		return c.spend(len(x))
	case *Object:
		return c.spend(2 * x.Len())
	}
	return nil
}

// wrong is the error for an argument of another kind than the function takes.
func (c *call) wrong(i int, wanted string) error {
	return fmt.Errorf("argument %d is %s, where %s belongs", i+1, kindOf(c.args[i]), wanted)
}

func (c *call) str(i int) (string, error) {
	s, ok := c.args[i].(string)
	if !ok {
		return "", c.wrong(i, "a string")
	}
	return s, nil
}

func (c *call) strs() ([]string, error) {
	out := make([]string, len(c.args))
	for i := range c.args {
		s, err := c.str(i)
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

func (c *call) num(i int) (int64, error) {
	n, ok := c.args[i].(int64)
	if !ok {
		return 0, c.wrong(i, "an integer")
	}
	return n, nil
}

func (c *call) list(i int) ([]Value, error) {
	l, ok := c.args[i].([]Value)
	if !ok {
		return nil, c.wrong(i, "an array")
	}
	return l, nil
}

func (c *call) obj(i int) (*Object, error) {
	o, ok := c.args[i].(*Object)
	if !ok {
		return nil, c.wrong(i, "an object")
	}
	return o, nil
}
