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

// families lists the families of the network's pools.
func (n Network) families() []family {
	switch {
	case n.IPv4 && n.IPv6:
		return []family{ipv4, ipv6}
	case n.IPv4:
		return []family{ipv4}
	case n.IPv6:
		return []family{ipv6}
	}
	return nil
}
