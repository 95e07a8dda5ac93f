package flowspace

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// flows is how many flows a property test tries: a million with VNET_SOAK.
func flows() int {
	if os.Getenv("VNET_SOAK") != "" {
		return 1_000_000
	}
	return 100_000
}

// plenty is more boxes than any group of these tests has.
const plenty = 200_000

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 11)) }

// policies are random ones of a level each, of which one may be missing.
func policies(r *rand.Rand, rules int) (subnet, iface *nsg.Policy) {
	subnet, iface = nsgtest.Policy(r, "subnet", 1+r.IntN(rules)), nsgtest.Policy(r, "iface", 1+r.IntN(rules))
	switch r.IntN(4) {
	case 0:
		return nil, iface
	case 1:
		return subnet, nil
	}
	return subnet, iface
}

// flowAt is a flow at a border of a rule of one of the policies.
func flowAt(r *rand.Rand, d nsg.Direction, policies ...*nsg.Policy) nsg.Flow {
	policies = slices.DeleteFunc(policies, func(p *nsg.Policy) bool { return p == nil })
	f := nsgtest.Flow(r, policies[r.IntN(len(policies))], d, r.IntN(3) == 0)
	if r.IntN(8) == 0 {
		f.Protocol = []nsg.Protocol{nsg.ESP, nsg.AH, 47, 4, 58, 132, 0}[r.IntN(7)]
	}
	if f.Protocol == nsg.TCP || f.Protocol == nsg.UDP {
		return f
	}
	f.LocalPort, f.RemotePort = 0, 0
	return f
}

var directions = [...]nsg.Direction{nsg.Inbound, nsg.Outbound}

func TestRegionsAreDisjointCompleteAndRight(t *testing.T) {
	tried, divided, regions := 0, 0, 0
	for seed := uint64(1); tried < flows(); seed++ {
		r := random(seed)
		subnet, iface := policies(r, 12)
		for _, d := range directions {
			list, err := Regions(All(d), subnet, iface, plenty)
			if err != nil {
				t.Fatalf("seed %d, %v: %v", seed, d, err)
			}
			divided++
			regions += len(list)
			for _, g := range list {
				wantVerdict(t, seed, g, g.Sample(), subnet, iface)
			}
			for range 250 {
				tried++
				f := flowAt(r, d, subnet, iface)
				wantVerdict(t, seed, onlyRegion(t, seed, list, f), f, subnet, iface)
			}
		}
	}
	t.Logf("%d flows in %d regions of %d spaces", tried, regions, divided)
}

// onlyRegion returns the region that has the flow, of which there must be one.
func onlyRegion(t *testing.T, seed uint64, list []Region, f nsg.Flow) Region {
	t.Helper()
	found, n := Region{}, 0
	for _, g := range list {
		if g.Contains(f) {
			found = g
			n++
		}
	}
	if n != 1 {
		t.Fatalf("seed %d: %d of %d regions have %+v", seed, n, len(list), f)
	}
	return found
}

func wantVerdict(t *testing.T, seed uint64, g Region, f nsg.Flow, subnet, iface *nsg.Policy) {
	t.Helper()
	want := nsg.Evaluate(f, subnet, iface)
	if got := g.Verdict; !g.Contains(f) || got.Access != want.Access || got.Rule != want.Rule || got.Group != want.Group {
		t.Fatalf("seed %d: %+v of the box %+v: %v %v, want %v %v", seed, f, g.Box, got.Access, got.Rule, want.Access, want.Rule)
	}
}

func TestRegionsWithinABox(t *testing.T) {
	tried, inside := 0, 0
	for seed := uint64(1); tried < flows()/4; seed++ {
		r := random(seed)
		subnet, iface := policies(r, 12)
		for _, d := range directions {
			all, err := Regions(All(d), subnet, iface, plenty)
			if err != nil {
				t.Fatal(err)
			}
			within := all[r.IntN(len(all))].Box
			other, another := policies(r, 8)
			list, err := Regions(within, other, another, plenty)
			if err != nil {
				t.Fatal(err)
			}
			for range 250 {
				tried++
				f := flowAt(r, d, subnet, iface, other, another)
				if within.Contains(f) {
					inside++
					wantVerdict(t, seed, onlyRegion(t, seed, list, f), f, other, another)
					continue
				}
				if i := slices.IndexFunc(list, func(g Region) bool { return g.Contains(f) }); i >= 0 {
					t.Fatalf("seed %d: %+v is not in %+v but in its region %+v", seed, f, within, list[i].Box)
				}
			}
			for _, g := range list {
				if f := g.Sample(); !within.Contains(f) {
					t.Fatalf("seed %d: the sample %+v of a region of %+v is outside", seed, f, within)
				}
				wantVerdict(t, seed, g, g.Sample(), other, another)
			}
		}
	}
	if inside < tried/50 {
		t.Errorf("%d of %d flows are inside: they prove little", inside, tried)
	}
	t.Logf("%d flows, %d of them inside", tried, inside)
}

func TestRegionsWithoutPolicies(t *testing.T) {
	for _, d := range directions {
		list, err := Regions(All(d), nil, nil, 1)
		if err != nil || len(list) != 1 || list[0].Verdict.Access != nsg.Allow || list[0].Verdict.Rule != nil {
			t.Errorf("%v: %+v, %v", d, list, err)
		}
	}
}

func TestTooManyRegions(t *testing.T) {
	p := nsgtest.Policy(random(1), "group", 40)
	list, err := Regions(All(nsg.Inbound), p, nil, plenty)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Regions(All(nsg.Inbound), p, nil, 3); !errors.Is(err, ErrTooMany) {
		t.Errorf("a limit of 3, where there are %d: %v", len(list), err)
	}
}
