package flowspace

import "github.com/vnet-cni/vnet-cni/pkg/nsg"

// path is the policies on a flow's way, in the order of evaluation; nil is none.
type path [2]*nsg.Policy

// pathOf returns the way of flows of a direction. (See nsg.Evaluate.)
func pathOf(d nsg.Direction, subnet, iface *nsg.Policy) path {
	if d == nsg.Outbound {
		return path{iface, subnet}
	}
	return path{subnet, iface}
}

// lists returns the rules of the policies for flows of a direction.
func (p path) lists(d nsg.Direction) [][]*nsg.PolicyRule {
	out := make([][]*nsg.PolicyRule, len(p))
	for i, policy := range p {
		if policy != nil {
			out[i] = rulesOf(policy, d)
		}
	}
	return out
}

func rulesOf(p *nsg.Policy, d nsg.Direction) []*nsg.PolicyRule {
	var out []*nsg.PolicyRule
	for i := range p.Rules {
		if p.Rules[i].Direction == d {
			out = append(out, &p.Rules[i])
		}
	}
	return out
}

// group returns the group that has the rule.
func (p path) group(r *nsg.PolicyRule) *nsg.Group {
	for _, policy := range p {
		if policy == nil {
			continue
		}
		for i := range policy.Rules {
			if &policy.Rules[i] == r {
				return policy.Group
			}
		}
	}
	return nil
}

// noRule is the answer where no policy has a say.
const noRule = 0

// answerOf is the answer that a rule gives.
func answerOf(e entry) int { return e.rule() + 1 }

// side asks two lists one after the other, as nsg.Evaluate does two policies: the
// first Deny answers, else the last Allow. An empty list is no policy.
type side struct{ *space }

// settle drops the list that does not matter, and returns the answer if it is the
// same for all flows.
func (s side) settle(lists [][]entry) (answer int, found bool) {
	if len(lists[0]) > 0 && len(lists[1]) > 0 {
		switch s.common(lists[0]) {
		case onlyDeny:
			lists[1] = nil
		case onlyAllow:
			lists[0] = nil
		}
	}
	switch a, b := lists[0], lists[1]; {
	case len(a)+len(b) == 0:
		return noRule, true
	case len(a) == 1 && len(b) == 0:
		return answerOf(a[0]), true
	case len(a) == 0 && len(b) == 1:
		return answerOf(b[0]), true
	}
	return 0, false
}

// accesses is what the rules of a list give.
type accesses uint8

const (
	onlyDeny accesses = 1 << iota
	onlyAllow
	both = onlyDeny | onlyAllow
)

func (s side) common(list []entry) accesses {
	var all accesses
	for _, e := range list {
		if s.rules[e.rule()].Access == nsg.Deny {
			all |= onlyDeny
		} else {
			all |= onlyAllow
		}
		if all == both {
			break
		}
	}
	return all
}

// rule returns the rule of an answer; nil where no policy has a say.
func (s *space) rule(answer int) *nsg.PolicyRule {
	if answer == noRule {
		return nil
	}
	return s.rules[answer-1].PolicyRule
}
