package template

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// textFunction finds the functions of strings:
// learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-string.
func textFunction(name string) function {
	switch name {
	case "format":
		return function{1, -1, (*call).format}
	case "tolower":
		return function{1, 1, onText(strings.ToLower)}
	case "toupper":
		return function{1, 1, onText(strings.ToUpper)}
	case "trim":
		return function{1, 1, onText(strings.TrimSpace)}
	case "string":
		return function{1, 1, func(c *call) (Value, error) { return c.written(c.args[0]) }}
	case "uniquestring":
		return function{1, -1, func(c *call) (Value, error) { return c.hash(uniqueString, "xxxxxxxxxxxxx") }}
	case "guid":
		return function{1, -1, func(c *call) (Value, error) { return c.hash(guid, guidForm) }}
	case "newguid":
		return function{0, 0, (*call).newGUID}
	case "utcnow":
		return function{0, 1, (*call).utcNow}
	case "json":
		return function{1, 1, (*call).json}
	case "replace":
		return function{3, 3, (*call).replace}
	case "split":
		return function{2, 2, (*call).split}
	case "join":
		return function{2, 2, (*call).join}
	case "substring":
		return function{1, 3, (*call).substring}
	case "padleft":
		return function{2, 3, (*call).padLeft}
	case "startswith":
		return function{2, 2, onFolded(func(s, part string) Value { return strings.HasPrefix(s, part) })}
	case "endswith":
		return function{2, 2, onFolded(func(s, part string) Value { return strings.HasSuffix(s, part) })}
	case "indexof":
		return function{2, 2, func(c *call) (Value, error) { return c.indexOf(strings.Index, slices.All[[]Value]) }}
	case "lastindexof":
		return function{2, 2, func(c *call) (Value, error) { return c.indexOf(strings.LastIndex, slices.Backward[[]Value]) }}
	}
	return function{}
}

func onText(change func(string) string) func(*call) (Value, error) {
	return func(c *call) (Value, error) {
		s, err := c.str(0)
		return change(s), err
	}
}

// onFolded is for functions that compare without regard to case.
func onFolded(look func(s, part string) Value) func(*call) (Value, error) {
	return func(c *call) (Value, error) {
		args, err := c.strs()
		if err != nil {
			return nil, err
		}
		return look(strings.Map(unicode.ToUpper, args[0]), strings.Map(unicode.ToUpper, args[1])), nil
	}
}

// indexOf finds a part of a string, in any case, or an element of an array.
func (c *call) indexOf(in func(s, part string) int, elements func([]Value) iter.Seq2[int, Value]) (Value, error) {
	list, ok := c.args[0].([]Value)
	if !ok {
		return onFolded(func(s, part string) Value { return position(s, in(s, part)) })(c)
	}
	for i, v := range elements(list) {
		if same, err := c.equal(v, c.args[1], 0); same || err != nil {
			return int64(i), err
		}
	}
	return int64(-1), nil
}

// position turns where something stands in Go's string into where it stands in Azure's.
func position(s string, at int) Value {
	if at < 0 {
		return int64(-1)
	}
	return int64(units(s[:at]))
}

// units is the length of a string as Azure counts it: in UTF-16.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// cut returns length units of a string from one on. What cuts a letter outside
// of the basic plane in half is an error.
func cut(s string, from, length int64) (string, error) {
	start, err := byteAt(s, from)
	if err != nil {
		return "", err
	}
	end, err := byteAt(s[start:], length)
	if err != nil {
		return "", err
	}
	return s[start : start+end], nil
}

func byteAt(s string, unit int64) (int, error) {
	n := int64(0)
	for i, r := range s {
		if n == unit {
			return i, nil
		}
		if n += int64(utf16.RuneLen(r)); n > unit {
			return 0, fmt.Errorf("position %d is within a letter of two units", unit)
		}
	}
	if n != unit {
		return 0, fmt.Errorf("position %d is beyond the end of a string of %d", unit, n)
	}
	return len(s), nil
}

// substring fails beyond the end of the string, as Azure's does.
func (c *call) substring() (Value, error) {
	s, err := c.str(0)
	if err != nil {
		return nil, err
	}
	from := int64(0)
	if len(c.args) > 1 {
		if from, err = c.num(1); err != nil {
			return nil, err
		}
	}
	total := int64(units(s))
	length := total - from
	if len(c.args) > 2 {
		if length, err = c.num(2); err != nil {
			return nil, err
		}
	}
	if from < 0 || length < 0 || from > total || length > total-from {
		return nil, fmt.Errorf("%d letters from %d on are not within a string of %d", length, from, total)
	}
	return cut(s, from, length)
}

func (c *call) padLeft() (Value, error) {
	s, err := scalar(c.args[0])
	if err != nil {
		return nil, err
	}
	width, err := c.num(1)
	if err != nil {
		return nil, err
	}
	pad := " "
	if len(c.args) == 3 {
		if pad, err = scalar(c.args[2]); err != nil {
			return nil, err
		}
	}
	if utf8.RuneCountInString(pad) != 1 {
		return nil, fmt.Errorf("%s is not a single letter to pad with", quote(pad))
	}
	return padded(s, width, pad, true)
}

// padded fills a string up to a width, on its left or on its right.
func padded(s string, width int64, pad string, left bool) (string, error) {
	if width > maxString {
		return "", fmt.Errorf("a string of %d letters is longer than %d, the limit", width, maxString)
	}
	missing := max(0, int(width)-units(s)) / units(pad)
	if left {
		return strings.Repeat(pad, missing) + s, nil
	}
	return s + strings.Repeat(pad, missing), nil
}

func (c *call) replace() (Value, error) {
	args, err := c.strs()
	if err != nil {
		return nil, err
	}
	if args[1] == "" {
		return nil, fmt.Errorf("the string to replace is empty")
	}
	if n := strings.Count(args[0], args[1]); len(args[0])+n*(len(args[2])-len(args[1])) > maxString {
		return nil, fmt.Errorf("a string of more than %d bytes, the limit", maxString)
	}
	return strings.ReplaceAll(args[0], args[1], args[2]), nil
}

// split cuts at a delimiter or, with an array, at any of several.
func (c *call) split() (Value, error) {
	s, err := c.str(0)
	if err != nil {
		return nil, err
	}
	delimiters, isList := c.args[1].([]Value)
	if !isList {
		delimiters = c.args[1:2]
	}
	parts := []string{s}
	for _, d := range delimiters {
		text, ok := d.(string)
		if !ok {
			return nil, c.wrong(1, "a string or an array of strings")
		}
		if text == "" || len(delimiters) > 1 && len(text) > 1 {
			return nil, fmt.Errorf("cannot split at %s beside other delimiters", quote(text))
		}
		if err := c.look(s); err != nil {
			return nil, err
		}
		var finer []string
		for _, p := range parts {
			finer = append(finer, strings.Split(p, text)...)
		}
		if parts = finer; c.spend(len(parts)) != nil {
			return nil, c.spend(0)
		}
	}
	out := make([]Value, len(parts))
	for i, p := range parts {
		out[i] = p
	}
	return out, nil
}

func (c *call) join() (Value, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	with, err := c.str(1)
	if err != nil {
		return nil, err
	}
	if err := c.spend(len(list)); err != nil {
		return nil, err
	}
	var out strings.Builder
	for i, v := range list {
		s, err := scalar(v)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString(with)
		}
		if out.WriteString(s); out.Len() > maxString {
			return nil, c.text(out.String())
		}
	}
	return out.String(), nil
}

// written is what string() gives. Of null that is not documented, and thus an error.
func (c *call) written(v Value) (string, error) {
	switch v.(type) {
	case []Value, *Object:
		var out strings.Builder
		err := c.meter.json(&out, v, 0)
		return out.String(), err
	}
	return scalar(v)
}

// scalar is what becomes of a value within a string.
func scalar(v Value) (string, error) {
	switch x := v.(type) {
	case string:
		return x, nil
	case int64:
		return strconv.FormatInt(x, 10), nil
	case bool: // as .NET writes them
		if x {
			return "True", nil
		}
		return "False", nil
	}
	return "", fmt.Errorf("%s cannot become a string", kindOf(v))
}

// guidForm has an x for each letter of a GUID.
const guidForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

// hash stands for a hash of the arguments.
func (c *call) hash(p placeholder, form string) (Value, error) {
	args, err := c.strs()
	if err != nil {
		return nil, err
	}
	return c.noted(p, form, args...), nil
}

func (c *call) newGUID() (Value, error) {
	c.newGUIDs++
	return c.noted(newGUID, guidForm, strconv.Itoa(c.newGUIDs)), nil
}

// utcNow stands for the time of the deployment: of a form, with about as many letters.
func (c *call) utcNow() (Value, error) {
	form := "yyyyMMddTHHmmssZ"
	if len(c.args) > 0 {
		var err error
		if form, err = c.str(0); err != nil {
			return nil, err
		}
	}
	return c.noted(utcNow, strings.Repeat("x", max(1, utf8.RuneCountInString(form))), form), nil
}

// json reads a JSON text.
func (c *call) json() (Value, error) {
	s, err := c.str(0)
	if err != nil {
		return nil, err
	}
	if c.with.ParseJSON == nil {
		return nil, fmt.Errorf("nobody here reads JSON")
	}
	if err := c.spend(len(s) / 2); err != nil {
		return nil, err
	}
	v, err := c.with.ParseJSON(s)
	if err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", quote(s), err)
	}
	return v, nil
}
