package flowspace

import (
	"slices"
	"strconv"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

func randomGroup(n int) nsg.Definition { return nsgtest.Group(random(1), "random", n) }

// oneEdit changes the access of a rule in the middle, drops one, and appends one.
func oneEdit(d nsg.Definition) nsg.Definition {
	d.Rules = slices.Clone(d.Rules)
	m := len(d.Rules) / 2
	d.Rules[m].Access = map[string]string{"Allow": "Deny", "Deny": "Allow"}[d.Rules[m].Access]
	d.Rules = slices.Delete(d.Rules, m/2, m/2+1)
	last := d.Rules[m]
	last.Name, last.Priority, last.Destination.Port = "last", strconv.Itoa(4000), "7-70"
	d.Rules = append(d.Rules, last)
	return d
}

func shifted(d nsg.Definition) nsg.Definition {
	d.Rules = slices.Clone(d.Rules)
	for i := range d.Rules {
		d.Rules[i].Access = map[string]string{"Allow": "Deny", "Deny": "Allow"}[d.Rules[i].Access]
	}
	return d
}

// BenchmarkCompare compares groups of 1000 rules.
func BenchmarkCompare(b *testing.B) {
	const n = 1000
	other := nsgtest.Group(random(2), "random", n)
	for _, c := range []struct {
		name          string
		before, after nsg.Definition
	}{
		{"realistic/edited", nsgtest.Realistic(n - 1), oneEdit(nsgtest.Realistic(n - 1))},
		{"realistic/same", nsgtest.Realistic(n), nsgtest.Realistic(n)},
		{"realistic/opposite", nsgtest.Realistic(n), shifted(nsgtest.Realistic(n))},
		{"adversarial/edited", nsgtest.Adversarial(n - 1), oneEdit(nsgtest.Adversarial(n - 1))},
		{"adversarial/opposite", nsgtest.Adversarial(n), shifted(nsgtest.Adversarial(n))},
		{"crossed/edited", nsgtest.Crossed(n - 1), oneEdit(nsgtest.Crossed(n - 1))},
		{"crossed/opposite", nsgtest.Crossed(n), shifted(nsgtest.Crossed(n))},
		{"staircase/edited", nsgtest.Staircase(n - 1), oneEdit(nsgtest.Staircase(n - 1))},
		{"staircase/opposite", nsgtest.Staircase(n), shifted(nsgtest.Staircase(n))},
		{"random/edited", randomGroup(n - 1), oneEdit(randomGroup(n - 1))},
		{"random/other", randomGroup(n), other},
		{"realistic/random", nsgtest.Realistic(n), other},
	} {
		b.Run(c.name, func(b *testing.B) {
			before, after := Policies{Subnet: nsgtest.MustPolicy(c.before)}, Policies{Subnet: nsgtest.MustPolicy(c.after)}
			var got Comparison
			start := nsgtest.Processor(b)
			for b.Loop() {
				got = Compare(All(nsg.Inbound), before, after, 1000)
			}
			b.ReportMetric((nsgtest.Processor(b)-start).Seconds()/float64(b.N), "cpu-s/op")
			boxes, listed := 0, 0
			for _, ch := range got.Changes {
				boxes, listed = boxes+ch.Count, listed+len(ch.Boxes)
			}
			b.ReportMetric(float64(len(got.Changes)), "changes")
			b.ReportMetric(float64(boxes), "boxes")
			b.ReportMetric(float64(listed), "listed")
			if u := got.Undivided; u != nil {
				b.ReportMetric(float64(u.Count), "undivided")
			}
		})
	}
}
