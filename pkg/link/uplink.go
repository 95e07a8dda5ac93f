package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
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
			index = hop.Link
		}
		if found && hop.Via.IsValid() {
			u.Gateways = append(u.Gateways, hop.Via)
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
		if a.Link == u.Index {
			u.Prefixes = append(u.Prefixes, a.Prefix)
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

func (c *conn) defaultRoute(probe netip.Addr) (fib.Route, bool, error) {
	r, found, err := fib.Find(c.Conn, probe)
	return r, found && r.Dst.Bits() == 0 && r.Kind == unix.RTN_UNICAST, err
}

// addresses lists those of one link, or of all with index 0.
func (c *conn) addresses(index int) ([]nlsock.Address, error) {
	payloads, err := c.Dump(addressDump(index))
	if err != nil {
		return nil, err
	}
	var list []nlsock.Address
	for _, p := range payloads {
		a, err := nlsock.ParseAddress(p)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		if a.Prefix.IsValid() && (index == 0 || a.Link == index) {
			list = append(list, a)
		}
	}
	return list, nil
}

func holderOf(addresses []nlsock.Address, subnets []netip.Prefix) int {
	for _, a := range addresses {
		for _, s := range subnets {
			if s.Contains(a.Prefix.Addr()) {
				return a.Link
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
	hop, found, err := fib.Find(h.conn.Conn, a)
	if err != nil {
		return Use{}, err
	}
	if !found {
		return h.conn.refusal(a)
	}
	if hop.Dst.Bits() != a.BitLen() {
		return Use{}, nil
	}
	return Use{Local: hop.Kind == unix.RTN_LOCAL, Routed: true, Index: hop.Link}, nil
}

// refusal looks for a route that refuses exactly this address (blackhole,
// prohibit, unreachable): the look-up does not tell it from a refusing default.
func (c *conn) refusal(a netip.Addr) (Use, error) {
	routes, err := c.routes(0)
	if err != nil {
		return Use{}, err
	}
	for _, hop := range routes {
		if hop.Dst.IsSingleIP() && hop.Dst.Addr() == a {
			return Use{Routed: true, Index: hop.Link}, nil
		}
	}
	return Use{}, nil
}
