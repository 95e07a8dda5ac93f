package arm

import (
	"cmp"
	"iter"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the JSON type of a value.
type kind uint8

const (
	absentKind kind = iota
	nullKind
	boolKind
	numberKind
	stringKind
	listKind
	objectKind
	unresolvedKind // of a template: an expression whose value is not known
)

func (k kind) String() string {
	return [...]string{"nothing", "null", "a truth value", "a number", "a string", "a list", "an object", "a value that is not known"}[k]
}

// tree is a parsed document: its values in the order of the text, each followed
// by what it holds; in an object, each value by its key before it.
type tree struct {
	text   string
	nodes  []node
	origin string            // of a part of another document: where it stands there
	faults map[uint32]string // why an unresolved node's value is not known
}

// node is one value. It has no pointer, which keeps the collector away from
// millions of them.
type node struct {
	start, end uint32 // its text, without quotes
	next       uint32 // the node after it and all that it holds
	kind       kind
	escaped    bool // a string with escapes
}

// value is a place in a tree; the zero value is one that is absent.
type value struct {
	tree *tree
	at   uint32
}

func (v value) kind() kind {
	if v.tree == nil {
		return absentKind
	}
	return v.tree.nodes[v.at].kind
}

// given tells whether there is a value: null counts as absent.
func (v value) given() bool { return v.kind() > nullKind }

// raw returns the value's text as written; of a string, without quotes.
func (v value) raw() string {
	if v.tree == nil {
		return ""
	}
	n := v.tree.nodes[v.at]
	return v.tree.text[n.start:n.end]
}

// string returns the decoded string. It shares memory with the document.
func (v value) string() string {
	if v.kind() != stringKind {
		return ""
	}
	if v.tree.nodes[v.at].escaped {
		return unescape(v.raw())
	}
	return v.raw()
}

// items yields a list's elements.
func (v value) items() iter.Seq[value] {
	return func(yield func(value) bool) {
		if v.kind() != listKind {
			return
		}
		end := v.tree.nodes[v.at].next
		for at := v.at + 1; at < end; at = v.tree.nodes[at].next {
			if !yield(value{v.tree, at}) {
				return
			}
		}
	}
}

// members yields an object's keys and values.
func (v value) members() iter.Seq2[value, value] {
	return func(yield func(key, member value) bool) {
		if v.kind() != objectKind {
			return
		}
		end := v.tree.nodes[v.at].next
		for at := v.at + 1; at < end; at = v.tree.nodes[at+1].next {
			if !yield(value{v.tree, at}, value{v.tree, at + 1}) {
				return
			}
		}
	}
}

// get returns the object's member of that key, in whatever case.
func (v value) get(key string) value {
	for k, member := range v.members() {
		if sameKey(k.string(), key) {
			return member
		}
	}
	return value{}
}

// path tells where the value stands, such as value[2].properties.priority.
func (v value) path() string {
	var path strings.Builder
	if v.tree != nil {
		path.WriteString(v.tree.origin)
	}
	for at := (value{v.tree, 0}); v.tree != nil && at.at != v.at; {
		step, child := at.towards(v)
		if child.tree == nil {
			break
		}
		path.WriteString(step)
		at = child
	}
	return cmp.Or(strings.TrimPrefix(path.String(), "."), "the document")
}

// towards returns the step from v to the child that holds other.
func (v value) towards(other value) (step string, child value) {
	index := 0
	for item := range v.items() {
		if item.holds(other) {
			return "[" + strconv.Itoa(index) + "]", item
		}
		index++
	}
	for key, member := range v.members() {
		if member.holds(other) {
			return keyStep(key.string()), member
		}
	}
	return "", value{}
}

// keyStep writes a key as a step of a path, in quotes unless it is a plain word.
func keyStep(key string) string {
	for _, c := range []byte(key) {
		if l := lower(c); (l < 'a' || l > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return "[" + quote(key) + "]"
		}
	}
	return "." + shorten(key)
}

func (v value) holds(other value) bool {
	return other.at >= v.at && other.at < v.tree.nodes[v.at].next
}

// sameKey compares keys as Azure does; they are ASCII.
func sameKey(a, b string) bool { return len(a) == len(b) && compareKeys(a, b) == 0 }

func compareKeys(a, b string) int {
	for i := range min(len(a), len(b)) {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// shown is how much of a document's text a message repeats, in bytes.
const shown = 200

// shorten makes text of a document fit for a message.
func shorten(s string) string {
	if len(s) <= shown {
		return s
	}
	cut := shown
	for cut > 0 && !utf8.RuneStart(s[cut]) { // a name from elsewhere need not be UTF-8
		cut--
	}
	return s[:cut] + "…"
}

// word is text of a document within a sentence: in quotes if it would break it.
func word(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return quote(s)
	}
	return shorten(s)
}

func quote(s string) string { return strconv.Quote(shorten(s)) }
