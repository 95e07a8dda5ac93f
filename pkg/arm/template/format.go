package template

import (
	"fmt"
	"strconv"
	"strings"
)

// format fills the places of a text: {0}, {1,8}, {2:D3}, with {{ for a brace. The rules
// are those of .NET's composite formatting
// (learn.microsoft.com/dotnet/standard/base-types/composite-formatting).
func (c *call) format() (Value, error) {
	text, err := c.str(0)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for text != "" {
		at := strings.IndexAny(text, "{}")
		if at < 0 {
			out.WriteString(text)
			break
		}
		out.WriteString(text[:at])
		brace := text[at]
		text = text[at+1:]
		switch {
		case text != "" && text[0] == brace:
			out.WriteByte(brace)
			text = text[1:]
			continue
		case brace == '}':
			return nil, fmt.Errorf("a lone } in the text; }} stands for one")
		}
		item, rest, closed := strings.Cut(text, "}")
		if !closed {
			return nil, fmt.Errorf("a { without its } in the text; {{ stands for one")
		}
		s, err := c.item(item)
		if err != nil {
			return nil, err
		}
		if out.WriteString(s); out.Len() > maxString {
			return nil, c.text(out.String())
		}
		text = rest
	}
	return out.String(), nil
}

// item is one place: index[,width][:form].
func (c *call) item(item string) (string, error) {
	place, form, hasForm := strings.Cut(item, ":")
	place, width, hasWidth := strings.Cut(place, ",")
	i, err := strconv.ParseUint(strings.TrimRight(place, " "), 10, 16)
	if err != nil {
		return "", fmt.Errorf("{%s} does not name the number of an argument", shorten(item))
	}
	if int(i)+1 >= len(c.args) {
		return "", fmt.Errorf("{%s} names argument %d of %d", shorten(item), i, len(c.args)-1)
	}
	s, err := formed(c.args[i+1], form, hasForm)
	if err != nil || !hasWidth {
		return s, err
	}
	w, err := strconv.ParseInt(strings.TrimSpace(width), 10, 32)
	if err != nil {
		return "", fmt.Errorf("{%s}: %s is not a width", shorten(item), quote(width))
	}
	if w < 0 {
		return padded(s, -w, " ", false)
	}
	return padded(s, w, " ", true)
}

// formed writes a value; only numbers have forms, and what has none ignores it.
func formed(v Value, form string, given bool) (string, error) {
	if v == nil {
		return "", nil // .NET's null is nothing
	}
	n, isNumber := v.(int64)
	if !isNumber || !given || form == "" {
		return scalar(v)
	}
	letter, size := form[0]|0x20, -1
	if len(form) > 1 {
		d, err := strconv.ParseUint(form[1:], 10, 8)
		if err != nil || d > 99 {
			return "", unknownForm(form)
		}
		size = int(d)
	}
	switch {
	case strings.Trim(form, "0") == "": // as many digits at least
		return digits(n, len(form)), nil
	case letter == 'd':
		return digits(n, size), nil
	case letter == 'n' && size <= 0:
		if size < 0 {
			return grouped(n) + ".00", nil
		}
		return grouped(n), nil
	case letter == 'n':
		return grouped(n) + "." + strings.Repeat("0", size), nil
	case letter == 'x' && n >= 0:
		hex := fmt.Sprintf("%0*x", max(size, 1), n)
		if form[0] == 'X' {
			hex = strings.ToUpper(hex)
		}
		return hex, nil
	}
	return "", unknownForm(form)
}

func unknownForm(form string) error {
	return fmt.Errorf("the form %s of a number is not known here; D, N, X and zeros are", quote(form))
}

// digits writes at least size digits.
func digits(n int64, size int) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	return sign + strings.Repeat("0", max(0, size-len(s))) + s
}

// grouped writes commas between thousands.
func grouped(n int64) string {
	s := digits(n, 1)
	first := 0
	if n < 0 {
		first = 1
	}
	for at := len(s) - 3; at > first; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
