package arm

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// toText decodes a document: UTF-8 with or without a byte order mark, or UTF-16
// with one, which Windows PowerShell's > writes.
func toText(data []byte) (string, error) {
	text := ""
	switch {
	case len(data) >= 2 && data[0] == 0xFF && data[1] == 0xFE:
		wide, err := fromUTF16(data[2:], func(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 })
		if err != nil {
			return "", err
		}
		text = wide
	case len(data) >= 2 && data[0] == 0xFE && data[1] == 0xFF:
		wide, err := fromUTF16(data[2:], func(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 })
		if err != nil {
			return "", err
		}
		text = wide
	default:
		text = strings.TrimPrefix(string(data), "\uFEFF")
	}
	if at := strings.IndexByte(text, 0); at >= 0 {
		return "", &parseError{Malformed, text, at, "a NUL byte"}
	}
	if !utf8.ValidString(text) {
		return "", &parseError{Malformed, text, invalidAt(text), "bytes that are not UTF-8"}
	}
	return text, nil
}

func fromUTF16(data []byte, unit func([]byte) uint16) (string, error) {
	if len(data)%2 != 0 {
		return "", errors.New("the file begins as UTF-16, but ends within a character")
	}
	var text strings.Builder
	text.Grow(len(data) / 2)
	for i := 0; i < len(data); i += 2 {
		r := rune(unit(data[i:]))
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if i+4 <= len(data) {
				low = rune(unit(data[i+2:]))
			}
			i += 2
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return "", errors.New("the file begins as UTF-16, but holds half a surrogate pair")
			}
		}
		text.WriteRune(r)
	}
	return text.String(), nil
}

// invalidAt returns where the first byte stands that is not UTF-8.
func invalidAt(text string) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return len(text)
}
