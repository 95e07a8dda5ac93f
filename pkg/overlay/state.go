package overlay

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
)

// state is what a node's kernel holds of ours, or is to hold. Every thing in it is
// a comparable value: what somebody changed is another thing than the wanted one.
type state struct {
	device *device // nil: there is none
	addrs  []address
	fdb    []forward
	neighs []neighbour
	rules  []rule
	routes []route
}

// thing is one of the values of a state.
type thing interface{ String() string }

// device is the VXLAN device.
type device struct {
	tunnel
	mtu int
	up  bool
}

// tunnel is what cannot be changed of a device that exists.
type tunnel struct {
	vni   uint32
	port  uint16
	local netip.Addr
	mac   mac
	odd   bool // it learns, or is bound to a link or a group
}

func (d device) String() string {
	return fmt.Sprintf("device %s id %d dstport %d local %s address %s mtu %d", DeviceName, d.vni, d.port, d.local, d.mac, d.mtu)
}

// address is one of the device's.
type address struct{ addr netip.Addr }

func (a address) String() string { return fmt.Sprintf("address %s dev %s", a.addr, DeviceName) }

// forward is an entry of the device's forwarding database: frames to mac go to
// the node that has the address.
type forward struct {
	mac mac
	to  netip.Addr
	odd bool // it ages, or has a port, an identifier or a link of its own
}

func (f forward) String() string {
	return fmt.Sprintf("forwarding entry %s dst %s dev %s", f.mac, f.to, DeviceName)
}

// neighbour is a permanent entry on the device.
type neighbour struct {
	addr netip.Addr
	mac  mac
}

func (n neighbour) String() string {
	return fmt.Sprintf("neighbour %s lladdr %s dev %s", n.addr, n.mac, DeviceName)
}

// rule leads packets of this node's pods to RouteTable.
type rule struct {
	from     netip.Prefix
	table    uint32
	priority uint32
	odd      bool // it has another condition or action
}

func (r rule) String() string {
	return fmt.Sprintf("rule from %s lookup %d priority %d", r.from, r.table, r.priority)
}

// route is one of ours, or another's to the same destination.
type route struct {
	table    uint32
	dst      netip.Prefix
	via      netip.Addr
	dev      string
	src      netip.Addr // invalid: the kernel chooses
	onlink   bool
	metric   uint32
	protocol uint8
	odd      bool // it has attributes that ours never have
}

func (r route) String() string {
	s := "route " + r.dst.String()
	if r.via.IsValid() {
		s += " via " + r.via.String()
	}
	if r.dev != "" {
		s += " dev " + r.dev
	}
	if r.src.IsValid() {
		s += " src " + r.src.String()
	}
	if r.onlink {
		s += " onlink"
	}
	if r.table == RouteTable {
		s += fmt.Sprintf(" table %d", r.table)
	}
	return s
}

// foreign tells of a route that is not ours, as `ip route` would.
func (r route) foreign() string {
	return fmt.Sprintf("%s proto %d metric %d", r, r.protocol, r.metric)
}

// place is where only one route can be.
type place struct {
	table uint32
	dst   netip.Prefix
}

func (r route) place() place { return place{r.table, r.dst} }

// mac is a hardware address that can be compared.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// tunnelMAC is the hardware address of a node's end of the tunnel, locally
// administered and unicast: two letters and the IPv4 address, so that it tells
// people whose it is, or a hash of the IPv6 address.
func tunnelMAC(node netip.Addr) (m mac) {
	if node.Is4() {
		a := node.As4()
		return mac{'v', 'n', a[0], a[1], a[2], a[3]}
	}
	h := fnv.New64a()
	a := node.As16()
	h.Write(a[:])
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], h.Sum64())
	copy(m[:], sum[:6])
	m[0] = m[0]&^0x01 | 0x02
	return m
}

// tunnelAddr is the address of a node's end of the tunnel in one of its pod CIDRs.
func tunnelAddr(cidr netip.Prefix) netip.Addr {
	if next := cidr.Addr().Next(); cidr.Addr().Is6() && cidr.Contains(next) {
		return next
	}
	return cidr.Addr()
}

// nextHop is what a pod CIDR's route goes through, in the family of the CIDR: the
// far end's address in IPv4, its link-local address in IPv6 (the modified EUI-64
// of RFC 4291 appendix A; nothing has to hold it, for the neighbour is permanent).
func nextHop(cidr netip.Prefix, m mac) netip.Addr {
	if cidr.Addr().Is4() {
		return tunnelAddr(cidr)
	}
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: m[0] ^ 0x02, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})
}
