package reach

import (
	"slices"
	"strconv"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// ports is a set of ports: ascending ranges, none touching the next.
type ports []nsg.PortRange

// allPorts is every port.
func allPorts() ports { return ports{{First: 0, Last: 65535}} }

func (p ports) all() bool { return len(p) == 1 && p[0] == nsg.PortRange{First: 0, Last: 65535} }

// union returns the ports of either set.
func (p ports) union(q ports) ports {
	list := slices.Concat(p, q)
	slices.SortFunc(list, func(a, b nsg.PortRange) int { return int(a.First) - int(b.First) })
	out := list[:0]
	for _, r := range list {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// complement returns the ports that are not in the set.
func (p ports) complement() ports {
	var out ports
	next := 0
	for _, r := range p {
		if next < int(r.First) {
			out = append(out, nsg.PortRange{First: uint16(next), Last: r.First - 1})
		}
		next = int(r.Last) + 1
	}
	if next <= 65535 {
		out = append(out, nsg.PortRange{First: uint16(next), Last: 65535})
	}
	return out
}

// minus returns the ports of p that are not in q.
func (p ports) minus(q ports) ports { return p.complement().union(q).complement() }

func (p ports) count() int {
	n := 0
	for _, r := range p {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// texts are the ranges as documents write them.
func (p ports) texts() []string {
	out := make([]string, len(p))
	for i, r := range p {
		out[i] = strconv.Itoa(int(r.First))
		if r.First != r.Last {
			out[i] += "-" + strconv.Itoa(int(r.Last))
		}
	}
	return out
}

// PortWords are ranges of ports as documents write them, with commas between; ""
// for none.
func PortWords(list []nsg.PortRange) string { return joined(ports(list).texts()) }
