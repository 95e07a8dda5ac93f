package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// linkAddress is an address of one of the node's links.
type linkAddress struct {
	index  int
	prefix netip.Prefix
	scope  uint8
}

func parseAddress(data []byte) (linkAddress, error) {
	if len(data) < unix.SizeofIfAddrmsg {
		return linkAddress{}, errors.New("short address message")
	}
	m := nl.DeserializeIfAddrmsg(data)
	var own, peer netip.Addr
	for typ, value := range nlsock.Attributes(data[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			own, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS: // a point-to-point peer in IPv4, the address itself in IPv6
			peer, _ = netip.AddrFromSlice(value)
		}
	}
	if !own.IsValid() {
		own = peer
	}
	return linkAddress{int(m.Index), netip.PrefixFrom(own, int(m.Prefixlen)), m.Scope}, nil
}

// kernelRoute is an entry of a routing table.
type kernelRoute struct {
	route
	kind  uint8 // RTN_UNICAST, RTN_LOCAL, …
	index int   // of the link; 0: there are several, or none
}

func parseRoute(data []byte) (kernelRoute, error) {
	if len(data) < unix.SizeofRtMsg {
		return kernelRoute{}, errors.New("short route message")
	}
	m := nl.DeserializeRtMsg(data)
	r := kernelRoute{kind: m.Type, route: route{
		table: uint32(m.Table), protocol: m.Protocol, onlink: m.Flags&unix.RTNH_F_ONLINK != 0,
		odd: m.Tos != 0 || m.Src_len != 0 || m.Type != unix.RTN_UNICAST || m.Scope != unix.RT_SCOPE_UNIVERSE,
	}}
	dst := unspecified(m.Family)
	for typ, value := range nlsock.Attributes(data[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(value)
		case unix.RTA_GATEWAY:
			r.via, _ = netip.AddrFromSlice(value)
		case unix.RTA_PREFSRC:
			r.src, _ = netip.AddrFromSlice(value)
		case unix.RTA_OIF:
			r.index = int(nlsock.Uint32(value))
		case unix.RTA_PRIORITY:
			r.metric = nlsock.Uint32(value)
		case unix.RTA_TABLE:
			r.table = nlsock.Uint32(value)
		case unix.RTA_CACHEINFO, unix.RTA_PREF:
		default: // several next hops, metrics, an encapsulation, …
			r.odd = true
		}
	}
	r.dst = netip.PrefixFrom(dst, int(m.Dst_len))
	return r, nil
}

func unspecified(family uint8) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// parseRule returns false for a rule that is not ours.
func parseRule(data []byte) (rule, bool, error) {
	if len(data) < unix.SizeofRtMsg { // struct fib_rule_hdr has the same form
		return rule{}, false, errors.New("short rule message")
	}
	m := nl.DeserializeRtMsg(data)
	const invert = 2 // FIB_RULE_INVERT of linux/fib_rules.h
	r := rule{table: uint32(m.Table), odd: m.Tos != 0 || m.Type != nl.FR_ACT_TO_TBL || m.Flags&invert != 0}
	src, protocol := unspecified(m.Family), byte(0)
	for typ, value := range nlsock.Attributes(data[unix.SizeofRtMsg:]) {
		switch typ {
		case nl.FRA_SRC:
			src, _ = netip.AddrFromSlice(value)
		case nl.FRA_PRIORITY:
			r.priority = nlsock.Uint32(value)
		case nl.FRA_TABLE:
			r.table = nlsock.Uint32(value)
		case nl.FRA_PROTOCOL:
			protocol = value[0]
		case nl.FRA_SUPPRESS_PREFIXLEN: // always told; all bits set: none
			r.odd = r.odd || nlsock.Uint32(value) != ^uint32(0)
		default:
			r.odd = true
		}
	}
	r.from = netip.PrefixFrom(src, int(m.Src_len))
	return r, protocol == RouteProtocol, nil
}

// entry is one of a neighbour table or a forwarding database.
type entry struct {
	index     int
	permanent bool
	addr      netip.Addr // invalid: it has none
	mac       mac
	odd       bool
}

// NDA_NH_ID of linux/neighbour.h.
const ndaNextHop = 13

func parseEntry(data []byte) (entry, error) {
	if len(data) < unix.SizeofNdMsg {
		return entry{}, errors.New("short neighbour message")
	}
	// struct ndmsg of linux/neighbour.h: family, padding, index, state, flags, type.
	e := entry{
		index:     int(binary.NativeEndian.Uint32(data[4:])),
		permanent: binary.NativeEndian.Uint16(data[8:])&unix.NUD_PERMANENT != 0,
	}
	for typ, value := range nlsock.Attributes(data[unix.SizeofNdMsg:]) {
		switch typ {
		case unix.NDA_DST:
			e.addr, _ = netip.AddrFromSlice(bytes.Clone(value))
		case unix.NDA_LLADDR:
			copy(e.mac[:], value)
		case unix.NDA_PORT, unix.NDA_VNI, unix.NDA_IFINDEX, ndaNextHop:
			e.odd = true
		}
	}
	return e, nil
}
