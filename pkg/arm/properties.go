package arm

import (
	"net/netip"
	"strings"
)

// resource is an object whose properties may stand in an object of their own
// (REST), beside the others (az, PowerShell), or both.
type resource struct {
	flat  value
	props value
}

func open(v value) resource { return resource{flat: v, props: v.get("properties")} }

// get returns a property; the properties object wins.
func (r resource) get(key string) value {
	if v := r.props.get(key); v.given() {
		return v
	}
	return r.flat.get(key)
}

// has tells whether there is such a key at all, be it null.
func (r resource) has(key string) bool {
	return r.props.get(key).kind() != absentKind || r.flat.get(key).kind() != absentKind
}

// open is open with a look at what ConvertTo-Json may have put into the place
// of the object or its properties.
func (r *reader) open(v value) resource {
	res := open(v)
	if p := res.props; p.given() && p.kind() != objectKind {
		r.unexpected("properties", p, "an object")
	}
	return res
}

// plain is a string or a number as it is meant.
func (v value) plain() string {
	switch v.kind() {
	case absentKind, nullKind:
		return ""
	case stringKind:
		return v.string()
	}
	return v.raw()
}

// unexpected tells of a value of the wrong type.
func (r *reader) unexpected(key string, v value, wanted string) {
	if v.kind() == stringKind && isCutOff(v.string()) {
		r.cutOff(key, v)
		return
	}
	if v.kind() == unresolvedKind {
		r.unknown++
		r.fault(Unresolved, key, v, "%s", v.reason())
		return
	}
	if k := v.kind(); k == objectKind || k == listKind {
		r.fault(WrongType, key, v, "%s where %s belongs", k, wanted)
		return
	}
	what := shorten(v.raw())
	if v.kind() == stringKind {
		what = quote(v.string())
	}
	r.fault(WrongType, key, v, "%s is %s, where %s belongs", what, v.kind(), wanted)
}

// isCutOff knows what .NET writes for a value that is not written out.
func isCutOff(s string) bool {
	return strings.HasPrefix(s, "Microsoft.Azure.") || strings.HasPrefix(s, "System.") || strings.HasPrefix(s, "@{")
}

// isFlattened tells the text of a list: ConvertTo-Json joins its elements by
// blanks, which no port range and no prefix holds.
func isFlattened(s string) bool {
	return isCutOff(s) || strings.ContainsAny(strings.TrimSpace(s), " \t\r\n")
}

func (r *reader) cutOff(key string, v value) {
	r.fault(CutOff, key, v, "%s stands for values that ConvertTo-Json left out; export again with ConvertTo-Json -Depth 10", quote(v.plain()))
}

// text reads a string. A number is a fault, and passed on as written all the
// same, lest it be told a second time as missing.
func (r *reader) text(key string, v value) string {
	switch v.kind() {
	case absentKind, nullKind:
		return ""
	case stringKind:
		return strings.Clone(v.string())
	case numberKind, boolKind, unresolvedKind:
		r.unexpected(key, v, "a string")
		return strings.Clone(v.raw())
	}
	r.unexpected(key, v, "a string")
	return ""
}

// number reads a number, or a string with one, as it is written.
func (r *reader) number(key string, v value) string {
	if v.given() && v.kind() != numberKind && v.kind() != stringKind {
		r.unexpected(key, v, "a number")
		if v.kind() != unresolvedKind {
			return ""
		}
	}
	return strings.Clone(v.plain())
}

// truth reads true or false; it is false where nothing is given.
func (r *reader) truth(key string, v value) bool {
	if v.given() && v.kind() != boolKind {
		r.unexpected(key, v, "true or false")
	}
	return v.kind() == boolKind && v.raw() == "true"
}

// list returns the elements of a list. Windows PowerShell 5.1 may wrap one in
// an object with its Count, and leaves "" of an empty one that is nested too deep.
func (r *reader) list(key string, v value) []value {
	if inner := v.get("value"); v.get("count").given() && inner.kind() == listKind {
		v = inner
	}
	if v.given() && v.kind() != listKind && (v.kind() != stringKind || v.raw() != "") {
		r.unexpected(key, v, "a list")
	}
	var items []value
	for item := range v.items() {
		if item.given() {
			items = append(items, item)
		}
	}
	return items
}

// objects returns the objects of a list.
func (r *reader) objects(key string, v value) []value {
	var out []value
	for _, item := range r.list(key, v) {
		if item.kind() != objectKind {
			r.unexpected(key, item, "an object")
			continue
		}
		out = append(out, item)
	}
	return out
}

// texts reads a list of strings. A single string is a fault, but passed on.
func (r *reader) texts(key string, v value) []string {
	if k := v.kind(); k == numberKind || k == stringKind && v.raw() != "" {
		r.unexpected(key, v, "a list")
		return []string{strings.Clone(v.plain())}
	}
	var out []string
	for _, item := range r.list(key, v) {
		if s := r.text(key, item); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// oneOrMore reads what is a string in REST and a list in PowerShell, which
// keeps singular and plural under the singular name. Text with a blank is such
// a list, flattened by ConvertTo-Json.
func (r *reader) oneOrMore(key string, v value) (one string, more []string) {
	if k := v.kind(); k != listKind && k != objectKind {
		s := r.text(key, v)
		if v.kind() != unresolvedKind && isFlattened(s) {
			r.cutOff(key, v)
		}
		return s, nil
	}
	if more = r.texts(key, v); len(more) == 1 {
		return more[0], nil
	}
	return "", more
}

// member returns the object under a key; what else stands there is a fault.
func (r *reader) member(key string, v value) value {
	if v.given() && v.kind() != objectKind && (v.kind() != stringKind || v.raw() != "") {
		r.unexpected(key, v, "an object")
	}
	return v
}

// reference reads the id out of {"id": …}, or "" where there is none.
func (r *reader) reference(key string, v value) string {
	v = r.member(key, v)
	if v.kind() != objectKind {
		return ""
	}
	id := r.placed(r.text("id", v.get("id")))
	if id == "" {
		r.fault(Missing, key, v, "a reference without an id")
	}
	return id
}

// identity reads the name and the id of a resource. A resource without a name
// has its id's; one without either is a fault.
func (r *reader) identity(v value) (name, id string, ok bool) {
	id = r.placed(r.text("id", v.get("id")))
	name = r.text("name", v.get("name"))
	if name == "" {
		name = lastSegment(id)
	}
	if name == "" {
		r.fault(Missing, "name", v, "a resource that has neither a name nor an id")
	}
	return name, id, name != ""
}

// prefixes reads a list of CIDRs. An address alone is a prefix of full length.
func (r *reader) prefixes(key string, v value) []netip.Prefix {
	items := []value{v}
	if v.kind() != stringKind {
		items = r.list(key, v)
	}
	out := make([]netip.Prefix, 0, len(items))
	for _, item := range items {
		if p, ok := r.prefix(key, item); ok {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// prefix reads one CIDR; "" counts as absent.
func (r *reader) prefix(key string, v value) (netip.Prefix, bool) {
	if v.kind() != stringKind {
		r.unexpected(key, v, "a string")
		return netip.Prefix{}, false
	}
	s := v.string()
	if s == "" {
		return netip.Prefix{}, false
	}
	if isFlattened(s) {
		r.cutOff(key, v)
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if a, e := netip.ParseAddr(s); e == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case err != nil || p.Addr().Is4In6():
		r.fault(BadValue, key, v, "%s is not an address prefix such as 10.1.0.0/16", quote(s))
	case p != p.Masked():
		r.fault(BadValue, key, v, "%s has bits set beyond its length: %s is the prefix", quote(s), p.Masked())
	default:
		return p, true
	}
	return netip.Prefix{}, false
}
