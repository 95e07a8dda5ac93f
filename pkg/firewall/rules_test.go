package firewall

import (
	"net/netip"
	"strings"
	"testing"
)

const goldenIPv4 = `*raw
:VNET-GUARD - [0:0]
-A VNET-GUARD -m set ! --match-set vnet-pods-4 src -m comment --comment vnet-cni -j DROP
-I PREROUTING -d 127.0.0.0/8 -i vnet+ -m set --match-set vnet-pods-4 src -m comment --comment vnet-cni -j DROP
-I PREROUTING -i vnet+ -m rpfilter --invert -m set --match-set vnet-pods-4 src -m comment --comment vnet-cni -j DROP
-I PREROUTING -i vnet+ -m set ! --match-set vnet-pods-4 src -m comment --comment vnet-cni -j VNET-GUARD
COMMIT
*filter
-D FORWARD -i vnet+ -j OLD
-A FORWARD -i vnet+ -m set --match-set vnet-pods-4 src -m comment --comment vnet-cni -j ACCEPT
-A FORWARD -o vnet+ -m set --match-set vnet-pods-4 dst -m comment --comment vnet-cni -j ACCEPT
COMMIT
*nat
:VNET-MASQ-pods - [0:0]
-A VNET-MASQ-pods -o vnet+ -m comment --comment vnet-cni -j RETURN
-A VNET-MASQ-pods -m set --match-set EXCEPT dst -m comment --comment vnet-cni -j RETURN
-A VNET-MASQ-pods -d 224.0.0.0/4 -m comment --comment vnet-cni -j RETURN
-A VNET-MASQ-pods -m comment --comment vnet-cni -j MASQUERADE --random-fully
-A POSTROUTING -m set --match-set vnet-masq-pods-4 src -m comment --comment vnet-cni -j VNET-MASQ-pods
COMMIT
`

const goldenIPv6 = `*raw
:VNET-GUARD - [0:0]
-A VNET-GUARD -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m comment --comment vnet-cni -j RETURN
-A VNET-GUARD -s fe80::/10 -p ipv6-icmp -m icmp6 --icmpv6-type 136 -m comment --comment vnet-cni -j RETURN
-A VNET-GUARD -s ::/128 -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m comment --comment vnet-cni -j RETURN
-A VNET-GUARD -m set ! --match-set vnet-pods-6 src -m comment --comment vnet-cni -j DROP
-I PREROUTING -i vnet+ -m rpfilter --invert -m set --match-set vnet-pods-6 src -m comment --comment vnet-cni -j DROP
-I PREROUTING -i vnet+ -m set ! --match-set vnet-pods-6 src -m comment --comment vnet-cni -j VNET-GUARD
COMMIT
*filter
-D FORWARD -i vnet+ -j OLD
-A FORWARD -i vnet+ -m set --match-set vnet-pods-6 src -m comment --comment vnet-cni -j ACCEPT
-A FORWARD -o vnet+ -m set --match-set vnet-pods-6 dst -m comment --comment vnet-cni -j ACCEPT
COMMIT
`

const goldenRemoval = `*nat
-D POSTROUTING a
-D POSTROUTING b
:VNET-MASQ-pods - [0:0]
-X VNET-MASQ-pods
COMMIT
`

func TestGoldenInput(t *testing.T) {
	n := Network{Name: "pods", IPv4: true, Masquerade: true, Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	except := exceptSet("pods", ipv4, exceptions(n.Except, ipv4))
	cases := []struct {
		name, got, want string
	}{
		{"IPv4 with masquerade", renderAll(n, ipv4), strings.ReplaceAll(goldenIPv4, "EXCEPT", except)},
		{"IPv6 without", renderAll(Network{Name: "pods", IPv6: true}, ipv6), goldenIPv6},
		{"removal", masquerade(n, ipv4).renderRemoval([][]string{{"a", "b"}}), goldenRemoval},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, c.got, c.want)
		}
	}
	t.Logf("%d texts", len(cases))
}

func renderAll(n Network, f family) string {
	var b strings.Builder
	for _, table := range tables(n, f) {
		old := make([][]string, len(table.entries))
		if table.name == "filter" {
			old[0] = []string{"-i vnet+ -j OLD"}
		}
		b.WriteString(table.render(old))
	}
	return b.String()
}

// The reference counts that Ensure expects are those of the rules.
func TestReferencesMatchRules(t *testing.T) {
	checked := 0
	for _, n := range []Network{{Name: "pods"}, {Name: "pods", IPv6: true, Masquerade: true}, {Name: "pods", IPv4: true, IPv6: true, Masquerade: true}} {
		for _, f := range []family{ipv4, ipv6} {
			text := renderAll(n, f)
			for _, s := range wantedSets(n, f) {
				if got := strings.Count(text, "--match-set "+s.name+" "); got != int(s.references) {
					t.Errorf("ipset %s: %d rules match it, %d references are expected", s.name, got, s.references)
				}
				checked++
			}
		}
	}
	t.Logf("%d sets", checked)
}

func TestOwns(t *testing.T) {
	any, masq := entries{}, entries{target: "VNET-MASQ-pods"}
	cases := []struct {
		e    entries
		rule string
		want bool
	}{
		{any, "-i vnet+ -m comment --comment vnet-cni -j DROP", true},
		{any, "-i vnet+ -j DROP", false},
		{any, "-m comment --comment vnet-cni-not -j DROP", false},
		{any, `-m comment --comment "not vnet-cni" -j DROP`, false},
		{any, "-j DROP --comment", false},
		{masq, "-m set --match-set s src -m comment --comment vnet-cni -j VNET-MASQ-pods", true},
		{masq, "-m set --match-set s src -m comment --comment vnet-cni -j VNET-MASQ-pods2", false},
		{masq, "-m set --match-set s src -j VNET-MASQ-pods", false},
	}
	for _, c := range cases {
		if got := c.e.owns(c.rule); got != c.want {
			t.Errorf("target %q owns %q: %t, want %t", c.e.target, c.rule, got, c.want)
		}
	}
	t.Logf("%d rules", len(cases))
}
