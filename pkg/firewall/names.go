package firewall

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
)

// Longest names: a chain's is bounded by XT_EXTENSION_MAXNAMELEN - 1
// (linux/netfilter/x_tables.h), a set's by IPSET_MAXNAMELEN - 1.
const (
	maxChainName = 28
	maxSetName   = 31
	maxTag       = 18
)

// Fixed names. Everything of a network is derived from its tag or its hash.
const (
	guardChain     = "VNET-GUARD"
	masqChainStart = "VNET-MASQ-"
	masqSetStart   = "vnet-masq-"
	exceptSetStart = "vnet-x-"
)

// tag is what stands for a network in the names of chains and sets: its name
// where that is short and plain, else the name's beginning, a dot and its hash.
// A plain tag has no dot, so a network cannot be called like another one's tag.
func tag(network string) string {
	if plain(network) {
		return network
	}
	var start strings.Builder
	for i := 0; i < len(network) && start.Len() < maxTag-program.HashLength-1; i++ {
		if plainByte(network[i]) {
			start.WriteByte(network[i])
		}
	}
	return start.String() + "." + program.Hash(network)
}

// plain reports whether a network's name can serve as its own tag.
func plain(network string) bool {
	if network == "" || len(network) > maxTag {
		return false
	}
	for i := range len(network) {
		if !plainByte(network[i]) {
			return false
		}
	}
	return true
}

func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func masqChain(network string) string { return masqChainStart + tag(network) }

func masqSet(network string, f family) string { return masqSetStart + tag(network) + "-" + f.suffix() }

// exceptSet names the set of exceptions by its content, so that another
// content is another set and a changed one is never filled in place.
func exceptSet(network string, f family, prefixes []netip.Prefix) string {
	content := make([]byte, 0, 17*len(prefixes)) // one length within a family: unambiguous
	for _, p := range prefixes {
		content = append(content, p.Addr().AsSlice()...)
		content = append(content, byte(p.Bits()))
	}
	return exceptSetPrefix(network) + program.Hash(string(content)) + "-" + f.suffix()
}

// exceptSetPrefix is how the names of all a network's sets of exceptions begin.
func exceptSetPrefix(network string) string { return exceptSetStart + program.Hash(network) + "-" }

// exceptions returns the prefixes of one family in the form the kernel keeps
// them: masked, sorted, none inside another, and no /0, which hash:net does
// not take: two halves instead.
func exceptions(all []netip.Prefix, f family) []netip.Prefix {
	var masked []netip.Prefix
	for _, p := range all {
		if p = unmapped(p).Masked(); p.IsValid() && familyOf(p.Addr()) == f {
			masked = append(masked, p)
		}
	}
	slices.SortFunc(masked, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range masked {
		if len(out) == 0 || !out[len(out)-1].Contains(p.Addr()) {
			out = append(out, p)
		}
	}
	if len(out) == 1 && out[0].Bits() == 0 {
		return halves(f)
	}
	return out
}

func halves(f family) []netip.Prefix {
	if f == ipv4 {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")}
	}
	return []netip.Prefix{netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")}
}

// unmapped turns ::ffff:a.b.c.d/96+n into a.b.c.d/n.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}
