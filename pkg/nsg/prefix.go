package nsg

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// prefix reads the singular property, which may be "*" or a service tag as well.
func (p place) prefix(e *Endpoint, property, s string) {
	switch {
	case s == "" || s == "*":
	case isAny(s):
		p.fail(CodeInvalidPrefix, property, s, "%q is not an address prefix; all addresses are \"*\"", s)
	case LooksLikeTag(s):
		e.Tag = s
	default:
		e.Prefixes = p.parsed(property, []string{s})
	}
}

// prefixes reads the plural property: addresses and prefixes only.
func (p place) prefixes(property string, list []string) []netip.Prefix {
	plain := make([]string, 0, len(list))
	for _, s := range list {
		if s == "*" || LooksLikeTag(s) && !isAny(s) {
			p.fail(CodeUnsupportedValue, property, s,
				"%q may stand in %s alone, not in a list", s, strings.TrimSuffix(property, "es"))
			continue
		}
		plain = append(plain, s)
	}
	parsed := p.parsed(property, plain)
	p.overlaps(property, parsed)
	return parsed
}

// parsed reads prefixes and addresses. One that has host bits is reported, and
// returned without them, so that its other faults are found at once too.
func (p place) parsed(property string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		prefix, err := ParsePrefix(s)
		if err != nil {
			p.fail(CodeInvalidPrefix, property, s, "%v", err)
		}
		if prefix.IsValid() {
			out = append(out, prefix)
		}
	}
	return out
}

// ParsePrefix reads a CIDR prefix or an address, which is a prefix of all its
// bits. With host bits set it returns both the prefix without them and an error.
func ParsePrefix(s string) (netip.Prefix, error) {
	var prefix netip.Prefix
	var err error
	if strings.Contains(s, "/") {
		prefix, err = netip.ParsePrefix(s)
	} else if a, e := netip.ParseAddr(s); e == nil && a.Zone() == "" {
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case err != nil || !prefix.IsValid():
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/24", s)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 address written as IPv6; write it as IPv4", s)
	case prefix != prefix.Masked():
		return prefix.Masked(), fmt.Errorf("%q has host bits set; its network is %v", s, prefix.Masked())
	}
	return prefix, nil
}

// overlaps reports each prefix that lies in another one of the list.
func (p place) overlaps(property string, list []netip.Prefix) {
	sorted := slices.SortedFunc(slices.Values(list), netip.Prefix.Compare)
	for i, outer := 1, 0; i < len(sorted); i++ {
		// Prefixes lie within each other or apart, and the wider one sorts first.
		if !sorted[outer].Overlaps(sorted[i]) {
			outer = i
			continue
		}
		p.fail(CodeOverlap, property, sorted[i].String(), "%v lies in %v of the same list", sorted[i], sorted[outer])
	}
}

// LooksLikeTag reports whether s has the form of a service tag's name, such as
// "Storage.WestEurope". Whether there is such a tag, NewPolicy finds out.
func LooksLikeTag(s string) bool {
	for i := range len(s) {
		letter := s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'
		digit := s[i] >= '0' && s[i] <= '9' || s[i] == '.'
		if !letter && (!digit || i == 0) {
			return false
		}
	}
	return s != ""
}

// isAny reports whether s is the word that Azure's portal shows for "*". Its
// interface refuses it.
func isAny(s string) bool { return strings.EqualFold(s, "any") }
