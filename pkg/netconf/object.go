package netconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

// decoder carries one document into a Conf.
type decoder struct {
	plugin  Plugin
	lenient bool
	conf    Conf

	mtuRaw json.RawMessage // mtu as written, for the rules between keys
}

// setter reads the value of one key into its place.
type setter func(path string, raw json.RawMessage) error

// field is one key that an object may have. Fields are set in their order.
type field struct {
	key   string
	set   setter // nil: accepted and ignored
	need  string // why the key is required; "": it is not
	vital bool   // a fault is an error for a lenient reader too
}

// member is one key of an object as written, with its value.
type member struct {
	key   string
	value json.RawMessage
}

// wellFormed accepts exactly one JSON object in UTF-8. The lenient reader takes
// other encodings too and looks at each string that it needs.
func (d *decoder) wellFormed(path string, data []byte) error {
	if !d.lenient && !utf8.Valid(data) {
		return fault(cnierr.Decode, path, data, "is not UTF-8")
	}
	var whole json.RawMessage
	err := json.Unmarshal(data, &whole)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return cnierr.Errorf(cnierr.Decode, "%s is not JSON: %w at byte %d, after %s",
			showPath(path), err, syntax.Offset, showString(before(data, syntax.Offset)))
	}
	if err != nil {
		return faultOf(cnierr.Decode, path, data, err)
	}
	return nil
}

// before returns the bytes that lead up to offset.
func before(text []byte, offset int64) string {
	end := min(max(int(offset), 0), len(text))
	return string(text[max(0, end-40):end])
}

// object hands each member of the object raw to its field. An open object may
// have other keys as well.
func (d *decoder) object(path string, raw json.RawMessage, fields []field, open bool) error {
	members, err := d.members(path, raw)
	if err != nil {
		return err
	}
	return d.assign(path, members, fields, open)
}

// assign goes by the order of the fields, not of the document: a field may
// build on an earlier one. Keys that nobody knows are told first.
func (d *decoder) assign(path string, members []member, fields []field, open bool) error {
	values := make([]json.RawMessage, len(fields))
	for _, m := range members {
		if i := find(fields, m.key); i >= 0 {
			values[i] = m.value
		} else if !open && !d.lenient && !foreign(path, m.key) {
			return unknownKey(path, m, fields)
		}
	}
	for i, f := range fields {
		if err := f.assign(path, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// assign sets the field from its value, nil when the key is absent.
func (f field) assign(path string, value json.RawMessage) error {
	switch {
	case value == nil && f.need != "":
		return missing(join(path, f.key), f.need)
	case value == nil || f.set == nil:
		return nil
	}
	return f.set(join(path, f.key), value)
}

// soften makes the faults of all fields but the vital ones harmless for a
// lenient reader.
func (d *decoder) soften(fields []field) []field {
	if !d.lenient {
		return fields
	}
	for i, f := range fields {
		if f.vital {
			continue
		}
		fields[i].need = ""
		if f.set != nil {
			fields[i].set = func(path string, raw json.RawMessage) error {
				_ = f.set(path, raw) // left at its default
				return nil
			}
		}
	}
	return fields
}

// foreign tells whether key belongs to CNI's own name space.
func foreign(path, key string) bool { return path == "" && strings.HasPrefix(key, "cni.dev/") }

func find(fields []field, key string) int {
	for i, f := range fields {
		if f.key == key {
			return i
		}
	}
	return -1
}

// members splits an object, with keys exactly as written: decoding into a
// struct would take "MTU" for "mtu" and the second of two equal keys silently.
func (d *decoder) members(path string, raw json.RawMessage) ([]member, error) {
	if kind(raw) != '{' {
		return nil, fault(cnierr.Decode, path, raw, "is not an object")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, faultOf(cnierr.Decode, path, raw, err)
	}
	var members []member
	place := map[string]int{}
	for dec.More() {
		m, err := nextMember(dec)
		if err != nil {
			return nil, faultOf(cnierr.Decode, path, raw, err)
		}
		at, twice := place[m.key]
		switch {
		case twice && (!d.lenient || path == "" && vital(m.key)):
			return nil, fault(cnierr.Decode, join(path, shorten(m.key)), m.value, "is the second one: the key is there twice")
		case twice:
			members[at] = m
		default:
			place[m.key] = len(members)
			members = append(members, m)
		}
	}
	return members, nil
}

func nextMember(dec *json.Decoder) (member, error) {
	token, err := dec.Token()
	if err != nil {
		return member{}, err
	}
	key, ok := token.(string)
	if !ok {
		return member{}, fmt.Errorf("%v is not a key", token)
	}
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return member{}, fmt.Errorf("value of key %q: %w", shorten(key), err)
	}
	return member{key: key, value: value}, nil
}

// elements splits a list.
func elements(path string, raw json.RawMessage) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if kind(raw) != '[' {
		return nil, fault(cnierr.Decode, path, raw, "is not a list")
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, faultOf(cnierr.Decode, path, raw, err)
	}
	return list, nil
}

// text reads a string. What is not UTF-8 is refused, for the decoder would
// replace it silently and give two names one meaning.
func text(path string, raw json.RawMessage) (string, error) {
	if kind(raw) != '"' {
		return "", fault(cnierr.Decode, path, raw, "is not a string")
	}
	if !utf8.Valid(raw) {
		return "", fault(cnierr.Decode, path, raw, "is not UTF-8")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", faultOf(cnierr.Decode, path, raw, err)
	}
	return s, nil
}

// texts reads a list of strings.
func texts(path string, raw json.RawMessage) ([]string, error) {
	list, err := elements(path, raw)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(list))
	for i, e := range list {
		s, err := text(index(path, i), e)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// whole reads a whole number from low to high.
func whole(path string, raw json.RawMessage, low, high int) (int, error) {
	k := kind(raw)
	if k != '-' && (k < '0' || k > '9') {
		return 0, fault(cnierr.Decode, path, raw, "is not a number")
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(raw)))
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, fault(cnierr.Decode, path, raw, "is not a whole number")
	}
	if err != nil || n < low || n > high {
		return 0, fault(cnierr.Config, path, raw, fmt.Sprintf("is not from %d to %d", low, high))
	}
	return n, nil
}

// kind is the first letter of a value, which tells its JSON type.
func kind(raw json.RawMessage) byte {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

func isNull(raw json.RawMessage) bool { return kind(raw) == 'n' }
