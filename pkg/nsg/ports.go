package nsg

import (
	"fmt"
	"strconv"
	"strings"
)

// ports reads ports and ranges of ports.
func (p place) ports(property string, list []string) []PortRange {
	var out []PortRange
	for _, s := range list {
		r, err := ParsePorts(s)
		if err != nil {
			p.fail(CodeInvalidPortRange, property, s, "%v", err)
			continue
		}
		out = append(out, r)
	}
	return out
}

// ParsePorts reads "80" or "80-90". All ports are not "*": that one covers what
// has no ports, too.
func ParsePorts(s string) (PortRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	switch {
	case strings.Contains(s, ","):
		return PortRange{}, fmt.Errorf("%q is not one range of ports; several belong in a list of their own property", s)
	case s == "*":
		return PortRange{}, fmt.Errorf("%q may not stand in a list of ports", s)
	case err1 != nil || err2 != nil:
		return PortRange{}, fmt.Errorf("%q is neither a port nor a range such as 80-90; ports go from 0 to 65535", s)
	case from > to:
		return PortRange{}, fmt.Errorf("the range %q ends before it begins", s)
	}
	return PortRange{First: uint16(from), Last: uint16(to)}, nil
}
