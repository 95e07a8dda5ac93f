// Package fib speaks with the kernel about routing tables and the rules that choose
// between them: entries as comparable values, and the requests that list, find, make
// and remove them.
//
// It knows rtnetlink. It must not know what any table is for.
package fib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Route is an entry of a routing table.
type Route struct {
	Table    uint32
	Dst      netip.Prefix
	Kind     uint8      // RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE, …
	Via      netip.Addr // invalid: the destination is on the link; may be of the other family
	Link     int        // index; 0: the entry leads nowhere. Of several next hops the first
	Src      netip.Addr // invalid: the kernel chooses
	OnLink   bool       // Via is on the link whatever the tables say
	Metric   uint32     // in IPv6 never 0: the kernel then takes Metric6
	Protocol uint8      // who made it
	Odd      bool       // it has what no Route of a wanted state has
}

// Metric6 is what the kernel gives to an IPv6 route without a metric
// (IP6_RT_PRIO_USER).
const Metric6 = 1024

// Rule leads packets by their source to a table.
type Rule struct {
	From     netip.Prefix
	Table    uint32
	Priority uint32
	Longer   int // only entries with a longer prefix than this count; -1: all
	Protocol uint8
	Odd      bool // it has another condition or action
}

// String is the rule as `ip rule` has it.
func (r Rule) String() string {
	s := fmt.Sprintf("rule from %s lookup %s priority %d", r.From, tableName(r.Table), r.Priority)
	if r.Longer >= 0 {
		s += fmt.Sprintf(" suppress_prefixlength %d", r.Longer)
	}
	return s
}

func tableName(table uint32) string {
	if table == unix.RT_TABLE_MAIN {
		return "main"
	}
	return fmt.Sprint(table)
}

// leadsNowhere tells of a kind of entry that has no next hop. IPv6 shows the
// loopback as theirs.
func leadsNowhere(kind uint8) bool {
	return kind == unix.RTN_BLACKHOLE || kind == unix.RTN_UNREACHABLE || kind == unix.RTN_PROHIBIT || kind == unix.RTN_THROW
}

// ParseRoute reads a route message.
func ParseRoute(data []byte) (Route, error) {
	if len(data) < unix.SizeofRtMsg {
		return Route{}, errors.New("short route message")
	}
	m := nl.DeserializeRtMsg(data)
	r := Route{
		Table: uint32(m.Table), Kind: m.Type, Protocol: m.Protocol, OnLink: m.Flags&unix.RTNH_F_ONLINK != 0,
		Odd: m.Tos != 0 || m.Src_len != 0 || m.Scope != unix.RT_SCOPE_UNIVERSE,
	}
	dst := unspecified(m.Family)
	for typ, value := range nlsock.Attributes(data[unix.SizeofRtMsg:]) {
		if typ == unix.RTA_DST {
			dst, _ = netip.AddrFromSlice(value)
		} else {
			r.set(typ, value)
		}
	}
	if leadsNowhere(r.Kind) {
		r.Link = 0
	}
	r.Dst = netip.PrefixFrom(dst, int(m.Dst_len))
	return r, nil
}

func (r *Route) set(typ int, value []byte) {
	switch typ {
	case unix.RTA_GATEWAY, unix.RTA_VIA:
		r.Via = gateway(typ, value)
	case unix.RTA_PREFSRC:
		r.Src, _ = netip.AddrFromSlice(value)
	case unix.RTA_OIF:
		r.Link = int(nlsock.Uint32(value))
	case unix.RTA_PRIORITY:
		r.Metric = nlsock.Uint32(value)
	case unix.RTA_TABLE:
		r.Table = nlsock.Uint32(value)
	case unix.RTA_CACHEINFO, unix.RTA_PREF:
	case unix.RTA_MULTIPATH:
		r.Odd = true
		r.setFirst(value)
	default: // metrics, an encapsulation, …
		r.Odd = true
	}
}

// setFirst takes the first of several next hops (struct rtnexthop of
// linux/rtnetlink.h: length, flags, hops, interface, then attributes).
func (r *Route) setFirst(b []byte) {
	if len(b) < unix.SizeofRtNexthop {
		return
	}
	r.Link = int(binary.NativeEndian.Uint32(b[4:]))
	end := min(int(binary.NativeEndian.Uint16(b)), len(b))
	for typ, value := range nlsock.Attributes(b[unix.SizeofRtNexthop:max(end, unix.SizeofRtNexthop)]) {
		if typ == unix.RTA_GATEWAY || typ == unix.RTA_VIA {
			r.Via = gateway(typ, value)
		}
	}
}

// gateway is a next hop. One of the other family (struct rtvia) has its family before it.
func gateway(typ int, value []byte) netip.Addr {
	if typ == unix.RTA_VIA {
		value = value[min(2, len(value)):]
	}
	a, _ := netip.AddrFromSlice(value)
	return a
}

// ParseRule reads a rule message.
func ParseRule(data []byte) (Rule, error) {
	if len(data) < unix.SizeofRtMsg { // struct fib_rule_hdr has the same form
		return Rule{}, errors.New("short rule message")
	}
	m := nl.DeserializeRtMsg(data)
	const invert = 2 // FIB_RULE_INVERT of linux/fib_rules.h
	r := Rule{Table: uint32(m.Table), Longer: -1, Odd: m.Tos != 0 || m.Type != nl.FR_ACT_TO_TBL || m.Flags&invert != 0}
	src := unspecified(m.Family)
	for typ, value := range nlsock.Attributes(data[unix.SizeofRtMsg:]) {
		switch typ {
		case nl.FRA_SRC:
			src, _ = netip.AddrFromSlice(value)
		case nl.FRA_PRIORITY:
			r.Priority = nlsock.Uint32(value)
		case nl.FRA_TABLE:
			r.Table = nlsock.Uint32(value)
		case nl.FRA_PROTOCOL:
			if len(value) > 0 {
				r.Protocol = value[0]
			}
		case nl.FRA_SUPPRESS_PREFIXLEN: // always told; all bits set: none
			r.Longer = int(int32(nlsock.Uint32(value)))
		default:
			r.Odd = true
		}
	}
	r.From = netip.PrefixFrom(src, int(m.Src_len))
	return r, nil
}

func unspecified(family uint8) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// FamilyOf is AF_INET or AF_INET6.
func FamilyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Missing are the elements of list that others lack.
func Missing[T comparable](list, others []T) []T {
	there := make(map[T]bool, len(others))
	for _, t := range others {
		there[t] = true
	}
	var out []T
	for _, t := range list {
		if !there[t] {
			out = append(out, t)
		}
	}
	return out
}
