package flowspace

import (
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// FuzzCompare: whatever groups the numbers make, each flow is in one region of each
// side, with its verdict, and in a change's box exactly if its access changes.
func FuzzCompare(f *testing.F) {
	f.Add(uint64(1), uint8(3), uint8(5), true)
	f.Add(uint64(7), uint8(12), uint8(0), false)
	f.Fuzz(func(t *testing.T, seed uint64, rules, others uint8, inbound bool) {
		r := random(seed)
		d := nsg.Outbound
		if inbound {
			d = nsg.Inbound
		}
		before := Policies{Subnet: nsgtest.Policy(r, "before", 1+int(rules%16))}
		after := Policies{Subnet: nsgtest.Policy(r, "after", 1+int(others%16)), Interface: before.Subnet}
		c := Compare(All(d), before, after, plenty)
		regions, err := Regions(All(d), after.Subnet, after.Interface, plenty)
		if err != nil || c.Undivided != nil {
			t.Fatalf("%v, %+v", err, c.Undivided)
		}
		for _, ch := range c.Changes {
			wantChanges(t, seed, ch, before, after)
		}
		for range 50 {
			fl := flowAt(r, d, before.Subnet, after.Subnet)
			wantVerdict(t, seed, onlyRegion(t, seed, regions, fl), fl, after.Subnet, after.Interface)
			if n, differs := c.boxesOf(fl), before.judge(fl).Access != after.judge(fl).Access; n > 1 || (n == 1) != differs {
				t.Fatalf("%+v changes: %t; it is in %d boxes", fl, differs, n)
			}
		}
	})
}
