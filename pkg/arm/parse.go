package arm

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of one document, besides its size. Azure's own stay far below.
const (
	maxDepth  = 100
	maxValues = 10_000_000
)

// parser turns text into a tree. Unlike encoding/json it knows comments, finds
// keys that are there twice, refuses what a decoder would replace silently,
// and keeps 16 bytes a value, so that a large file stays cheap.
type parser struct {
	tree  *tree
	text  string
	pos   int
	depth int
	keys  []string // of the objects around pos, innermost last
	raw   int      // where the first line break or tab within a string is; -1: nowhere
}

// parseError tells where a document stops being one.
type parseError struct {
	code string
	text string
	at   int
	what string
}

func (e *parseError) Error() string {
	before := e.text[:min(max(e.at, 0), len(e.text))]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d: %s", line, column, e.what)
}

func (p *parser) fail(at int, format string, args ...any) error {
	return &parseError{Malformed, p.text, at, fmt.Sprintf(format, args...)}
}

// parse accepts exactly one JSON value, with // and /* */ comments anywhere
// between its tokens.
func parse(text string) (*tree, error) {
	t, raw, err := parseLines(text)
	if err == nil {
		err = raw
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// parseLines is parse for what may be a template, whose strings may go over several
// lines. raw is the fault that the first one is in any other document.
func parseLines(text string) (t *tree, raw, err error) {
	p := &parser{text: text, tree: &tree{text: text, nodes: make([]node, 0, len(text)/24+16)}, raw: -1}
	if t, err = p.document(); err != nil {
		return nil, nil, err
	}
	if p.raw >= 0 {
		raw = p.fail(p.raw, "a control character or line break within a string")
	}
	return t, raw, nil
}

func (p *parser) document() (*tree, error) {
	text := p.text
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos == len(text) {
		return nil, p.fail(p.pos, "the document is empty")
	}
	if err := p.value(); err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos < len(text) {
		return nil, p.fail(p.pos, "%s after the end of the document", p.here())
	}
	return p.tree, nil
}

// value reads one value; pos stands at its first letter.
func (p *parser) value() error {
	if len(p.tree.nodes) >= maxValues {
		return &parseError{TooLarge, p.text, p.pos, fmt.Sprintf("more than %d values, the limit", maxValues)}
	}
	if p.pos == len(p.text) {
		return p.fail(p.pos, "the document ends where a value belongs")
	}
	switch c := p.text[p.pos]; {
	case c == '{':
		return p.nested(objectKind, p.object)
	case c == '[':
		return p.nested(listKind, p.list)
	case c == '"':
		return p.string()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	return p.word()
}

// nested reads an object or a list with what it holds.
func (p *parser) nested(k kind, body func() error) error {
	if p.depth++; p.depth > maxDepth {
		return &parseError{TooLarge, p.text, p.pos, fmt.Sprintf("nested more than %d deep, the limit", maxDepth)}
	}
	at := len(p.tree.nodes)
	p.tree.nodes = append(p.tree.nodes, node{start: uint32(p.pos), kind: k})
	p.pos++
	if err := body(); err != nil {
		return err
	}
	n := &p.tree.nodes[at]
	n.end, n.next = uint32(p.pos), uint32(len(p.tree.nodes))
	p.depth--
	return nil
}

func (p *parser) list() error {
	for first := true; ; first = false {
		done, err := p.separator(']', first)
		if done || err != nil {
			return err
		}
		if err := p.value(); err != nil {
			return err
		}
	}
}

func (p *parser) object() error {
	outer := len(p.keys)
	for first := true; ; first = false {
		done, err := p.separator('}', first)
		if err != nil {
			return err
		}
		if done {
			break
		}
		if err := p.member(); err != nil {
			return err
		}
	}
	err := p.unique(p.keys[outer:])
	p.keys = p.keys[:outer]
	return err
}

func (p *parser) member() error {
	if p.pos == len(p.text) || p.text[p.pos] != '"' {
		return p.fail(p.pos, "%s where a key in quotes belongs", p.here())
	}
	if err := p.string(); err != nil {
		return err
	}
	p.keys = append(p.keys, value{p.tree, uint32(len(p.tree.nodes) - 1)}.string())
	if err := p.space(); err != nil {
		return err
	}
	if p.pos == len(p.text) || p.text[p.pos] != ':' {
		return p.fail(p.pos, "%s where a colon belongs, after the key %s", p.here(), quote(p.keys[len(p.keys)-1]))
	}
	p.pos++
	if err := p.space(); err != nil {
		return err
	}
	return p.value()
}

// separator steps to the next element, or over the closing bracket.
func (p *parser) separator(closing byte, first bool) (done bool, err error) {
	if err := p.space(); err != nil {
		return false, err
	}
	switch {
	case p.pos == len(p.text):
		return false, p.fail(p.pos, "the document ends before %q", closing)
	case p.text[p.pos] == closing:
		p.pos++
		return true, nil
	case first:
		return false, nil
	case p.text[p.pos] != ',':
		return false, p.fail(p.pos, "%s where a comma or %q belongs", p.here(), closing)
	}
	p.pos++
	if err := p.space(); err != nil {
		return false, err
	}
	if p.pos < len(p.text) && p.text[p.pos] == closing {
		return false, p.fail(p.pos, "%q after a comma", closing)
	}
	return false, nil
}

// few is the number of keys up to which comparing each with each is cheapest.
const few = 16

// unique refuses a key that is in one object twice, as Azure compares keys:
// without regard to case. Which of the two values counts would be a guess.
func (p *parser) unique(keys []string) error {
	if len(keys) <= few {
		for i, k := range keys {
			for _, other := range keys[:i] {
				if sameKey(k, other) {
					return p.twice(other, k)
				}
			}
		}
		return nil
	}
	slices.SortFunc(keys, compareKeys)
	for i := 1; i < len(keys); i++ {
		if sameKey(keys[i-1], keys[i]) {
			return p.twice(keys[i-1], keys[i])
		}
	}
	return nil
}

func (p *parser) twice(a, b string) error {
	also := ""
	if a != b {
		also = " (as " + quote(b) + " too)"
	}
	return p.fail(p.pos-1, "the object that ends here has the key %s twice%s: which value counts is unclear", quote(a), also)
}
