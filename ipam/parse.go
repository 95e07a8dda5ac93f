package ipam

import (
	"fmt"
	"net/netip"
	"strings"
)

// ParsePool reads a pool as the configuration writes it: a subnet in CIDR
// notation, and ranges that are each a CIDR, "first-last" or one address.
// Errors are *FieldError with Field "subnet" or "ranges[2]".
func ParsePool(subnet string, ranges []string) (Pool, error) {
	prefix, reason := parseSubnet(subnet)
	if reason != "" {
		return Pool{}, &FieldError{"subnet", subnet, reason}
	}
	pool := Pool{Subnet: prefix}
	for i, text := range ranges {
		r, reason := parseRange(text)
		if reason == "" {
			reason = pool.refuses(r)
		}
		if reason != "" {
			return Pool{}, &FieldError{fmt.Sprintf("ranges[%d]", i), text, reason}
		}
		pool.Ranges = append(pool.Ranges, r)
	}
	if len(pool.Leasable()) == 0 {
		return Pool{}, &FieldError{"ranges", strings.Join(ranges, ","),
			"hold only addresses that Azure reserves: the first four of the subnet and the last"}
	}
	return pool, nil
}

// refuses returns why r cannot be the pool's next range, or nothing.
func (p Pool) refuses(r Range) string {
	if r.First.Is4() != p.Subnet.Addr().Is4() {
		return fmt.Sprintf("is not of the same address family as the subnet %v", p.Subnet)
	}
	if !p.Subnet.Contains(r.First) || !p.Subnet.Contains(r.Last) {
		return fmt.Sprintf("is not within the subnet %v", p.Subnet)
	}
	for i, earlier := range p.Ranges {
		if r.overlaps(earlier) {
			return fmt.Sprintf("overlaps ranges[%d] (%v)", i, earlier)
		}
	}
	return ""
}

// parseSubnet returns the subnet, or why it cannot be one.
func parseSubnet(text string) (netip.Prefix, string) {
	prefix, reason := parsePrefix(text)
	if reason != "" {
		return prefix, reason
	}
	for _, f := range unusableSubnets(prefix.Addr().Is4()) {
		if prefix.Overlaps(f.prefix) {
			return prefix, fmt.Sprintf("overlaps %v, which is %s", f.prefix, f.what)
		}
	}
	if _, ok := usableRange(prefix); !ok {
		return prefix, "is too small: the first four addresses and the last are reserved"
	}
	return prefix, ""
}

// parsePrefix returns a CIDR without host bits, or why the text is not one.
func parsePrefix(text string) (netip.Prefix, string) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, "is not an address and a prefix length, such as 10.241.0.0/16"
	}
	if prefix.Addr().Is4In6() {
		return prefix, "is an IPv4-mapped IPv6 prefix: write it as IPv4"
	}
	if prefix.Masked() != prefix {
		return prefix, fmt.Sprintf("has host bits set: the network is %v", prefix.Masked())
	}
	return prefix, ""
}

// parseRange returns a range, or why the text is not one.
func parseRange(text string) (Range, string) {
	if strings.Contains(text, "/") {
		prefix, reason := parsePrefix(text)
		if reason != "" {
			return Range{}, reason
		}
		return prefixRange(prefix), ""
	}
	firstText, lastText, pair := strings.Cut(text, "-")
	if !pair {
		lastText = firstText
	}
	first, reason := parseAddr(firstText)
	if reason != "" {
		return Range{}, reason
	}
	last, reason := parseAddr(lastText)
	switch {
	case reason != "":
		return Range{}, reason
	case first.Is4() != last.Is4():
		return Range{}, "mixes IPv4 and IPv6"
	case last.Less(first):
		return Range{}, "is reversed: its first address is above its last"
	}
	return Range{first, last}, ""
}

// parseAddr returns an address, or why the text is not one.
func parseAddr(text string) (netip.Addr, string) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return a, "is neither a CIDR, nor first-last, nor one address"
	case a.Zone() != "":
		return a, "has a zone, which a leased address cannot have"
	case a.Is4In6():
		return a, "is an IPv4-mapped IPv6 address: write it as IPv4"
	}
	return a, ""
}

// unusable is a prefix from which no host address can be taken.
type unusable struct {
	prefix netip.Prefix
	what   string
}

// unusableSubnets is built per call: plugins pay for package-level values at
// every start.
func unusableSubnets(is4 bool) []unusable {
	if is4 {
		v4 := func(a, b byte, bits int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b}), bits)
		}
		return []unusable{
			{v4(0, 0, 8), "unspecified"}, {v4(127, 0, 8), "loopback"},
			{v4(169, 254, 16), "link-local"}, {v4(224, 0, 4), "multicast"},
		}
	}
	v6 := func(a, b byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b}), bits)
	}
	mapped := netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff})
	return []unusable{
		{v6(0, 0, 128), "unspecified"}, {netip.PrefixFrom(netip.IPv6Loopback(), 128), "loopback"},
		{netip.PrefixFrom(mapped, 96), "IPv4-mapped"},
		{v6(0xfe, 0x80, 10), "link-local"}, {v6(0xff, 0, 8), "multicast"},
	}
}
