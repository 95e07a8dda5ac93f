package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// unmarshal reads a flow from a line of JSON.
func (t *flowText) unmarshal(line string) error {
	*t = flowText{}
	r := lineReader{rest: line}
	if r.flow(t) {
		return nil
	}
	*t = flowText{}
	return t.unmarshalStrictly(line)
}

// text and list return where the flow keeps the value of a key; nil for a key
// that is of another type or unknown.
func (t *flowText) text(key string) *string {
	switch key {
	case keyDirection:
		return &t.Direction
	case keyProtocol:
		return &t.Protocol
	case keyLocal:
		return &t.Local
	case keyRemote:
		return &t.Remote
	}
	return nil
}

func (t *flowText) list(key string) *[]string {
	switch key {
	case keyLocalASGs:
		return &t.LocalASGs
	case keyRemoteASGs:
		return &t.RemoteASGs
	}
	return nil
}

// lineReader reads a flow as nearly all are written: plain ASCII, known keys and
// no escapes. It is the fast way and has no errors: what it does not take is read
// again by encoding/json, which costs ten times as much.
type lineReader struct{ rest string }

func (r *lineReader) flow(t *flowText) bool {
	if !r.next('{') {
		return false
	}
	for {
		key, ok := r.string()
		if !ok || !r.next(':') || !r.member(t, key) {
			return false
		}
		if r.next(',') {
			continue
		}
		return r.next('}') && strings.Trim(r.rest, " \t\r") == ""
	}
}

// member takes one value. A key that was there before is left to the slow way.
func (r *lineReader) member(t *flowText, key string) bool {
	if s := t.text(key); s != nil && *s == "" {
		value, ok := r.string()
		*s = value
		return ok && value != ""
	}
	if l := t.list(key); l != nil && *l == nil {
		return r.strings(l)
	}
	return false
}

func (r *lineReader) strings(list *[]string) bool {
	*list = []string{}
	if !r.next('[') {
		return false
	}
	if r.next(']') {
		return true
	}
	for {
		s, ok := r.string()
		if !ok {
			return false
		}
		*list = append(*list, s)
		if !r.next(',') {
			return r.next(']')
		}
	}
}

// next takes one character behind white space, if it comes next.
func (r *lineReader) next(c byte) bool {
	i := 0
	for i < len(r.rest) && (r.rest[i] == ' ' || r.rest[i] == '\t') {
		i++
	}
	r.rest = r.rest[i:]
	if r.rest == "" || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *lineReader) string() (string, bool) {
	if !r.next('"') {
		return "", false
	}
	for i := range len(r.rest) {
		switch c := r.rest[i]; {
		case c == '"':
			s := r.rest[:i]
			r.rest = r.rest[i+1:]
			return s, true
		case c < ' ' || c > '~' || c == '\\':
			return "", false
		}
	}
	return "", false
}

// unmarshalStrictly reads any JSON object and says what is wrong with it.
func (t *flowText) unmarshalStrictly(line string) error {
	d := json.NewDecoder(strings.NewReader(line))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("%s is not a JSON object", quoted(line))
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("%s is not JSON: %w", quoted(line), err)
		}
		key, _ := name.(string) // an object's keys are strings
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%s is not JSON: %w", quoted(line), err)
		}
		if seen[key] {
			return &fieldError{key, string(value), "the key is there twice"}
		}
		seen[key] = true
		if err := t.set(key, value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%s is not JSON: %w", quoted(line), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s has something behind the JSON object", quoted(line))
	}
	return nil
}

// flowKeys are told to who has another one.
const flowKeys = "direction, protocol, local, remote, localASGs and remoteASGs"

func (t *flowText) set(key string, value json.RawMessage) error {
	text, list := t.text(key), t.list(key)
	switch {
	case text != nil:
		if json.Unmarshal(value, text) != nil || value[0] != '"' {
			return &fieldError{key, string(value), "it must be a string"}
		}
	case list != nil:
		// Into pointers: encoding/json takes a null for an empty string.
		var items []*string
		if json.Unmarshal(value, &items) != nil || value[0] != '[' {
			return &fieldError{key, string(value), "it must be a list of strings"}
		}
		*list = []string{}
		for _, s := range items {
			if s == nil {
				return &fieldError{key, string(value), "it must be a list of strings"}
			}
			*list = append(*list, *s)
		}
	default:
		return &fieldError{key, string(value), "the key is unknown; there are " + flowKeys}
	}
	return nil
}
