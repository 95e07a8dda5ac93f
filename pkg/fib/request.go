package fib

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Rules lists the rules of both families. A kernel that knows none has none.
func Rules(c *nlsock.Conn) ([]Rule, error) {
	rules, err := list(c, nlsock.Request{What: "list rules", Type: unix.RTM_GETRULE, Body: []nl.NetlinkRequestData{&nl.RtMsg{}}}, ParseRule)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // it is without CONFIG_FIB_RULES
	}
	return rules, err
}

// Routes lists the routes of one family, AF_INET or AF_INET6, in all tables.
func Routes(c *nlsock.Conn, family uint8) ([]Route, error) {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}
	return list(c, nlsock.Request{What: "list routes", Type: unix.RTM_GETROUTE, Body: []nl.NetlinkRequestData{m}}, ParseRoute)
}

// RoutesOf lists the routes of both families in one table, or only those that the
// protocol made unless it is 0. The kernel filters (NETLINK_GET_STRICT_CHK).
func RoutesOf(c *nlsock.Conn, table uint32, protocol uint8) ([]Route, error) {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{Protocol: protocol}}
	all, err := list(c, nlsock.Request{
		What: fmt.Sprintf("list the routes of table %d", table), Type: unix.RTM_GETROUTE,
		Body: []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(table))},
	}, ParseRoute)
	var out []Route
	for _, r := range all { // an old kernel lists them all
		if r.Table == table && (protocol == 0 || r.Protocol == protocol) {
			out = append(out, r)
		}
	}
	return out, err
}

func list[T any](c *nlsock.Conn, r nlsock.Request, parse func([]byte) (T, error)) ([]T, error) {
	payloads, err := c.Dump(r)
	if err != nil {
		return nil, err
	}
	out := make([]T, 0, len(payloads))
	for _, data := range payloads {
		t, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.What, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// Find returns the entry by which the node itself would reach a, not what a
// redirect or a path's MTU made of it; false when there is none or it refuses a
// (unreachable, prohibit, blackhole). Of several next hops it has the first that the
// entry was made with.
func Find(c *nlsock.Conn, a netip.Addr) (Route, bool, error) {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{Family: FamilyOf(a), Dst_len: uint8(a.BitLen()), Flags: unix.RTM_F_FIB_MATCH}}
	what := fmt.Sprintf("look up the route to %s", a)
	data, err := c.Query(nlsock.Request{
		What: what, Type: unix.RTM_GETROUTE, Body: []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.RTA_DST, a.AsSlice())},
	})
	for _, none := range []syscall.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL} {
		if errors.Is(err, none) {
			return Route{}, false, nil
		}
	}
	if err != nil {
		return Route{}, false, err
	}
	r, err := ParseRoute(data)
	if err != nil {
		return Route{}, false, fmt.Errorf("%s: %w", what, err)
	}
	if a.Is6() && hasSeveralHops(data) {
		r, err = firstHop(c, r)
	}
	return r, true, err
}

func hasSeveralHops(data []byte) bool {
	for typ := range nlsock.Attributes(data[unix.SizeofRtMsg:]) {
		if typ == unix.RTA_MULTIPATH {
			return true
		}
	}
	return false
}

// firstHop gives the entry as a listing has it. The answer to a question about an IPv6
// address begins with the next hop that the kernel would take for it (rt6_fill_node):
// by a hash with a secret that is new at each boot.
func firstHop(c *nlsock.Conn, r Route) (Route, error) {
	all, err := RoutesOf(c, r.Table, r.Protocol)
	for _, entry := range all {
		same := entry
		if same.Via, same.Link = r.Via, r.Link; same == r {
			return entry, nil
		}
	}
	return r, err // it has just gone
}

// gone are the answers to the removal of what is not there.
var gone = []syscall.Errno{unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.EAFNOSUPPORT, unix.EADDRNOTAVAIL}

// AddRule makes a rule; one that is there already is success.
func AddRule(r Rule) nlsock.Request {
	return nlsock.Request{
		What: "add " + r.String(), Type: unix.RTM_NEWRULE, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL,
		Ignore: []syscall.Errno{unix.EEXIST}, Body: ruleBody(r),
	}
}

// RemoveRule removes a rule; one that is gone already is success.
func RemoveRule(r Rule) nlsock.Request {
	return nlsock.Request{What: "remove " + r.String(), Type: unix.RTM_DELRULE, Ignore: gone, Body: ruleBody(r)}
}

func ruleBody(r Rule) []nl.NetlinkRequestData {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: FamilyOf(r.From.Addr()), Src_len: uint8(r.From.Bits()), Table: unix.RT_TABLE_UNSPEC, Type: nl.FR_ACT_TO_TBL,
	}}
	body := []nl.NetlinkRequestData{m,
		nl.NewRtAttr(nl.FRA_SRC, r.From.Addr().AsSlice()),
		nl.NewRtAttr(nl.FRA_PRIORITY, nl.Uint32Attr(r.Priority)),
		nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(r.Table)),
		nl.NewRtAttr(nl.FRA_PROTOCOL, nl.Uint8Attr(r.Protocol)),
	}
	if r.Longer >= 0 {
		body = append(body, nl.NewRtAttr(nl.FRA_SUPPRESS_PREFIXLEN, nl.Uint32Attr(uint32(r.Longer))))
	}
	return body
}

// SetRoute makes a route, in the place of one to the same destination with the same
// metric.
func SetRoute(r Route) nlsock.Request {
	return nlsock.Request{
		What: "set route " + r.Dst.String(), Type: unix.RTM_NEWROUTE,
		Flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, Body: routeBody(r),
	}
}

// RemoveRoute removes a route; one that is gone already is success.
func RemoveRoute(r Route) nlsock.Request {
	return nlsock.Request{What: "remove route " + r.Dst.String(), Type: unix.RTM_DELROUTE, Ignore: gone, Body: routeBody(r)}
}

func routeBody(r Route) []nl.NetlinkRequestData {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: FamilyOf(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()), Table: unix.RT_TABLE_UNSPEC,
		Type: r.Kind, Protocol: r.Protocol, Scope: unix.RT_SCOPE_UNIVERSE,
	}}
	if r.OnLink {
		m.Flags = unix.RTNH_F_ONLINK
	}
	body := []nl.NetlinkRequestData{m,
		nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()),
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(r.Table)),
	}
	if r.Metric != 0 {
		body = append(body, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(r.Metric)))
	}
	if r.Via.IsValid() && r.Via.Is4() == r.Dst.Addr().Is4() { // of the other family it is never wanted, and removal needs none
		body = append(body, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	}
	if r.Link != 0 {
		body = append(body, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.Link))))
	}
	return body
}
