package review

import (
	"net/netip"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// PrivateAddresses are those that virtual networks have: RFC 1918, RFC 6598 and
// RFC 4193.
func PrivateAddresses() nsg.AddressSet {
	return nsg.NewAddressSet(
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16}), 12),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfc}), 7))
}

// whicheverAddresses returns the rule with the fewest addresses if it has no more
// than with the most. Else, as with application security groups, anybody may be in
// its tag: what is proven then holds whatever the tag stands for.
func whicheverAddresses(least, most *nsg.PolicyRule) *nsg.PolicyRule {
	out := *least
	for _, side := range [...]struct {
		to   *nsg.Match
		most *nsg.Match
		tag  string
	}{{&out.Source, &most.Source, least.Rule.Source.Tag}, {&out.Destination, &most.Destination, least.Rule.Destination.Tag}} {
		if !side.to.Addresses.Equal(side.most.Addresses) {
			*side.to = nsg.Match{Addresses: side.most.Addresses, ASGs: []string{memberOf(side.tag)}, Ports: side.to.Ports}
		}
	}
	if len(out.Source.ASGs) == len(least.Source.ASGs) && len(out.Destination.ASGs) == len(least.Destination.ASGs) {
		return least
	}
	return &out
}

// VirtualNetwork is the tag, and its name among application security groups, whose
// own names are in lower case.
const VirtualNetwork = "VirtualNetwork"

// memberOf names a tag among application security groups.
func memberOf(tag string) string {
	if strings.EqualFold(tag, VirtualNetwork) {
		return VirtualNetwork
	}
	return "Tag " + strings.ToLower(tag)
}
