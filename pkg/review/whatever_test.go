package review

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// tagged is a random group in which tags are frequent.
func tagged(r *rand.Rand, rules int) nsg.Definition {
	d := nsgtest.Group(r, "group", rules)
	for i := range d.Rules {
		rule := &d.Rules[i]
		for _, e := range []*nsg.EndpointDefinition{&rule.Source, &rule.Destination} {
			if tags := []string{"VirtualNetwork", "virtualnetwork", "Storage", "Internet", "*"}; r.IntN(3) == 0 {
				e.Prefix, e.Prefixes, e.ASGs = tags[r.IntN(len(tags))], nil, nil
			}
		}
		if r.IntN(4) == 0 {
			rule.Protocol, rule.Source.Port, rule.Source.Ports = "Tcp", "*", nil
			rule.Destination.Port, rule.Destination.Ports = []string{"22", "3389", "*"}[r.IntN(3)], nil
		}
	}
	return d
}

// meaning is what the tags that nobody knew turn out to stand for.
func meaning(r *rand.Rand) nsg.Tags {
	some := func(prefixes ...string) nsg.AddressSet {
		var list []netip.Prefix
		for _, p := range prefixes {
			if r.IntN(2) == 0 {
				list = append(list, netip.MustParsePrefix(p))
			}
		}
		return nsg.NewAddressSet(list...)
	}
	space := some("10.241.0.0/16", "10.241.200.0/24", "10.250.0.0/24", "172.16.0.0/12", "fd00:241::/48", "fd00:241:0:7::/64")
	if space.Family(false).IsEmpty() {
		space = space.Union(nsg.NewAddressSet(netip.MustParsePrefix("10.241.3.0/24")))
	}
	return nsg.Tags{VirtualNetwork: space, Services: map[string]nsg.AddressSet{"storage": some("20.60.0.0/16", "8.0.0.0/7", "10.241.3.0/24", "2603:1030::/40", "0.0.0.0/0"),
		"storage.westus": some("20.60.0.0/20", "0.0.0.0/0")}}
}

func policyOf(t *testing.T, d nsg.Definition, tags nsg.Tags) *nsg.Policy {
	t.Helper()
	p, findings := nsg.NewPolicy(mustGroup(t, d), tags)
	if p == nil {
		t.Fatalf("%+v", findings)
	}
	return p
}

// TestFindingsHoldWhateverTagsMean reviews groups with tags that nobody knows, and
// holds the findings against some of the meanings that they may have.
func TestFindingsHoldWhateverTagsMean(t *testing.T) {
	codes, tried, ofTags := map[string]int{}, 0, 0
	for seed := uint64(1); tried < flows(); seed++ {
		r := rand.New(rand.NewPCG(seed, 7))
		d := tagged(r, 2+r.IntN(20))
		findings := Findings(mustGroup(t, d), Meaning{Homeless: true})
		rest := d
		rest.Rules = slices.DeleteFunc(slices.Clone(d.Rules), func(r nsg.RuleDefinition) bool {
			return slices.ContainsFunc(findings, func(f nsg.Finding) bool { return f.Rule == r.Name && f.Code != CodeInternet })
		})
		for _, f := range findings {
			codes[f.Code]++
			if strings.Contains(f.Message, VirtualNetwork) || strings.Contains(f.Message, "Tag storage") {
				ofTags++
			}
		}
		for range 4 {
			tags := meaning(r)
			before, after := policyOf(t, d, tags), policyOf(t, rest, tags)
			for _, f := range findings {
				if f.Code == CodeInternet {
					wantOpen(t, fmt.Sprint("seed ", seed), before, f)
				}
			}
			for _, direction := range directions {
				for range 60 {
					tried++
					f := nsgtest.Flow(r, before, direction, r.IntN(3) == 0)
					x, y := before.First(f), after.First(f)
					told := slices.ContainsFunc(findings, func(f nsg.Finding) bool {
						return f.Rule == x.Name && f.Code != CodeInternet && f.Code != CodeRedundant
					})
					if x.Access != y.Access || told && !x.Default {
						t.Fatalf("seed %d: %+v: %s, and without useless rules %s; findings %+v", seed, f, x.Name, y.Name, findings)
					}
				}
			}
		}
	}
	for _, code := range []string{CodeShadowed, CodeDuplicate, CodeAllowBehindDeny, CodeRedundant, CodeInternet} {
		if codes[code] == 0 {
			t.Errorf("no finding %s: the groups prove little", code)
		}
	}
	if ofTags == 0 {
		t.Error("no finding speaks of a tag")
	}
	t.Logf("%d flows; findings %v, %d speak of a tag", tried, codes, ofTags)
}

// wantOpen checks that the rule lets somebody of the Internet in to each of the ports.
func wantOpen(t *testing.T, what string, p *nsg.Policy, f nsg.Finding) {
	t.Helper()
	var rules []*nsg.PolicyRule
	within := flowspace.All(nsg.Inbound)
	within.Protocols = flowspace.TCP | flowspace.UDP
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Default && r.Name == "AllowInternetOutBound" {
			within.Source.Addresses = r.Destination.Addresses
		}
		if r.Direction == nsg.Inbound {
			rules = append(rules, r)
		}
	}
	for _, port := range strings.Split(f.Value, ",") {
		if within.Destination.Ports = nil; port != "*" {
			r, err := nsg.ParsePorts(port)
			if err != nil {
				t.Fatal(err)
			}
			within.Destination.Ports = []nsg.PortRange{r}
		}
		deciding, _ := flowspace.Deciding(within, rules, &flowspace.Work{Left: reviewWork})
		if !slices.ContainsFunc(rules, func(r *nsg.PolicyRule) bool { _, decides := deciding[r]; return decides && r.Name == f.Rule }) {
			t.Fatalf("%s: the rule lets nobody in to port %s: %+v", what, port, f)
		}
	}
}
