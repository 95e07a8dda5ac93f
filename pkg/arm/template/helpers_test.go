package template

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// parseJSON reads JSON as a document's reader would.
func parseJSON(text string) (Value, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := decode(d)
	if err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return v, err
}

func decode(d *json.Decoder) (Value, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch x := t.(type) {
	case json.Delim:
		if x == '[' {
			list := []Value{}
			for d.More() {
				v, err := decode(d)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err = d.Token()
			return list, err
		}
		o := &Object{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d)
			if err != nil {
				return nil, err
			}
			o.Set(key.(string), v)
		}
		_, err = d.Token()
		return o, err
	case json.Number:
		if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
			return n, nil
		}
		return Number(x.String()), nil
	}
	return t, nil
}

func document(t testing.TB, text string) *Object {
	t.Helper()
	v, err := parseJSON(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v.(*Object)
}

// show writes a value as JSON, with the reasons of what is not known.
func show(v Value) string {
	if f, ok := v.(*Fault); ok {
		return "fault: " + f.Error()
	}
	var out strings.Builder
	if err := (&meter{}).json(&out, v, 0); err != nil {
		return "error: " + err.Error()
	}
	return out.String()
}

func wanted(kind string) bool { return strings.HasPrefix(strings.ToLower(kind), "microsoft.network/") }

func options() Options {
	return Options{Subscription: "sub", ResourceGroup: "rg", Wanted: wanted, ParseJSON: parseJSON}
}

// evaluate returns what a property of a template's only resource becomes.
func evaluate(t testing.TB, sections, property string) Value {
	t.Helper()
	doc := document(t, `{`+sections+`"resources":[{"type":"Microsoft.Network/x","name":"x","properties":{"p":`+property+`}}]}`)
	made, problems := Resolve(doc, options())
	if len(problems) > 0 {
		return problems[0].Fault
	}
	o, ok := made[0].Properties.(*Object)
	if !ok {
		return made[0].Properties
	}
	v, _ := o.Get("p")
	return v
}

// expression returns what an expression becomes.
func expression(t testing.TB, sections, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return show(evaluate(t, sections, string(quoted)))
}

// ending returns what f gives. What does not end is told with its name, after a time that
// what ends stays far below, however slow and busy the machine.
func ending[T any](t testing.TB, what string, f func() T) T {
	t.Helper()
	const hung = 4 * time.Minute
	over := make(chan T, 1)
	go func() { over <- f() }()
	select {
	case got := <-over:
		return got
	case <-time.After(hung):
		t.Fatalf("%s: not over after %v", what, hung)
	}
	panic("not reached")
}
