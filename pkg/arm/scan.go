package arm

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// space steps over white space and comments.
func (p *parser) space() error {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		case '/':
			if err := p.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (p *parser) comment() error {
	rest := p.text[p.pos:]
	switch {
	case strings.HasPrefix(rest, "//"):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest) - 1
		}
		p.pos += end + 1
		return nil
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return p.fail(p.pos, "a comment without an end")
		}
		p.pos += end + 4
		return nil
	}
	return p.fail(p.pos, "a slash that begins no comment")
}

// add keeps a value without children; its text is from start to end.
func (p *parser) add(k kind, start, end int, escaped bool) {
	next := uint32(len(p.tree.nodes) + 1)
	p.tree.nodes = append(p.tree.nodes, node{start: uint32(start), end: uint32(end), next: next, kind: k, escaped: escaped})
}

// string reads a string; the tree keeps it as written, without the quotes.
func (p *parser) string() error {
	start, escaped := p.pos+1, false
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.add(stringKind, start, i, escaped)
			p.pos = i + 1
			return nil
		case c == '\n' || c == '\r' || c == '\t':
			if p.raw < 0 {
				p.raw = i
			}
		case c < 0x20:
			return p.fail(i, "a control character or line break within a string")
		case c == '\\':
			size := escapeSize(p.text[i:])
			if size == 0 {
				return p.fail(i, "an escape that means no character")
			}
			escaped = true
			i += size - 1
		}
	}
	return p.fail(p.pos, "a string without an end")
}

// escapeSize returns the length of the escape that s begins with. It is 0 for
// what is none, for NUL, and for half a surrogate pair: decoders replace it, and
// two names would become one.
func escapeSize(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[1]) < 0 {
			return 0
		}
		return 2
	}
	r, size := escapedRune(s)
	if r == utf8.RuneError && size != 6 || r == 0 {
		return 0
	}
	return size
}

// escapedRune decodes \uXXXX or a pair of them. Its size is 0 when s does not
// begin with one.
func escapedRune(s string) (rune, int) {
	high, ok := hex4(s)
	if !ok {
		return utf8.RuneError, 0
	}
	if !utf16.IsSurrogate(high) {
		return high, 6
	}
	low, ok := hex4(s[6:])
	r := utf16.DecodeRune(high, low)
	if !ok || r == utf8.RuneError {
		return utf8.RuneError, 0
	}
	return r, 12
}

func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(s[2:6]) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

// unescape decodes a string whose escapes the parser has accepted.
func unescape(s string) string {
	var out strings.Builder
	for {
		at := strings.IndexByte(s, '\\')
		if at < 0 {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:at])
		s = s[at:]
		size := escapeSize(s)
		switch s[1] {
		case 'u':
			r, _ := escapedRune(s)
			out.WriteRune(r)
		case 'b':
			out.WriteByte('\b')
		case 'f':
			out.WriteByte('\f')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 't':
			out.WriteByte('\t')
		default:
			out.WriteByte(s[1])
		}
		s = s[size:]
	}
}

// number reads a number as RFC 8259 has it: no leading zero, no lone point.
func (p *parser) number() error {
	i := p.pos
	if p.text[i] == '-' {
		i++
	}
	whole := p.digits(i)
	ok := whole > i && (p.text[i] != '0' || whole == i+1)
	i = whole
	if ok && i < len(p.text) && p.text[i] == '.' {
		end := p.digits(i + 1)
		ok, i = end > i+1, end
	}
	if ok && i < len(p.text) && p.text[i]|0x20 == 'e' {
		i++
		if i < len(p.text) && (p.text[i] == '+' || p.text[i] == '-') {
			i++
		}
		end := p.digits(i)
		ok, i = end > i, end
	}
	if !ok {
		return p.fail(p.pos, "a malformed number")
	}
	p.add(numberKind, p.pos, i, false)
	p.pos = i
	return nil
}

// digits returns where the digits from i on end.
func (p *parser) digits(i int) int {
	for i < len(p.text) && p.text[i] >= '0' && p.text[i] <= '9' {
		i++
	}
	return i
}

// word reads true, false or null.
func (p *parser) word() error {
	end := p.pos
	for end < len(p.text) && p.text[end] >= 'a' && p.text[end] <= 'z' {
		end++
	}
	k := boolKind
	switch p.text[p.pos:end] {
	case "null":
		k = nullKind
	case "true", "false":
	default:
		return p.fail(p.pos, "%s where a value belongs", p.here())
	}
	p.add(k, p.pos, end, false)
	p.pos = end
	return nil
}

// here shows what stands at pos.
func (p *parser) here() string {
	if p.pos >= len(p.text) {
		return "the end of the document"
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return strconv.QuoteRune(r)
}
