package nsg

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wanted is a finding without what every one of the table has alike.
type wanted struct {
	severity              Severity
	code, property, value string
}

func findingRows() []struct {
	name string
	rule RuleDefinition
	want []wanted
} {
	source := func(e EndpointDefinition) RuleDefinition {
		return changed(func(r *RuleDefinition) { r.Source = e })
	}
	prefix := func(s string) RuleDefinition { return source(EndpointDefinition{Prefix: s, Port: "*"}) }
	prefixes := func(s ...string) RuleDefinition { return source(EndpointDefinition{Prefixes: s, Port: "*"}) }
	port := func(s string) RuleDefinition {
		return changed(func(r *RuleDefinition) { r.Destination.Port = s })
	}
	ports := func(s ...string) RuleDefinition {
		return changed(func(r *RuleDefinition) { r.Destination.Port, r.Destination.Ports = "", s })
	}
	one := func(code, property, value string) []wanted { return []wanted{{Error, code, property, value}} }
	return []struct {
		name string
		rule RuleDefinition
		want []wanted
	}{
		{"everything", plainRule("r1", 100), nil},
		{"cases", changed(func(r *RuleDefinition) { r.Protocol, r.Access, r.Direction = "TCP", "deny", "OUTBOUND" }), nil},
		{"no protocol", changed(func(r *RuleDefinition) { r.Protocol = "" }), one(CodeParameterMissing, "protocol", "")},
		{"bad protocol", changed(func(r *RuleDefinition) { r.Protocol = "Any" }), one(CodeInvalidValue, "protocol", "Any")},
		{"numeric protocol", changed(func(r *RuleDefinition) { r.Protocol = "6" }), one(CodeInvalidValue, "protocol", "6")},
		{"no access", changed(func(r *RuleDefinition) { r.Access = "" }), one(CodeParameterMissing, "access", "")},
		{"bad access", changed(func(r *RuleDefinition) { r.Access = "Permit" }), one(CodeInvalidValue, "access", "Permit")},
		{"no direction", changed(func(r *RuleDefinition) { r.Direction = "" }), one(CodeParameterMissing, "direction", "")},
		{"bad direction", changed(func(r *RuleDefinition) { r.Direction = "In" }), one(CodeInvalidValue, "direction", "In")},
		{"no priority", changed(func(r *RuleDefinition) { r.Priority = "" }), one(CodeParameterMissing, "priority", "")},
		{"priority 99", changed(func(r *RuleDefinition) { r.Priority = "99" }), one(CodeInvalidPriority, "priority", "99")},
		{"priority 4096", changed(func(r *RuleDefinition) { r.Priority = "4096" }), nil},
		{"priority 4097", changed(func(r *RuleDefinition) { r.Priority = "4097" }), one(CodeInvalidPriority, "priority", "4097")},
		{"huge priority", changed(func(r *RuleDefinition) { r.Priority = "65637" }), one(CodeInvalidPriority, "priority", "65637")},
		{"broken priority", changed(func(r *RuleDefinition) { r.Priority = "100.5" }), one(CodeInvalidPriority, "priority", "100.5")},
		{"signed priority", changed(func(r *RuleDefinition) { r.Priority = "+100" }), one(CodeInvalidPriority, "priority", "+100")},

		{"address", prefix("10.0.0.1"), nil},
		{"IPv6 prefix", prefix("2001:DB8::/32"), nil},
		{"all IPv4", prefix("0.0.0.0/0"), nil},
		{"all IPv6", prefix("::/0"), nil},
		{"tag", prefix("Storage.WestEurope"), nil},
		{"Any", prefix("aNy"), one(CodeInvalidPrefix, "sourceAddressPrefix", "aNy")},
		{"host bits", prefix("50.206.209.68/27"), one(CodeInvalidPrefix, "sourceAddressPrefix", "50.206.209.68/27")},
		{"too long", prefix("10.0.0.0/33"), one(CodeInvalidPrefix, "sourceAddressPrefix", "10.0.0.0/33")},
		{"mapped", prefix("::ffff:10.0.0.1"), one(CodeInvalidPrefix, "sourceAddressPrefix", "::ffff:10.0.0.1")},
		{"mapped prefix", prefix("::ffff:10.0.0.0/104"), one(CodeInvalidPrefix, "sourceAddressPrefix", "::ffff:10.0.0.0/104")},
		{"zone", prefix("fe80::1%eth0"), one(CodeInvalidPrefix, "sourceAddressPrefix", "fe80::1%eth0")},
		{"zone of a prefix", prefix("fe80::%eth0/64"), one(CodeInvalidPrefix, "sourceAddressPrefix", "fe80::%eth0/64")},
		{"comma", prefix("10.0.0.1,10.0.0.2"), one(CodeInvalidPrefix, "sourceAddressPrefix", "10.0.0.1,10.0.0.2")},
		{"range", prefix("10.0.0.1-10.0.0.9"), one(CodeInvalidPrefix, "sourceAddressPrefix", "10.0.0.1-10.0.0.9")},
		{"blank", prefix(" "), one(CodeInvalidPrefix, "sourceAddressPrefix", " ")},
		{"list", prefixes("10.0.0.0/24", "10.0.1.0/24", "10.0.2.1"), nil},
		{"list of one", prefixes("10.0.0.0/24"), nil},
		{"tag in a list", prefixes("10.0.0.0/24", "VirtualNetwork"), one(CodeUnsupportedValue, "sourceAddressPrefixes", "VirtualNetwork")},
		{"star in a list", prefixes("*"), one(CodeUnsupportedValue, "sourceAddressPrefixes", "*")},
		{"Any in a list", prefixes("Any"), one(CodeInvalidPrefix, "sourceAddressPrefixes", "Any")},
		{"host bits in a list", prefixes("10.0.0.1/24"), one(CodeInvalidPrefix, "sourceAddressPrefixes", "10.0.0.1/24")},
		{"empty element", prefixes(""), one(CodeInvalidPrefix, "sourceAddressPrefixes", "")},
		{"overlap", prefixes("10.0.1.0/24", "10.0.0.0/16"), one(CodeOverlap, "sourceAddressPrefixes", "10.0.1.0/24")},
		{"twice", prefixes("10.0.0.1", "10.0.0.1/32"), one(CodeOverlap, "sourceAddressPrefixes", "10.0.0.1/32")},
		{"two overlaps", prefixes("10.0.0.0/16", "10.0.2.0/24", "10.0.1.0/24", "10.1.0.0/16"), []wanted{
			{Error, CodeOverlap, "sourceAddressPrefixes", "10.0.1.0/24"}, {Error, CodeOverlap, "sourceAddressPrefixes", "10.0.2.0/24"}}},
		{"host bits and overlap", prefixes("10.0.0.0/16", "10.0.1.1/24"), []wanted{
			{Error, CodeInvalidPrefix, "sourceAddressPrefixes", "10.0.1.1/24"}, {Error, CodeOverlap, "sourceAddressPrefixes", "10.0.1.0/24"}}},
		{"families in a list", prefixes("10.0.0.0/16", "fd00::/8"), one(CodeMixedFamilies, "sourceAddressPrefixes", "fd00::/8")},
		{"families of two sides", changed(func(r *RuleDefinition) { r.Source.Prefix, r.Destination.Prefix = "::/0", "10.0.0.4" }),
			one(CodeMixedFamilies, "destinationAddressPrefix", "10.0.0.4/32")},
		{"tag and IPv6", changed(func(r *RuleDefinition) { r.Source.Prefix, r.Destination.Prefix = "Internet", "fd00::/8" }), nil},

		{"no address", source(EndpointDefinition{Port: "*"}), one(CodeParametersMissing, "sourceAddressPrefix", "")},
		{"no port", source(EndpointDefinition{Prefix: "*"}), one(CodeParametersMissing, "sourcePortRange", "")},
		{"prefix and prefixes", source(EndpointDefinition{Prefix: "*", Prefixes: []string{"10.0.0.0/8"}, Port: "*"}),
			one(CodeAlternatives, "sourceAddressPrefixes", "10.0.0.0/8")},
		{"prefix and group", source(EndpointDefinition{Prefix: "*", ASGs: []string{"web"}, Port: "*"}),
			one(CodeAlternatives, "sourceApplicationSecurityGroups", "web")},
		{"port and ports", source(EndpointDefinition{Prefix: "*", Port: "*", Ports: []string{"80", "90"}}),
			one(CodeAlternatives, "sourcePortRanges", "80,90")},
		{"groups", source(EndpointDefinition{ASGs: []string{"/subscriptions/s/applicationSecurityGroups/Web", "web", "api"}, Port: "*"}), nil},
		{"nameless group", source(EndpointDefinition{ASGs: []string{"/applicationSecurityGroups/"}, Port: "*"}),
			one(CodeInvalidASG, "sourceApplicationSecurityGroups", "/applicationSecurityGroups/")},
		{"eleven groups", source(EndpointDefinition{ASGs: strings.Split("a b c d e f g h i j k", " "), Port: "*"}),
			one(CodeLimitExceeded, "applicationSecurityGroups", "11")},

		{"port", port("80"), nil},
		{"all ports", port("0-65535"), nil},
		{"port list", ports("80", "90-99"), nil},
		{"comma", port("80,443"), one(CodeInvalidPortRange, "destinationPortRange", "80,443")},
		{"reversed", port("90-80"), one(CodeInvalidPortRange, "destinationPortRange", "90-80")},
		{"port 65536", port("65536"), one(CodeInvalidPortRange, "destinationPortRange", "65536")},
		{"negative", port("-1"), one(CodeInvalidPortRange, "destinationPortRange", "-1")},
		{"open", port("80-"), one(CodeInvalidPortRange, "destinationPortRange", "80-")},
		{"word", port("any"), one(CodeInvalidPortRange, "destinationPortRange", "any")},
		{"star in a port list", ports("*"), one(CodeInvalidPortRange, "destinationPortRanges", "*")},
		{"two bad ports", ports("x", "80", "9-8"), []wanted{
			{Error, CodeInvalidPortRange, "destinationPortRanges", "x"}, {Error, CodeInvalidPortRange, "destinationPortRanges", "9-8"}}},

		{"ICMP with ports", changed(func(r *RuleDefinition) { r.Protocol, r.Source.Port = "Icmp", "0-65535" }),
			[]wanted{{Warning, CodeNeverMatches, "protocol", "Icmp"}}},
		{"description", changed(func(r *RuleDefinition) { r.Description = strings.Repeat("ä", 140) }), nil},
		{"long description", changed(func(r *RuleDefinition) { r.Description = strings.Repeat("x", 141) }),
			[]wanted{{Warning, CodeDescriptionLength, "description", strings.Repeat("x", 141)}}},
	}
}

func TestFindings(t *testing.T) {
	rows := findingRows()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g, findings := New(groupOf(row.rule))
			checkFindings(t, g, findings, row.want, "r1")
		})
	}
	t.Logf("%d rules", len(rows))
}

// checkFindings also checks that a group comes without errors only, and that each
// finding names where it belongs and says something.
func checkFindings(t *testing.T, g *Group, findings []Finding, want []wanted, rule string) {
	t.Helper()
	var got []wanted
	for _, f := range findings {
		got = append(got, wanted{f.Severity, f.Code, f.Property, f.Value})
		if f.File != "nsg.json" || f.NSG != "web-nsg" || f.Rule != rule || f.Message == "" {
			t.Errorf("place or message of %+v", f)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("findings %+v\nwant     %+v", got, want)
	}
	failed := slices.ContainsFunc(want, func(w wanted) bool { return w.severity == Error })
	if failed != (g == nil) {
		t.Errorf("errors: %v, group: %v", failed, g)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"web": "", "Web_1.x-y_": "", "0": "", strings.Repeat("a", 80): "", "prüfung": "",
		"": CodeNameMissing, strings.Repeat("a", 81): CodeInvalidName, "-web": CodeInvalidName,
		"_web": CodeInvalidName, "web-": CodeInvalidName, "web.": CodeInvalidName, "a b": CodeInvalidName, "nsg/web": CodeInvalidName,
	} {
		for _, d := range []Definition{groupOf(plainRule(name, 100)), {Name: name, Rules: []RuleDefinition{plainRule("r", 100)}}} {
			g, findings := New(d)
			got := ""
			if len(findings) == 1 && findings[0].Property == "name" {
				got = findings[0].Code
			}
			if got != want || (g == nil) != (name == "") {
				t.Errorf("%+v: %+v, want code %q", d, findings, want)
			}
		}
	}
}

func TestRulesAgainstEachOther(t *testing.T) {
	outbound := plainRule("c", 100)
	outbound.Direction = "Outbound"
	invalid := plainRule("d", 100)
	invalid.Priority = "7"
	_, findings := New(groupOf(plainRule("a", 100), plainRule("b", 100), outbound, plainRule("A", 200), invalid,
		plainRule("", 300), plainRule("", 400)))
	var got []string
	for _, f := range findings {
		got = append(got, f.Rule+" "+f.Code+" "+f.Property+" "+f.Value)
	}
	want := []string{"b SecurityRuleConflict priority 100", "A SecurityRuleDuplicateName name A",
		"d SecurityRuleInvalidPriority priority 7", " ResourceNameMissing name ", " ResourceNameMissing name "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestLimits(t *testing.T) {
	many := func(n int, change func(i int, r *RuleDefinition)) (rules []RuleDefinition) {
		for i := range n {
			r := plainRule(fmt.Sprintf("r%d", i), 100+i)
			change(i, &r)
			rules = append(rules, r)
		}
		return rules
	}
	plain := func(int, *RuleDefinition) {}
	addresses := func(i int, r *RuleDefinition) {
		r.Source.Prefix, r.Destination.Prefix = "", "10.0.0.0/8"
		for j := range 39 {
			r.Source.Prefixes = append(r.Source.Prefixes, fmt.Sprintf("10.1.%d.%d", i, j))
		}
	}
	asgs := func(i int, r *RuleDefinition) { r.Source.Prefix, r.Source.ASGs = "", []string{fmt.Sprintf("asg%d", i)} }
	for _, row := range []struct {
		name     string
		most     []RuleDefinition
		over     RuleDefinition
		property string
	}{
		{"rules", many(1000, plain), plainRule("over", 4000), "securityRules"},
		{"addresses", many(100, addresses), changed(func(r *RuleDefinition) {
			r.Name, r.Priority, r.Source.Prefix = "over", "4000", "10.0.0.1"
		}), "addressPrefixes"},
		{"ASGs", many(100, asgs), changed(func(r *RuleDefinition) {
			r.Name, r.Priority, r.Source.Prefix, r.Source.ASGs = "over", "4000", "", []string{"another"}
		}), "applicationSecurityGroups"},
	} {
		if g, findings := New(groupOf(row.most...)); g == nil || len(findings) > 0 {
			t.Errorf("%s at the limit: %+v", row.name, findings)
		}
		g, findings := New(groupOf(append(row.most, row.over)...))
		if g != nil || len(findings) != 1 || findings[0].Code != CodeLimitExceeded || findings[0].Property != row.property {
			t.Errorf("%s over the limit: %+v", row.name, findings)
		}
	}
}

func TestGroupsRulesAreInOrder(t *testing.T) {
	outbound := plainRule("out", 300)
	outbound.Direction = "outbound"
	g := mustNew(t, outbound, plainRule("late", 4096), plainRule("early", 100))
	var got []string
	for i := range g.Rules {
		r := &g.Rules[i]
		got = append(got, fmt.Sprintf("%v %d %v %s", r.Direction, r.Priority, r.Access, r.FullName()))
	}
	want := []string{
		"Inbound 100 Allow securityRules/early", "Inbound 4096 Allow securityRules/late",
		"Inbound 65000 Allow defaultSecurityRules/AllowVnetInBound",
		"Inbound 65001 Allow defaultSecurityRules/AllowAzureLoadBalancerInBound",
		"Inbound 65500 Deny defaultSecurityRules/DenyAllInBound",
		"Outbound 300 Allow securityRules/out",
		"Outbound 65000 Allow defaultSecurityRules/AllowVnetOutBound",
		"Outbound 65001 Allow defaultSecurityRules/AllowInternetOutBound",
		"Outbound 65500 Deny defaultSecurityRules/DenyAllOutBound",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestEndpointsAsParsed(t *testing.T) {
	g := mustNew(t, changed(func(r *RuleDefinition) {
		r.Source = EndpointDefinition{ASGs: []string{"/x/applicationSecurityGroups/Web", "WEB", "Api"}, Ports: []string{"80", "90-99"}}
		r.Destination = EndpointDefinition{Prefix: "fd00::1", Port: "0-65535"}
	}))
	r := g.Rules[0]
	if !slices.Equal(r.Source.ASGs, []string{"web", "api"}) || !slices.Equal(r.Source.Ports, []PortRange{{80, 80}, {90, 99}}) {
		t.Errorf("source %+v", r.Source)
	}
	if len(r.Destination.Prefixes) != 1 || r.Destination.Prefixes[0].String() != "fd00::1/128" ||
		!slices.Equal(r.Destination.Ports, []PortRange{{0, 65535}}) {
		t.Errorf("destination %+v", r.Destination)
	}
}
