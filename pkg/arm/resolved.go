package arm

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm/template"
)

// Limits of a template, besides those of package template. Azure's own is 4 MB for
// all that one becomes.
const (
	maxTemplateValues = 250_000
	maxResolved       = 32 << 20 // bytes of all resources that a template becomes
)

// literal returns a part of a document as the values that templates are made of. It
// shares strings with the document.
func (v value) literal() template.Value {
	switch v.kind() {
	case stringKind:
		return v.string()
	case boolKind:
		return v.raw() == "true"
	case numberKind:
		if n, err := strconv.ParseInt(v.raw(), 10, 64); err == nil {
			return n
		}
		return template.Number(v.raw())
	case listKind:
		out := []template.Value{}
		for item := range v.items() {
			out = append(out, item.literal())
		}
		return out
	case objectKind:
		out := &template.Object{}
		for key, member := range v.members() {
			out.Set(key.string(), member.literal())
		}
		return out
	}
	return nil
}

// parseJSON is for the template function json().
func parseJSON(text string) (template.Value, error) {
	t, err := parse(text)
	if err != nil {
		return nil, err
	}
	return value{t, 0}.literal(), nil
}

// builder makes trees of resolved resources, so that they are read as any document is.
type builder struct {
	tree *tree
	text strings.Builder
	size int // of all trees so far
}

// build makes the tree of a value that stands at origin.
func (b *builder) build(origin string, v template.Value) (value, error) {
	b.tree = &tree{origin: origin}
	b.text.Reset()
	if err := b.add(v, 0); err != nil {
		return value{}, err
	}
	b.tree.text = b.text.String()
	return value{b.tree, 0}, nil
}

func (b *builder) add(v template.Value, depth int) error {
	if depth > maxDepth {
		return b.unresolved(&template.Fault{Reason: fmt.Errorf("nested more than %d deep, the limit", maxDepth)})
	}
	switch x := v.(type) {
	case nil:
		return b.leaf(nullKind, "null")
	case bool:
		return b.leaf(boolKind, strconv.FormatBool(x))
	case int64:
		return b.leaf(numberKind, strconv.FormatInt(x, 10))
	case template.Number:
		return b.leaf(numberKind, string(x))
	case string:
		return b.leaf(stringKind, x)
	case []template.Value:
		return b.nested(listKind, func() error {
			for _, item := range x {
				if err := b.add(item, depth+1); err != nil {
					return err
				}
			}
			return nil
		})
	case *template.Object:
		return b.nested(objectKind, func() error { return b.members(x, depth) })
	case *template.Fault:
		return b.unresolved(x)
	}
	return b.unresolved(&template.Fault{Reason: fmt.Errorf("a function where a value belongs")})
}

func (b *builder) members(o *template.Object, depth int) error {
	for key, v := range o.All() {
		if err := b.leaf(stringKind, key); err != nil {
			return err
		}
		if err := b.add(v, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) leaf(k kind, text string) error {
	if b.size += 16 + len(text); b.size > maxResolved {
		return fmt.Errorf("the template's resources take more than %d bytes, the limit", maxResolved)
	}
	start := uint32(b.text.Len())
	b.text.WriteString(text)
	b.tree.nodes = append(b.tree.nodes, node{start: start, end: uint32(b.text.Len()), next: uint32(len(b.tree.nodes) + 1), kind: k})
	return nil
}

// nested adds a list or an object; its text is of no interest.
func (b *builder) nested(k kind, body func() error) error {
	at := len(b.tree.nodes)
	if err := b.leaf(k, ""); err != nil {
		return err
	}
	if err := body(); err != nil {
		return err
	}
	b.tree.nodes[at].next = uint32(len(b.tree.nodes))
	return nil
}

func (b *builder) unresolved(f *template.Fault) error {
	if b.tree.faults == nil {
		b.tree.faults = map[uint32]string{}
	}
	reason := abridge(f.Reason.Error())
	b.tree.faults[uint32(len(b.tree.nodes))] = reason
	b.size += len(reason)
	return b.leaf(unresolvedKind, f.Expression)
}

// reason tells why an unresolved value is not known.
func (v value) reason() string {
	if text := v.raw(); text != "" {
		return "the value of " + shorten(text) + " is not known: " + v.tree.faults[v.at]
	}
	return v.tree.faults[v.at]
}

// abridge keeps the beginning and the end of a long reason: what is wrong comes last.
func abridge(s string) string {
	if len(s) <= 3*shown {
		return s
	}
	return strings.ToValidUTF8(s[:shown], "") + " … " + strings.ToValidUTF8(s[len(s)-shown:], "")
}
