package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range strings.Fields(list) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestVirtualNetwork(t *testing.T) {
	near := arm.VirtualNetwork{AddressSpace: prefixes("10.0.0.0/8"), Peerings: []arm.Peering{
		{State: "Connected", RemoteAddressSpace: prefixes("172.16.0.0/16")},
		{State: "Disconnected", RemoteAddressSpace: prefixes("172.17.0.0/16")},
		{AccessDenied: true, RemoteAddressSpace: prefixes("172.18.0.0/16")},
		{RemoteAddressSpace: prefixes("172.19.0.0/16")},
	}}
	inner := arm.VirtualNetwork{AddressSpace: prefixes("10.0.0.0/8"), Subnets: []arm.Subnet{{Prefixes: prefixes("10.241.0.0/16")}},
		Peerings: []arm.Peering{{State: "Connected", RemoteAddressSpace: prefixes("172.20.0.0/16")}}}
	far := arm.VirtualNetwork{AddressSpace: prefixes("192.168.0.0/16")}
	cases := []struct {
		name   string
		config Config
		vnets  []arm.VirtualNetwork
		want   string
	}{
		{"configured", Config{VirtualNetwork: prefixes("10.1.0.0/16"), Pools: prefixes("10.241.0.0/16")}, []arm.VirtualNetwork{near}, "10.1.0.0/16"},
		{"of the document", Config{Pools: prefixes("10.241.0.0/16"), Uplink: prefixes("192.0.2.0/24")}, []arm.VirtualNetwork{near, far}, "10.0.0.0/8 172.16.0.0/16 172.19.0.0/16"},
		{"of the document that has their subnet", Config{Pools: prefixes("10.241.0.0/16 fd00::/64")}, []arm.VirtualNetwork{near, inner, far}, "10.0.0.0/8 172.20.0.0/16 fd00::/64"},
		{"of an overlay", Config{Pools: prefixes("10.244.0.0/24")}, []arm.VirtualNetwork{far}, "10.244.0.0/24 192.168.0.0/16"},
		{"in none of several", Config{Pools: prefixes("100.64.0.0/24"), Uplink: prefixes("192.0.2.0/24")}, []arm.VirtualNetwork{near, far}, "100.64.0.0/24 192.0.2.0/24"},
		{"without a document", Config{Pools: prefixes("10.241.0.0/16 fd00::/64"), Uplink: prefixes("10.240.0.0/16")}, nil, "10.240.0.0/15 fd00::/64"},
	}
	for _, c := range cases {
		got := c.config.Space(&arm.Documents{VirtualNetworks: c.vnets})
		if s := strings.Trim(fmt.Sprint(got), "[]"); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
	t.Logf("%d configurations", len(cases))
}
