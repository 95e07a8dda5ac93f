package template

import (
	"fmt"
	"strings"
)

// listFunction finds the functions of arrays and objects, and those of several kinds:
// learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-array
// and …-object.
func listFunction(name string) function {
	switch name {
	case "concat":
		return function{1, -1, (*call).concat}
	case "array":
		return function{1, 1, (*call).asArray}
	case "createarray":
		return function{0, -1, func(c *call) (Value, error) { return c.args, nil }}
	case "createobject":
		return function{0, -1, (*call).createObject}
	case "contains":
		return function{2, 2, (*call).contains}
	case "empty":
		return function{1, 1, (*call).empty}
	case "length":
		return function{1, 1, func(c *call) (Value, error) { n, err := c.length(0); return n, err }}
	case "first":
		return function{1, 1, func(c *call) (Value, error) { return c.end(0) }}
	case "last":
		return function{1, 1, func(c *call) (Value, error) { return c.end(-1) }}
	case "skip":
		return function{2, 2, func(c *call) (Value, error) { return c.part(true) }}
	case "take":
		return function{2, 2, func(c *call) (Value, error) { return c.part(false) }}
	case "union":
		return function{2, -1, (*call).union}
	case "intersection":
		return function{2, -1, (*call).intersection}
	case "shallowmerge":
		return function{1, 1, (*call).shallowMerge}
	case "flatten":
		return function{1, 1, (*call).flatten}
	case "items":
		return function{1, 1, (*call).items}
	case "objectkeys":
		return function{1, 1, (*call).objectKeys}
	case "tryget":
		return function{2, -1, (*call).tryGet}
	case "indexfromend":
		return function{2, 2, func(c *call) (Value, error) { return c.fromEnd(false) }}
	case "tryindexfromend":
		return function{2, 2, func(c *call) (Value, error) { return c.fromEnd(true) }}
	case "null":
		return function{0, 0, func(*call) (Value, error) { return nil, nil }}
	}
	return function{}
}

// concat joins strings, and numbers written out, or arrays.
func (c *call) concat() (Value, error) {
	if _, ok := c.args[0].([]Value); ok {
		var out []Value
		for i := range c.args {
			l, err := c.list(i)
			if err != nil {
				return nil, err
			}
			if err := c.spend(len(l)); err != nil {
				return nil, err
			}
			out = append(out, l...)
		}
		return out, nil
	}
	var out strings.Builder
	for i, v := range c.args {
		s, err := scalar(v)
		if err != nil {
			return nil, c.wrong(i, "a string")
		}
		if out.WriteString(s); out.Len() > maxString {
			return nil, c.text(out.String())
		}
	}
	return out.String(), nil
}

func (c *call) asArray() (Value, error) {
	if l, ok := c.args[0].([]Value); ok {
		return l, nil
	}
	return []Value{c.args[0]}, nil
}

func (c *call) createObject() (Value, error) {
	if len(c.args)%2 != 0 {
		return nil, fmt.Errorf("a key without a value: %d arguments", len(c.args))
	}
	out := &Object{}
	for i := 0; i < len(c.args); i += 2 {
		key, err := c.str(i)
		if err != nil {
			return nil, err
		}
		out.Set(key, c.args[i+1])
	}
	return out, nil
}

// contains looks for a part of a string, a key of an object, or an element.
func (c *call) contains() (Value, error) {
	switch x := c.args[0].(type) {
	case string:
		part, err := scalar(c.args[1])
		return strings.Contains(x, part), err
	case *Object:
		key, err := c.str(1)
		_, ok := x.Get(key)
		return ok, err
	case []Value:
		return c.has(x, c.args[1])
	}
	return nil, c.wrong(0, "a string, an array or an object")
}

func (c *call) has(list []Value, v Value) (bool, error) {
	for _, w := range list {
		if same, err := c.equal(v, w, 0); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

// empty takes null for empty, as json('null') is.
func (c *call) empty() (Value, error) {
	if c.args[0] == nil {
		return true, nil
	}
	n, err := c.length(0)
	return n == 0, err
}

func (c *call) length(i int) (int64, error) {
	switch x := c.args[i].(type) {
	case string:
		return int64(units(x)), nil
	case []Value:
		return int64(len(x)), nil
	case *Object:
		return int64(x.Len()), nil
	}
	return 0, c.wrong(i, "a string, an array or an object")
}

// end returns the first element or letter, with -1 the last. An empty array has null.
func (c *call) end(at int64) (Value, error) {
	n, err := c.length(0)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		at = n - 1
	}
	switch x := c.args[0].(type) {
	case string:
		if n == 0 {
			return "", nil
		}
		return cut(x, at, 1)
	case []Value:
		if n == 0 {
			return nil, nil
		}
		return x[at], nil
	}
	return nil, c.wrong(0, "a string or an array")
}

// fromEnd returns the element that is so many from the end, of which the last is 1; beyond
// the array there is none or, where that may be, null.
func (c *call) fromEnd(orNull bool) (Value, error) {
	if c.args[0] == nil && orNull {
		return nil, nil
	}
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	n, err := c.num(1)
	switch {
	case err != nil:
		return nil, err
	case n >= 1 && n <= int64(len(list)):
		return list[int64(len(list))-n], nil
	case orNull:
		return nil, nil
	}
	return nil, fmt.Errorf("the index %d from the end is beyond an array of %d", n, len(list))
}

// part leaves the first elements or letters out, or everything else.
func (c *call) part(rest bool) (Value, error) {
	total, err := c.length(0)
	if err != nil {
		return nil, err
	}
	n, err := c.num(1)
	if err != nil {
		return nil, err
	}
	n = min(max(n, 0), total)
	from, to := int64(0), n
	if rest {
		from, to = n, total
	}
	switch x := c.args[0].(type) {
	case string:
		return cut(x, from, to-from)
	case []Value:
		return x[from:to:to], nil
	}
	return nil, c.wrong(0, "a string or an array")
}

func (c *call) flatten() (Value, error) {
	l, err := c.list(0)
	if err != nil {
		return nil, err
	}
	out := []Value{}
	for i, v := range l {
		inner, ok := v.([]Value)
		if !ok {
			return nil, fmt.Errorf("element %d is %s, where an array belongs", i, kindOf(v))
		}
		if err := c.spend(1 + len(inner)); err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return out, nil
}

// items makes an array of {key, value} in the order of the keys.
func (c *call) items() (Value, error) {
	return c.members(func(m member) Value {
		item := &Object{}
		item.Set("key", m.key)
		item.Set("value", m.value)
		return item
	})
}

func (c *call) objectKeys() (Value, error) {
	return c.members(func(m member) Value { return m.key })
}

// members makes an array of an object's, in the order of the keys.
func (c *call) members(as func(member) Value) (Value, error) {
	o, err := c.obj(0)
	if err != nil {
		return nil, err
	}
	if err := c.spend(4 * o.size()); err != nil {
		return nil, err
	}
	out := []Value{}
	for _, m := range o.sorted() {
		out = append(out, as(m))
	}
	return out, nil
}

// tryGet goes down by keys and indices, and gives null where there is nothing.
func (c *call) tryGet() (Value, error) {
	at := c.args[0]
	for i, step := range c.args[1:] {
		var next Value
		switch x := at.(type) {
		case nil:
			return nil, nil
		case *Object:
			key, err := c.str(i + 1)
			if err != nil {
				return nil, err
			}
			next, _ = x.Get(key)
		case []Value:
			n, err := c.num(i + 1)
			if err != nil {
				return nil, err
			}
			if n >= 0 && n < int64(len(x)) {
				next = x[n]
			}
		default:
			return nil, fmt.Errorf("%v into %s", step, kindOf(at))
		}
		if _, err := known(next); err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}
