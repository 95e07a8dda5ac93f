package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// node is a parsed expression.
type node struct {
	kind   nodeKind
	text   string  // the function's name in lower case, the string, the property
	as     string  // the function's name as written
	number int64   // of an integer
	args   []*node // of a call; of an access, what is looked into and then the index
	fixed  bool    // a call whose value is the same in every round of the loops and lambdas around it
}

type nodeKind uint8

const (
	stringNode nodeKind = iota
	numberNode
	callNode
	propertyNode // args[0].text
	indexNode    // args[0][args[1]]
)

// isExpression reports whether a string of a template stands for something else:
// it begins with one bracket and ends with one.
func isExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' && s[1] != '['
}

// literal is what a string that is no expression stands for: two brackets at its
// beginning are one, if it ends with one.
func literal(s string) string {
	if strings.HasPrefix(s, "[[") && strings.HasSuffix(s, "]") {
		return s[1:]
	}
	return s
}

// parser reads one expression.
type parser struct {
	text  string // without the brackets around it
	pos   int
	depth int
}

// parse reads an expression with the brackets around it.
func parse(text string) (*node, error) {
	if utf8.RuneCountInString(text) > maxExpression {
		return nil, fmt.Errorf("the expression has more than %d letters, the limit", maxExpression)
	}
	p := &parser{text: text[1 : len(text)-1]}
	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.space(); p.pos < len(p.text) {
		return nil, p.fail("%s where the expression should end", p.here())
	}
	n.settle(false)
	return n, nil
}

// settle finds the calls that are fixed. It reports whether there is something in the node
// that depends on the round of a loop, or of a lambda.
func (n *node) settle(inLambda bool) (loops, lambdas bool) {
	isLambda := n.kind == callNode && n.text == "lambda"
	for _, a := range n.args {
		l, v := a.settle(inLambda || isLambda)
		loops, lambdas = loops || l, lambdas || v
	}
	if n.kind != callNode {
		return loops, lambdas
	}
	switch n.text {
	case "copyindex":
		loops = true
	case "lambdavariables":
		lambdas = true
	case "lambda", "parameters", "variables": // which take nothing
	default:
		n.fixed = !loops && (!lambdas || !inLambda)
	}
	return loops, lambdas
}

func (p *parser) fail(format string, args ...any) error {
	at := 2 + utf8.RuneCountInString(p.text[:p.pos]) // the bracket is the first
	return fmt.Errorf("at its letter %d: %s", at, fmt.Sprintf(format, args...))
}

// here shows what stands at pos.
func (p *parser) here() string {
	if p.pos >= len(p.text) {
		return "the end"
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return strconv.QuoteRune(r)
}

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// take steps over a letter, and blanks before it, if it is the next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// expression reads a value and what is taken out of it.
func (p *parser) expression() (*node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, p.fail("nested more than %d deep, the limit", maxNesting)
	}
	defer func() { p.depth-- }()
	n, err := p.primary()
	for err == nil {
		switch {
		case p.take('.'):
			n, err = p.property(n)
		case p.take('['):
			n, err = p.index(n)
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *parser) property(of *node) (*node, error) {
	p.space()
	name := p.word()
	if name == "" {
		return nil, p.fail("%s where a property's name belongs", p.here())
	}
	return &node{kind: propertyNode, text: name, args: []*node{of}}, nil
}

func (p *parser) index(of *node) (*node, error) {
	i, err := p.expression()
	if err != nil {
		return nil, err
	}
	if !p.take(']') {
		return nil, p.fail("%s where ']' belongs", p.here())
	}
	return &node{kind: indexNode, args: []*node{of, i}}, nil
}

func (p *parser) primary() (*node, error) {
	p.space()
	if p.pos == len(p.text) {
		return nil, p.fail("the end where a value belongs")
	}
	switch c := p.text[p.pos]; {
	case c == '\'':
		return p.string()
	case c == '-' || c == '+' || c >= '0' && c <= '9':
		return p.number()
	case isLetter(c):
		return p.call()
	}
	return nil, p.fail("%s where a value belongs", p.here())
}

// string reads 'text'; two quotes in it are one.
func (p *parser) string() (*node, error) {
	var out strings.Builder
	for at := p.pos + 1; ; {
		end := strings.IndexByte(p.text[at:], '\'')
		if end < 0 {
			return nil, p.fail("a string without an end")
		}
		out.WriteString(p.text[at : at+end])
		at += end + 1
		if at == len(p.text) || p.text[at] != '\'' {
			p.pos = at
			return &node{kind: stringNode, text: out.String()}, nil
		}
		out.WriteByte('\'')
		at++
	}
}

// number reads an integer; the language has no others.
func (p *parser) number() (*node, error) {
	end := p.pos + 1
	for end < len(p.text) && (isLetter(p.text[end]) || isDigit(p.text[end])) {
		end++
	}
	n, err := strconv.ParseInt(p.text[p.pos:end], 10, 64)
	if err != nil {
		return nil, p.fail("%s is not an integer of 64 bits", quote(p.text[p.pos:end]))
	}
	p.pos = end
	return &node{kind: numberNode, number: n}, nil
}

// call reads name(…) or, of a user's function, namespace.name(…).
func (p *parser) call() (*node, error) {
	name := p.word()
	for p.take('.') {
		p.space()
		part := p.word()
		if part == "" {
			return nil, p.fail("%s where a function's name belongs", p.here())
		}
		name += "." + part
	}
	if !p.take('(') {
		return nil, p.fail("%s where '(' belongs after the function %s: values have quotes, and true is true()", p.here(), quote(name))
	}
	n := &node{kind: callNode, text: strings.ToLower(name), as: name}
	if p.take(')') {
		return n, nil
	}
	for {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if p.take(')') {
			return n, nil
		}
		if !p.take(',') {
			return nil, p.fail("%s where ',' or ')' belongs", p.here())
		}
	}
}

func (p *parser) word() string {
	start := p.pos
	for p.pos < len(p.text) && (isLetter(p.text[p.pos]) || p.pos > start && isDigit(p.text[p.pos])) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
