package review

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// flows is how many flows a property test tries: a million with VNET_SOAK.
func flows() int {
	if os.Getenv("VNET_SOAK") != "" {
		return 1_000_000
	}
	return 100_000
}

func mustGroup(t testing.TB, d nsg.Definition) *nsg.Group {
	t.Helper()
	g, findings := nsg.New(d)
	if g == nil {
		t.Fatalf("%+v", findings)
	}
	return g
}

func known() Meaning { return Meaning{Tags: nsgtest.Tags()} }

var directions = [...]nsg.Direction{nsg.Inbound, nsg.Outbound}

// TestRulesToldToDoNothingDoNothing removes every rule of which a finding says that
// it does nothing: no flow may get another access. And what is not told to decide
// nothing must decide a flow.
func TestRulesToldToDoNothingDoNothing(t *testing.T) {
	codes, tried, deciding := map[string]int{}, 0, 0
	for seed := uint64(1); tried < flows(); seed++ {
		r := rand.New(rand.NewPCG(seed, 5))
		d := nsgtest.Group(r, "group", 2+r.IntN(40))
		findings := Findings(mustGroup(t, d), known())
		useless, never := map[string]bool{}, map[string]bool{}
		for _, f := range findings {
			codes[f.Code]++
			useless[f.Rule] = useless[f.Rule] || f.Code != CodeInternet
			never[f.Rule] = never[f.Rule] || f.Code != CodeInternet && f.Code != CodeRedundant
		}
		before := nsgtest.MustPolicy(d)
		rest := d
		rest.Rules = slices.DeleteFunc(slices.Clone(d.Rules), func(r nsg.RuleDefinition) bool { return useless[r.Name] })
		after := nsgtest.MustPolicy(rest)
		for _, direction := range directions {
			deciding += wantDeciding(t, seed, before, direction, never)
			for range 250 {
				tried++
				f := nsgtest.Flow(r, before, direction, r.IntN(3) == 0)
				x, y := before.First(f), after.First(f)
				if x.Access != y.Access || never[x.Name] {
					t.Fatalf("seed %d: %+v: %s, and without useless rules %s; findings %+v", seed, f, x.Name, y.Name, findings)
				}
			}
		}
	}
	for _, code := range []string{CodeShadowed, CodeAllowBehindDeny, CodeRedundant} {
		if codes[code] == 0 {
			t.Errorf("no finding %s: the groups prove little", code)
		}
	}
	t.Logf("%d flows; findings %v; %d rules proven to decide", tried, codes, deciding)
}

// wantDeciding checks that each rule which is not told to decide nothing does decide
// the flow that is its sample.
func wantDeciding(t *testing.T, seed uint64, p *nsg.Policy, d nsg.Direction, never map[string]bool) int {
	t.Helper()
	var rules []*nsg.PolicyRule
	for i := range p.Rules {
		if p.Rules[i].Direction == d {
			rules = append(rules, &p.Rules[i])
		}
	}
	found, all := flowspace.Deciding(flowspace.All(d), rules, &flowspace.Work{Left: reviewWork})
	n := 0
	for _, rule := range rules {
		if rule.Default || rule.Platform {
			continue
		}
		b, decides := found[rule]
		if !all || decides == never[rule.Name] || decides && p.First(b.Sample()) != rule {
			t.Fatalf("seed %d: %s decides: %t, told to decide nothing: %t", seed, rule.Name, decides, never[rule.Name])
		}
		n++
	}
	return n
}

func inbound(name, priority, access, protocol, source, destination, port string) nsg.RuleDefinition {
	return nsg.RuleDefinition{Name: name, Priority: priority, Direction: "Inbound", Access: access, Protocol: protocol,
		Source: nsg.EndpointDefinition{Prefix: source, Port: "*"}, Destination: nsg.EndpointDefinition{Prefix: destination, Port: port}}
}

// told is the findings in few words: "rule code value".
func told(findings []nsg.Finding) string {
	var words []string
	for _, f := range findings {
		words = append(words, f.Rule+" "+f.Code+" "+f.Value)
	}
	return strings.Join(words, "; ")
}

func TestFindings(t *testing.T) {
	cases := []struct {
		name  string
		rules []nsg.RuleDefinition
		want  string
		words string // of the message
	}{
		{"nothing", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "10.0.0.0/8", "*", "443")}, "", ""},
		{"shadowed by two, of three that overlap it", []nsg.RuleDefinition{
			inbound("low", "100", "Allow", "Tcp", "10.0.0.0/9", "*", "*"), inbound("some", "110", "Allow", "Tcp", "10.0.0.0/8", "*", "80"),
			inbound("high", "120", "Deny", "Tcp", "10.128.0.0/9", "*", "*"), inbound("web", "130", "Allow", "Tcp", "10.0.0.0/8", "*", "80-90")},
			"web SecurityRuleShadowed 130", "earlier rules low and high"},
		{"the same twice", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "10.0.0.0/8", "*", "80"), inbound("b", "110", "Allow", "tcp", "10.0.0.0/8", "*", "80-80")},
			"b SecurityRuleDuplicate 110", "rule a"},
		{"the opposite", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "10.0.0.0/8", "*", "80"), inbound("b", "110", "Deny", "Tcp", "10.0.0.0/8", "*", "80")},
			"b SecurityRuleShadowed 110", "same flows, and gives Allow"},
		{"an exception that comes too late", []nsg.RuleDefinition{inbound("a", "100", "Deny", "*", "*", "*", "*"), inbound("b", "110", "Allow", "Tcp", "10.0.0.0/8", "*", "80")},
			"b SecurityRuleAllowBehindDeny 110", "priority below 100"},
		{"without need", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "10.1.0.0/16", "*", "80"), inbound("b", "110", "Deny", "Tcp", "10.2.0.0/16", "*", "*"),
			inbound("c", "120", "Allow", "Tcp", "10.0.0.0/8", "*", "80")}, "a SecurityRuleRedundant a", "later rule c"},
		{"needed: something else comes between", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "10.1.0.0/16", "*", "80"), inbound("b", "110", "Deny", "Tcp", "10.1.2.0/24", "*", "*"),
			inbound("c", "120", "Allow", "Tcp", "10.0.0.0/8", "*", "80")}, "", ""},
		{"what Azure allows anyway", []nsg.RuleDefinition{inbound("a", "100", "Allow", "*", "VirtualNetwork", "VirtualNetwork", "*")},
			"a SecurityRuleRedundant a", "defaultSecurityRules/AllowVnetInBound"},
		{"a denial that says what is meant", []nsg.RuleDefinition{inbound("a", "4096", "Deny", "Tcp", "Internet", "*", "22")}, "", ""},
		{"SSH", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "0.0.0.0/0", "*", "20-30")}, "a SecurityRuleOpenToInternet 22", "port 22"},
		{"SSH and remote desktops", []nsg.RuleDefinition{inbound("a", "100", "Allow", "*", "*", "*", "22-3389")}, "a SecurityRuleOpenToInternet 22,3389", "ports 22,3389"},
		{"every port", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Udp", "Internet", "10.241.0.4", "0-65535")}, "a SecurityRuleOpenToInternet *", "Udp to 10.241.0.4"},
		{"IPv6", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "::/0", "fd00:241::4", "22")}, "a SecurityRuleOpenToInternet 22", "fd00:241::4 port 22"},
		{"but not through this", []nsg.RuleDefinition{inbound("no", "100", "Deny", "*", "Internet", "*", "22"), inbound("a", "110", "Allow", "Tcp", "*", "*", "22")}, "", ""},
		{"from one address", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "198.51.100.7", "*", "22")}, "", ""},
		{"ends of two families", []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "AzureLoadBalancer", "fd00::1", "80")}, "a SecurityRuleNeverMatches a", "one family"},
	}
	for _, c := range cases {
		findings := Findings(mustGroup(t, nsg.Definition{Name: "g", File: "f.json", Rules: c.rules}), known())
		if got := told(findings); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		for _, f := range findings {
			if !strings.Contains(f.Message, c.words) || f.Severity != nsg.Warning || f.File != "f.json" || f.NSG != "g" || f.Property == "" {
				t.Errorf("%s: %+v lacks %q", c.name, f, c.words)
			}
		}
	}
	t.Logf("%d groups", len(cases))
}

func TestWhatIsUnknownIsNotGuessed(t *testing.T) {
	unknown := func(access string) nsg.RuleDefinition {
		return inbound("unknown", "100", access, "Tcp", "Sql.Mars", "*", "*")
	}
	cases := []struct {
		name     string
		homeless bool
		rules    []nsg.RuleDefinition
		want     string
	}{
		{"it may cover or not", false, []nsg.RuleDefinition{unknown("Deny"), inbound("a", "110", "Allow", "Tcp", "1.2.3.4", "*", "80")}, ""},
		{"it may keep the Internet out", false, []nsg.RuleDefinition{unknown("Deny"), inbound("a", "110", "Allow", "Tcp", "*", "*", "22")}, ""},
		{"it may match nothing, or what is covered: it never decides", false, []nsg.RuleDefinition{inbound("all", "99", "Deny", "*", "*", "*", "*"), unknown("Allow")},
			"unknown SecurityRuleAllowBehindDeny 105"},
		{"another one may match something else", false, []nsg.RuleDefinition{unknown("Deny"), inbound("a", "110", "Deny", "Tcp", "Sql.Venus", "*", "*")}, ""},
		{"the same, whatever it is", false, []nsg.RuleDefinition{unknown("Deny"), inbound("a", "110", "Deny", "Tcp", "sql.mars", "*", "*")}, "a SecurityRuleDuplicate 110"},
		{"others are judged all the same", false, []nsg.RuleDefinition{unknown("Deny"), inbound("a", "110", "Deny", "Udp", "*", "*", "*"), inbound("b", "120", "Deny", "Udp", "1.2.3.4", "*", "80")},
			"b SecurityRuleShadowed 120"},
		{"it may take what another leaves", false, []nsg.RuleDefinition{inbound("a", "99", "Allow", "Tcp", "1.2.3.4", "*", "80"), unknown("Deny"), inbound("b", "120", "Allow", "Tcp", "1.2.3.0/24", "*", "80")}, ""},
		{"a network that nobody knows", true, []nsg.RuleDefinition{inbound("v", "100", "Deny", "Tcp", "VirtualNetwork", "*", "*"), inbound("a", "110", "Allow", "Tcp", "10.1.0.0/16", "*", "80")}, ""},
		{"the same, whatever network it is", true, []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "VirtualNetwork", "*", "80"), inbound("b", "110", "Allow", "Tcp", "virtualnetwork", "*", "80")},
			"b SecurityRuleDuplicate 110"},
		{"an exception that comes too late, whatever network it is", true, []nsg.RuleDefinition{inbound("a", "100", "Deny", "*", "VirtualNetwork", "*", "*"), inbound("b", "110", "Allow", "Tcp", "VirtualNetwork", "VirtualNetwork", "80")},
			"b SecurityRuleAllowBehindDeny 110"},
		{"what Azure allows anyway, whatever network it is", true, []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "VirtualNetwork", "VirtualNetwork", "80")}, "a SecurityRuleRedundant a"},
		{"a network that may be all of it", true, []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "10.0.0.0/8", "10.0.0.0/8", "80")}, ""},
		{"SSH, whatever network it is", true, []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "Internet", "VirtualNetwork", "22")}, "a SecurityRuleOpenToInternet 22"},
		{"SSH, but not to all that it may be", true, []nsg.RuleDefinition{inbound("no", "100", "Deny", "Tcp", "*", "10.0.0.0/8", "22"), inbound("a", "110", "Allow", "Tcp", "Internet", "VirtualNetwork", "22")}, ""},
		{"SSH to somebody who may be nobody", true, []nsg.RuleDefinition{inbound("a", "100", "Allow", "Tcp", "Internet", "Sql.Mars", "22")}, ""},
		{"but the Internet is outside", true, []nsg.RuleDefinition{inbound("v", "100", "Deny", "Tcp", "VirtualNetwork", "*", "*"), inbound("a", "110", "Allow", "Tcp", "*", "*", "22")},
			"a SecurityRuleOpenToInternet 22"},
	}
	for _, c := range cases {
		if c.rules[0].Priority == "99" {
			c.rules[0].Priority, c.rules[1].Priority = "100", "105"
		}
		m := known()
		if m.Homeless = c.homeless; c.homeless {
			m.Tags.VirtualNetwork = nsg.AddressSet{}
		}
		if got := told(Findings(mustGroup(t, nsg.Definition{Name: "g", Rules: c.rules}), m)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	t.Logf("%d groups", len(cases))
}

// TestOpenFlowsAreLetIn checks the flows that are told to come in.
func TestOpenFlowsAreLetIn(t *testing.T) {
	open, boxes := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 6))
		d := nsgtest.Group(r, "group", 1+r.IntN(10))
		g := mustGroup(t, d)
		least, most := policies(g, known())
		v := newReviewer(g, nsg.Inbound, least, most)
		v.open()
		for _, f := range v.findings {
			open++
			value, list := v.openPorts(f.rule)
			for _, b := range list {
				boxes++
				if s := b.Sample(); least.First(s) != v.least[f.rule] || !v.internet.Contains(s.Remote) || value != f.Value {
					t.Fatalf("seed %d: %+v of %+v is decided by %s", seed, s, f, least.First(s).Name)
				}
			}
		}
	}
	if open < 20 {
		t.Errorf("%d findings prove little", open)
	}
	t.Logf("%d findings, %d boxes", open, boxes)
}

// BenchmarkFindings reviews groups of 1000 rules.
func BenchmarkFindings(b *testing.B) {
	random := nsgtest.Group(rand.New(rand.NewPCG(1, 11)), "random", 1000)
	for name, d := range map[string]nsg.Definition{"realistic": nsgtest.Realistic(1000), "adversarial": nsgtest.Adversarial(1000),
		"crossed": nsgtest.Crossed(1000), "staircase": nsgtest.Staircase(1000), "random": random} {
		b.Run(name, func(b *testing.B) {
			g := mustGroup(b, d)
			findings := 0
			start := nsgtest.Processor(b)
			for b.Loop() {
				findings = len(Findings(g, known()))
			}
			b.ReportMetric((nsgtest.Processor(b)-start).Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(findings), "findings")
		})
	}
}
