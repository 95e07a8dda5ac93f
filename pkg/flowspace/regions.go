package flowspace

import (
	"errors"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Region is a box all of whose flows get the same verdict from the same rule.
type Region struct {
	Box
	// Verdict has what nsg.Evaluate says to each of the flows, but for the levels: of
	// these the flows of a region have only the answering one in common.
	Verdict nsg.Verdict
}

// ErrTooMany is that there are more boxes than wanted, or that finding them takes
// too much work.
var ErrTooMany = errors.New("too many boxes")

// Regions divides a box by the verdict of the subnet's and the interface's policy,
// where nil is none: the regions are disjoint, and each flow of the box is in one.
// It fails with ErrTooMany when there are more than limit, or when there seem to
// be: they are counted for good only after those were joined that can be.
func Regions(within Box, subnet, iface *nsg.Policy, limit int) ([]Region, error) {
	p := pathOf(within.Direction, subnet, iface)
	byRule := map[*nsg.PolicyRule][]Box{}
	var order []*nsg.PolicyRule
	budget, total := regionsWork, 0
	for _, ipv6 := range [...]bool{false, true} {
		s := newSpace(within, ipv6, p.lists(within.Direction)...)
		if s == nil {
			continue
		}
		d := &divider{space: s, judge: regionJudge{side{s}}, budget: &budget, unknown: len(s.rules) + 1}
		root, r := d.divide(), d.restricted()
		for _, answer := range r.answers(root) {
			only := r.to(root, answer)
			total += d.boxes(only, joinable*limit+1, map[node]int{})
			if total > joinable*limit || budget <= 0 {
				return nil, ErrTooMany
			}
			rule := s.rule(int(answer))
			if byRule[rule] == nil {
				order = append(order, rule)
			}
			byRule[rule] = d.walk(only, s.within, byRule[rule])
		}
	}
	var out []Region
	for _, r := range order {
		v := nsg.Verdict{Access: nsg.Allow}
		if r != nil {
			v = nsg.Verdict{Access: r.Access, Rule: r, Group: p.group(r)}
		}
		for _, b := range joined(byRule[r]) {
			out = append(out, Region{Box: b, Verdict: v})
		}
	}
	if len(out) > limit {
		return nil, ErrTooMany
	}
	return out, nil
}

// joinable is how many boxes become one in the hope of Regions.
const joinable = 8

// regionsWork bounds the work for regions: some seconds.
const regionsWork = 500_000_000

// regionJudge tells flows apart until one rule answers.
type regionJudge struct{ side }

func (j regionJudge) answer(lists [][]entry) (int, bool) { return j.settle(lists) }

func (j regionJudge) matters([][]entry, int, entry) bool { return true }
