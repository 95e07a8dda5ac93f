package reach

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// families are those of addresses: whether it is IPv6.
var families = [...]bool{false, true}

// add notes flows that the rules decide about.
func (b *builder) add(access nsg.Access, rules []Rule, box *flowspace.Box) {
	key := fmt.Sprint(access, rules)
	i, known := b.known[key]
	if !known {
		i = len(b.parts)
		b.known[key] = i
		b.parts = append(b.parts, Part{Access: access, Rules: rules})
		b.pieces = append(b.pieces, [2][]piece{})
	}
	for f, ipv6 := range families {
		p := piece{services: servicesOf(box), fromPorts: ports(box.Source.Ports),
			from: box.Source.Addresses.Family(ipv6), to: box.Destination.Addresses.Family(ipv6)}
		if !p.services.IsEmpty() && !p.from.IsEmpty() && !p.to.IsEmpty() {
			b.pieces[i][f] = append(b.pieces[i][f], p)
		}
	}
}

// servicesOf are what the flows of a box ask for.
func servicesOf(b *flowspace.Box) Services {
	var s Services
	to := allPorts()
	if b.Destination.Ports != nil {
		to = ports(b.Destination.Ports)
	}
	if b.Protocols&flowspace.TCP != 0 {
		s.TCP = to
	}
	if b.Protocols&flowspace.UDP != 0 {
		s.UDP = to
	}
	if b.Source.Ports != nil || b.Destination.Ports != nil {
		return s // which what has no ports is not in
	}
	for _, p := range [...]struct {
		of  flowspace.Protocols
		bit Portless
	}{{flowspace.ICMP, ICMP}, {flowspace.ESP, ESP}, {flowspace.AH, AH}, {flowspace.Others, Other}} {
		if b.Protocols&p.of != 0 {
			s.Portless |= p.bit
		}
	}
	return s
}

// answer puts together what was added.
func (b *builder) answer() *Answer {
	a := &Answer{}
	scopes := b.scopes()
	var passing, denied Services
	for i := range b.parts {
		part := b.parts[i]
		of := b.boxes(b.pieces[i], &scopes)
		if part.Boxes = of; len(of) == 0 {
			continue
		}
		for _, box := range of {
			if part.Access == nsg.Allow {
				passing = passing.Union(box.Services)
			} else {
				denied = denied.Union(box.Services)
			}
		}
		a.Parts = append(a.Parts, part)
	}
	a.Apart = len(a.Parts) == 0
	a.Passing = passing.Minus(denied)
	a.Partly = passing.Minus(a.Passing)
	switch {
	case passing.IsEmpty():
		a.Verdict = None
	case denied.IsEmpty():
		a.Verdict = All
	default:
		a.Verdict = Some
	}
	slices.SortStableFunc(a.Parts, func(x, y Part) int {
		return cmp.Or(cmp.Compare(y.Access, x.Access), strings.Compare(fmt.Sprint(x.Rules), fmt.Sprint(y.Rules)))
	})
	return a
}

// scopes are the addresses of both ends that can talk to each other, of each
// family.
type scopes struct{ from, to [2]nsg.AddressSet }

func (b *builder) scopes() scopes {
	var s scopes
	from, to := b.from.Addresses(), b.to.Addresses()
	for f, ipv6 := range families {
		if !from.Family(ipv6).IsEmpty() && !to.Family(ipv6).IsEmpty() {
			s.from[f], s.to[f] = from.Family(ipv6), to.Family(ipv6)
		}
	}
	return s
}

// boxes merges the pieces of a part, and then those of IPv4 with those of IPv6
// about the same services.
func (b *builder) boxes(pieces [2][]piece, s *scopes) []Box {
	v4, v6 := merged(pieces[0]), merged(pieces[1])
	order(v4)
	order(v6)
	var out []Box
	for _, p := range v4 {
		twin := slices.IndexFunc(v6, func(q piece) bool {
			return q.services.Equal(p.services) && slices.Equal(q.fromPorts, p.fromPorts) &&
				p.from.Equal(s.from[0]) == q.from.Equal(s.from[1]) && p.to.Equal(s.to[0]) == q.to.Equal(s.to[1])
		})
		if twin >= 0 {
			p.from, p.to = p.from.Union(v6[twin].from), p.to.Union(v6[twin].to)
			v6 = slices.Delete(v6, twin, twin+1)
		}
		out = append(out, p.box(s))
	}
	for _, p := range v6 {
		out = append(out, p.box(s))
	}
	return out
}

func (p *piece) box(s *scopes) Box {
	return Box{Services: p.services, FromPorts: p.fromPorts, From: scopeOf(p.from, s.from), To: scopeOf(p.to, s.to)}
}

// scopeOf says which of an end's addresses the set has.
func scopeOf(set nsg.AddressSet, of [2]nsg.AddressSet) Scope {
	switch {
	case set.Equal(of[0].Union(of[1])):
		return Scope{Whole: true}
	case set.Equal(of[0]):
		return Scope{Family: "IPv4"}
	case set.Equal(of[1]):
		return Scope{Family: "IPv6"}
	}
	return Scope{Prefixes: set}
}

// identity is equal for answers that say the same.
func (a *Answer) identity() string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Verdict, a.Passing, a.Partly, a.Apart)
	for _, p := range a.Parts {
		fmt.Fprintln(&b, p.Access, p.Rules)
		for _, x := range p.Boxes {
			fmt.Fprintln(&b, x.Services, x.FromPorts, x.From.Whole, x.From.Family, setKey(x.From.Prefixes), x.To.Whole, x.To.Family, setKey(x.To.Prefixes))
		}
	}
	return b.String()
}
