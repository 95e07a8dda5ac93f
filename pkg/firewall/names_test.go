package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestTag(t *testing.T) {
	long := strings.Repeat("network", 15)[:100]
	plainNames := []string{"pods", "a", "A-b_c", "exactly-18-letters"}
	for _, name := range plainNames {
		if got := tag(name); got != name {
			t.Errorf("tag(%q) = %q, want the name itself", name, got)
		}
	}
	names := append(plainNames, "", "exactly-19--letters", long, long[:99], "a.b", "a b", "ab", "Pods", "pods.", "näme", "\"", "x/../y")
	for range 3 { // nobody can choose a name that is another one's tag
		for _, name := range slices.Clone(names) {
			names = append(names, tag(name))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	seen := map[string]string{}
	for _, name := range names {
		got := tag(name)
		if other, ok := seen[got]; ok {
			t.Errorf("tag(%q) = tag(%q) = %q", name, other, got)
		}
		seen[got] = name
		if c := masqChain(name); len(c) > maxChainName {
			t.Errorf("chain %q has %d characters", c, len(c))
		}
		for _, s := range []string{masqSet(name, ipv6), exceptSet(name, ipv6, halves(ipv6))} {
			if len(s) > maxSetName {
				t.Errorf("set %q has %d characters", s, len(s))
			}
		}
	}
	t.Logf("%d names", len(names))
}

func TestExceptions(t *testing.T) {
	cases := []struct{ name, in, v4, v6 string }{
		{"none", "", "", ""},
		{"masked, sorted, families apart", "10.9.8.7/16 fd00::1/64 10.1.0.0/16", "10.1.0.0/16 10.9.0.0/16", "fd00::/64"},
		{"one inside another", "10.0.0.0/8 10.1.0.0/16 10.0.0.0/8 11.0.0.1/32", "10.0.0.0/8 11.0.0.1/32", ""},
		{"everything", "0.0.0.0/0 10.0.0.0/8", "0.0.0.0/1 128.0.0.0/1", ""},
		{"everything, IPv6", "::/0", "", "::/1 8000::/1"},
		{"mapped", "::ffff:10.1.2.3/104", "10.0.0.0/8", ""},
	}
	for _, c := range cases {
		var in []netip.Prefix
		for _, p := range strings.Fields(c.in) {
			in = append(in, netip.MustParsePrefix(p))
		}
		in = append(in, netip.Prefix{}) // an invalid one does no harm
		for f, want := range map[family]string{ipv4: c.v4, ipv6: c.v6} {
			got := strings.Trim(fmt.Sprint(exceptions(in, f)), "[]")
			if got != want {
				t.Errorf("%s: IPv%s exceptions are %q, want %q", c.name, f.suffix(), got, want)
			}
		}
	}
	t.Logf("%d cases", 2*len(cases))
}

func TestExceptSetIsNamedByContent(t *testing.T) {
	a := exceptions([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ipv4)
	b := exceptions([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/9")}, ipv4)
	names := []string{
		exceptSet("x", ipv4, a), exceptSet("x", ipv4, b), exceptSet("y", ipv4, a), exceptSet("x", ipv4, nil), exceptSet("x", ipv6, nil),
	}
	slices.Sort(names)
	if got := len(slices.Compact(names)); got != 5 {
		t.Errorf("5 different sets have %d names: %q", got, names)
	}
}
