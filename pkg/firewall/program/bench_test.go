package program

import (
	"math/rand/v2"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// BenchmarkCompile makes the program of a group of 1000 random rules.
func BenchmarkCompile(b *testing.B) {
	p := nsgtest.Policy(rand.New(rand.NewPCG(1, 3)), "group", 1000)
	for b.Loop() {
		Compile(p, nsg.Inbound, false, testNames())
	}
}
