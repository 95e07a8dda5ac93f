package program

import (
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// dimension is what a condition is about, besides the protocol.
type dimension uint8

const (
	sourcePort dimension = iota
	destinationPort
	source
	destination
	dimensions
)

func (d dimension) ofPorts() bool { return d == sourcePort || d == destinationPort }

// line is a rule of the group in one family: what a linear chain has as one line.
type line struct {
	name      string
	allow     bool
	byDefault bool // one of Azure's own, which end every group
	protocol  nsg.Protocol
	sides     [dimensions]condition
}

// condition is what a line asks of one dimension.
type condition struct {
	any   bool
	spans []span   // ascending and apart from each other
	asgs  []string // instead: membership in any of them
}

// covers reports whether every value of the span meets the condition.
func (c condition) covers(s span) bool {
	if c.any {
		return true
	}
	i := c.firstTo(s)
	return i < len(c.spans) && s.within(c.spans[i])
}

// meets reports whether a value of the span can meet the condition.
func (c condition) meets(s span) bool {
	if c.any || len(c.asgs) > 0 {
		return true
	}
	i := c.firstTo(s)
	return i < len(c.spans) && c.spans[i].meets(s)
}

// firstTo finds the first span that does not end before s.
func (c condition) firstTo(s span) int {
	i, _ := slices.BinarySearchFunc(c.spans, s.first, func(t span, v value) int { return t.last.compare(v) })
	return i
}

// clipped returns the condition's spans as far as they are in s.
func (c condition) clipped(s span) []span {
	var out []span
	for _, t := range c.spans[c.firstTo(s):] {
		if !t.meets(s) {
			break
		}
		out = append(out, t.clip(s))
	}
	return out
}

// hasPorts reports whether the line asks for a port: then it is about TCP and
// UDP only.
func (l *line) hasPorts() bool {
	return !l.sides[sourcePort].any || !l.sides[destinationPort].any
}

// linesOf returns the lines of the policy's rules for the direction that can
// match anything in the family.
func linesOf(p *nsg.Policy, d nsg.Direction, ipv6 bool) []*line {
	var out []*line
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Direction != d {
			continue
		}
		l := &line{name: r.FullName(), allow: r.Access == nsg.Allow, byDefault: r.Default, protocol: r.Protocol}
		l.sides[sourcePort] = portCondition(r.Source.Ports)
		l.sides[destinationPort] = portCondition(r.Destination.Ports)
		l.sides[source] = addrCondition(r.Source, ipv6)
		l.sides[destination] = addrCondition(r.Destination, ipv6)
		if l.possible() {
			out = append(out, l)
		}
	}
	return out
}

// possible reports whether the line can match at all.
func (l *line) possible() bool {
	if l.hasPorts() && l.protocol != nsg.AnyProtocol && l.protocol != nsg.TCP && l.protocol != nsg.UDP {
		return false
	}
	for _, c := range l.sides {
		if !c.any && len(c.spans) == 0 && len(c.asgs) == 0 {
			return false
		}
	}
	return true
}

func portCondition(ranges []nsg.PortRange) condition {
	if len(ranges) == 0 {
		return condition{any: true}
	}
	return condition{spans: portSpans(ranges)}
}

func addrCondition(m nsg.Match, ipv6 bool) condition {
	if len(m.ASGs) > 0 {
		asgs := slices.Clone(m.ASGs)
		slices.Sort(asgs)
		return condition{asgs: slices.Compact(asgs)}
	}
	c := condition{spans: addrSpans(m.Addresses.Family(ipv6))}
	if c.covers(wholeSpan(destination, ipv6)) {
		return condition{any: true}
	}
	return c
}

// wholeSpan is every value of a dimension.
func wholeSpan(d dimension, ipv6 bool) span {
	switch {
	case d.ofPorts():
		return span{last: value{lo: 1<<16 - 1}}
	case ipv6:
		return span{last: value{hi: 1<<64 - 1, lo: 1<<64 - 1}}
	}
	return span{last: value{lo: 1<<32 - 1}}
}

// joined sorts spans and joins those that overlap or touch.
func joined(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.first.compare(b.first) })
	var out []span
	for _, s := range spans {
		n := len(out)
		switch {
		case n > 0 && !out[n-1].last.next().less(s.first):
			if out[n-1].last.less(s.last) {
				out[n-1].last = s.last
			}
		default:
			out = append(out, s)
		}
	}
	return out
}
