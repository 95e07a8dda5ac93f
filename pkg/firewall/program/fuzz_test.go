package program

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// bytes is a source of randomness that the fuzzer controls. What comes after its
// end is a fixed sequence.
type bytes struct {
	data []byte
	then *rand.PCG
}

func (b *bytes) Uint64() uint64 {
	if len(b.data) < 8 {
		return b.then.Uint64()
	}
	v := binary.LittleEndian.Uint64(b.data)
	b.data = b.data[8:]
	return v
}

// FuzzCompile wants of any group that its tree and its linear chain decide as the
// evaluator does, and stay within the kernel's bounds.
func FuzzCompile(f *testing.F) {
	f.Add(uint8(3), []byte("a few rules"))
	f.Add(uint8(60), []byte{})
	f.Add(uint8(255), []byte("0123456789abcdef0123456789abcdef"))
	f.Fuzz(func(t *testing.T, rules uint8, data []byte) {
		r := rand.New(&bytes{data: data, then: rand.NewPCG(uint64(rules), 1)})
		p := nsgtest.Policy(r, "group", int(rules))
		for _, d := range []nsg.Direction{nsg.Inbound, nsg.Outbound} {
			for _, ipv6 := range []bool{false, true} {
				programs := []*Program{Compile(p, d, ipv6, testNames()), Linear(p, d, ipv6, testNames())}
				wantBounds(t, p, d, programs[0])
				for range 50 {
					wantSame(t, p, nsgtest.Flow(r, p, d, ipv6), programs...)
				}
			}
		}
	})
}
