package program

import "github.com/vnet-cni/vnet-cni/pkg/nsg"

// protocols is which protocols' packets a region has.
type protocols uint8

const (
	anyProtocol protocols = iota
	onlyTCP
	onlyUDP
	otherProtocols // all but TCP and UDP: there are no ports
)

// region is a box of packets: those that reach one place of the tree.
type region struct {
	protocols protocols
	spans     [dimensions]span
}

func wholeRegion(p protocols, ipv6 bool) region {
	r := region{protocols: p}
	for d := range dimensions {
		r.spans[d] = wholeSpan(d, ipv6)
	}
	return r
}

// meets reports whether the line can match a packet of the region.
func (r *region) meets(l *line) bool {
	if !r.meetsProtocol(l) {
		return false
	}
	for d := range dimensions {
		if !l.sides[d].meets(r.spans[d]) {
			return false
		}
	}
	return true
}

func (r *region) meetsProtocol(l *line) bool {
	switch r.protocols {
	case onlyTCP:
		return l.protocol == nsg.AnyProtocol || l.protocol == nsg.TCP
	case onlyUDP:
		return l.protocol == nsg.AnyProtocol || l.protocol == nsg.UDP
	case otherProtocols:
		return l.protocol != nsg.TCP && l.protocol != nsg.UDP && !l.hasPorts()
	}
	return true
}

// covered reports whether the line matches every packet of the region.
func (r *region) covered(l *line) bool {
	for d := range dimensions {
		if !l.sides[d].covers(r.spans[d]) {
			return false
		}
	}
	switch r.protocols {
	case onlyTCP, onlyUDP:
		return r.meetsProtocol(l)
	case otherProtocols:
		return l.protocol == nsg.AnyProtocol
	}
	return l.protocol == nsg.AnyProtocol && !l.hasPorts()
}

// deciding returns those of the lines that can decide about a packet of the
// region: they meet it, and no earlier one takes all of it.
func (r *region) deciding(lines []*line) []*line {
	var out []*line
	for _, l := range lines {
		if !r.meets(l) {
			continue
		}
		out = append(out, l)
		if r.covered(l) {
			break
		}
	}
	return out
}

// with returns the region cut down to the span in one dimension.
func (r region) with(d dimension, s span) region {
	r.spans[d] = s
	return r
}
