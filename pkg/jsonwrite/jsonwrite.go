// Package jsonwrite writes JSON objects member by member. encoding/json makes itself
// tables of a type and of all types in it when it first meets it, which for the few
// objects that a verb writes, once, is more work than all else about them: a tenth of
// an ADD.
//
// It knows JSON's grammar and writes what encoding/json would for the same members.
// It must not know what any object means, and reads none.
package jsonwrite

import (
	"encoding/json"
	"strconv"
)

// Object is a JSON object that members are added to. The zero Object has none.
type Object struct{ b []byte }

// JSON returns the object's text.
func (o *Object) JSON() []byte {
	if o.b == nil {
		return []byte("{}")
	}
	return append(o.b, '}')
}

// String adds a member, unless it is empty.
func (o *Object) String(key, value string) {
	if value != "" {
		o.key(key)
		o.b = appendString(o.b, value)
	}
}

// Int adds a member, unless it is zero.
func (o *Object) Int(key string, value int) {
	if value != 0 {
		o.Number(key, &value)
	}
}

// Number adds a member, unless it is nil.
func (o *Object) Number(key string, value *int) {
	if value != nil {
		o.key(key)
		o.b = strconv.AppendInt(o.b, int64(*value), 10)
	}
}

// Bool adds a member, unless it is false.
func (o *Object) Bool(key string, value bool) {
	if value {
		o.key(key)
		o.b = append(o.b, "true"...)
	}
}

// Strings adds a list, unless it is empty.
func (o *Object) Strings(key string, list []string) {
	for i, s := range list {
		o.element(key, i)
		o.b = appendString(o.b, s)
	}
	o.closeList(len(list))
}

// Object adds an object, even one without members.
func (o *Object) Object(key string, value Object) { o.Raw(key, value.JSON()) }

// Objects adds a list, unless it is empty.
func (o *Object) Objects(key string, list []Object) {
	for i := range list {
		o.element(key, i)
		o.b = append(o.b, list[i].JSON()...)
	}
	o.closeList(len(list))
}

// Raw adds a member that is JSON already, unless it is empty.
func (o *Object) Raw(key string, value []byte) {
	if len(value) > 0 {
		o.key(key)
		o.b = append(o.b, value...)
	}
}

// key begins a member.
func (o *Object) key(key string) {
	if o.b == nil {
		const likely = 512 // most objects, without growing
		o.b = append(make([]byte, 0, likely), '{')
	} else {
		o.b = append(o.b, ',')
	}
	o.b = append(appendString(o.b, key), ':')
}

// element begins the i-th element of a list.
func (o *Object) element(key string, i int) {
	if i > 0 {
		o.b = append(o.b, ',')
		return
	}
	o.key(key)
	o.b = append(o.b, '[')
}

func (o *Object) closeList(elements int) {
	if elements > 0 {
		o.b = append(o.b, ']')
	}
}

// appendString adds a string in quotes. What needs a closer look than plain ASCII is
// left to encoding/json.
func appendString(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // has an answer for every string
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
