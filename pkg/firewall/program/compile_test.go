package program

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

func testNames() Names {
	return Names{
		Chain:   func(n int) string { return "CHAIN-" + strconv.Itoa(n) },
		Content: func(content string) string { return "set-" + Hash(content) },
		ASG:     func(asg string) string { return "asg-" + asg },
	}
}

// flows is how many flows the property test tries: over a million with VNET_SOAK.
func flows() int {
	if os.Getenv("VNET_SOAK") != "" {
		return 1_200_000
	}
	return 100_000
}

func TestSameVerdictAsEvaluator(t *testing.T) {
	sizes := []int{1, 2, 3, 5, 8, 13, 20, 40, 80, 150, 300, 600, 1000}
	tried, groups, allowed := 0, 0, 0
	for seed := uint64(1); tried < flows(); seed++ {
		r := rand.New(rand.NewPCG(seed, 7))
		p := nsgtest.Policy(r, "group", sizes[int(seed)%len(sizes)])
		groups++
		for _, d := range []nsg.Direction{nsg.Inbound, nsg.Outbound} {
			for _, ipv6 := range []bool{false, true} {
				tree, linear := Compile(p, d, ipv6, testNames()), Linear(p, d, ipv6, testNames())
				wantBounds(t, p, d, tree)
				for range 500 {
					tried++
					if wantSame(t, p, nsgtest.Flow(r, p, d, ipv6), tree, linear) == nsg.Allow {
						allowed++
					}
				}
			}
		}
	}
	if allowed < tried/10 || allowed > tried*9/10 {
		t.Errorf("%d of %d flows are allowed: the flows prove little", allowed, tried)
	}
	t.Logf("%d flows (%d allowed) through the tree and the linear chain of %d groups", tried, allowed, groups)
}

// wantSame runs the programs and wants the evaluator's verdict and rule.
func wantSame(t *testing.T, p *nsg.Policy, f nsg.Flow, programs ...*Program) nsg.Access {
	t.Helper()
	want := p.First(f)
	for i, prog := range programs {
		got, err := prog.run(packetOf(f))
		if err != nil || got.allowed != (want.Access == nsg.Allow) || got.rule != want.FullName() {
			t.Fatalf("program %d of %d rules: %+v: allowed is %t by %q (%v); the evaluator says %v by %q",
				i, len(p.Rules), f, got.allowed, got.rule, err, want.Access, want.FullName())
		}
	}
	return want.Access
}

// wantBounds checks what the kernel needs of a program.
func wantBounds(t *testing.T, p *nsg.Policy, d nsg.Direction, prog *Program) {
	t.Helper()
	own := 0
	for i := range p.Rules {
		if p.Rules[i].Direction == d {
			own++
		}
	}
	if limit := max(growth*own, atLeast); prog.Rules() > limit {
		t.Errorf("%d rules became %d, more than %d", own, prog.Rules(), limit)
	}
	for _, c := range prog.Chains {
		if last := c.Rules[len(c.Rules)-1]; last.Match.Protocol != nsg.AnyProtocol || len(nonEmpty(last.Match)) > 0 {
			t.Errorf("chain %s ends in a rule with a condition: %+v", c.Name, last)
		}
	}
	reached := map[string]bool{}
	if deepest := prog.below(prog.Chains[0].Name, reached); deepest > maxDepth+1 {
		t.Errorf("%d chains below the entry, more than %d", deepest, maxDepth+1)
	}
	if len(reached) != len(prog.Chains) {
		t.Errorf("%d of %d chains are entered from anywhere", len(reached), len(prog.Chains))
	}
}

// below returns how many chains can follow on the chain, and notes which.
func (p *Program) below(chain string, reached map[string]bool) int {
	reached[chain] = true
	deepest := 0
	for i := range p.Chains {
		if p.Chains[i].Name != chain {
			continue
		}
		for _, r := range p.Chains[i].Rules {
			if r.Target == Goto {
				deepest = max(deepest, 1+p.below(r.Goto, reached))
			}
		}
	}
	return deepest
}

// nonEmpty names the conditions of a match.
func nonEmpty(m Match) []string {
	var out []string
	for i, p := range []Ports{m.SourcePorts, m.DestinationPorts} {
		if p.Ranges != nil || p.Set != nil {
			out = append(out, "port "+strconv.Itoa(i))
		}
	}
	for i, a := range []Address{m.Source, m.Destination} {
		if a != (Address{}) {
			out = append(out, "address "+strconv.Itoa(i))
		}
	}
	return out
}
