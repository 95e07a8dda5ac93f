package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// A node does what the user's routes say, and of Azure's own keeps those that are longer
// than one of the user.
func TestWays(t *testing.T) {
	t.Parallel()
	route := func(prefix, hop, address string) arm.Route {
		return arm.Route{Name: strings.NewReplacer("/", "-", ":", "-").Replace(prefix), AddressPrefix: prefix, NextHopType: hop, NextHopIPAddress: address}
	}
	v := arm.VirtualNetwork{Name: "v", AddressSpace: prefixes("10.0.0.0/16 fd00::/64"), Subnets: []arm.Subnet{{Name: "pods", Prefixes: prefixes("10.0.1.0/24"), RouteTable: "/rt/r"}},
		Peerings: []arm.Peering{{Name: "p", State: "Connected", RemoteAddressSpace: prefixes("10.1.0.0/16")}, {Name: "q", State: "Disconnected", RemoteAddressSpace: prefixes("10.2.0.0/16")}}}
	const system = "10.0.0.0/16 leave, 10.1.0.0/16 leave, fd00::/64 leave, "
	inside := Config{Pools: prefixes("10.0.1.0/24")}
	rows := []struct {
		what   string
		config Config
		routes []arm.Route
		want   string
	}{
		{"an empty table", inside, nil, ""},
		{"every type", inside, []arm.Route{route("0.0.0.0/0", "VirtualAppliance", "10.0.0.4"), route("192.0.2.0/24", "none", ""), route("198.51.100.0/24", "Internet", ""),
			route("203.0.113.0/24", "VirtualNetworkGateway", ""), route("10.0.9.0/24", "VnetLocal", "")},
			system + "10.0.9.0/24 leave, 192.0.2.0/24 drop, 198.51.100.0/24 leave, 203.0.113.0/24 leave, 0.0.0.0/0 via 10.0.0.4"},
		{"the network's own prefix", inside, []arm.Route{route("10.0.0.0/16", "VirtualAppliance", "10.0.0.4")}, "10.1.0.0/16 leave, fd00::/64 leave, 10.0.0.0/16 via 10.0.0.4"},
		{"a reserved prefix", inside, []arm.Route{route("10.0.0.0/7", "None", "")}, system + "10.0.0.0/7 drop"},
		{"Azure's own that drop, under the user's", inside, []arm.Route{route("0.0.0.0/1", "VirtualAppliance", "10.0.0.4"), route("128.0.0.0/1", "Internet", "")},
			"10.0.0.0/16 leave, 10.1.0.0/16 leave, 100.64.0.0/10 drop, 10.0.0.0/8 drop, fd00::/64 leave, 0.0.0.0/1 via 10.0.0.4, 128.0.0.0/1 leave"},
		{"none is wanted", Config{Pools: inside.Pools, RouteTable: named("")}, []arm.Route{route("192.0.2.0/24", "None", "")}, ""},
		{"pods that are in no subnet", Config{Pools: prefixes("10.244.1.0/24")}, []arm.Route{route("192.0.2.0/24", "None", "")}, ""},
		{"and name a table", Config{Pools: prefixes("10.244.1.0/24"), RouteTable: named("r")}, []arm.Route{route("192.0.2.0/24", "None", "")}, system + "192.0.2.0/24 drop"},
	}
	for _, row := range rows {
		d := &arm.Documents{VirtualNetworks: []arm.VirtualNetwork{v}, RouteTables: []arm.RouteTable{{Name: "r", ID: "/rt/r", Routes: row.routes}}}
		i, _, err := loaded(row.config, d)
		if got := joined(i); err != nil || got != row.want || (i.RouteTable == "/rt/r") != (row.want != "") {
			t.Errorf("%s: %q of table %q, %v\nwant %q", row.what, got, i.RouteTable, err, row.want)
		}
	}
	nowhere := Config{Pools: prefixes("10.0.1.0/24"), Uplink: prefixes("10.0.0.0/20 10.0.1.0/24"), VirtualNetwork: prefixes("10.8.0.0/16 192.0.2.0/24"), RouteTable: named("r")}
	d := &arm.Documents{RouteTables: []arm.RouteTable{{Name: "r", ID: "/rt/r", Routes: []arm.Route{route("192.0.2.0/24", "None", "")}}}}
	i, _, err := loaded(nowhere, d)
	if want := "10.0.1.0/24 leave, 10.0.0.0/20 leave, 10.8.0.0/16 leave, 192.0.2.0/24 drop"; err != nil || joined(i) != want {
		t.Errorf("no virtual network: %q, %v\nwant %q", joined(i), err, want)
	}
	t.Logf("%d tables", len(rows)+1)
}

// Whatever the routes, the node does by its ways what the next hop says, and with what
// is Azure's own nothing that an appliance would see.
func TestWaysAreTheNextHops(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	prefix := func() netip.Prefix {
		first := []byte{10, 10, 100, 172, 192, 203, 8}[r.IntN(7)]
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{first, byte(r.IntN(4)), byte(r.IntN(2))}), []int{0, 1, 2, 5, 7, 8, 9, 14, 16, 24, 32}[r.IntN(11)]).Masked()
	}
	done := map[routes.Way]int{}
	for range 500 {
		v := &arm.VirtualNetwork{AddressSpace: []netip.Prefix{prefix()}, Peerings: []arm.Peering{{State: "Connected", RemoteAddressSpace: []netip.Prefix{prefix()}}}}
		table := &arm.RouteTable{Name: "r"}
		for i := range r.IntN(8) {
			hop := []string{"None", "VirtualAppliance", "Internet", "VnetLocal", "VirtualNetworkGateway"}[r.IntN(5)]
			route := arm.Route{Name: fmt.Sprint(i), AddressPrefix: prefix().String(), NextHopType: hop}
			if hop == "VirtualAppliance" {
				route.NextHopIPAddress = "10.0.0.4"
			}
			table.Routes = append(table.Routes, route)
		}
		all, _ := nexthop.Effective(v, table, nil)
		view := &View{index: index{Routes: ways(all)}}
		for range 100 {
			dst := prefix().Addr()
			hop, way := all.NextHop(dst), view.Way(dst)
			want := routes.Leave
			switch {
			case hop.Source == nexthop.User && hop.Type == nexthop.VirtualAppliance:
				want = routes.Forward
			case hop.Source == nexthop.User && hop.Type == nexthop.None, hop.Type == nexthop.None && way == routes.Drop:
				want = routes.Drop
			}
			if way != want {
				t.Fatalf("%s: %d, want %d of %+v\n%+v", dst, way, want, hop, all)
			}
			done[way]++
		}
	}
	if len(done) != 3 {
		t.Errorf("not all ways: %v", done)
	}
	t.Logf("%v addresses by way", done)
}

func joined(i index) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprintf("%q", i.Routes), `" "`, ", "), `[]"`)
}

// What is in force is told by the state file, the routes of documents that were good
// among it.
func TestRoutingInForce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.config.Sources = prefixes("10.241.4.0/24")
	if _, found := Routing(s.state, "pods"); found {
		t.Error("routes of nothing")
	}
	table := func(prefix string) {
		s.raw(fmt.Sprintf(`[{"name": "v", "type": "Microsoft.Network/virtualNetworks", "addressSpace": {"addressPrefixes": ["10.241.0.0/16"]},
			"subnets": [{"name": "pods", "addressPrefix": "10.241.0.0/16", "routeTable": {"id": "/rt/r"}}]},
			{"name": "r", "id": "/rt/r", "type": "Microsoft.Network/routeTables", "routes": [{"name": "x", "addressPrefix": %q, "nextHopType": "None"}]}]`, prefix))
	}
	want := func(what, text string) {
		t.Helper()
		c, found := Routing(s.state, "pods")
		if got := fmt.Sprint(c); !found || got != text {
			t.Errorf("%s: %t %s, want %s", what, found, got, text)
		}
	}
	table("192.0.2.0/24")
	r := s.mustOpen()
	s.apply(r)
	const first = "{pods [10.241.4.0/24] [] [10.241.0.0/16 leave 192.0.2.0/24 drop]}"
	want("the first", first)
	if got := fmt.Sprint(r.Routing()); got != first {
		t.Errorf("of the rules: %s", got)
	}
	table("192.0.2.0/23x")
	broken := s.mustOpen()
	if got := fmt.Sprint(broken.Routing()); got != first || !strings.Contains(Rejected(s.state, "pods"), "RouteInvalidAddressPrefix") {
		t.Errorf("of a broken table: %s, rejected %q", got, Rejected(s.state, "pods"))
	}
	want("a broken table", first)
	table("198.51.100.0/24")
	s.apply(s.mustOpen())
	want("another", "{pods [10.241.4.0/24] [] [10.241.0.0/16 leave 198.51.100.0/24 drop]}")
	s.config.Sources = prefixes("10.241.5.0/24")
	again := s.mustOpen()
	s.wantStale(again, true)
	s.apply(again)
	want("other ranges", "{pods [10.241.5.0/24] [] [10.241.0.0/16 leave 198.51.100.0/24 drop]}")
	v, err := InForce(s.state, "pods")
	must(t, err)
	if table, list := v.Routing(); table != "/rt/r" || len(list) != 2 {
		t.Errorf("%s: %v", table, list)
	}
	t.Log("4 states")
}
