package netconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// shownRunes bounds how much of a value an error repeats: the runtime writes
// the message into an event, whose length is limited too.
const shownRunes = 80

// fault is the error for a value that path names; reason continues the sentence
// "value X …".
func fault(code uint, path string, raw json.RawMessage, reason string) error {
	return cnierr.Errorf(code, "%s: value %s %s", showPath(path), show(raw), printable(reason))
}

// faultOf is fault with an error of another package for a reason.
func faultOf(code uint, path string, raw json.RawMessage, err error) error {
	return cnierr.Errorf(code, "%s: value %s is refused: %w", showPath(path), show(raw), &printableError{err})
}

// missing is the error for a required key that is absent.
func missing(path, why string) error {
	return cnierr.Errorf(cnierr.Config, "%s is missing: %s", showPath(path), why)
}

func unknownKey(path string, m member, fields []field) error {
	hint := ""
	if near := nearest(m.key, fields); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return cnierr.Errorf(cnierr.UnsupportedField, "unknown key %s with value %s%s",
		strconv.Quote(shorten(join(path, m.key))), show(m.value), hint)
}

// printableError is err with a message that is fit for a terminal.
type printableError struct{ err error }

func (e *printableError) Error() string { return shortenTo(printable(e.err.Error()), 3*shownRunes) }
func (e *printableError) Unwrap() error { return e.err }

// join makes the path of key inside the object at path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func showPath(path string) string {
	if path == "" {
		return "network configuration"
	}
	return printable(path)
}

// show renders a JSON value on one line, shortened and printable.
func show(raw json.RawMessage) string {
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return shorten(printable(shorten(string(raw))))
	}
	return shorten(printable(shorten(compact.String())))
}

// showString renders a string that is not from a JSON document.
func showString(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string { return shortenTo(s, shownRunes) }

func shortenTo(s string, runes int) string {
	seen := 0
	for i := range s {
		if seen == runes {
			return s[:i] + "…"
		}
		seen++
	}
	return s
}

// printable escapes what a terminal or a log would not show as itself.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
