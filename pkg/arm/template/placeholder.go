package template

import (
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"unicode/utf8"
)

// A placeholder stands for a string that Azure alone knows, such as what uniqueString()
// gives: many templates name a group or a deployment by one, and what they say of it is known
// all the same. Its letters are noncharacters of Unicode, which are for internal use
// (unicode.org/faq/private_use.html#noncharacters): every function that makes a string of
// others carries them on, so that no string that comes of a placeholder is taken for known.
type placeholder int

const (
	uniqueString placeholder = iota
	guid
	newGUID
	utcNow
	location
)

// reason tells why the string is not known.
func (p placeholder) reason() error {
	return errors.New([...]string{
		"uniqueString() is a hash that Azure does not publish",
		"guid() is a hash that Azure does not publish",
		"newGuid() is different in every deployment",
		"utcNow() is different in every deployment",
		"the location that is deployed to is known to Azure only",
	}[p])
}

const (
	firstPlaceholder = '\uFDD0'
	// spelling is how the letters are shown, in the order of the noncharacters: four for each
	// hash and time, which uniqueString() never has in it, then those of "unknown-location".
	spelling = "0189018901890189unkow-lcati"
	hashed   = 4
)

// noted returns a placeholder's string of that form: a letter for each x. The same
// arguments give the same one.
func (e *evaluator) noted(p placeholder, form string, args ...string) string {
	e.placeholders = true
	h := fnv.New64a()
	_, _ = h.Write([]byte{byte(p)}) // never fails
	for _, a := range args {
		_, _ = h.Write([]byte(a + "\x00"))
	}
	bits := h.Sum64()
	return strings.Map(func(r rune) rune {
		if r != 'x' {
			return r
		}
		digit := rune(bits % hashed)
		bits = bits/hashed | bits<<62
		return firstPlaceholder + rune(p)*hashed + digit
	}, form)
}

// unknownLocation is the placeholder of a location, of which a deployment has one.
func (e *evaluator) unknownLocation() string {
	e.placeholders = true
	return strings.Map(func(r rune) rune {
		return firstPlaceholder + rune(strings.LastIndexByte(spelling, byte(r)))
	}, "unknown-location")
}

// placeholderIn returns the first placeholder of which a string has letters.
func placeholderIn(s string) (placeholder, bool) {
	for {
		at := strings.Index(s, "\xef\xb7") // with which the noncharacters begin
		if at < 0 {
			return 0, false
		}
		r, size := utf8.DecodeRuneInString(s[at:])
		if i := r - firstPlaceholder; i >= 0 && int(i) < len(spelling) {
			return min(placeholder(i/hashed), location), true
		}
		s = s[at+size:]
	}
}

// spelled writes the letters of placeholders as they are shown.
func spelled(s string) string {
	if _, ok := placeholderIn(s); !ok {
		return s
	}
	return strings.Map(func(r rune) rune {
		if i := r - firstPlaceholder; i >= 0 && int(i) < len(spelling) {
			return rune(spelling[i])
		}
		return r
	}, s)
}

// knownText is an error for a string that is not known.
func knownText(v Value) error {
	s, _ := v.(string)
	if p, ok := placeholderIn(s); ok {
		return p.reason()
	}
	return nil
}

// carriedBy reports whether a function only puts strings together, takes parts of them, or
// hands them on. All others would look at letters, or at a length that is not known.
func (p placeholder) carriedBy(function string) bool {
	switch function {
	case "concat", "format", "join", "padleft", "replace", "split", "string", "substring", "tolower", "toupper", "trim", "json",
		"array", "createarray", "createobject", "empty", "equals", "first", "last", "skip", "take",
		"extensionresourceid", "reference", "resourceid", "subscriptionresourceid", "tenantresourceid",
		"guid", "uniquestring":
		return true
	}
	return strings.Contains(function, ".") || function == "length" && p <= newGUID
}

// causes is how many parameters and variables are told that have a placeholder from each other.
const causes = 10

// because tells why what an expression gives is not known: which parameter or variable it
// has the placeholder from, if any.
func (e *evaluator) because(in env, expression string, p placeholder, more int) error {
	if more == 0 || !isExpression(expression) || e.spend(faultSteps) != nil {
		return p.reason()
	}
	what, name := e.parsed[expression].node.source(func(what, name string) bool {
		c := in.scope.cells[cellKey(what, name)]
		return c != nil && e.unknownIn(c.value)
	})
	if what == "" {
		return p.reason()
	}
	of := in.scope.doc.object(what + "s")
	text := of.text(name)
	if what == "parameter" {
		text = of.object(name).text("defaultValue")
		if _, given := in.scope.given.Get(name); given {
			text = ""
		}
	}
	reason := e.because(env{scope: in.scope}, text, p, more-1)
	if text != "" {
		reason = &Fault{Expression: text, Reason: reason}
	}
	return within("the "+what+" "+quote(name), reason)
}

// source returns the first parameter or variable in an expression that is accepted.
func (n *node) source(accept func(what, name string) bool) (what, name string) {
	if n == nil {
		return "", ""
	}
	if n.kind == callNode && (n.text == "parameters" || n.text == "variables") && len(n.args) == 1 && n.args[0].kind == stringNode {
		if what, name = n.text[:len(n.text)-1], n.args[0].text; accept(what, name) {
			return what, name
		}
	}
	for _, a := range n.args {
		if what, name = a.source(accept); what != "" {
			return what, name
		}
	}
	return "", ""
}

// unknownIn reports whether there are placeholders in a value.
func (e *evaluator) unknownIn(v Value) bool {
	defer e.shallower()
	if e.deeper() != nil {
		return false
	}
	switch x := v.(type) {
	case string:
		_, ok := placeholderIn(x)
		return ok && e.look(x) == nil
	case []Value:
		return slices.ContainsFunc(x, e.unknownIn)
	case *Object:
		for _, member := range x.All() {
			if e.unknownIn(member) {
				return true
			}
		}
	}
	return false
}

// nameless reports whether a resource is of use though parts of its name are placeholders.
func (e *evaluator) nameless(kind string, names []string) bool {
	types := strings.Split(kind, "/")
	for i, name := range names {
		if _, ok := placeholderIn(name); ok && (e.with.Nameless == nil || !e.with.Nameless(strings.Join(types[:min(i+2, len(types))], "/"))) {
			return false
		}
	}
	return true
}

// namelessID is nameless for the resource of an id.
func (e *evaluator) namelessID(id string) bool {
	const mark = "/providers/"
	at := strings.LastIndex(id, mark)
	if at < 0 {
		return false
	}
	words := strings.Split(id[at+len(mark):], "/")
	kind, names := words[0], []string{}
	for i := 1; i+1 < len(words); i += 2 {
		kind += "/" + words[i]
		names = append(names, words[i+1])
	}
	return e.nameless(kind, names)
}

// settle leaves placeholders in the ids of nameless resources, as they are shown, and
// nowhere else in properties: there a Fault takes their place. expression gave the value,
// key is where it stands.
func (e *evaluator) settle(in env, key, expression string, v Value) Value {
	if !e.placeholders {
		return v
	}
	defer e.shallower()
	if err := e.deeper(); err != nil {
		return &Fault{Reason: err}
	}
	switch x := v.(type) {
	case string:
		if err := e.look(x); err != nil {
			return &Fault{Reason: err}
		}
		p, ok := placeholderIn(x)
		if ok && (!strings.EqualFold(key, "id") || !e.namelessID(x)) {
			return &Fault{Expression: expression, Reason: e.because(in, expression, p, causes)}
		}
		return spelled(x)
	case []Value:
		out := make([]Value, len(x))
		for i := range x {
			out[i] = e.settle(in, key, expression, x[i])
		}
		return out
	case *Object:
		out := &Object{}
		for k, member := range x.All() {
			if err := out.add(spelled(k), e.settle(in, k, expression, member)); err != nil {
				return &Fault{Expression: expression, Reason: err}
			}
		}
		return out
	}
	return v
}
