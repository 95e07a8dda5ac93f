package nsg

import (
	"fmt"
	"net/netip"
	"testing"
)

// manyRules are n rules, none of which matches the benchmarks' flow.
func manyRules(n int, different func(i int, r *RuleDefinition)) []RuleDefinition {
	rules := make([]RuleDefinition, n)
	for i := range rules {
		rules[i] = plainRule(fmt.Sprintf("r%d", i), 100+i)
		rules[i].Protocol = "Tcp"
		different(i, &rules[i])
	}
	return rules
}

func byPort(i int, r *RuleDefinition) { r.Destination.Port = fmt.Sprint(1000 + i) }

func bySource(i int, r *RuleDefinition) { r.Source.Prefix = fmt.Sprintf("10.%d.%d.0/24", i/250, i%250) }

// byBoth has lists, and only the address of the last of each matches the port.
func byBoth(i int, r *RuleDefinition) {
	r.Source.Prefix, r.Destination.Port = "", ""
	r.Destination.Ports = []string{"22", "80", "443"}
	for j := range 4 {
		r.Source.Prefixes = append(r.Source.Prefixes, fmt.Sprintf("10.%d.%d.%d", j, i/250, i%250))
	}
}

// BenchmarkFirst judges a flow that only the very last rule matches.
func BenchmarkFirst(b *testing.B) {
	shapes := []struct {
		name      string
		different func(i int, r *RuleDefinition)
	}{{"ports", byPort}, {"sources", bySource}, {"lists", byBoth}}
	for _, n := range []int{100, 1000} {
		for _, shape := range shapes {
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				p := mustPolicy(b, manyRules(n, shape.different)...)
				f := flow(Inbound, TCP, "10.0.0.4:80", "8.8.8.8:1")
				b.ReportAllocs()
				for b.Loop() {
					if v := Evaluate(f, p, nil); v.Rule.Name != "DenyAllInBound" {
						b.Fatal(v.Rule.FullName())
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "flows/s")
			})
		}
	}
}

// BenchmarkNewPolicy compiles a thousand rules, half of which name a service tag
// of ten thousand ranges.
func BenchmarkNewPolicy(b *testing.B) {
	var ranges []netip.Prefix
	for i := range 10000 {
		ranges = append(ranges, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 7), byte(i << 1)}), 24))
	}
	tags := Tags{Services: map[string]AddressSet{"azurecloud": NewAddressSet(ranges...)}}
	g := mustNew(b, manyRules(1000, func(i int, r *RuleDefinition) {
		if bySource(i, r); i%2 == 0 {
			r.Source.Prefix = "AzureCloud"
		}
	})...)
	b.ReportAllocs()
	for b.Loop() {
		if p, findings := NewPolicy(g, tags); p == nil {
			b.Fatal(findings)
		}
	}
}
