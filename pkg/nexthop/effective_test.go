package nexthop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

func prefixes(list string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range strings.Fields(list) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func connected(space string) arm.Peering {
	return arm.Peering{State: "Connected", RemoteAddressSpace: prefixes(space)}
}

// table reads routes as "name prefix type [address]", separated by semicolons.
func table(routes string) *arm.RouteTable {
	t := &arm.RouteTable{Name: "rt", ID: "/rt", File: "rt.json"}
	for _, text := range strings.Split(routes, ";") {
		if f := append(strings.Fields(text), "", ""); len(f) > 2 {
			t.Routes = append(t.Routes, arm.Route{Name: f[0], AddressPrefix: f[1], NextHopType: f[2], NextHopIPAddress: f[3]})
		}
	}
	return t
}

// written is a route as the tests spell it.
func written(r Route) string {
	words := []string{string(r.Source), r.Prefix.String(), string(r.Type)}
	if r.Address.IsValid() {
		words = append(words, r.Address.String())
	}
	for _, w := range []string{r.Name, r.Tag} {
		if w != "" {
			words = append(words, w)
		}
	}
	if r.Invalid {
		words = append(words, "invalid")
	}
	return strings.Join(words, " ")
}

func all(routes Routes) string {
	var lines []string
	for _, r := range routes {
		lines = append(lines, written(r))
	}
	return strings.Join(lines, "\n")
}

func lines(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// The networks of the routing example in "Virtual network traffic routing", without
// its gateway and its service endpoint.
func exampleNetwork() *arm.VirtualNetwork {
	return &arm.VirtualNetwork{Name: "Virtual-network-1", AddressSpace: prefixes("10.0.0.0/16"),
		Peerings: []arm.Peering{connected("10.1.0.0/16 10.2.0.0/16"), {State: "Disconnected", RemoteAddressSpace: prefixes("10.3.0.0/16")}}}
}

func TestEffective(t *testing.T) {
	tags := map[string][]netip.Prefix{
		"storage": prefixes("198.51.100.0/24 2001:db8::/32"), "storage.westus": prefixes("198.51.100.0/24"),
		"azurecloud": prefixes("198.51.100.0/24 203.0.113.0/24"), "azurecloud.westus": prefixes("203.0.113.0/24"),
	}
	const rest = `Default 100.64.0.0/10 None
		Default 10.0.0.0/8 None
		Default 0.0.0.0/0 Internet`
	cases := []struct {
		name  string
		vnet  *arm.VirtualNetwork
		table *arm.RouteTable
		want  string
	}{
		{"nothing", nil, nil, "Default 192.168.0.0/16 None\nDefault 172.16.0.0/12 None\n" + rest + "\nDefault ::/0 Internet"},
		{"Subnet2 of the example", exampleNetwork(), nil, `
			Default 10.0.0.0/16 VnetLocal
			Default 10.1.0.0/16 VNetPeering
			Default 10.2.0.0/16 VNetPeering
			Default 192.168.0.0/16 None
			Default 172.16.0.0/12 None
			` + rest + `
			Default ::/0 Internet`},
		{"Subnet1 of the example", exampleNetwork(), table(`Within-VNet1 10.0.0.0/16 VirtualAppliance 10.0.100.4;
			Within-Subnet1 10.0.0.0/24 VnetLocal; ToVNet2-1-Drop 10.1.0.0/16 None; ToVNet2-2-Drop 10.2.0.0/16 none;
			To-On-Prem 10.10.0.0/16 virtualappliance 10.0.100.4; Default-NVA 0.0.0.0/0 VirtualAppliance 10.0.100.4`), `
			User 10.0.0.0/24 VnetLocal Within-Subnet1
			User 10.0.0.0/16 VirtualAppliance 10.0.100.4 Within-VNet1
			Default 10.0.0.0/16 VnetLocal invalid
			User 10.1.0.0/16 None ToVNet2-1-Drop
			Default 10.1.0.0/16 VNetPeering invalid
			User 10.2.0.0/16 None ToVNet2-2-Drop
			Default 10.2.0.0/16 VNetPeering invalid
			User 10.10.0.0/16 VirtualAppliance 10.0.100.4 To-On-Prem
			User 0.0.0.0/0 VirtualAppliance 10.0.100.4 Default-NVA
			Default 0.0.0.0/0 Internet invalid
			Default ::/0 Internet`},
		{"reserved prefixes in the space", &arm.VirtualNetwork{AddressSpace: prefixes("10.0.0.0/8 192.168.0.0/15 fd00::/48"),
			Peerings: []arm.Peering{connected("172.16.0.0/12")}}, table("out 0.0.0.0/0 Internet"), `
			Default 192.168.0.0/15 VnetLocal
			Default 172.16.0.0/12 VNetPeering
			Default 100.64.0.0/10 None
			Default 10.0.0.0/8 VnetLocal
			User 0.0.0.0/0 Internet out
			Default 0.0.0.0/0 Internet invalid
			Default fd00::/48 VnetLocal
			Default ::/0 Internet`},
		{"tags", nil, table(`a AzureCloud Internet; b STORAGE VirtualAppliance 10.0.0.4; c Storage.WestUS None; d AzureCloud.WestUS None;
			gw 0.0.0.0/0 VirtualNetworkGateway; host 203.0.113.9 None`), `
			User 203.0.113.9/32 None host
			User 198.51.100.0/24 None c Storage.WestUS
			User 198.51.100.0/24 VirtualAppliance 10.0.0.4 b STORAGE invalid
			User 198.51.100.0/24 Internet a AzureCloud invalid
			User 203.0.113.0/24 None d AzureCloud.WestUS
			User 203.0.113.0/24 Internet a AzureCloud invalid
			User 0.0.0.0/0 VirtualNetworkGateway gw
			Default 0.0.0.0/0 Internet invalid
			Default ::/0 Internet`},
		{"a prefix before a tag", nil, table(`a Storage.WestUS Internet; b 198.51.100.0/24 None; six ::/0 VirtualAppliance fd00::4`), `
			User 198.51.100.0/24 None b
			User 198.51.100.0/24 Internet a Storage.WestUS invalid
			Default 192.168.0.0/16 None
			Default 172.16.0.0/12 None
			` + rest + `
			User ::/0 VirtualAppliance fd00::4 six
			Default ::/0 Internet invalid`},
	}
	for _, c := range cases {
		routes, findings := Effective(c.vnet, c.table, tags)
		if len(findings) > 0 {
			t.Errorf("%s: %v", c.name, findings)
		}
		if got := all(routes); got != lines(c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, lines(c.want))
		}
		for _, r := range routes {
			if (r.Table != "") != (r.Source == User) {
				t.Errorf("%s: %s is of table %q", c.name, written(r), r.Table)
			}
		}
	}
	t.Logf("%d subnets", len(cases))
}

func TestBrokenTable(t *testing.T) {
	many := func(n int, format string) string {
		var routes []string
		for i := range n {
			routes = append(routes, fmt.Sprintf(format, i, i/250, i%250))
		}
		return strings.Join(routes, ";")
	}
	tags := map[string][]netip.Prefix{"storage": prefixes("198.51.100.0/24")}
	tagged := map[string][]netip.Prefix{}
	for i := range 26 {
		tagged[fmt.Sprintf("tag.r%d.00", i)] = nil
	}
	cases := []struct {
		routes string
		tags   map[string][]netip.Prefix
		want   string // severity, code, property, value, and what the message has, of each finding
		left   int    // user's routes
	}{
		{"a 10.0.0.1/8 None; b 10.1.0.0/16 None", tags, "error RouteInvalidAddressPrefix addressPrefix 10.0.0.1/8 route a", 1},
		{"a 10.0.0.0/33 None", tags, "error RouteInvalidAddressPrefix addressPrefix 10.0.0.0/33 route a", 0},
		{"a Storrage None", tags, "error RouteUnknownServiceTag addressPrefix Storrage there is no service tag", 0},
		{"a Storage None", nil, "error RouteUnknownServiceTag addressPrefix Storage there is none", 0},
		{"a Storage None; b storage None", tags, "error RouteDuplicate addressPrefix storage route, a,", 1},
		{"a 10.0.0.0/8 None; b 10.0.0.0/8 Internet", tags, "error RouteDuplicate addressPrefix 10.0.0.0/8 route b", 1},
		{"a 10.0.0.0/8 None; A 10.0.0.0/9 Internet", tags, "error RouteDuplicate name A route A", 1},
		{"a 10.0.0.0/8 VNetPeering", tags, "error RouteInvalidNextHopType nextHopType VNetPeering VnetLocal", 0},
		{"a 10.0.0.0/8 VirtualAppliance", tags, "error RouteInvalidNextHopIpAddress nextHopIpAddress  needs its address", 0},
		{"a 10.0.0.0/8 VirtualAppliance nva", tags, "error RouteInvalidNextHopIpAddress nextHopIpAddress nva not the address", 0},
		{"a 10.0.0.0/8 VirtualAppliance 0.0.0.0", tags, "error RouteInvalidNextHopIpAddress nextHopIpAddress 0.0.0.0 not the address", 0},
		{"a 10.0.0.0/8 VirtualAppliance fd00::1", tags, "error RouteMixedAddressFamilies nextHopIpAddress fd00::1 10.0.0.0/8", 0},
		{"a Storage VirtualAppliance fd00::1", tags, "warning RouteMixedAddressFamilies nextHopIpAddress fd00::1 no prefix of service tag Storage", 0},
		{"a 10.0.0.0/8 None 10.0.0.4", tags, "warning RouteInvalidNextHopIpAddress nextHopIpAddress 10.0.0.4 means nothing", 1},
		{"a 10.0.0.0/8 Foo 10.0.0.4; b x/y Bar", tags, "error RouteInvalidNextHopType nextHopType Foo route a\n" +
			"error RouteInvalidAddressPrefix addressPrefix x/y route b\nerror RouteInvalidNextHopType nextHopType Bar route b", 0},
		{many(400, "r%d 10.%d.%d.0/24 None"), tags, "", 400},
		{many(401, "r%d 10.%d.%d.0/24 None"), tags, "warning RouteTableLimitExceeded routes 401 allows 400", 401},
		{many(1001, "r%d 10.%d.%d.0/24 None"), tags, "error RouteTableLimitExceeded routes 1001 allows 400", 1001},
		{many(26, "r%d Tag.r%[3]d.%[2]d0 None"), tagged, "error RouteTableLimitExceeded routes 26 allows 25", 0},
	}
	for _, c := range cases {
		routes, findings := Effective(nil, table(c.routes), c.tags)
		for _, f := range findings {
			if !strings.Contains(f.Message, f.Value) {
				t.Errorf("%.80s: %s does not name %s", c.routes, f.Message, f.Value)
			}
		}
		left := 0
		for _, r := range routes {
			if r.Source == User {
				left++
			}
		}
		if left != c.left {
			t.Errorf("%.80s: %d routes of the user, want %d", c.routes, left, c.left)
		}
		if problem := compare(findings, c.want); problem != "" {
			t.Errorf("%.80s: %s", c.routes, problem)
		}
	}
	t.Logf("%d tables", len(cases))
}

func compare(findings []nsg.Finding, want string) string {
	var wanted []string
	if want != "" {
		wanted = strings.Split(want, "\n")
	}
	if len(findings) != len(wanted) {
		return fmt.Sprintf("findings %v, want %q", findings, wanted)
	}
	for i, f := range findings {
		head := strings.Join([]string{string(f.Severity), f.Code, f.Property, f.Value}, " ") + " "
		text, ok := strings.CutPrefix(wanted[i], head)
		if !ok || !strings.Contains(f.Message, text) || !strings.HasPrefix(f.Message, "route table rt") || f.File != "rt.json" {
			return fmt.Sprintf("%s%q of %s, want %q", head, f.Message, f.File, wanted[i])
		}
	}
	return ""
}
