package nsg

import (
	"slices"
	"testing"
)

// direct sets what most rules of the tests differ in.
func direct(name, direction, access, protocol string, priority int, f func(*RuleDefinition)) RuleDefinition {
	r := plainRule(name, priority)
	r.Direction, r.Access, r.Protocol = direction, access, protocol
	if f != nil {
		f(&r)
	}
	return r
}

func to(prefix string) func(*RuleDefinition) {
	return func(r *RuleDefinition) { r.Destination.Prefix = prefix }
}

func toPort(port string) func(*RuleDefinition) {
	return func(r *RuleDefinition) { r.Destination.Port = port }
}

func from(prefix string) func(*RuleDefinition) {
	return func(r *RuleDefinition) { r.Source.Prefix = prefix }
}

func TestPolicysOrder(t *testing.T) {
	p := mustPolicy(t,
		direct("in", "Inbound", "Allow", "Tcp", 100, from("AzurePlatformDNS")),
		direct("everything", "Outbound", "Deny", "*", 100, nil),
		direct("imds", "Outbound", "Deny", "*", 300, to("AzurePlatformIMDS")),
		direct("dns", "Outbound", "Allow", "*", 200, to("azurePlatformDNS")))
	var got []string
	for i := range p.Rules {
		got = append(got, p.Rules[i].FullName())
	}
	want := []string{
		"platformRules/DenyGRE", "platformRules/DenyIPInIP", "securityRules/in",
		"defaultSecurityRules/AllowVnetInBound", "defaultSecurityRules/AllowAzureLoadBalancerInBound", "defaultSecurityRules/DenyAllInBound",
		"platformRules/DenyMulticast", "platformRules/DenyGRE", "platformRules/DenyIPInIP",
		"securityRules/dns", "securityRules/imds", "platformRules/AllowPlatform", "securityRules/everything",
		"defaultSecurityRules/AllowVnetOutBound", "defaultSecurityRules/AllowInternetOutBound", "defaultSecurityRules/DenyAllOutBound",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, r := range p.Rules {
		if r.Platform != (r.Priority == 0) {
			t.Errorf("%s has the priority %d", r.FullName(), r.Priority)
		}
	}
}

func TestAddressesOfRules(t *testing.T) {
	p := mustPolicy(t, changed(func(r *RuleDefinition) {
		r.Source = EndpointDefinition{ASGs: []string{"Web"}, Port: "*"}
		r.Destination.Port = "80"
	}))
	i := slices.IndexFunc(p.Rules, func(r PolicyRule) bool { return r.Name == "r1" })
	r := p.Rules[i]
	if !r.Source.Addresses.IsEmpty() || !slices.Equal(r.Source.ASGs, []string{"web"}) {
		t.Errorf("source %+v", r.Source)
	}
	if !r.Destination.Addresses.Equal(AllAddresses()) || !slices.Equal(r.Destination.Ports, []PortRange{{80, 80}}) {
		t.Errorf("destination %+v", r.Destination)
	}
}

type flowRow struct {
	name  string
	rules []RuleDefinition
	flow  Flow
	want  string // full name of the first match
}

func rows(r ...RuleDefinition) []RuleDefinition { return r }

const (
	vnetIn    = "defaultSecurityRules/AllowVnetInBound"
	denyIn    = "defaultSecurityRules/DenyAllInBound"
	vnetOut   = "defaultSecurityRules/AllowVnetOutBound"
	netOut    = "defaultSecurityRules/AllowInternetOutBound"
	denyOut   = "defaultSecurityRules/DenyAllOutBound"
	platform  = "platformRules/AllowPlatform"
	multicast = "platformRules/DenyMulticast"
)

func defaultRows() []flowRow {
	return []flowRow{
		{"from the network", nil, flow(Inbound, TCP, "10.0.0.4:80", "10.1.0.4:1234"), vnetIn},
		{"from the network, IPv6", nil, flow(Inbound, ICMP, "fd00::4", "fd00::5"), vnetIn},
		{"from the load balancer", nil, flow(Inbound, TCP, "192.168.0.1:80", "168.63.129.16:1"), "defaultSecurityRules/AllowAzureLoadBalancerInBound"},
		{"from the Internet", nil, flow(Inbound, TCP, "10.0.0.4:80", "8.8.8.8:1"), denyIn},
		{"to the network", nil, flow(Outbound, UDP, "10.0.0.4:80", "10.1.0.4:1234"), vnetOut},
		{"to the Internet", nil, flow(Outbound, TCP, "10.0.0.4:1", "8.8.8.8:443"), netOut},
		{"to the Internet, IPv6", nil, flow(Outbound, TCP, "[fd00::4]:1", "[2001:db8::1]:443"), netOut},
		{"to a private network elsewhere", nil, flow(Outbound, TCP, "10.0.0.4:1", "192.168.0.1:443"), denyOut},
		{"to shared space", nil, flow(Outbound, TCP, "10.0.0.4:1", "100.64.0.1:443"), denyOut},
		{"to multicast", nil, flow(Outbound, UDP, "10.0.0.4:1", "224.0.0.251:5353"), multicast},
		{"to multicast, IPv6", nil, flow(Outbound, UDP, "[fd00::4]:1", "[ff02::fb]:5353"), multicast},
		{"to broadcast", nil, flow(Outbound, UDP, "10.0.0.4:68", "255.255.255.255:67"), multicast},
		{"GRE out", nil, flow(Outbound, gre, "10.0.0.4", "10.0.0.5"), "platformRules/DenyGRE"},
		{"IP in IP in", nil, flow(Inbound, ipInIP, "10.0.0.4", "10.0.0.5"), "platformRules/DenyIPInIP"},
		{"GRE in IPv6", nil, flow(Inbound, gre, "fd00::4", "fd00::5"), "platformRules/DenyGRE"},
		{"any protocol", nil, flow(Inbound, 132, "10.0.0.4", "10.0.0.5"), vnetIn},
		{"mapped addresses", nil, flow(Inbound, TCP, "[::ffff:10.0.0.4]:80", "[::ffff:10.1.0.4]:1"), vnetIn},
		{"addresses with a zone", nil, flow(Inbound, TCP, "[fd00::4%eth0]:80", "[fd00::5%eth0]:1"), vnetIn},
		{"no addresses", nil, Flow{Direction: Outbound, Protocol: TCP}, denyOut},
		{"no direction", nil, Flow{Protocol: TCP}, denyIn},
	}
}

func ruleRows() []flowRow {
	denyAll := direct("deny", "Outbound", "Deny", "*", 100, nil)
	lists := direct("lists", "Inbound", "Deny", "Tcp", 100, func(r *RuleDefinition) {
		r.Source.Prefix, r.Source.Prefixes = "", []string{"10.1.0.0/16", "10.3.0.7"}
		r.Source.Port, r.Destination.Port, r.Destination.Ports = "1000-2000", "", []string{"80", "443-445"}
	})
	groups := direct("groups", "Inbound", "Deny", "*", 100, func(r *RuleDefinition) {
		r.Source.Prefix, r.Source.ASGs = "", []string{"Web", "Api"}
		r.Destination.Prefix, r.Destination.ASGs = "", []string{"DB"}
	})
	withGroups := func(local, remote []string) Flow {
		f := flow(Inbound, TCP, "10.0.0.4:80", "10.0.0.5:1")
		f.LocalASGs, f.RemoteASGs = local, remote
		return f
	}
	return []flowRow{
		{"first match", rows(direct("b", "Inbound", "Allow", "*", 200, nil), direct("a", "Inbound", "Deny", "*", 150, nil)),
			flow(Inbound, TCP, "10.0.0.4:80", "8.8.8.8:1"), "securityRules/a"},
		{"the other direction", rows(denyAll), flow(Inbound, TCP, "10.0.0.4:80", "10.0.0.5:1"), vnetIn},
		{"platform DNS", rows(denyAll), flow(Outbound, UDP, "10.0.0.4:1", "168.63.129.16:53"), platform},
		{"metadata", rows(denyAll), flow(Outbound, TCP, "10.0.0.4:1", "169.254.169.254:80"), platform},
		{"another of the link", rows(denyAll), flow(Outbound, TCP, "10.0.0.4:1", "169.254.169.253:80"), "securityRules/deny"},
		{"platform denied by its tag", rows(direct("imds", "Outbound", "Deny", "*", 4096, to("AzurePlatformIMDS"))),
			flow(Outbound, TCP, "10.0.0.4:1", "169.254.169.254:80"), "securityRules/imds"},
		{"platform denied in part", rows(direct("dns", "Outbound", "Deny", "*", 4096, func(r *RuleDefinition) {
			r.Destination.Prefix, r.Destination.Port = "AzurePlatformDNS", "53"
		})), flow(Outbound, TCP, "10.0.0.4:1", "168.63.129.16:80"), platform},
		{"inbound from the platform", rows(direct("in", "Inbound", "Deny", "*", 100, nil)),
			flow(Inbound, TCP, "10.0.0.4:80", "168.63.129.16:1"), "securityRules/in"},
		{"TCP of UDP", rows(direct("udp", "Inbound", "Deny", "Udp", 100, nil)), flow(Inbound, TCP, "10.0.0.4:80", "10.0.0.5:1"), vnetIn},
		{"a port of any protocol", rows(direct("p", "Inbound", "Deny", "*", 100, toPort("80"))), flow(Inbound, UDP, "10.0.0.4:80", "10.0.0.5:1"), "securityRules/p"},
		{"another port", rows(direct("p", "Inbound", "Deny", "*", 100, toPort("80"))), flow(Inbound, UDP, "10.0.0.4:81", "10.0.0.5:80"), vnetIn},
		{"ports and ICMP", rows(direct("p", "Inbound", "Deny", "*", 100, toPort("0-65535"))), flow(Inbound, ICMP, "10.0.0.4", "10.0.0.5"), vnetIn},
		{"ports and SCTP", rows(direct("p", "Inbound", "Deny", "*", 100, toPort("0-65535"))), flow(Inbound, 132, "10.0.0.4:80", "10.0.0.5:80"), vnetIn},
		{"all ports and TCP", rows(direct("p", "Inbound", "Deny", "*", 100, toPort("0-65535"))), flow(Inbound, TCP, "10.0.0.4:65535", "10.0.0.5:0"), "securityRules/p"},
		{"star and ESP", rows(direct("p", "Inbound", "Deny", "*", 100, nil)), flow(Inbound, ESP, "10.0.0.4", "10.0.0.5"), "securityRules/p"},
		{"AH", rows(direct("p", "Inbound", "Deny", "Ah", 100, nil)), flow(Inbound, AH, "10.0.0.4", "10.0.0.5"), "securityRules/p"},
		{"ICMPv6", rows(direct("icmp", "Inbound", "Deny", "Icmp", 100, nil)), flow(Inbound, icmpv6, "fd00::4", "fd00::5"), "securityRules/icmp"},
		{"ICMP in IPv6", rows(direct("icmp", "Inbound", "Deny", "Icmp", 100, nil)), flow(Inbound, ICMP, "fd00::4", "fd00::5"), "securityRules/icmp"},
		{"58 in IPv4", rows(direct("icmp", "Inbound", "Deny", "Icmp", 100, nil)), flow(Inbound, icmpv6, "10.0.0.4", "10.0.0.5"), vnetIn},
		{"all IPv4 and IPv6", rows(direct("four", "Inbound", "Deny", "*", 100, from("0.0.0.0/0"))), flow(Inbound, TCP, "[fd00::4]:1", "[fd00::5]:1"), vnetIn},
		{"all IPv6 and IPv4", rows(direct("six", "Inbound", "Deny", "*", 100, from("::/0"))), flow(Inbound, TCP, "10.0.0.4:1", "10.0.0.5:1"), vnetIn},
		{"inbound source is remote", rows(direct("s", "Inbound", "Deny", "*", 100, from("10.0.0.5"))), flow(Inbound, TCP, "10.0.0.4:1", "10.0.0.5:1"), "securityRules/s"},
		{"outbound source is local", rows(direct("s", "Outbound", "Deny", "*", 100, from("10.0.0.4"))), flow(Outbound, TCP, "10.0.0.4:1", "10.0.0.5:1"), "securityRules/s"},
		{"and not remote", rows(direct("s", "Outbound", "Deny", "*", 100, from("10.0.0.5"))), flow(Outbound, TCP, "10.0.0.4:1", "10.0.0.5:1"), vnetOut},
		{"outbound destination port is remote", rows(direct("p", "Outbound", "Deny", "Tcp", 100, toPort("443"))), flow(Outbound, TCP, "10.0.0.4:1", "10.0.0.5:443"), "securityRules/p"},
		{"lists", rows(lists), flow(Inbound, TCP, "10.0.0.4:444", "10.3.0.7:1500"), "securityRules/lists"},
		{"lists, source port", rows(lists), flow(Inbound, TCP, "10.0.0.4:444", "10.3.0.7:999"), vnetIn},
		{"lists, address", rows(lists), flow(Inbound, TCP, "10.0.0.4:444", "10.3.0.8:1500"), vnetIn},
		{"groups", rows(groups), withGroups([]string{"x", "db"}, []string{"api"}), "securityRules/groups"},
		{"groups, one side", rows(groups), withGroups([]string{"db"}, nil), vnetIn},
		{"groups, exchanged", rows(groups), withGroups([]string{"api"}, []string{"db"}), vnetIn},
		{"downloaded tag", rows(direct("st", "Outbound", "Deny", "*", 100, to("Storage.WestEurope"))), flow(Outbound, TCP, "10.0.0.4:1", "20.38.1.1:443"), "securityRules/st"},
	}
}

func TestFirst(t *testing.T) {
	n := 0
	for _, table := range [][]flowRow{defaultRows(), ruleRows()} {
		for _, row := range table {
			n++
			t.Run(row.name, func(t *testing.T) {
				p := mustPolicy(t, row.rules...)
				if got := p.First(row.flow).FullName(); got != row.want {
					t.Errorf("%+v: %s, want %s", row.flow, got, row.want)
				}
				checkExplanations(t, p, row.flow)
			})
		}
	}
	t.Logf("%d flows", n)
}

// checkExplanations checks that First is the first rule whose reasons are complete,
// and returns how many rules were asked.
func checkExplanations(t testing.TB, p *Policy, f Flow) int {
	t.Helper()
	explanations := p.Explain(f)
	first := p.First(f)
	if first == nil {
		t.Fatalf("%+v: no answer", f)
	}
	for _, e := range explanations {
		if e.Reasons.All() {
			if e.Rule != first {
				t.Fatalf("%+v: First is %s, the first complete reasons are those of %s", f, first.FullName(), e.Rule.FullName())
			}
			return len(explanations)
		}
	}
	if f.Local.IsValid() && f.Remote.IsValid() && f.Direction != 0 {
		t.Fatalf("%+v: no rule of %d matches", f, len(explanations))
	}
	return len(explanations)
}

func TestReasons(t *testing.T) {
	p := mustPolicy(t, direct("r", "Inbound", "Deny", "Tcp", 100, func(r *RuleDefinition) {
		r.Source.Prefix, r.Source.Port = "10.1.0.0/16", "1000"
		r.Destination.Prefix, r.Destination.Port = "10.0.0.4", "80"
	}))
	for _, row := range []struct {
		flow Flow
		want Reasons
	}{
		{flow(Inbound, TCP, "10.0.0.4:80", "10.1.0.1:1000"), Reasons{true, true, true, true, true}},
		{flow(Inbound, UDP, "10.0.0.4:80", "10.1.0.1:1000"), Reasons{false, true, true, true, true}},
		{flow(Inbound, TCP, "10.0.0.4:80", "10.2.0.1:1000"), Reasons{true, false, true, true, true}},
		{flow(Inbound, TCP, "10.0.0.4:80", "10.1.0.1:1001"), Reasons{true, true, false, true, true}},
		{flow(Inbound, TCP, "10.0.0.5:80", "10.1.0.1:1000"), Reasons{true, true, true, false, true}},
		{flow(Inbound, TCP, "10.0.0.4:81", "10.1.0.1:1000"), Reasons{true, true, true, true, false}},
		{flow(Inbound, ICMP, "10.0.0.4:80", "10.1.0.1:1000"), Reasons{false, true, false, true, false}},
	} {
		explanations := p.Explain(row.flow)
		i := slices.IndexFunc(explanations, func(e Explanation) bool { return e.Rule.Name == "r" })
		if got := explanations[i].Reasons; got != row.want || got.All() != (row.want == Reasons{true, true, true, true, true}) {
			t.Errorf("%+v: %+v, want %+v", row.flow, got, row.want)
		}
		if len(explanations) != 6 { // two of the platform, r, three default ones
			t.Errorf("%d explanations", len(explanations))
		}
	}
}
