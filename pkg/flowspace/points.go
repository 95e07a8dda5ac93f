package flowspace

import (
	"cmp"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// numbers is the line of the numbers from 0 on: ports, and kinds of protocols.
func numbers(end uint32) line[uint32] {
	return line[uint32]{
		compare: cmp.Compare[uint32],
		next:    func(n uint32) uint32 { return n + 1 },
		prev:    func(n uint32) uint32 { return n - 1 },
		end:     end,
	}
}

func addressLine(ipv6 bool) line[netip.Addr] {
	all := nsg.AllAddresses().Family(ipv6).Ranges()
	return line[netip.Addr]{compare: netip.Addr.Compare, next: netip.Addr.Next, prev: netip.Addr.Prev, end: all[0].Last}
}

func spansOfProtocols(p Protocols) []interval[uint32] {
	var out []interval[uint32]
	for i := range uint32(protocolKinds) {
		switch n := len(out); {
		case p&(1<<i) == 0:
		case n > 0 && out[n-1].last+1 == i:
			out[n-1].last = i
		default:
			out = append(out, interval[uint32]{i, i})
		}
	}
	return out
}

func protocolsIn(spans []interval[uint32]) Protocols {
	var p Protocols
	for _, s := range spans {
		for i := s.first; i <= s.last; i++ {
			p |= 1 << i
		}
	}
	return p
}

// spansOfPorts takes nil as every port.
func spansOfPorts(ranges []nsg.PortRange) []interval[uint32] {
	if ranges == nil {
		ranges = []nsg.PortRange{everyPort}
	}
	out := make([]interval[uint32], 0, len(ranges))
	for _, r := range ranges {
		out = append(out, interval[uint32]{uint32(r.First), uint32(r.Last)})
	}
	return out
}

func portsIn(spans []interval[uint32]) []nsg.PortRange {
	out := make([]nsg.PortRange, 0, len(spans))
	for _, s := range spans {
		out = append(out, nsg.PortRange{First: uint16(s.first), Last: uint16(s.last)})
	}
	return joinPorts(out)
}

// commonPorts returns the ports of a rule that a box has as well, where nil is
// every port, and an empty list none. Those of a rule may be in any order.
func commonPorts(ofRule, ofBox []nsg.PortRange) []nsg.PortRange {
	if len(ofRule) == 0 {
		return ofBox
	}
	out := []nsg.PortRange{}
	joined := joinPorts(ofRule)
	if ofBox == nil {
		return append(out, joined...)
	}
	for _, a := range joined {
		for _, b := range ofBox {
			if first, last := max(a.First, b.First), min(a.Last, b.Last); first <= last {
				out = append(out, nsg.PortRange{First: first, Last: last})
			}
		}
	}
	return out
}

func spansOfAddresses(s nsg.AddressSet) []interval[netip.Addr] {
	ranges := s.Ranges()
	out := make([]interval[netip.Addr], 0, len(ranges))
	for _, r := range ranges {
		out = append(out, interval[netip.Addr]{r.First, r.Last})
	}
	return out
}

func addressesIn(spans []interval[netip.Addr]) nsg.AddressSet {
	ranges := make([]nsg.AddressRange, 0, len(spans))
	for _, s := range spans {
		ranges = append(ranges, nsg.AddressRange{First: s.first, Last: s.last})
	}
	return nsg.AddressesIn(ranges...)
}
