package reach

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

func set(t testing.TB, prefixes ...string) nsg.AddressSet {
	t.Helper()
	var list []netip.Prefix
	for _, s := range prefixes {
		if !strings.Contains(s, "/") {
			a := netip.MustParseAddr(s)
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		list = append(list, netip.MustParsePrefix(s))
	}
	return nsg.NewAddressSet(list...)
}

func policyOf(t testing.TB, d nsg.Definition) *nsg.Policy {
	t.Helper()
	g, findings := nsg.New(d)
	if g == nil {
		t.Fatalf("%s: %+v", d.Name, findings)
	}
	p, findings := nsg.NewPolicy(g, nsgtest.Tags())
	if p == nil {
		t.Fatalf("%s: %+v", d.Name, findings)
	}
	return p
}

// rule is a rule for people: "100 Inbound Allow Tcp api>web 80,443".
func rule(t testing.TB, name, text string) nsg.RuleDefinition {
	t.Helper()
	var r nsg.RuleDefinition
	var ends, ports string
	if n, err := fmt.Sscan(text, &r.Priority, &r.Direction, &r.Access, &r.Protocol, &ends, &ports); n != 6 {
		t.Fatalf("rule %q: %v", text, err)
	}
	side := func(s string) (e nsg.EndpointDefinition) {
		if name, is := strings.CutPrefix(s, "asg:"); is {
			return nsg.EndpointDefinition{ASGs: []string{name}, Port: "*"}
		}
		return nsg.EndpointDefinition{Prefix: s, Port: "*"}
	}
	from, to, _ := strings.Cut(ends, ">")
	r.Name, r.Source, r.Destination = name, side(from), side(to)
	if ports != "*" {
		r.Destination.Port, r.Destination.Ports = "", strings.Split(ports, ",")
	}
	return r
}

func group(t testing.TB, name string, rules ...string) *nsg.Policy {
	t.Helper()
	d := nsg.Definition{Name: name, File: name + ".json"}
	for i, r := range rules {
		d.Rules = append(d.Rules, rule(t, fmt.Sprintf("rule-%d", i+1), r))
	}
	return policyOf(t, d)
}

// covers reports whether a part of an answer has the flow.
func (b *Box) covers(f nsg.Flow, from, to *End) bool {
	source, port := f.Local, f.LocalPort
	destination := f.Remote
	in := func(s Scope, e *End, a netip.Addr) bool {
		switch {
		case s.Whole:
			return e.Addresses().Contains(a)
		case s.Family != "":
			return e.Addresses().Contains(a) && a.Is6() == (s.Family == "IPv6")
		}
		return s.Prefixes.Contains(a)
	}
	ported := f.Protocol == nsg.TCP || f.Protocol == nsg.UDP
	return b.Services.has(f) && in(b.From, from, source) && in(b.To, to, destination) &&
		(b.FromPorts == nil || ported && slices.ContainsFunc(b.FromPorts, func(r nsg.PortRange) bool { return r.First <= port && port <= r.Last }))
}

// placeOf returns the place that has the address.
func (e *End) placeOf(a netip.Addr) *Place {
	i := slices.IndexFunc(e.Places, func(p Place) bool { return p.Addresses.Contains(a) })
	return &e.Places[i]
}

// judge is what both ends' groups say to a flow that goes out.
func judge(f nsg.Flow, from, to *Place) (nsg.Access, []string) {
	var rules []string
	ask := func(f nsg.Flow, p, other *Place) nsg.Access {
		if p.SameNodeFree && p.Node == other.Node {
			return nsg.Allow
		}
		if p.Network != other.Network {
			f.RemoteASGs = nil
		}
		v := nsg.Evaluate(f, p.Subnet, p.Interface)
		if v.Rule != nil {
			level := ""
			for _, l := range v.Levels {
				if l.Rule == v.Rule && (level == "" || v.Access == nsg.Allow) {
					level = l.Name
				}
			}
			rules = append(rules, level+" "+v.Group.Name+" "+v.Rule.FullName())
		}
		return v.Access
	}
	f.LocalASGs, f.RemoteASGs = from.ASGs, to.ASGs
	if ask(f, from, to) == nsg.Deny {
		return nsg.Deny, rules
	}
	in := f
	in.Direction = nsg.Inbound
	in.Local, in.LocalPort, in.LocalASGs = f.Remote, f.RemotePort, to.ASGs
	in.Remote, in.RemotePort, in.RemoteASGs = f.Local, f.LocalPort, from.ASGs
	let := rules
	rules = nil
	if ask(in, to, from) == nsg.Deny {
		return nsg.Deny, rules
	}
	return nsg.Allow, append(let, rules...)
}

// randomEnds returns ends of every shape under random groups.
func randomEnds(t testing.TB, r *rand.Rand) []End {
	t.Helper()
	policies := []*nsg.Policy{nil}
	for i := range 4 {
		policies = append(policies, policyOf(t, nsgtest.Group(r, fmt.Sprintf("group-%d", i), 3+r.IntN(20))))
	}
	pick := func() *nsg.Policy { return policies[r.IntN(len(policies))] }
	asgs := func() (out []string) {
		for _, a := range nsgtest.ASGs {
			if r.IntN(3) == 0 {
				out = append(out, a)
			}
		}
		return out
	}
	place := func(prefixes ...string) Place {
		return Place{Addresses: set(t, prefixes...), ASGs: asgs(), Subnet: pick(), Interface: pick(),
			Network: fmt.Sprint(r.IntN(2)), Node: fmt.Sprint(r.IntN(2)), SameNodeFree: r.IntN(4) == 0}
	}
	ends := []End{
		{Name: "subnet", Kind: Subnet, Places: []Place{place("10.241.3.0/24", "fd00:241::/64")}},
		{Name: "wide", Kind: Named, Places: []Place{place("10.241.0.0/22"), place("10.241.200.0/25", "10.250.0.0/24"), place("fd00:241:0:7::/64")}},
		{Name: "six", Kind: Pod, Places: []Place{place("2603:1030:a::1")}},
		{Name: "internet", Kind: Outside, Places: []Place{{Addresses: set(t, "8.0.0.0/6", "20.60.0.0/16", "192.0.2.0/24", "2603::/16")}}},
	}
	for i := range 6 {
		ends = append(ends, End{Name: fmt.Sprintf("pod-%d", i), Kind: Pod,
			Places: []Place{place(fmt.Sprintf("10.241.3.%d", 60+i*4), fmt.Sprintf("fd00:241::3:4%d", i))}})
	}
	return ends
}

// flowFrom returns a flow between the ends, one that aims at a border of a rule.
func flowFrom(r *rand.Rand, from, to *End) (nsg.Flow, bool) {
	ipv6 := r.IntN(2) == 0
	f := nsg.Flow{Direction: nsg.Outbound, Protocol: nsg.Protocol([]int{6, 6, 17, 1, 50, 51, 132}[r.IntN(7)])}
	aim := func(e *End) (netip.Addr, bool) {
		ranges := e.Addresses().Family(ipv6).Ranges()
		if len(ranges) == 0 {
			return netip.Addr{}, false
		}
		at := ranges[r.IntN(len(ranges))]
		a := at.First.AsSlice()
		last := at.Last.AsSlice()
		for i := range a {
			if a[i] != last[i] {
				a[i] += byte(r.IntN(int(last[i]-a[i]) + 1))
			}
		}
		out, _ := netip.AddrFromSlice(a)
		return out, true
	}
	var policies []*nsg.Policy
	for _, e := range []*End{from, to} {
		for _, p := range e.Places {
			policies = append(policies, p.Subnet, p.Interface)
		}
	}
	var there, here bool
	f.Local, here = aim(from)
	f.Remote, there = aim(to)
	if p := policies[r.IntN(len(policies))]; p != nil {
		g := nsgtest.Flow(r, p, []nsg.Direction{nsg.Inbound, nsg.Outbound}[r.IntN(2)], ipv6)
		source, destination, from16, to16 := g.Local, g.Remote, g.LocalPort, g.RemotePort
		if g.Direction == nsg.Inbound {
			source, destination, from16, to16 = destination, source, to16, from16
		}
		f.Protocol, f.LocalPort, f.RemotePort = g.Protocol, from16, to16
		if from.Addresses().Contains(source) {
			f.Local = source
		}
		if to.Addresses().Contains(destination) {
			f.Remote = destination
		}
	}
	if f.Protocol == 4 || f.Protocol == 47 { // the platform's, which no answer speaks of
		f.Protocol = nsg.ICMP
	}
	if f.Protocol != nsg.TCP && f.Protocol != nsg.UDP {
		f.LocalPort, f.RemotePort = 0, 0
	}
	return f, here && there
}

// Every flow is in one box of one part of the answer, and both ends' groups say of
// it what the part says, by the rules that it names.
func TestAnswersAgreeWithEvaluation(t *testing.T) {
	t.Parallel()
	const rounds, perPair = 8, 80
	flows, allowed := 0, 0
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, err := Make(randomEnds(t, r), Question{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.Ends {
			for k := range m.Ends {
				a := m.Answers[m.Between(i, k)]
				from, to := &m.Ends[i], &m.Ends[k]
				for range perPair {
					f, possible := flowFrom(r, from, to)
					if !possible || a.Verdict == Self || a.Verdict == Beyond {
						continue
					}
					want, rules := judge(f, from.placeOf(f.Local), to.placeOf(f.Remote))
					if msg := disagrees(a, f, from, to, want, rules); msg != "" {
						t.Fatalf("seed %d: %s -> %s: %+v: %s\nanswer %s", seed, from.Name, to.Name, f, msg, a.identity())
					}
					flows++
					if want == nsg.Allow {
						allowed++
					}
				}
			}
		}
	}
	if allowed == 0 || allowed == flows {
		t.Errorf("of %d flows %d were allowed", flows, allowed)
	}
	t.Logf("%d flows, %d allowed", flows, allowed)
}

// disagrees compares an answer with what the groups say to a flow.
func disagrees(a *Answer, f nsg.Flow, from, to *End, want nsg.Access, rules []string) string {
	found := 0
	for _, p := range a.Parts {
		for i := range p.Boxes {
			if !p.Boxes[i].covers(f, from, to) {
				continue
			}
			found++
			var got []string
			for _, r := range p.Rules {
				got = append(got, r.Level+" "+r.NSG+" "+r.Name)
			}
			if p.Access != want || !slices.Equal(got, rules) {
				return fmt.Sprintf("%v by %q, want %v by %q", p.Access, got, want, rules)
			}
		}
	}
	switch {
	case found != 1:
		return fmt.Sprintf("it is in %d boxes", found)
	case a.Passing.has(f) && want == nsg.Deny, !a.Passing.has(f) && !a.Partly.has(f) && want == nsg.Allow,
		a.Verdict == All && want == nsg.Deny, a.Verdict == None && want == nsg.Allow:
		return "the summary says otherwise: " + a.Words()
	}
	return ""
}

// Ends of one class are told what they would be told alone.
func TestClassesChangeNothing(t *testing.T) {
	t.Parallel()
	cells := 0
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 2))
		ends := randomEnds(t, r)
		m, err := Make(ends, Question{})
		if err != nil {
			t.Fatal(err)
		}
		mk := newMaker(ends, Question{})
		for i := range m.Ends {
			for k := range m.Ends {
				if i == k && m.Ends[i].host() {
					continue
				}
				alone, err := mk.answer(&m.Ends[i], &m.Ends[k])
				if err != nil {
					t.Fatal(err)
				}
				if got := m.Answers[m.Between(i, k)]; got.identity() != alone.identity() {
					t.Fatalf("seed %d: %s -> %s:\n%s\nwant\n%s", seed, m.Ends[i].Name, m.Ends[k].Name, got.identity(), alone.identity())
				}
				cells++
			}
		}
	}
	t.Logf("%d cells", cells)
}
