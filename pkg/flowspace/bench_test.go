package flowspace

import (
	"fmt"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// BenchmarkRegions divides the inbound flows of a group of random rules.
func BenchmarkRegions(b *testing.B) {
	for _, n := range []int{10, 30, 100, 300, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := nsgtest.Policy(random(1), "group", n)
			boxes := 0
			for b.Loop() {
				list, err := Regions(All(nsg.Inbound), p, nil, 1_000_000)
				if err != nil {
					b.Fatal(err)
				}
				boxes = len(list)
			}
			b.ReportMetric(float64(boxes), "boxes")
		})
	}
}
