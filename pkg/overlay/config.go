package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxVNI is the largest 24-bit identifier (RFC 7348).
const maxVNI = 1<<24 - 1

// normalised fills in defaults, orders the nodes by name, so that the outcome does
// not depend on the caller's order, and leaves c's own slices alone.
func (c Config) normalised() (Config, error) {
	if c.Encapsulation == "" {
		c.Encapsulation = Auto
	}
	if !slices.Contains([]Encapsulation{Auto, Never, Always}, c.Encapsulation) {
		return c, fmt.Errorf("encapsulation %q is none of %s, %s and %s", c.Encapsulation, Auto, Never, Always)
	}
	if c.VNI == 0 {
		c.VNI = DefaultVNI
	}
	if c.VNI > maxVNI {
		return c, fmt.Errorf("VXLAN network identifier %d is above %d", c.VNI, maxVNI)
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Uplink == DeviceName {
		return c, fmt.Errorf("uplink %s is the VXLAN device itself", DeviceName)
	}
	c.Self = c.Self.normalised()
	if len(c.Self.Addrs) == 0 {
		return c, errors.New("this node (" + c.Self.Name + ") has no address")
	}
	others := make([]Node, len(c.Others))
	for i, n := range c.Others {
		others[i] = n.normalised()
	}
	slices.SortStableFunc(others, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	c.Others = others
	return c, nil
}

// normalised drops what is no address, the bits behind a prefix, and what is told
// twice.
func (n Node) normalised() Node {
	var addrs []netip.Addr
	for _, a := range n.Addrs {
		if a.IsValid() {
			addrs = append(addrs, a.Unmap().WithZone(""))
		}
	}
	var cidrs []netip.Prefix
	for _, p := range n.PodCIDRs {
		if p = p.Masked(); p.IsValid() && !slices.Contains(cidrs, p) {
			cidrs = append(cidrs, p)
		}
	}
	n.Addrs, n.PodCIDRs = addrs, cidrs
	return n
}

// addr is the node's address of p's family; invalid when there is none.
func (n Node) addr(ipv4 bool) netip.Addr {
	for _, a := range n.Addrs {
		if a.Is4() == ipv4 {
			return a
		}
	}
	return netip.Addr{}
}

// underlay is the address that the node's end of the tunnel has on the network
// between the nodes: IPv4 if there is one.
func (n Node) underlay() netip.Addr {
	if a := n.addr(true); a.IsValid() {
		return a
	}
	return n.addr(false)
}

// holder is an address with the name of the node that has it.
type holder struct {
	addr netip.Addr
	node string
}

// holders lists the addresses of all nodes in order.
func (c Config) holders() []holder {
	var list []holder
	for _, n := range append([]Node{c.Self}, c.Others...) {
		for _, a := range n.Addrs {
			list = append(list, holder{a, n.Name})
		}
	}
	slices.SortFunc(list, func(a, b holder) int { return a.addr.Compare(b.addr) })
	return list
}

// within finds a node whose address is in p. Such a prefix is never routed: the
// node would be cut off, or the tunnel led into itself.
func within(p netip.Prefix, nodes []holder) (holder, bool) {
	i, _ := slices.BinarySearchFunc(nodes, p.Addr(), func(h holder, a netip.Addr) int { return h.addr.Compare(a) })
	if i < len(nodes) && p.Contains(nodes[i].addr) {
		return nodes[i], true
	}
	return holder{}, false
}

// unfit is the reason why p cannot be a pod CIDR; "" if it can.
func unfit(p netip.Prefix, nodes []holder) string {
	if p.Bits() == 0 || !p.Addr().IsGlobalUnicast() {
		return "it is no range of unicast addresses"
	}
	if h, found := within(p, nodes); found {
		return fmt.Sprintf("it contains the address %s of node %s", h.addr, h.node)
	}
	return ""
}
