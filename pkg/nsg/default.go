package nsg

import "net/netip"

// defaultRules are Azure's, which every group has after its own.
func defaultRules() []Rule {
	tag := func(name string) Endpoint { return Endpoint{Tag: name} }
	rule := func(name string, d Direction, priority int, a Access, source, destination Endpoint) Rule {
		return Rule{Name: name, Default: true, Direction: d, Access: a, Protocol: AnyProtocol,
			Priority: priority, Source: source, Destination: destination}
	}
	vnet, internet, every := tag("VirtualNetwork"), tag("Internet"), Endpoint{}
	return []Rule{
		rule("AllowVnetInBound", Inbound, 65000, Allow, vnet, vnet),
		rule("AllowAzureLoadBalancerInBound", Inbound, 65001, Allow, tag("AzureLoadBalancer"), every),
		rule("DenyAllInBound", Inbound, 65500, Deny, every, every),
		rule("AllowVnetOutBound", Outbound, 65000, Allow, vnet, vnet),
		rule("AllowInternetOutBound", Outbound, 65001, Allow, every, internet),
		rule("DenyAllOutBound", Outbound, 65500, Deny, every, every),
	}
}

// Protocols that no rule can name.
const (
	ipInIP Protocol = 4
	gre    Protocol = 47
	icmpv6 Protocol = 58
)

// platformDenies are what Azure drops between interfaces whatever a group says:
// multicast and broadcast, GRE and IP-in-IP.
//
// Neighbour discovery, which IPv6 sends to multicast addresses, always passes in
// Azure. A Flow has no ICMP type to tell it by, so that exception is with who
// enforces a policy.
func platformDenies(d Direction) []Rule {
	deny := func(name string, p Protocol, destination ...netip.Prefix) Rule {
		return Rule{Name: name, Platform: true, Direction: d, Access: Deny, Protocol: p,
			Destination: Endpoint{Prefixes: destination}}
	}
	var rules []Rule
	if d == Outbound {
		rules = append(rules, deny("DenyMulticast", AnyProtocol,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8)))
	}
	return append(rules, deny("DenyGRE", gre), deny("DenyIPInIP", ipInIP))
}

// Addresses of Azure's platform: DNS, DHCP and health probes, and the metadata
// service.
var (
	wireServer = netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32)
	metadata   = netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 32)
)

// allowPlatform lets pods reach the platform. Only outbound: off Azure anybody can
// forge a packet from those addresses.
func allowPlatform() Rule {
	return Rule{Name: "AllowPlatform", Platform: true, Direction: Outbound, Access: Allow, Protocol: AnyProtocol,
		Destination: Endpoint{Prefixes: []netip.Prefix{wireServer, metadata}}}
}
