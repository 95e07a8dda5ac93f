package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// loop is one round of a copy loop, within those around it.
type loop struct {
	name     string
	index    int64
	property bool // makes an array within a resource or variable, not resources
	outer    *loop
}

// find returns the loop of that name; "" asks for the resource's, or for the innermost
// where no resource is repeated.
func (l *loop) find(name string) *loop {
	for at := l; at != nil; at = at.outer {
		if name == "" && !at.property || name != "" && strings.EqualFold(at.name, name) {
			return at
		}
	}
	if name == "" {
		return l
	}
	return nil
}

// loopsOf returns the loops of a copy member: [{name, count, input}]; nil if it is
// something else of that name. Loops in another form are an error, lest what they would
// make be missing.
func (e *evaluator) loopsOf(copies Value) ([]*Object, error) {
	list, isList := copies.([]Value)
	if !isList {
		list = []Value{copies}
	}
	if err := e.spend(len(list)); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(list, isLoop) {
		return nil, nil
	}
	if !isList {
		return nil, fmt.Errorf("copy is an object, where an array of loops belongs")
	}
	out := make([]*Object, len(list))
	for i, v := range list {
		o, _ := v.(*Object)
		if err := e.checkLoop(o); err != nil {
			return nil, fmt.Errorf("copy[%d]: %w", i, err)
		}
		out[i] = o
	}
	return out, nil
}

func isLoop(v Value) bool {
	o, _ := v.(*Object)
	_, counts := o.Get("count")
	_, repeats := o.Get("input")
	return counts || repeats
}

func (e *evaluator) checkLoop(l *Object) error {
	name := l.text("name")
	if name == "" || isExpression(name) {
		return fmt.Errorf("a loop's name must be a string that is not empty and no expression")
	}
	if _, ok := l.Get("input"); !ok {
		return fmt.Errorf("the loop %s has no input", quote(name))
	}
	return e.look(name)
}

// propertyLoops adds the arrays that loops make to an object.
func (e *evaluator) propertyLoops(in env, into *Object, loops []*Object) error {
	for _, l := range loops {
		if err := into.add(l.text("name"), e.array(in, l, true)); err != nil {
			return err
		}
	}
	return nil
}

// array makes the array of one loop: within properties and variables, or of an output.
func (e *evaluator) array(in env, l *Object, property bool) Value {
	count, err := e.count(in, l)
	if err != nil {
		return &Fault{Expression: l.text("count"), Reason: within("the count of the loop "+quote(l.text("name")), err)}
	}
	input, _ := l.Get("input")
	out := make([]Value, 0, count)
	for i := range count {
		round := in
		round.loops = &loop{name: l.text("name"), index: i, property: property, outer: in.loops}
		out = append(out, e.resolve(round, input))
	}
	return out
}

// count reads how often a loop goes round. Azure takes "3" for 3.
func (e *evaluator) count(in env, l *Object) (int64, error) {
	v, ok := l.Get("count")
	if !ok {
		return 0, fmt.Errorf("it is missing")
	}
	v, err := known(e.resolve(in, v))
	if err != nil {
		return 0, err
	}
	n, ok := v.(int64)
	if s, isText := v.(string); isText {
		n, err = strconv.ParseInt(s, 10, 64)
		ok = err == nil
	}
	if !ok {
		return 0, fmt.Errorf("it is %s, where an integer belongs", kindOf(v))
	}
	if n < 0 || n > maxCopies {
		return 0, fmt.Errorf("%d is not from 0 to %d", n, maxCopies)
	}
	return n, nil
}

// copyIndex is copyIndex([offset]) and copyIndex('loop', [offset]).
func (c *call) copyIndex() (Value, error) {
	name, args := "", c.args
	if len(args) > 0 {
		if s, ok := args[0].(string); ok {
			name, args = s, args[1:]
		}
	}
	offset := int64(0)
	if len(args) > 1 || len(args) == 1 && !is(args[0], &offset) {
		return nil, fmt.Errorf("copyIndex() takes the name of a loop and an offset, both optional")
	}
	l := c.in.loops.find(name)
	if l == nil && name == "" {
		return nil, fmt.Errorf("copyIndex() stands in no copy loop")
	}
	if l == nil {
		return nil, fmt.Errorf("copyIndex() stands in no copy loop named %s", quote(name))
	}
	return added(l.index, offset)
}

// is stores the value if it is of the type.
func is[T any](v Value, into *T) bool {
	x, ok := v.(T)
	if ok {
		*into = x
	}
	return ok
}
