package nexthop

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

func TestNextHop(t *testing.T) {
	routes, _ := Effective(exampleNetwork(), table(`fw 0.0.0.0/0 VirtualAppliance 10.0.100.4; drop 10.1.2.0/24 None;
		gw 172.20.0.0/16 VirtualNetworkGateway; all 10.2.0.0/16 VirtualAppliance 10.0.100.5`), nil)
	cases := []struct{ dst, want string }{
		{"10.0.3.4", "Default 10.0.0.0/16 VnetLocal"},
		{"::ffff:10.0.3.4", "Default 10.0.0.0/16 VnetLocal"},
		{"10.1.0.1", "Default 10.1.0.0/16 VNetPeering"},
		{"10.1.2.255", "User 10.1.2.0/24 None drop"},
		{"10.1.3.0", "Default 10.1.0.0/16 VNetPeering"},
		{"10.2.0.1", "User 10.2.0.0/16 VirtualAppliance 10.0.100.5 all"},
		{"192.168.0.1", "User 0.0.0.0/0 VirtualAppliance 10.0.100.4 fw"},
		{"172.20.3.3", "User 172.20.0.0/16 VirtualNetworkGateway gw"},
		{"2001:db8::1", "Default ::/0 Internet"},
		{"fe80::1%eth0", "Default ::/0 Internet"},
	}
	for _, c := range cases {
		if got := written(routes.NextHop(netip.MustParseAddr(c.dst))); got != c.want {
			t.Errorf("%s: %s, want %s", c.dst, got, c.want)
		}
	}
	if got := routes.NextHop(netip.Addr{}); got != (Route{Type: None}) {
		t.Errorf("no address: %+v", got)
	}
	t.Logf("%d addresses", len(cases)+1)
}

// TestNextHopOracle holds NextHop against a rule that a reader can check: of all
// routes that hold the address, the one with most bits, and of those with equal
// bits the one whose kind goes before.
func TestNextHopOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	asked, byUser, byTag, dropped := 0, 0, 0, 0
	for range 300 {
		network, tags, tableText := randomSubnet(r)
		routes, findings := Effective(network, table(tableText), tags)
		for _, f := range findings {
			if f.Code != CodeDuplicate {
				t.Fatalf("%s: %v", tableText, f)
			}
		}
		for range 200 {
			dst := randomAddr(r)
			want, got := oracle(routes, dst), routes.NextHop(dst)
			if got.Prefix != want.Prefix || kind(got) != kind(want) {
				t.Fatalf("%s of\n%s\n%s, want %s", dst, all(routes), written(got), written(want))
			}
			asked++
			byUser += count(got.Source == User)
			byTag += count(got.Tag != "")
			dropped += count(got.Type == None)
		}
	}
	if byUser == 0 || byTag == 0 || dropped == 0 {
		t.Error("some kinds of routes never decided")
	}
	t.Logf("%d addresses: a user's route decided %d times, a tag's %d, None %d", asked, byUser, byTag, dropped)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// kind is the place of a route among those of one prefix.
func kind(r Route) int {
	switch tag := strings.ToLower(r.Tag); {
	case r.Source == User && tag == "":
		return 0
	case r.Source == User && strings.HasPrefix(tag, "azurecloud."):
		return 3
	case r.Source == User && tag == "azurecloud":
		return 4
	case r.Source == User && strings.Contains(tag, "."):
		return 1
	case r.Source == User:
		return 2
	}
	return 5
}

func oracle(routes Routes, dst netip.Addr) Route {
	best := Route{Prefix: netip.Prefix{}}
	for _, r := range routes {
		if !r.Prefix.Contains(dst) {
			continue
		}
		if !best.Prefix.IsValid() || r.Prefix.Bits() > best.Prefix.Bits() ||
			r.Prefix.Bits() == best.Prefix.Bits() && kind(r) < kind(best) {
			best = r
		}
	}
	return best
}

// randomAddr is in the small part of both families that the random routes are in.
func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(4) == 0 {
		return netip.AddrFrom16([16]byte{0xfd, 1: byte(r.IntN(4)), 15: byte(r.IntN(4))})
	}
	return netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(256))})
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	a := randomAddr(r)
	bits := []int{0, 7, 8, 14, 15, 16, 23, 24, 30, 32}[r.IntN(10)]
	return netip.PrefixFrom(a, bits).Masked()
}

func randomSubnet(r *rand.Rand) (*arm.VirtualNetwork, map[string][]netip.Prefix, string) {
	some := func(n int) []netip.Prefix {
		var out []netip.Prefix
		for range r.IntN(n) {
			out = append(out, randomPrefix(r))
		}
		return out
	}
	network := &arm.VirtualNetwork{AddressSpace: some(3)}
	tags := map[string][]netip.Prefix{}
	var routes []string
	for i, tag := range []string{"Storage", "Storage.WestUS", "AzureCloud", "AzureCloud.WestUS"} {
		tags[strings.ToLower(tag)] = some(6)
		routes = append(routes, fmt.Sprintf("tag%d %s Internet", i, tag))
	}
	for i := range r.IntN(12) {
		hop := []string{"None", "Internet", "VnetLocal", "VirtualNetworkGateway"}[r.IntN(4)]
		routes = append(routes, fmt.Sprintf("r%d %s %s", i, randomPrefix(r), hop))
	}
	return network, tags, strings.Join(routes, ";")
}

func TestUserPrefixes(t *testing.T) {
	tags := map[string][]netip.Prefix{"storage": prefixes("198.51.100.0/24")}
	cases := []struct{ routes, want string }{
		{"", ""},
		{"a 192.168.0.0/16 VirtualAppliance 10.0.0.4; b 172.16.0.0/12 VirtualNetworkGateway; c 10.9.0.0/16 VnetLocal", "10.9.0.0/16 172.16.0.0/12 192.168.0.0/16"},
		{"a 203.0.113.0/24 Internet; b 10.66.0.0/16 None; c Storage VirtualAppliance 10.0.0.4", "10.66.0.0/16 203.0.113.0/24"},
		{"a 192.168.0.0/24 VirtualAppliance 10.0.0.4; b 192.168.0.0/16 VirtualAppliance 10.0.0.4", "192.168.0.0/16"},
		{"trap 0.0.0.0/0 VirtualAppliance 10.0.0.4", "0.0.0.0/0"},
		{"trap ::/0 VirtualAppliance fd00::4", "::/0"},
	}
	for _, c := range cases {
		routes, _ := Effective(exampleNetwork(), table(c.routes), tags)
		if got := strings.Trim(fmt.Sprint(routes.UserPrefixes()), "[]"); got != c.want {
			t.Errorf("%s: %s, want %s", c.routes, got, c.want)
		}
	}
	t.Logf("%d tables", len(cases))
}

func TestTableOf(t *testing.T) {
	subnet := func(name, space, table string) arm.Subnet {
		return arm.Subnet{Name: name, Prefixes: prefixes(space), RouteTable: table}
	}
	d := &arm.Documents{
		VirtualNetworks: []arm.VirtualNetwork{
			{Name: "near", Subnets: []arm.Subnet{subnet("nodes", "10.240.0.0/16", ""), subnet("pods", "10.241.0.0/16 fd00:241::/64", "/x/PODS-rt"),
				subnet("same", "10.242.0.0/16", "/X/pods-RT"), subnet("lost", "10.243.0.0/16", "/x/lost-rt"), subnet("loose", "10.244.0.0/16", "/x/loose-rt")}},
			{Name: "far", Subnets: []arm.Subnet{subnet("twin", "10.240.0.0/16", "")}},
		},
		RouteTables: []arm.RouteTable{{Name: "pods-rt", ID: "/x/pods-rt"}, {Name: "Loose-rt"}, {Name: "other-rt", ID: "/x/other-rt"}},
	}
	cases := []struct{ pools, want string }{
		{"", ""},
		{"192.168.0.0/24", ""},
		{"10.240.0.0/16", ""},
		{"10.0.0.0/8", ""}, // none holds all of it
		{"10.241.0.0/16", "pods-rt"},
		{"10.241.7.0/24 fd00:241::/64", "pods-rt"},
		{"10.241.0.0/16 10.242.0.0/16 192.168.0.0/24", "pods-rt"},
		{"10.244.0.0/16", "Loose-rt"},
		{"10.241.0.0/16 10.240.0.0/16", "error: pods has /x/PODS-rt, nodes has none"},
		{"10.243.0.0/16", "error: /x/lost-rt"},
	}
	for _, c := range cases {
		found, err := TableOf(d, prefixes(c.pools)...)
		got := ""
		if found != nil {
			got = found.Name
		}
		text, failing := strings.CutPrefix(c.want, "error: ")
		if failing != (err != nil) || failing && !strings.Contains(err.Error(), text) || !failing && got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.pools, got, err, c.want)
		}
		if lost := strings.Contains(c.want, "lost"); lost != errors.Is(err, ErrNoTable) {
			t.Errorf("%s: %v is or is not ErrNoTable", c.pools, err)
		}
	}
	t.Logf("%d pools", len(cases))
}
