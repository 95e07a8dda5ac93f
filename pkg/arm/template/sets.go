package template

import "fmt"

// union joins arrays, each element once, or objects, the later value counting. Objects
// within objects are joined as well, arrays within them are not.
func (c *call) union() (Value, error) {
	if _, ok := c.args[0].(*Object); ok {
		var out *Object
		for i := range c.args {
			o, err := c.obj(i)
			if err != nil {
				return nil, err
			}
			if out, err = c.merge(out, o, 0); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	out := []Value{}
	for i := range c.args {
		l, err := c.list(i)
		if err != nil {
			return nil, err
		}
		for _, v := range l {
			known, err := c.has(out, v)
			if err != nil {
				return nil, err
			}
			if !known {
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// merge joins two objects. Whether a later null removes an earlier value is documented
// nowhere: an error, rather than a guess.
func (c *call) merge(a, b *Object, depth int) (*Object, error) {
	if depth > maxNesting {
		return nil, tooNested()
	}
	if err := c.spend(4 * (a.size() + b.size())); err != nil {
		return nil, err
	}
	out := &Object{}
	for key, v := range a.All() {
		out.Set(key, v)
	}
	for key, v := range b.All() {
		was, twice := out.Get(key)
		old, now := objectIn(was), objectIn(v)
		switch {
		case twice && v == nil && was != nil:
			return nil, fmt.Errorf("whether the null of %s removes its earlier value is not documented", quote(key))
		case old != nil && now != nil:
			both, err := c.merge(old, now, depth+1)
			if err != nil {
				return nil, err
			}
			out.Set(key, both)
		default:
			out.Set(key, v)
		}
	}
	return out, nil
}

func objectIn(v Value) *Object {
	o, _ := v.(*Object)
	return o
}

// intersection keeps the elements, or the members with their values, that all have.
func (c *call) intersection() (Value, error) {
	if first, ok := c.args[0].(*Object); ok {
		return c.commonMembers(first)
	}
	first, err := c.list(0)
	if err != nil {
		return nil, err
	}
	out := []Value{}
	for _, v := range first {
		common := true
		for i := 1; i < len(c.args) && common; i++ {
			l, err := c.list(i)
			if err != nil {
				return nil, err
			}
			if common, err = c.has(l, v); err != nil {
				return nil, err
			}
		}
		if twice, err := c.has(out, v); err != nil || !common || twice {
			if err != nil {
				return nil, err
			}
			continue
		}
		out = append(out, v)
	}
	return out, nil
}

func (c *call) commonMembers(first *Object) (Value, error) {
	out := &Object{}
	for key, v := range first.All() {
		common := true
		for i := 1; i < len(c.args) && common; i++ {
			o, err := c.obj(i)
			if err != nil {
				return nil, err
			}
			if err := c.look(key); err != nil {
				return nil, err
			}
			w, ok := o.Get(key)
			same, err := c.equal(v, w, 0)
			if err != nil {
				return nil, err
			}
			common = ok && same
		}
		if common {
			out.Set(key, v)
		}
	}
	return out, nil
}

// shallowMerge joins an array's objects, the later value counting.
func (c *call) shallowMerge() (Value, error) {
	l, err := c.list(0)
	if err != nil {
		return nil, err
	}
	out := &Object{}
	for i, v := range l {
		o, ok := v.(*Object)
		if !ok {
			return nil, fmt.Errorf("element %d is %s, where an object belongs", i, kindOf(v))
		}
		if err := c.spend(1 + o.size()); err != nil {
			return nil, err
		}
		for key, v := range o.All() {
			out.Set(key, v)
		}
	}
	return out, nil
}
