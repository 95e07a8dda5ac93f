// Package nsgtest makes random groups whose rules overlap, and flows that aim at
// the borders of these rules. It is for tests only.
package nsgtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// ASGs are the application security groups that random rules name.
var ASGs = []string{"web", "api", "db", "cache", "jobs"}

// Tags are the tags that random rules name, and what they mean.
func Tags() nsg.Tags {
	return nsg.Tags{
		VirtualNetwork: set("10.241.0.0/16", "10.250.0.0/24", "fd00:241::/48"),
		Services: map[string]nsg.AddressSet{
			"storage":        set("20.60.0.0/16", "20.150.0.0/17", "52.239.128.0/20", "2603:1030::/40"),
			"storage.westus": set("20.60.0.0/20", "52.239.132.0/23", "2603:1030:a::/48"),
		},
	}
}

func set(prefixes ...string) nsg.AddressSet {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return nsg.NewAddressSet(list...)
}

// Group returns a valid group with the given number of rules.
func Group(r *rand.Rand, name string, rules int) nsg.Definition {
	d := nsg.Definition{Name: name, File: name + ".json"}
	for i := range rules {
		direction := pick(r, "Inbound", "Outbound")
		ipv6 := r.IntN(3) == 0
		rule := nsg.RuleDefinition{
			Name:        "rule-" + strconv.Itoa(i),
			Direction:   direction,
			Priority:    strconv.Itoa(100 + i),
			Access:      pick(r, "Allow", "Deny"),
			Protocol:    pick(r, "Tcp", "Tcp", "Udp", "Icmp", "*", "*"),
			Source:      endpoint(r, ipv6),
			Destination: endpoint(r, ipv6),
		}
		if rules > 50 && rule.Source.Prefix == "*" && rule.Destination.Prefix == "*" {
			rule.Source.Prefix = prefix(r, ipv6).String() // or it would decide about everything after it
		}
		if rule.Protocol == "Icmp" {
			rule.Source.Port, rule.Source.Ports = "*", nil
			rule.Destination.Port, rule.Destination.Ports = "*", nil
		}
		d.Rules = append(d.Rules, rule)
	}
	return d
}

// Policy returns a random group's policy.
func Policy(r *rand.Rand, name string, rules int) *nsg.Policy {
	return MustPolicy(Group(r, name, rules))
}

// MustPolicy returns the policy of a definition that has to be valid.
func MustPolicy(d nsg.Definition) *nsg.Policy {
	g, findings := nsg.New(d)
	if g == nil {
		panic(fmt.Sprintf("the group is not valid: %+v", findings))
	}
	p, findings := nsg.NewPolicy(g, Tags())
	if p == nil {
		panic(fmt.Sprintf("the group has no policy: %+v", findings))
	}
	return p
}

func endpoint(r *rand.Rand, ipv6 bool) nsg.EndpointDefinition {
	var e nsg.EndpointDefinition
	switch n := r.IntN(20); {
	case n < 6:
		e.Prefix = "*"
	case n < 11:
		e.Prefix = prefix(r, ipv6).String()
	case n < 15:
		e.Prefixes = prefixes(r, ipv6)
	case n < 17:
		e.Prefix = pick(r, "VirtualNetwork", "Internet", "Storage", "storage.WestUS", "AzureLoadBalancer")
	default:
		e.ASGs = []string{pick(r, ASGs...)}
		if other := pick(r, ASGs...); r.IntN(3) == 0 && other != e.ASGs[0] {
			e.ASGs = append(e.ASGs, other)
		}
	}
	switch n := r.IntN(20); {
	case n < 10:
		e.Port = "*"
	case n < 16:
		e.Port = port(r)
	default:
		for range pick(r, 2, 3, 5, 8, 13, 40) {
			e.Ports = append(e.Ports, port(r))
		}
	}
	return e
}

// prefixes returns some that do not overlap, in order.
func prefixes(r *rand.Rand, ipv6 bool) []string {
	var out []string
	var taken []netip.Prefix
next:
	for range 2 + r.IntN(10) {
		p := prefix(r, ipv6)
		for _, t := range taken {
			if t.Overlaps(p) {
				continue next
			}
		}
		taken = append(taken, p)
		out = append(out, p.String())
	}
	return out
}

// prefix returns one out of few neighbourhoods, so that rules overlap.
func prefix(r *rand.Rand, ipv6 bool) netip.Prefix {
	bits, base := pick(r, 8, 12, 16, 20, 22, 24, 26, 28, 30, 31, 32, 32), pick(r, "10.241.3.77", "10.241.200.9", "10.250.0.130", "192.0.2.65", "8.8.8.8", "20.60.7.1")
	if ipv6 {
		bits, base = pick(r, 16, 32, 48, 56, 64, 96, 120, 124, 128, 128), pick(r, "fd00:241::3:4d", "fd00:241:0:7::9", "2001:db8::41", "2603:1030:a::1")
	}
	a := netip.MustParseAddr(base).AsSlice()
	a[len(a)-1] ^= byte(r.IntN(256))
	a[len(a)-2] ^= byte(r.IntN(4))
	addr, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(addr, bits).Masked()
}

func port(r *rand.Rand) string {
	common := []int{0, 1, 22, 53, 80, 81, 443, 444, 1023, 1024, 3389, 5432, 8000, 8080, 8443, 30000, 32767, 65534, 65535}
	first := pick(r, common...)
	if r.IntN(2) == 0 {
		return strconv.Itoa(first)
	}
	last := min(first+r.IntN(2000), 65535)
	return fmt.Sprintf("%d-%d", first, last)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
