package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// routed are documents of a network whose subnets have different route tables.
func routed() *arm.Documents {
	subnet := func(name, space, table string) arm.Subnet {
		s := arm.Subnet{Name: name, Prefixes: prefixes(space), NSG: "/g/" + name + "-NSG"}
		if table != "" {
			s.RouteTable = "/rt/" + table
		}
		return s
	}
	table := func(name string, routes ...arm.Route) arm.RouteTable {
		return arm.RouteTable{Name: name, ID: "/rt/" + name, File: name + ".json", Routes: routes}
	}
	appliance := func(prefix string) arm.Route {
		return arm.Route{Name: "via", AddressPrefix: prefix, NextHopType: "VirtualAppliance", NextHopIPAddress: "10.0.0.4"}
	}
	return &arm.Documents{
		VirtualNetworks: []arm.VirtualNetwork{{Name: "spoke", File: "spoke.json", AddressSpace: prefixes("10.0.0.0/16"), Subnets: []arm.Subnet{
			subnet("plain", "10.0.1.0/24", ""), subnet("onward", "10.0.2.0/24", "ONWARD"), subnet("trap", "10.0.3.0/24", "trap"),
			subnet("broken", "10.0.4.0/24", "broken"), subnet("lost", "10.0.5.0/24", "lost"),
		}}},
		RouteTables: []arm.RouteTable{
			table("onward", appliance("192.168.0.0/16")), table("trap", appliance("0.0.0.0/0"), appliance("::/0")),
			table("broken", appliance("172.16.0.0/12"), arm.Route{Name: "tag", AddressPrefix: "Storrage", NextHopType: "None"}),
		},
	}
}

func named(table string) *string { return &table }

func TestSpaceGrowsByRoutes(t *testing.T) {
	d := routed()
	d.RouteTables[1].Routes = d.RouteTables[1].Routes[:1]
	cases := []struct {
		name   string
		config Config
		want   string
	}{
		{"a subnet without a table", Config{Pools: prefixes("10.0.1.0/24")}, "10.0.0.0/16"},
		{"a subnet with one", Config{Pools: prefixes("10.0.2.0/24")}, "10.0.0.0/16 192.168.0.0/16"},
		{"every address", Config{Pools: prefixes("10.0.3.0/24 fd00::/64")}, "0.0.0.0/0 fd00::/64"},
		{"no subnet holds the pools", Config{Pools: prefixes("10.244.0.0/24")}, "10.0.0.0/16 10.244.0.0/24"},
		{"another table is named", Config{Pools: prefixes("10.0.3.0/24"), RouteTable: named("Onward")}, "10.0.0.0/16 192.168.0.0/16"},
		{"by its id", Config{Pools: prefixes("10.0.1.0/24"), RouteTable: named("/RT/onward")}, "10.0.0.0/16 192.168.0.0/16"},
		{"none is to be", Config{Pools: prefixes("10.0.2.0/24"), RouteTable: named("")}, "10.0.0.0/16"},
		{"the space is configured", Config{Pools: prefixes("10.0.2.0/24"), VirtualNetwork: prefixes("10.0.0.0/24")}, "10.0.0.0/24"},
		{"its table is in no document", Config{Pools: prefixes("10.0.5.0/24")}, "10.0.0.0/16"},
	}
	for _, c := range cases {
		if got := strings.Trim(fmt.Sprint(c.config.Space(d)), "[]"); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	bare := Config{RouteTable: named("onward"), Uplink: prefixes("10.9.0.0/24")}.Space(&arm.Documents{RouteTables: d.RouteTables})
	if got := fmt.Sprint(bare); got != "[10.9.0.0/24 192.168.0.0/16]" {
		t.Errorf("without a network's document: %s", got)
	}
	t.Logf("%d configurations", len(cases)+1)
}

func TestRoutes(t *testing.T) {
	d := routed()
	routes, findings, err := Config{Pools: prefixes("10.0.2.0/24")}.Routes(d)
	if hop := routes.NextHop(netip.MustParseAddr("192.168.3.4")); err != nil || len(findings) > 0 || hop.Type != nexthop.VirtualAppliance {
		t.Errorf("hop %+v, %v, %v", hop, findings, err)
	}
	if hop := routes.NextHop(netip.MustParseAddr("10.0.9.9")); hop.Type != nexthop.VnetLocal {
		t.Errorf("hop inside the network: %+v", hop)
	}
	undocumented, _, err := Config{Pools: prefixes("10.0.2.0/24"), Uplink: prefixes("172.16.0.0/24"), VirtualNetwork: prefixes("10.7.0.0/16"), RouteTable: named("onward")}.
		Routes(&arm.Documents{RouteTables: d.RouteTables})
	for _, a := range []string{"10.0.2.9", "172.16.0.9", "10.7.0.9"} {
		if hop := undocumented.NextHop(netip.MustParseAddr(a)); err != nil || hop.Type != nexthop.VnetLocal {
			t.Errorf("no virtual network: %s: %+v, %v", a, hop, err)
		}
	}
	if _, findings, err := (Config{Pools: prefixes("10.0.4.0/24")}).Routes(d); err != nil || len(findings) != 1 {
		t.Errorf("a broken table: %v, %v", findings, err)
	}
	for want, c := range map[string]Config{
		`route table "onwards" is in no document; near: onward`:                                                    {RouteTable: named("onwards")},
		"subnets with different route tables hold 10.0.1.0/24, 10.0.2.0/24: plain has none, onward has /rt/ONWARD": {Pools: prefixes("10.0.1.0/24 10.0.2.0/24")},
	} {
		if _, _, err := c.Routes(d); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	t.Log("8 questions")
}

func TestTableFindings(t *testing.T) {
	d := routed()
	d.VirtualNetworks[0].Subnets = append(d.VirtualNetworks[0].Subnets, arm.Subnet{Name: "lost2", RouteTable: "/RT/lost"})
	want := []string{
		"warning RouteTableMissing spoke.json routeTable /rt/lost: subnet lost of virtual network spoke",
		"error RouteDuplicate trap.json name via: route table trap, route via",
		"warning VirtualNetworkIsEverything trap.json addressPrefix 0.0.0.0/0: route table trap, route via: it makes the tag VirtualNetwork every address of its family in trap:",
		"error RouteUnknownServiceTag broken.json addressPrefix Storrage: route table broken, route tag",
	}
	findings := Findings(d)
	for i, f := range findings {
		got := fmt.Sprintf("%s %s %s %s %s: %s", f.Severity, f.Code, f.File, f.Property, f.Value, f.Message)
		if i >= len(want) || !strings.HasPrefix(got, want[i]) {
			t.Errorf("finding %d is not expected: %s", i, got)
		}
	}
	if len(findings) != len(want) {
		t.Errorf("%d findings, want %d", len(findings), len(want))
	}
	t.Logf("%d findings", len(findings))
}

// TestEverything tells which routes spring the trap: one alone, or several together.
func TestEverything(t *testing.T) {
	for routes, want := range map[string]string{
		"10.0.0.0/8":                         "[]",
		"0.0.0.0/0 10.0.0.0/8":               "[{0.0.0.0/0 r0}]",
		"128.0.0.0/1 0.0.0.0/1 192.0.2.0/24": "[{0.0.0.0/0 r2, r1, r0}]",
		"::/0 0.0.0.0/1":                     "[{::/0 r0}]",
	} {
		t.Run(routes, func(t *testing.T) {
			table := arm.RouteTable{Name: "rt"}
			for i, p := range strings.Fields(routes) {
				table.Routes = append(table.Routes, arm.Route{Name: fmt.Sprintf("r%d", i), AddressPrefix: p, NextHopType: "VirtualNetworkGateway"})
			}
			made, findings := nexthop.Effective(nil, &table, nil)
			if got := fmt.Sprint(Everything(made)); got != want || len(findings) > 0 {
				t.Errorf("%s, want %s; %v", got, want, findings)
			}
		})
	}
	t.Log("4 route tables")
}

func TestSubnets(t *testing.T) {
	d := routed()
	for want, g := range map[string]nsg.Definition{
		"onward": {ID: "/G/onward-nsg"}, "trap": {Name: "TRAP-nsg"}, "": {ID: "/other/onward-nsg", Name: "onward-nsg"},
	} {
		got := ""
		for _, s := range Subnets(d, &g) {
			got += s.Name
		}
		if got != want {
			t.Errorf("%s %s: %s, want %s", g.ID, g.Name, got, want)
		}
	}
	t.Log("3 groups")
}

// routeDocuments are a network of one subnet and its route table.
const routeDocuments = `[
	{"name": "web", "type": "Microsoft.Network/networkSecurityGroups", "securityRules": []},
	{"name": "spoke", "type": "Microsoft.Network/virtualNetworks", "addressSpace": {"addressPrefixes": ["10.241.0.0/16"]},
	 "subnets": [{"name": "pods", "addressPrefix": "10.241.0.0/16", "routeTable": {"id": "/rt/spoke-rt"}}]},
	{"name": "spoke-rt", "id": "/rt/spoke-rt", "type": "Microsoft.Network/routeTables", "routes": [
	 {"name": "onward", "addressPrefix": "192.0.2.0/24", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.241.0.9"}]}]`

// TestTablesComeInForce holds the meaning of VirtualNetwork to the documents' route
// tables: a flow from where the route leads is let in by AllowVnetInBound.
func TestTablesComeInForce(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "web"
	replaced := func(old, by string) { s.raw(strings.Replace(routeDocuments, old, by, 1)) }
	want := func(name string, in, rejected bool) {
		t.Helper()
		p := s.apply(s.mustOpen())
		if got := allows(p.Subnet, 80); got != in {
			t.Errorf("%s: from 192.0.2.0/24: allowed %t", name, got)
		}
		if why := Rejected(s.state, "pods"); (why != "") != rejected {
			t.Errorf("%s: rejected %q", name, why)
		}
	}
	s.raw(routeDocuments)
	want("a route", true, false)
	replaced("VirtualAppliance", "Appliance")
	want("a broken route", true, true)
	replaced("192.0.2.0/24", "198.51.100.0/24")
	want("a route for others", false, false)
	s.raw(routeDocuments)
	want("again", true, false)
	s.config.RouteTable = named("")
	want("no table", false, false)
	s.config.RouteTable = named("SPOKE-RT")
	want("a table by name", true, false)
	replaced(`"spoke-rt", "id"`, `"other-rt", "id"`)
	want("the named table is gone", true, true)
	s.config.RouteTable = named("nothing")
	if _, err := s.open(); err == nil || !strings.Contains(err.Error(), `nsg.routeTable: route table "nothing"`) {
		t.Errorf("a configuration that asks for an unknown table: %v", err)
	}
	t.Log("8 states")
}
