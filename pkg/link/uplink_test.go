package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

var (
	subnets4 = prefixes("10.241.0.0/16")
	subnets6 = prefixes("fd00:241::/64")
	both     = prefixes("10.241.0.0/16", "fd00:241::/64")
)

// twoUplinks gives the node up0 and up1, each with an address of both families.
const twoUplinks = `ip addr add 10.1.0.2/24 dev up0; ip -6 addr add fd01::2/64 dev up0 nodad
	ip addr add 10.2.0.2/24 dev up1; ip -6 addr add fd02::2/64 dev up1 nodad`

func TestFindUplink(t *testing.T) {
	rows := []struct {
		what, setup, name string
		subnets           []netip.Prefix
		want              string // "": ErrNoUplink
		gateways          []netip.Addr
	}{
		{"default route", "ip route add default via 10.2.0.1", "", subnets4, "up1", addrList("10.2.0.1")},
		{"default route without a gateway", "ip route add default dev up1", "", subnets4, "up1", nil},
		{"the better of two", "ip route add default via 10.1.0.1 metric 50; ip route add default via 10.2.0.1 metric 20", "", subnets4, "up1", addrList("10.2.0.1")},
		{"several next hops", "ip route add default nexthop via 10.2.0.1 dev up1 nexthop via 10.1.0.1 dev up0", "", subnets4, "up1", addrList("10.2.0.1")},
		{"several next hops, IPv6", "ip -6 route add default nexthop via fd02::1 dev up1 nexthop via fd01::1 dev up0", "", subnets6, "up1", addrList("fd02::1")},
		{"IPv4 first", "ip route add default via 10.1.0.1; ip -6 route add default via fd02::1", "", both, "up0", addrList("10.1.0.1", "fd02::1")},
		{"only IPv6 has a default", "ip -6 route add default via fe80::1 dev up1", "", both, "up1", addrList("fe80::1")},
		{"IPv6 has a default, but no pool", "ip -6 route add default via fe80::1 dev up1", "", subnets4, "", nil},
		{"address in the subnet", "ip addr add 10.241.7.7/16 dev up1", "", both, "up1", nil},
		{"address in the subnet, IPv6", "ip -6 addr add fd00:241::7/64 dev up0 nodad", "", both, "up0", nil},
		{"a half of everything is no default", "ip route add 0.0.0.0/1 via 10.1.0.1; ip route add 128.0.0.0/1 via 10.1.0.1", "", subnets4, "", nil},
		{"an unreachable default", "ip route add unreachable default; ip -6 route add unreachable default", "", both, "", nil},
		{"a blackhole default, and an address", "ip route add blackhole default; ip addr add 10.241.7.7/16 dev up1", "", subnets4, "up1", nil},
		{"nothing", "true", "", both, "", nil},
		{"no subnets", "ip route add default via 10.1.0.1", "up1", nil, "up1", addrList("10.1.0.1")},
		{"named", "ip route add default via 10.1.0.1", "up1", both, "up1", addrList("10.1.0.1")},
		{"named and missing", "ip route add default via 10.1.0.1", "up9", both, "", nil},
	}
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			inNode(t)
			uplinks(t, "up0", "up1")
			testhost.Sh(t, twoUplinks+"\n"+row.setup)
			u, err := openHost(t).FindUplink(row.name, row.subnets)
			if row.want == "" {
				if !errors.Is(err, ErrNoUplink) {
					t.Errorf("got %s, %v; want ErrNoUplink", u.Name, err)
				}
				return
			}
			must(t, err)
			if u.Name != row.want || fmt.Sprint(u.Gateways) != fmt.Sprint(row.gateways) {
				t.Errorf("got %s with gateways %v, want %s with %v", u.Name, u.Gateways, row.want, row.gateways)
			}
			wantHas(t, "prefixes", fmt.Sprint(u.Prefixes), "10."+string(row.want[2]+1)+".0.2/24", "fd0"+string(row.want[2]+1)+"::2/64")
			if len(u.Addrs()) != len(u.Prefixes) || len(u.Prefixes) < 2 || !u.Up || u.MTU != 1500 || u.Answers() != nil {
				t.Errorf("uplink %+v, Answers: %v", u, u.Answers())
			}
		})
	}
	t.Logf("%d nodes", len(rows))
}

// Loopback has an address of six zeros, a tunnel has none.
func TestAnswers(t *testing.T) {
	if err := (Uplink{Link: Link{Name: "tun0"}}).Answers(); !errors.Is(err, ErrNoUplink) {
		t.Errorf("a tunnel: %v, want ErrNoUplink", err)
	}
	if err := (Uplink{Link: Link{Name: "eth0", MAC: HostMAC}}).Answers(); err != nil {
		t.Errorf("an Ethernet interface: %v", err)
	}
	t.Log("2 interfaces")
}

func TestAddressUse(t *testing.T) {
	inNode(t)
	uplinks(t, "up0")
	testhost.Sh(t, `ip addr add 10.241.0.4/16 dev up0; ip -6 addr add fd00:241::4/64 dev up0 nodad
		ip route add 10.241.4.7 dev up0; ip -6 route add fd00:241::7 dev up0
		ip route add default via 10.241.0.1; ip route add unreachable 10.241.4.9; ip route add blackhole 10.99.0.0/16
		ip route add prohibit 10.98.0.0/16; ip -6 route add unreachable fd00:241::9`)
	await(t, "the address's own route", func() bool {
		return strings.Contains(testhost.Sh(t, "ip -6 route show table local"), "local fd00:241::4 dev up0")
	})
	h := openHost(t)
	up, _, err := h.Link("up0")
	must(t, err)
	rows := []struct {
		addr  string
		local bool
		used  bool // by anybody
		byUp  bool // by up0 alone
	}{
		{"10.241.0.4", true, true, false}, {"127.0.0.1", true, true, false}, {"fd00:241::4", true, true, false}, {"::1", true, true, false},
		{"10.241.4.7", false, true, true}, {"fd00:241::7", false, true, true},
		{"10.241.4.8", false, false, false}, {"fd00:241::8", false, false, false}, // the subnet's route
		{"192.0.2.7", false, false, false}, {"2001:db8::7", false, false, false}, // the default route, none
		{"10.241.4.9", false, true, false}, {"fd00:241::9", false, true, false}, // routes that refuse just these
		{"10.99.0.1", false, false, false}, {"10.98.0.1", false, false, false}, // and a whole net
	}
	for _, row := range rows {
		use, err := h.AddressUse(netip.MustParseAddr(row.addr))
		if err != nil || use.Local != row.local || use.By(Link{}) != row.used || use.By(up) != (row.used && !row.byUp) {
			t.Errorf("%s: %+v, %v", row.addr, use, err)
		}
	}
	t.Logf("%d addresses", len(rows))
}

// Adding twice and removing twice is the same as once; what others have there stays.
func TestProxiesTwice(t *testing.T) {
	inNode(t)
	uplinks(t, "up0", "up1")
	testhost.Sh(t, "ip neigh add proxy 10.241.4.99 dev up0; ip neigh add proxy 10.241.4.7 dev up1")
	h := openHost(t)
	up, _, err := h.Link("up0")
	must(t, err)
	proxies := func() string { return testhost.Sh(t, "ip -4 neigh show proxy | sort; ip -6 neigh show proxy | sort") }
	before, addrs := proxies(), addrList("10.241.4.7", "fd00:241::7")
	for range 2 {
		must(t, h.AddProxy(up.Index, addrs))
		wantHas(t, "proxies", proxies(), "10.241.4.7 dev up0", "fd00:241::7 dev up0", "10.241.4.99 dev up0", "10.241.4.7 dev up1")
	}
	for range 2 {
		must(t, h.RemoveProxy(up.Index, addrs))
		if after := proxies(); after != before {
			t.Errorf("proxies\n%s\n--- instead of\n%s", after, before)
		}
	}
	must(t, h.RemoveProxy(1<<20, addrs)) // the uplink is gone, and took them along
	if h.AddProxy(1<<20, addrs) == nil {
		t.Error("AddProxy on no interface succeeds")
	}
	must(t, h.AddProxy(up.Index, nil))
	t.Log("2 addresses, twice each")
}
