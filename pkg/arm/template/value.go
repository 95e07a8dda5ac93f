package template

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Value is a JSON value: nil, bool, int64, Number, string, []Value, *Object, or a
// *Fault in the place of one that cannot be known. Values are never changed once
// they are made, so that they may share parts.
type Value = any

// Number is a number that is no integer of 64 bits, as it was written.
type Number string

// Object is a JSON object. Keys keep their order and are found in any case, as
// Azure does.
type Object struct {
	members []member
	letters int            // of all keys
	place   map[string]int // by key in lower case; only of an object with many members
}

type member struct {
	key   string
	value Value
}

// many is the number of members from which on a map finds them faster.
const many = 16

// Fault tells why a value cannot be known.
type Fault struct {
	Expression string // as the template has it; "" where there is none
	Reason     error
}

// Error tells the expression, the beginning of a long one, and the reason.
func (f *Fault) Error() string {
	if f.Expression == "" {
		return f.Reason.Error()
	}
	return shorten(f.Expression) + ": " + f.Reason.Error()
}

// maxReason is how long an error becomes by telling where it comes from, in bytes.
const maxReason = 1000

// within tells what an error comes from. A chain of thousands of causes keeps those that
// are nearest to the fault.
func within(what string, err error) error {
	if len(err.Error()) > maxReason {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Set adds a member, or replaces the one with that key. It is for who makes the object.
func (o *Object) Set(key string, v Value) {
	if i := o.find(key); i >= 0 {
		o.members[i].value = v
		return
	}
	o.members = append(o.members, member{key, v})
	o.letters += len(key)
	if o.place != nil {
		o.place[strings.ToLower(key)] = len(o.members) - 1
	} else if len(o.members) == many {
		o.place = make(map[string]int, 2*many)
		for i, m := range o.members {
			o.place[strings.ToLower(m.key)] = i
		}
	}
}

// add is Set for a member whose key must be new: a loop and a member of its name, or keys that
// are expressions, may have the same, and which value counts is not documented.
func (o *Object) add(key string, v Value) error {
	before := o.Len()
	if o.Set(key, v); o.Len() == before {
		return fmt.Errorf("the key %s is there twice: which value counts is unclear", quote(key))
	}
	return nil
}

// Get returns the member with the key, in any case. A nil object has none.
func (o *Object) Get(key string) (Value, bool) {
	if i := o.find(key); i >= 0 {
		return o.members[i].value, true
	}
	return nil, false
}

// All yields keys and values in order.
func (o *Object) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if o == nil {
			return
		}
		for _, m := range o.members {
			if !yield(m.key, m.value) {
				return
			}
		}
	}
}

// Len is the number of members.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.members)
}

// size is the steps that going through all members takes.
func (o *Object) size() int {
	if o == nil {
		return 0
	}
	return len(o.members) + o.letters/8
}

func (o *Object) find(key string) int {
	if o == nil {
		return -1
	}
	if o.place == nil {
		return slices.IndexFunc(o.members, func(m member) bool { return strings.EqualFold(m.key, key) })
	}
	if i, ok := o.place[strings.ToLower(key)]; ok {
		return i
	}
	return -1
}

// object returns the member as an object, or nil.
func (o *Object) object(key string) *Object {
	v, _ := o.Get(key)
	inner, _ := v.(*Object)
	return inner
}

// text returns the member as a string, or "".
func (o *Object) text(key string) string {
	v, _ := o.Get(key)
	s, _ := v.(string)
	return s
}

// sorted returns the members in the order of their keys.
func (o *Object) sorted() []member {
	return slices.SortedFunc(slices.Values(o.members), func(a, b member) int {
		return cmp.Compare(strings.ToLower(a.key), strings.ToLower(b.key))
	})
}

// kindOf names a value's kind within a sentence.
func kindOf(v Value) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a truth value"
	case int64, Number:
		return "a number"
	case string:
		return "a string"
	case []Value:
		return "an array"
	case *Object:
		return "an object"
	case *lambda:
		return "a lambda"
	}
	return "a value that is not known"
}

// equal compares values; the case of strings counts, that of keys does not. What
// is not known is an error.
func (m *meter) equal(a, b Value, depth int) (bool, error) {
	if depth > maxNesting {
		return false, tooNested()
	}
	if err := m.spend(1); err != nil {
		return false, err
	}
	for _, v := range []Value{a, b} {
		if f, ok := v.(*Fault); ok {
			return false, f
		}
	}
	switch x := a.(type) {
	case []Value:
		return m.equalLists(x, b, depth)
	case *Object:
		return m.equalObjects(x, b, depth)
	case *lambda:
		return false, nil
	case string:
		y, ok := b.(string)
		if err := m.spend(len(x) / 8); err != nil || !ok || x == y {
			return ok && x == y, err
		}
		return false, cmp.Or(knownText(x), knownText(y))
	}
	switch b.(type) {
	case []Value, *Object, *lambda: // which Go cannot compare, or not as values
		return false, nil
	}
	return a == b, nil
}

func (m *meter) equalLists(x []Value, b Value, depth int) (bool, error) {
	y, ok := b.([]Value)
	if !ok || len(x) != len(y) {
		return false, nil
	}
	for i := range x {
		if same, err := m.equal(x[i], y[i], depth+1); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (m *meter) equalObjects(x *Object, b Value, depth int) (bool, error) {
	y, ok := b.(*Object)
	if !ok || x.Len() != y.Len() {
		return false, nil
	}
	for key, v := range x.All() {
		if err := m.look(key); err != nil {
			return false, err
		}
		w, ok := y.Get(key)
		if !ok {
			return false, nil
		}
		if same, err := m.equal(v, w, depth+1); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func tooNested() error {
	return fmt.Errorf("values are nested more than %d deep, the limit", maxNesting)
}

// json writes a value as JSON without blanks.
func (m *meter) json(out *strings.Builder, v Value, depth int) error {
	if depth > maxNesting {
		return tooNested()
	}
	if out.Len() > maxString {
		return m.text(out.String())
	}
	if err := m.spend(1); err != nil {
		return err
	}
	switch x := v.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(x))
	case int64:
		out.WriteString(strconv.FormatInt(x, 10))
	case Number:
		out.WriteString(string(x))
	case string:
		return m.jsonText(out, x)
	case []Value:
		return m.jsonList(out, x, depth)
	case *Object:
		return m.jsonObject(out, x, depth)
	case *Fault:
		return x
	default:
		return fmt.Errorf("%s cannot become JSON", kindOf(v))
	}
	return nil
}

// jsonText writes a string. Which letters Azure escapes beyond those that must be
// is not documented; only control characters differ.
func (m *meter) jsonText(out *strings.Builder, s string) error {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r < 0x20:
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return m.spend(len(s) / 8)
}

func (m *meter) jsonList(out *strings.Builder, list []Value, depth int) error {
	out.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := m.json(out, v, depth+1); err != nil {
			return err
		}
	}
	out.WriteByte(']')
	return nil
}

func (m *meter) jsonObject(out *strings.Builder, o *Object, depth int) error {
	out.WriteByte('{')
	first := true
	for key, v := range o.All() {
		if !first {
			out.WriteByte(',')
		}
		first = false
		if err := m.jsonText(out, key); err != nil {
			return err
		}
		out.WriteByte(':')
		if err := m.json(out, v, depth+1); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

// shown is how much of a template's text a message repeats, in bytes.
const shown = 100

// quote shows text of a template in a message.
func quote(s string) string { return strconv.Quote(shorten(spelled(s))) }

func shorten(s string) string {
	if len(s) > shown {
		return strings.ToValidUTF8(s[:shown], "") + "…"
	}
	return s
}
