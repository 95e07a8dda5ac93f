package program

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// emitter writes a tree down as chains.
type emitter struct {
	names    Names
	program  *Program
	defaults string                 // the chain of the default rules, where leaves share it
	sets     map[string]*Set        // by what is in them, so that equal ones are one
	lists    map[*condition]Address // the sets of conditions that stand in many leaves
}

func (t *tree) emit(names Names) *Program {
	e := &emitter{names: names, program: &Program{IPv6: t.ipv6}, sets: map[string]*Set{}, lists: map[*condition]Address{}}
	entry := e.chain()
	if !t.linear && slices.ContainsFunc(t.roots, (*node).shares) {
		e.defaults = e.program.Chains[e.chain()].Name
		whole := wholeRegion(anyProtocol, t.ipv6)
		e.lines(entry+1, &whole, t.defaults)
	}
	for i, root := range t.roots {
		if i == len(t.roots)-1 {
			e.place(entry, root)
			break
		}
		to := e.chain()
		e.add(entry, Rule{Match: Match{Protocol: rootProtocols[i]}, Target: Goto, Goto: e.program.Chains[to].Name})
		e.place(to, root)
	}
	return e.program
}

// rootProtocols are what the first roots of a tree with several are for.
var rootProtocols = [...]nsg.Protocol{nsg.TCP, nsg.UDP}

// chain begins a new chain and returns its place.
func (e *emitter) chain() int {
	n := len(e.program.Chains)
	e.program.Chains = append(e.program.Chains, Chain{Name: e.names.Chain(n)})
	return n
}

func (e *emitter) add(chain int, r Rule) {
	c := &e.program.Chains[chain]
	c.Rules = append(c.Rules, r)
}

// place writes a node and everything below it, beginning in the chain.
func (e *emitter) place(chain int, n *node) {
	for ; n.cut != nil; n = n.rest {
		if r, alone := e.single(n.in); alone {
			r.Match = e.branch(n)
			e.add(chain, r)
			continue
		}
		to := e.chain()
		e.add(chain, Rule{Match: e.branch(n), Target: Goto, Goto: e.program.Chains[to].Name})
		e.place(to, n.in)
	}
	own, shared := n.split()
	if e.defaults == "" {
		own, shared = n.lines, false
	}
	e.lines(chain, &n.region, own)
	if shared {
		e.add(chain, Rule{Match: Match{Protocol: nsg.AnyProtocol}, Target: Goto, Goto: e.defaults})
	}
}

// single returns the rule of a leaf that has just one and no condition in it:
// no chain is needed for that.
func (e *emitter) single(n *node) (Rule, bool) {
	if n.cut != nil {
		return Rule{}, false
	}
	own, shared := n.split()
	switch {
	case shared && len(own) == 0:
		return Rule{Target: Goto, Goto: e.defaults}, true
	case !shared && len(own) == 1:
		return Rule{Target: target(own[0]), Name: own[0].name}, true
	}
	return Rule{}, false
}

func (e *emitter) lines(chain int, r *region, lines []*line) {
	for _, l := range lines {
		for _, m := range e.matches(r, l) {
			e.add(chain, Rule{Match: m, Target: target(l), Name: l.name})
		}
	}
}

func target(l *line) Target {
	if l.allow {
		return Return
	}
	return Drop
}

// branch is the match for what goes another way at the node.
func (e *emitter) branch(n *node) Match {
	m := Match{Protocol: nsg.AnyProtocol}
	whole := wholeSpan(n.cut.dimension, e.program.IPv6)
	s := n.cut.span
	if r := n.in.region.protocols; n.cut.dimension.ofPorts() {
		m.Protocol = rootProtocols[r-onlyTCP]
	}
	// Packets beyond the region do not come here: a branch may reach as far out
	// as makes it simple.
	if outer := n.rest.region.spans[n.cut.dimension]; s.last.less(outer.first) {
		s.first = whole.first
	} else {
		s.last = whole.last
	}
	switch n.cut.dimension {
	case sourcePort:
		m.SourcePorts = Ports{Ranges: []nsg.PortRange{portRange(s)}}
	case destinationPort:
		m.DestinationPorts = Ports{Ranges: []nsg.PortRange{portRange(s)}}
	case source:
		m.Source = e.one(s)
	case destination:
		m.Destination = e.one(s)
	}
	return m
}

func portRange(s span) nsg.PortRange {
	return nsg.PortRange{First: s.first.port(), Last: s.last.port()}
}

// one is a condition for one span of addresses.
func (e *emitter) one(s span) Address {
	r := nsg.AddressRange{First: s.first.addr(e.program.IPv6), Last: s.last.addr(e.program.IPv6)}
	if p := r.Prefixes(); len(p) == 1 {
		return Address{Prefix: p[0]}
	}
	return Address{Range: r}
}

// matches returns the matches with which a line stands in a leaf of the region:
// without what the region has settled already. There are two where the line asks
// for ports of both protocols and the region has both.
func (e *emitter) matches(r *region, l *line) []Match {
	m := Match{Protocol: nsg.AnyProtocol}
	m.SourcePorts = e.ports(l.sides[sourcePort], r.spans[sourcePort])
	m.DestinationPorts = e.ports(l.sides[destinationPort], r.spans[destinationPort])
	m.Source = e.address(&l.sides[source], r.spans[source])
	m.Destination = e.address(&l.sides[destination], r.spans[destination])
	var out []Match
	for _, p := range r.matchProtocols(l) {
		m.Protocol = p
		out = append(out, m)
	}
	return out
}

// matchProtocols returns the protocol that a line's rule has to name in the
// region; AnyProtocol where it need not. Ports cannot be matched without.
func (r *region) matchProtocols(l *line) []nsg.Protocol {
	ports := !l.sides[sourcePort].covers(r.spans[sourcePort]) || !l.sides[destinationPort].covers(r.spans[destinationPort])
	switch {
	case r.protocols == onlyTCP && ports:
		return []nsg.Protocol{nsg.TCP}
	case r.protocols == onlyUDP && ports:
		return []nsg.Protocol{nsg.UDP}
	case r.protocols == onlyTCP || r.protocols == onlyUDP:
		return []nsg.Protocol{nsg.AnyProtocol}
	case l.protocol == nsg.AnyProtocol && l.hasPorts():
		return []nsg.Protocol{nsg.TCP, nsg.UDP}
	}
	return []nsg.Protocol{l.protocol}
}

// maxPorts is how many ports a multiport match takes; a range counts as two
// (XT_MULTI_PORTS, linux/netfilter/xt_multiport.h).
const maxPorts = 15

func (e *emitter) ports(c condition, s span) Ports {
	if c.covers(s) {
		return Ports{}
	}
	var ranges []nsg.PortRange
	slots := 0
	for _, t := range c.clipped(s) {
		r := portRange(t)
		ranges = append(ranges, r)
		if slots++; r.First != r.Last {
			slots++
		}
	}
	if slots <= maxPorts {
		return Ports{Ranges: ranges}
	}
	return Ports{Set: e.portSet(c)}
}

func (e *emitter) address(c *condition, s span) Address {
	if len(c.asgs) > 0 {
		return Address{Set: e.asgSet(c.asgs)}
	}
	if c.covers(s) {
		return Address{}
	}
	if in := c.clipped(s); len(in) == 1 {
		return e.one(in[0])
	}
	return e.netSet(c)
}

// portSet is the set of all the condition's ports, whatever the region is: so
// it is one for all leaves.
func (e *emitter) portSet(c condition) *Set {
	var b strings.Builder
	ranges := make([]nsg.PortRange, 0, len(c.spans))
	for _, s := range c.spans {
		r := portRange(s)
		ranges = append(ranges, r)
		b.WriteString(strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last)) + " ")
	}
	return e.intern("ports "+b.String(), func() *Set { return &Set{Type: PortSet, Ports: ranges} })
}

// netSet is the set of all the condition's addresses, or of all others where
// that takes fewer prefixes.
func (e *emitter) netSet(c *condition) Address {
	a, known := e.lists[c]
	if !known {
		a = e.newNetSet(c)
		e.lists[c] = a
	}
	return a
}

func (e *emitter) newNetSet(c *condition) Address {
	inside := e.prefixes(c.spans)
	outside := e.prefixes(gaps(c.spans, wholeSpan(destination, e.program.IPv6)))
	if len(outside) < len(inside) {
		return Address{Set: e.prefixSet(outside), Not: true}
	}
	return Address{Set: e.prefixSet(inside)}
}

func (e *emitter) prefixSet(prefixes []netip.Prefix) *Set {
	var b strings.Builder
	for _, p := range prefixes {
		b.WriteString(p.String() + " ")
	}
	return e.intern("net "+b.String(), func() *Set { return &Set{Type: NetSet, Prefixes: prefixes} })
}

// prefixes turns spans into prefixes. Spans that are everything do not get here,
// so that none is a /0, which hash:net does not take.
func (e *emitter) prefixes(spans []span) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range spans {
		out = append(out, nsg.AddressRange{First: s.first.addr(e.program.IPv6), Last: s.last.addr(e.program.IPv6)}.Prefixes()...)
	}
	return out
}

// gaps returns what the spans leave of the whole.
func gaps(spans []span, whole span) []span {
	var out []span
	next := whole.first
	for _, s := range spans {
		if next.less(s.first) {
			out = append(out, span{first: next, last: s.first.prev()})
		}
		if s.last == whole.last {
			return out
		}
		next = s.last.next()
	}
	return append(out, span{first: next, last: whole.last})
}

func (e *emitter) asgSet(asgs []string) *Set {
	if len(asgs) == 1 {
		return e.singleASG(asgs[0])
	}
	var members []string
	for _, a := range asgs {
		members = append(members, e.singleASG(a).Name)
	}
	slices.Sort(members)
	return e.intern("asgs "+strings.Join(members, " "), func() *Set {
		return &Set{Type: ASGList, ASGs: asgs, Members: members}
	})
}

func (e *emitter) singleASG(asg string) *Set {
	key := "asg " + asg
	if e.sets[key] == nil {
		e.sets[key] = &Set{Name: e.names.ASG(asg), Type: ASGSet, ASGs: []string{asg}}
	}
	return e.sets[key]
}

// intern returns the one set with the content.
func (e *emitter) intern(content string, make func() *Set) *Set {
	if e.sets[content] == nil {
		s := make()
		s.Name = e.names.Content(content)
		e.sets[content] = s
	}
	return e.sets[content]
}
