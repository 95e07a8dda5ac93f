package link

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Most requests of this file state a wanted end: made again they change nothing,
// which lets a repeated ADD repair what an interrupted one left.

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func vethMessage(s Veth, sandbox int) nlsock.Request {
	base := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.PodName))
	peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.MTU)))
	peer.AddRtAttr(unix.IFLA_ADDRESS, s.PodMAC)
	peer.AddRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1))
	peer.AddRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(sandbox)))
	return nlsock.Request{
		What:  fmt.Sprintf("create veth %s with peer %s", s.HostName, s.PodName),
		Type:  unix.RTM_NEWLINK,
		Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL,
		Body: []nl.NetlinkRequestData{base,
			nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.HostName)),
			nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.MTU))),
			nl.NewRtAttr(unix.IFLA_ADDRESS, HostMAC),
			// A veth sends from the caller's context and needs no queues; the
			// kernel would make one for each possible CPU.
			nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1)),
			nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1)),
			info,
		},
	}
}

// upMessage brings a link up; attrs are set in the same step.
func upMessage(name string, index int, attrs ...*nl.RtAttr) nlsock.Request {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	info.Flags, info.Change = unix.IFF_UP, unix.IFF_UP
	body := []nl.NetlinkRequestData{info}
	for _, a := range attrs {
		body = append(body, a)
	}
	return nlsock.Request{What: "set link " + name + " up", Type: unix.RTM_SETLINK, Body: body}
}

// downMessage takes a link down; one that went meanwhile is success.
func downMessage(name string, index int) nlsock.Request {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index, info.Change = int32(index), unix.IFF_UP
	return nlsock.Request{What: "set link " + name + " down", Type: unix.RTM_SETLINK, Ignore: []syscall.Errno{unix.ENODEV}, Body: []nl.NetlinkRequestData{info}}
}

// noAutoAddressMessage keeps the kernel from giving the link a link-local
// address when it comes up: on the host nobody needs one, in the pod it would
// wait for duplicate detection. It has to be a request before upMessage, for the
// kernel handles a request's flags before its address family attributes (do_setlink).
func noAutoAddressMessage(name string, index int) nlsock.Request {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(addrGenModeNone))
	return nlsock.Request{
		What: "set the address generation mode of link " + name, Type: unix.RTM_SETLINK,
		Body: []nl.NetlinkRequestData{info, spec},
	}
}

// IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

// quietIPv4Message keeps the node from telling or believing what an IPv4 redirect says
// on the link, and from answering ARP, which nobody needs there: the sysctls
// accept_redirects, send_redirects and arp_ignore. Whoever is answered becomes a
// neighbour of the node first, whatever address it says it has (arp_process).
func quietIPv4Message(name string, index int) nlsock.Request {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(iflaInetConf, nil)
	conf.AddRtAttr(devconfAcceptRedirects, nl.Uint32Attr(0))
	conf.AddRtAttr(devconfSendRedirects, nl.Uint32Attr(0))
	conf.AddRtAttr(devconfARPIgnore, nl.Uint32Attr(arpIgnoreAll))
	return nlsock.Request{
		What: "switch redirects and ARP off on link " + name, Type: unix.RTM_SETLINK,
		Body: []nl.NetlinkRequestData{info, spec},
	}
}

const (
	iflaInetConf           = 1 // IFLA_INET_CONF of linux/if_link.h
	devconfAcceptRedirects = 4 // IPV4_DEVCONF_… of linux/ip.h
	devconfSendRedirects   = 6
	devconfARPIgnore       = 19
	arpIgnoreAll           = 8 // of the sysctl arp_ignore: for none of the node's addresses
)

func linkQuery(name string) nlsock.Request {
	return nlsock.Request{
		What: "look up link " + name,
		Type: unix.RTM_GETLINK,
		Body: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC),
			nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)), withoutStatistics()},
	}
}

// withoutStatistics leaves counters of every kind out of an answer, which would make
// it three times as long.
func withoutStatistics() *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(rtextFilterSkipStats))
}

// RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h.
const rtextFilterSkipStats = 1 << 3

func deleteLinkMessage(name string) nlsock.Request {
	return nlsock.Request{
		What:   "delete link " + name,
		Type:   unix.RTM_DELLINK,
		Ignore: []syscall.Errno{unix.ENODEV},
		Body: []nl.NetlinkRequestData{nl.NewIfInfomsg(unix.AF_UNSPEC),
			nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name))},
	}
}

func deleteIndexMessage(name string, index int) nlsock.Request {
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index = int32(index)
	r := deleteLinkMessage(name)
	r.Body = []nl.NetlinkRequestData{info}
	return r
}

func addressMessage(p netip.Prefix, index int, scope uint8) nlsock.Request {
	m := nl.NewIfAddrmsg(int(family(p.Addr())))
	m.Prefixlen = uint8(p.Bits())
	m.Scope = scope
	m.Index = uint32(index)
	// Nobody else can hold the address on a pair of two: no duplicate detection.
	m.Flags = unix.IFA_F_NODAD | unix.IFA_F_PERMANENT
	local := p.Addr().AsSlice()
	body := []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.IFA_LOCAL, local), nl.NewRtAttr(unix.IFA_ADDRESS, local)}
	return nlsock.Request{
		What: fmt.Sprintf("add address %s", p), Type: unix.RTM_NEWADDR,
		Flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, Body: body,
	}
}

// Route is one entry of a routing table. A zero Via is a directly connected
// destination; zero MTU, AdvMSS, Priority and Table are the kernel's defaults.
type Route struct {
	Dst      netip.Prefix
	Via      netip.Addr
	Scope    uint8
	MTU      int
	AdvMSS   int
	Priority int
	Table    int
}

// routeMessage adds a route; if there is one to the destination already, mode
// decides: NLM_F_REPLACE takes it over, NLM_F_EXCL is an error.
func routeMessage(r Route, index int, mode uint16) nlsock.Request {
	return nlsock.Request{
		What: fmt.Sprintf("set route %s", r), Type: unix.RTM_NEWROUTE,
		Flags: unix.NLM_F_CREATE | mode, Body: routeBody(r, index),
	}
}

// deleteRouteMessage removes the route through the link, whatever its metric.
func deleteRouteMessage(r Route, index int) nlsock.Request {
	r.Priority, r.MTU, r.AdvMSS = 0, 0, 0
	return nlsock.Request{
		What: fmt.Sprintf("remove route %s", r), Type: unix.RTM_DELROUTE,
		Ignore: []syscall.Errno{unix.ESRCH, unix.ENETUNREACH}, Body: routeBody(r, index),
	}
}

func routeBody(r Route, index int) []nl.NetlinkRequestData {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: family(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()),
		Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST, Scope: r.Scope,
	}}
	body := []nl.NetlinkRequestData{m}
	if r.Dst.Bits() > 0 {
		body = append(body, nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()))
	}
	if r.Via.IsValid() {
		body = append(body, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	}
	body = append(body, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	if r.Priority > 0 {
		body = append(body, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))))
	}
	if r.Table > 0 {
		m.Table = unix.RT_TABLE_UNSPEC
		body = append(body, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	}
	if metrics := routeMetrics(r); metrics != nil {
		body = append(body, metrics)
	}
	return body
}

func routeMetrics(r Route) *nl.RtAttr {
	if r.MTU == 0 && r.AdvMSS == 0 {
		return nil
	}
	metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
	if r.MTU > 0 {
		metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(r.MTU)))
	}
	if r.AdvMSS > 0 {
		metrics.AddRtAttr(unix.RTAX_ADVMSS, nl.Uint32Attr(uint32(r.AdvMSS)))
	}
	return metrics
}

// String is the route as `ip route` writes it.
func (r Route) String() string {
	s := r.Dst.String()
	if r.Dst.Bits() == 0 {
		s = "default"
	}
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	return s
}

// routeDump asks for the main table's routes through one link, or all of them
// with index 0. The kernel filters (NETLINK_GET_STRICT_CHK).
func routeDump(fam uint8, index int) nlsock.Request {
	m := &nl.RtMsg{RtMsg: unix.RtMsg{Family: fam, Table: unix.RT_TABLE_MAIN}}
	body := []nl.NetlinkRequestData{m}
	if index > 0 {
		body = append(body, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	return nlsock.Request{What: "list routes", Type: unix.RTM_GETROUTE, Body: body}
}

// addressDump asks for the addresses of one link in all families, or of all
// links with index 0.
func addressDump(index int) nlsock.Request {
	m := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	m.Index = uint32(index)
	return nlsock.Request{What: "list addresses", Type: unix.RTM_GETADDR, Body: []nl.NetlinkRequestData{m}}
}

func linkDump() nlsock.Request {
	return nlsock.Request{What: "list links", Type: unix.RTM_GETLINK, Body: []nl.NetlinkRequestData{
		nl.NewIfInfomsg(unix.AF_UNSPEC), withoutStatistics(),
	}}
}

// neighbourQuery asks for one neighbour entry (neigh_get); flags is 0 or NTF_PROXY.
func neighbourQuery(a netip.Addr, index int, flags uint8) nlsock.Request {
	return nlsock.Request{
		What: fmt.Sprintf("look up neighbour %s", a), Type: unix.RTM_GETNEIGH,
		Body: []nl.NetlinkRequestData{
			ndMessage{family: family(a), index: index, flags: flags},
			nl.NewRtAttr(unix.NDA_DST, a.AsSlice()),
		},
	}
}

// neighbourMessage is a permanent entry that maps a to mac.
func neighbourMessage(a netip.Addr, mac net.HardwareAddr, index int) nlsock.Request {
	m := ndMessage{family: family(a), index: index, state: unix.NUD_PERMANENT}
	return nlsock.Request{
		What: fmt.Sprintf("set neighbour %s lladdr %s", a, mac), Type: unix.RTM_NEWNEIGH,
		Flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE,
		Body:  []nl.NetlinkRequestData{m, nl.NewRtAttr(unix.NDA_DST, a.AsSlice()), nl.NewRtAttr(unix.NDA_LLADDR, mac)},
	}
}

// proxyMessage makes (or, with RTM_DELNEIGH, removes) the entry by which the
// node answers ARP and neighbour solicitations for a on one interface.
func proxyMessage(typ uint16, a netip.Addr, index int) nlsock.Request {
	r := nlsock.Request{
		What: fmt.Sprintf("set proxy neighbour %s", a), Type: typ,
		Body: []nl.NetlinkRequestData{
			ndMessage{family: family(a), index: index, flags: unix.NTF_PROXY, state: unix.NUD_PERMANENT},
			nl.NewRtAttr(unix.NDA_DST, a.AsSlice()),
		},
	}
	if typ == unix.RTM_DELNEIGH {
		r.What = fmt.Sprintf("remove proxy neighbour %s", a)
		r.Ignore = []syscall.Errno{unix.ENOENT, unix.ENODEV}
		return r
	}
	r.Flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	return r
}

// ndMessage is struct ndmsg of linux/neighbour.h.
type ndMessage struct {
	family uint8
	index  int
	state  uint16
	flags  uint8
}

func (m ndMessage) Len() int { return unix.SizeofNdMsg }

func (m ndMessage) Serialize() []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = m.family
	binary.NativeEndian.PutUint32(b[4:], uint32(m.index))
	binary.NativeEndian.PutUint16(b[8:], m.state)
	b[10] = m.flags
	return b
}
