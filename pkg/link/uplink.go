package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Uplink is the node's interface towards the VNet.
type Uplink struct {
	Link
	Prefixes []netip.Prefix // its addresses, with the length of the connected subnet
	Gateways []netip.Addr   // next hops of the node's default routes
}

// ErrNoUplink is in the chain of errors about an uplink that is missing or
// cannot serve.
var ErrNoUplink = errors.New("no usable uplink")

// FindUplink returns the named interface. With an empty name it is the default
// route's, in the first of the subnets' families that has one, else the one that
// holds an address of a subnet.
func (h *Host) FindUplink(name string, subnets []netip.Prefix) (Uplink, error) {
	var u Uplink
	index := 0
	for _, probe := range defaultProbes(subnets) {
		hop, found, err := h.conn.defaultRoute(probe)
		if err != nil {
			return u, err
		}
		if found && index == 0 {
			index = hop.index
		}
		if found && hop.gateway.IsValid() {
			u.Gateways = append(u.Gateways, hop.gateway)
		}
	}
	addresses, err := h.conn.addresses(0)
	if err != nil {
		return u, err
	}
	if name == "" && index == 0 {
		index = holderOf(addresses, subnets)
	}
	if name == "" && index == 0 {
		return u, fmt.Errorf("%w: the node has no default route and no interface with an address in %v; set \"uplink\"", ErrNoUplink, subnets)
	}
	u.Link, err = h.conn.uplink(name, index)
	if err != nil {
		return u, err
	}
	for _, a := range addresses {
		if a.index == u.Index {
			u.Prefixes = append(u.Prefixes, a.prefix)
		}
	}
	return u, nil
}

// Answers tells whether the uplink can answer for other addresses: it takes a
// link layer with ARP or neighbour discovery.
func (u Uplink) Answers() error {
	if len(u.MAC) != 6 || bytes.Equal(u.MAC, make([]byte, 6)) { // the loopback's is all zeros
		return fmt.Errorf("%w: %s is no Ethernet interface, so nobody on it can be told where a pod is; use \"mode\": \"overlay\"", ErrNoUplink, u.Name)
	}
	return nil
}

func (c *conn) uplink(name string, index int) (Link, error) {
	if name == "" {
		return c.linkByIndex(index)
	}
	l, found, err := c.linkByName(name)
	if err == nil && !found {
		err = fmt.Errorf("%w: the configured interface %q does not exist", ErrNoUplink, name)
	}
	return l, err
}

// defaultProbes returns an address in documentation space for each family, which
// nothing but a default route leads to (RFC 5737, RFC 3849). Without subnets,
// which only a foreign IPAM plugin knows, it returns both.
func defaultProbes(subnets []netip.Prefix) []netip.Addr {
	ipv4 := netip.AddrFrom4([4]byte{192, 0, 2, 1})
	ipv6 := netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: 1})
	if len(subnets) == 0 {
		return []netip.Addr{ipv4, ipv6}
	}
	var probes []netip.Addr
	for _, s := range subnets {
		probe := ipv4
		if s.Addr().Is6() {
			probe = ipv6
		}
		if !slices.Contains(probes, probe) {
			probes = append(probes, probe)
		}
	}
	return probes
}

// nextHop is where a route leads.
type nextHop struct {
	dst     netip.Prefix
	kind    uint8 // RTN_UNICAST, RTN_LOCAL, …
	scope   uint8
	index   int
	gateway netip.Addr
}

// route returns the entry for a in the node's tables, or false when there is
// none or it refuses a (unreachable, prohibit, blackhole).
func (c *conn) route(a netip.Addr) (nextHop, bool, error) {
	data, err := c.Query(routeQuery(a))
	for _, none := range []syscall.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL} {
		if errors.Is(err, none) {
			return nextHop{}, false, nil
		}
	}
	if err != nil {
		return nextHop{}, false, err
	}
	hop, err := parseRoute(data)
	return hop, err == nil, err
}

func (c *conn) defaultRoute(probe netip.Addr) (nextHop, bool, error) {
	hop, found, err := c.route(probe)
	return hop, found && hop.dst.Bits() == 0 && hop.kind == unix.RTN_UNICAST, err
}

func parseRoute(data []byte) (nextHop, error) {
	if len(data) < unix.SizeofRtMsg {
		return nextHop{}, errors.New("short route message")
	}
	m := nl.DeserializeRtMsg(data)
	hop := nextHop{kind: m.Type, scope: m.Scope}
	dst := netip.IPv4Unspecified()
	if m.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for typ, value := range nlsock.Attributes(data[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(value)
		default:
			hop.set(typ, value)
		}
	}
	hop.dst = netip.PrefixFrom(dst, int(m.Dst_len))
	return hop, nil
}

func (hop *nextHop) set(typ int, value []byte) {
	switch typ {
	case unix.RTA_OIF:
		hop.index = int(nlsock.Uint32(value))
	case unix.RTA_GATEWAY:
		hop.gateway, _ = netip.AddrFromSlice(value)
	case unix.RTA_MULTIPATH:
		hop.setFirst(value)
	}
}

// setFirst takes the first of several next hops (struct rtnexthop of
// linux/rtnetlink.h: length, flags, hops, interface, then attributes).
func (hop *nextHop) setFirst(b []byte) {
	if len(b) < unix.SizeofRtNexthop {
		return
	}
	hop.index = int(binary.NativeEndian.Uint32(b[4:]))
	end := min(int(binary.NativeEndian.Uint16(b)), len(b))
	for typ, value := range nlsock.Attributes(b[unix.SizeofRtNexthop:max(end, unix.SizeofRtNexthop)]) {
		if typ == unix.RTA_GATEWAY {
			hop.gateway, _ = netip.AddrFromSlice(value)
		}
	}
}

// address is one address of an interface.
type address struct {
	index  int
	prefix netip.Prefix
}

// addresses lists those of one link, or of all with index 0.
func (c *conn) addresses(index int) ([]address, error) {
	payloads, err := c.Dump(addressDump(index))
	if err != nil {
		return nil, err
	}
	var list []address
	for _, p := range payloads {
		a, err := parseAddress(p)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		if a.prefix.IsValid() && (index == 0 || a.index == index) {
			list = append(list, a)
		}
	}
	return list, nil
}

func parseAddress(data []byte) (address, error) {
	if len(data) < unix.SizeofIfAddrmsg {
		return address{}, errors.New("short address message")
	}
	m := nl.DeserializeIfAddrmsg(data)
	var local, peer netip.Addr
	for typ, value := range nlsock.Attributes(data[unix.SizeofIfAddrmsg:]) {
		switch typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS: // a point-to-point peer in IPv4, the address itself in IPv6
			peer, _ = netip.AddrFromSlice(value)
		}
	}
	if !local.IsValid() {
		local = peer
	}
	return address{index: int(m.Index), prefix: netip.PrefixFrom(local, int(m.Prefixlen))}, nil
}

func holderOf(addresses []address, subnets []netip.Prefix) int {
	for _, a := range addresses {
		for _, s := range subnets {
			if s.Contains(a.prefix.Addr()) {
				return a.index
			}
		}
	}
	return 0
}

// Addrs returns the uplink's own addresses.
func (u Uplink) Addrs() []netip.Addr {
	var list []netip.Addr
	for _, p := range u.Prefixes {
		list = append(list, p.Addr())
	}
	return list
}

// Use is what the node's tables say of an address.
type Use struct {
	Local  bool // an interface of the node has it
	Routed bool // there is a route for exactly this address
	Index  int  // the link that the route goes through; 0: it goes nowhere
}

// By tells whether somebody else than own, which may be no link at all, uses the
// address.
func (u Use) By(own Link) bool {
	return u.Local || u.Routed && (u.Index == 0 || u.Index != own.Index)
}

// AddressUse tells whether an address is in use on the node.
func (h *Host) AddressUse(a netip.Addr) (Use, error) {
	hop, found, err := h.conn.route(a)
	if err != nil {
		return Use{}, err
	}
	if !found {
		return h.conn.refusal(a)
	}
	if hop.dst.Bits() != a.BitLen() {
		return Use{}, nil
	}
	return Use{Local: hop.kind == unix.RTN_LOCAL, Routed: true, Index: hop.index}, nil
}

// refusal looks for a route that refuses exactly this address (blackhole,
// prohibit, unreachable): the look-up does not tell it from a refusing default.
func (c *conn) refusal(a netip.Addr) (Use, error) {
	routes, err := c.routes(0)
	if err != nil {
		return Use{}, err
	}
	for _, hop := range routes {
		if hop.dst.IsSingleIP() && hop.dst.Addr() == a {
			return Use{Routed: true, Index: hop.index}, nil
		}
	}
	return Use{}, nil
}
