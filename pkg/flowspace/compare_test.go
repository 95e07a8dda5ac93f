package flowspace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// edited is a group after a few edits, as people make them.
func edited(r *rand.Rand, d nsg.Definition) nsg.Definition {
	d.Rules = slices.Clone(d.Rules)
	for range 1 + r.IntN(3) {
		i := r.IntN(len(d.Rules))
		switch r.IntN(5) {
		case 0:
			d.Rules = slices.Delete(d.Rules, i, i+1)
			if len(d.Rules) == 0 {
				return d
			}
		case 1:
			d.Rules[i].Access = map[string]string{"Allow": "Deny", "Deny": "Allow"}[d.Rules[i].Access]
		case 2:
			j := r.IntN(len(d.Rules))
			d.Rules[i].Priority, d.Rules[j].Priority = d.Rules[j].Priority, d.Rules[i].Priority
		default:
			other := nsgtest.Group(r, "other", 1).Rules[0]
			other.Name, other.Priority, other.Direction = d.Rules[i].Name, d.Rules[i].Priority, d.Rules[i].Direction
			d.Rules[i] = other
		}
	}
	return d
}

// pair is policies before and after: unrelated ones, or edited.
func pair(r *rand.Rand, rules int) (before, after Policies) {
	one := func() (*nsg.Policy, *nsg.Policy) {
		d := nsgtest.Group(r, "group", 1+r.IntN(rules))
		if r.IntN(3) == 0 {
			return nsgtest.MustPolicy(d), nsgtest.Policy(r, "another", 1+r.IntN(rules))
		}
		return nsgtest.MustPolicy(d), nsgtest.MustPolicy(edited(r, d))
	}
	before.Subnet, after.Subnet = one()
	before.Interface, after.Interface = one()
	switch r.IntN(6) {
	case 0:
		before.Subnet, after.Subnet = nil, nil
	case 1, 2:
		before.Interface, after.Interface = nil, nil
	case 3:
		before.Interface = nil
	}
	return before, after
}

func (p Policies) judge(f nsg.Flow) nsg.Verdict { return nsg.Evaluate(f, p.Subnet, p.Interface) }

func TestCompareTellsExactlyWhatChanges(t *testing.T) {
	tried, changed, boxes, spaces := 0, 0, 0, 0
	for seed := uint64(1); tried < flows(); seed++ {
		r := random(seed)
		before, after := pair(r, 10)
		for _, d := range directions {
			spaces++
			c := Compare(All(d), before, after, plenty)
			for _, ch := range c.Changes {
				wantChanges(t, seed, ch, before, after)
				boxes += len(ch.Boxes)
			}
			if c.Undivided != nil {
				t.Fatalf("seed %d: undivided: %+v", seed, c.Undivided)
			}
			for range 250 {
				tried++
				f := flowAt(r, d, before.Subnet, before.Interface, after.Subnet, after.Interface)
				n, differs := c.boxesOf(f), before.judge(f).Access != after.judge(f).Access
				if differs {
					changed++
				}
				if differs && n != 1 || !differs && n != 0 {
					t.Fatalf("seed %d: %+v changes: %t; it is in %d boxes of %+v", seed, f, differs, n, c.Changes)
				}
			}
		}
	}
	if changed < tried/50 {
		t.Errorf("%d of %d flows change: they prove little", changed, tried)
	}
	t.Logf("%d flows, %d of them changed, %d boxes in %d spaces", tried, changed, boxes, spaces)
}

// wantChanges checks the boxes of a change by a sample of each.
func wantChanges(t *testing.T, seed uint64, ch Change, before, after Policies) {
	t.Helper()
	if len(ch.Boxes) == 0 || len(ch.Boxes) != ch.Count {
		t.Fatalf("seed %d: %d of %d boxes", seed, len(ch.Boxes), ch.Count)
	}
	for _, b := range ch.Boxes {
		f := b.Sample()
		x, y := before.judge(f), after.judge(f)
		if x.Access == y.Access || x.Rule != ch.Before.Rule || y.Rule != ch.After.Rule || x.Group != ch.Before.Group || y.Group != ch.After.Group ||
			x.Access != ch.Before.Access || y.Access != ch.After.Access || !b.Contains(f) || !ch.Hull.Contains(f) {
			t.Fatalf("seed %d: the sample %+v of %v: %v by %v, then %v by %v; told was %+v", seed, f, b, x.Access, x.Rule, y.Access, y.Rule, ch)
		}
	}
	if !ch.Boxes[0].Contains(ch.Sample) {
		t.Fatalf("seed %d: %+v is no sample of %v", seed, ch.Sample, ch.Boxes[0])
	}
}

func (c *Comparison) boxesOf(f nsg.Flow) int {
	n := 0
	for _, ch := range c.Changes {
		for _, b := range ch.Boxes {
			if b.Contains(f) {
				n++
			}
		}
	}
	return n
}

func TestCompareWithoutEnoughWorkIsNeverEquivalent(t *testing.T) {
	tried, covered, undivided := 0, 0, 0
	for seed := uint64(1); tried < flows()/4; seed++ {
		r := random(seed)
		before, after := pair(r, 30)
		for _, d := range directions {
			c := compare(All(d), before, after, plenty, r.IntN(100_000))
			if c.Undivided != nil {
				undivided++
			}
			for range 250 {
				tried++
				f := flowAt(r, d, before.Subnet, before.Interface, after.Subnet, after.Interface)
				maybe := c.Undivided != nil && c.Undivided.Hull.Contains(f)
				if c.Undivided != nil && c.Undivided.Boxes != nil {
					maybe = slices.ContainsFunc(c.Undivided.Boxes, func(b Box) bool { return b.Contains(f) })
				}
				differs := before.judge(f).Access != after.judge(f).Access
				if n := c.boxesOf(f); differs && n == 0 && !maybe || n > 0 && !differs {
					t.Fatalf("seed %d: %+v changes: %t; it is in %d boxes, undivided: %t", seed, f, differs, n, maybe)
				}
				if differs {
					covered++
				}
			}
		}
	}
	if undivided == 0 || covered == 0 {
		t.Errorf("%d undivided, %d flows that change", undivided, covered)
	}
	t.Logf("%d flows, %d change; %d comparisons were not finished", tried, covered, undivided)
}

func TestCompareSummarises(t *testing.T) {
	r := random(3)
	before, after := Policies{Subnet: nsgtest.Policy(r, "a", 60)}, Policies{Subnet: nsgtest.Policy(r, "b", 60)}
	whole, short := Compare(All(nsg.Inbound), before, after, plenty), Compare(All(nsg.Inbound), before, after, 20)
	listed := 0
	for _, ch := range short.Changes {
		listed += len(ch.Boxes)
		if x, y := before.judge(ch.Sample), after.judge(ch.Sample); x.Rule != ch.Before.Rule || y.Rule != ch.After.Rule || !ch.Hull.Contains(ch.Sample) || ch.Count < 1 {
			t.Errorf("summary %+v", ch)
		}
	}
	if len(whole.Changes) != len(short.Changes) || len(whole.Changes) < 10 || listed == 0 || listed > 20 {
		t.Errorf("%d changes in whole, %d in short with %d boxes", len(whole.Changes), len(short.Changes), listed)
	}
	t.Logf("%d changes, %d boxes listed", len(short.Changes), listed)
}

func TestEquivalentHoweverWritten(t *testing.T) {
	equal := 0
	for seed := range uint64(30) {
		r := random(seed)
		d := nsgtest.Group(r, "group", 40)
		if c := compareGroups(d, rewritten(d)); len(c) > 0 {
			t.Errorf("seed %d: %+v", seed, c)
		}
		equal++
	}
	t.Logf("%d groups rewritten", equal)
}

func compareGroups(a, b nsg.Definition) []Change {
	before, after := Policies{Subnet: nsgtest.MustPolicy(a)}, Policies{Subnet: nsgtest.MustPolicy(b)}
	return slices.Concat(Compare(All(nsg.Inbound), before, after, plenty).Changes, Compare(All(nsg.Outbound), before, after, plenty).Changes)
}

// rewritten is the same group in other words: each rule for any protocol becomes
// three, ports are cut in two, and a rule behind it all repeats the first.
func rewritten(d nsg.Definition) nsg.Definition {
	var rules []nsg.RuleDefinition
	add := func(r nsg.RuleDefinition) {
		r.Name, r.Priority = fmt.Sprintf("rule-%d", len(rules)), strconv.Itoa(100+len(rules))
		rules = append(rules, r)
	}
	for _, r := range d.Rules {
		if r.Destination.Port == "*" && r.Source.Port == "*" && r.Protocol == "Tcp" {
			for _, p := range []string{"1000-65535", "0-999"} {
				r.Destination.Port = p
				add(r)
			}
			continue
		}
		if r.Protocol == "*" && r.Destination.Port != "*" {
			for _, p := range []string{"Udp", "Tcp"} {
				r.Protocol = p
				add(r)
			}
			continue
		}
		add(r)
	}
	add(d.Rules[0])
	d.Rules = rules
	return d
}
