package firewall

import (
	"net/netip"

	goiptables "github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"
)

// family is an address family, as the digit that names it.
type family uint8

const (
	ipv4 family = 4
	ipv6 family = 6
)

func familyOf(a netip.Addr) family {
	if a.Unmap().Is4() {
		return ipv4
	}
	return ipv6
}

// suffix ends the name of every set: a set holds one family only.
func (f family) suffix() string {
	if f == ipv4 {
		return "4"
	}
	return "6"
}

// protocol is the family as netlink numbers it.
func (f family) protocol() uint8 {
	if f == ipv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// program is the family's iptables command without backend or "-restore".
func (f family) program() string {
	if f == ipv4 {
		return "iptables"
	}
	return "ip6tables"
}

// iptables is the family in go-iptables' words.
func (f family) iptables() goiptables.Protocol {
	if f == ipv4 {
		return goiptables.ProtocolIPv4
	}
	return goiptables.ProtocolIPv6
}

func (f family) podSet() string {
	if f == ipv4 {
		return "vnet-pods-4"
	}
	return "vnet-pods-6"
}

func (f family) multicast() string {
	if f == ipv4 {
		return "224.0.0.0/4"
	}
	return "ff00::/8"
}

// families lists the families that need rules of the node for the network's
// pods. IPv4 always does: a pod of an IPv6 network can give itself an IPv4
// address, and nothing else would stop what it sends. The interfaces of an IPv4
// network's pods have IPv6 switched off. What other main plugins' pods give
// themselves is those plugins' affair.
func (n Network) families() []family {
	if n.Foreign && n.IPv6 && !n.IPv4 {
		return []family{ipv6}
	}
	if n.IPv6 {
		return []family{ipv4, ipv6}
	}
	return []family{ipv4}
}

// masquerades tells whether the network has rules of its own in the family.
func (n Network) masquerades(f family) bool {
	return n.Masquerade && !n.Foreign && (f == ipv4 && n.IPv4 || f == ipv6 && n.IPv6)
}
