package nexthop

import (
	"net/netip"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// FuzzEffective makes routes of whatever a table may hold: a route is either among
// them or has an error, and every address has a next hop.
func FuzzEffective(f *testing.F) {
	f.Add("a", "10.0.0.0/8", "VirtualAppliance", "10.0.0.4", "192.0.2.1")
	f.Add("b", "::/0", "none", "", "2001:db8::1")
	f.Add("c", "Storage", "Internet", "fd00::1", "198.51.100.1")
	f.Add("", "0.0.0.0/33", "VNetPeering", "::ffff:1.2.3.4", "fe80::1%eth0")
	tags := map[string][]netip.Prefix{"storage": {netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	f.Fuzz(func(t *testing.T, name, prefix, kind, address, dst string) {
		table := &arm.RouteTable{Name: "rt", Routes: []arm.Route{{Name: name, AddressPrefix: prefix, NextHopType: kind, NextHopIPAddress: address}}}
		routes, findings := Effective(nil, table, tags)
		users := 0
		for _, r := range routes {
			users += count(r.Source == User)
			if r.Prefix != r.Prefix.Masked() || (r.Type == VirtualAppliance) != r.Address.IsValid() {
				t.Errorf("route %+v", r)
			}
		}
		if broken := nsg.FirstError("", findings); (broken == nil) != (users > 0) {
			t.Errorf("%d routes of the user, and %v", users, broken)
		}
		if a, err := netip.ParseAddr(dst); err == nil {
			if hop := routes.NextHop(a); hop.Source == "" || !hop.Prefix.Contains(a.Unmap().WithZone("")) {
				t.Errorf("%s goes to %+v", a, hop)
			}
		}
	})
}
