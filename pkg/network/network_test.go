package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

const (
	flatPools    = `"ipam":{"type":"vnet-ipam","pools":[{"subnet":"10.241.0.0/16","ranges":["10.241.0.0-10.241.0.7"]},{"subnet":"fd00:241::/64","ranges":["fd00:241::4/126"]}]}`
	overlayPools = `"mode":"overlay","ipam":{"type":"vnet-ipam","pools":[{"subnet":"10.99.1.0/29"},{"subnet":"fd00:99:1::/125"}]}`
)

func conf(t *testing.T, members ...string) *netconf.Conf {
	t.Helper()
	stdin := `{"cniVersion":"1.0.0","name":"pods","type":"vnet","stateDir":"/run/test",` + strings.Join(members, ",") + `}`
	c, err := netconf.ParseStrict(netconf.VNet, []byte(stdin))
	if err != nil {
		t.Fatalf("%s: %v", stdin, err)
	}
	return c
}

// uplink is an interface with addresses of both families and a link-local one.
func uplink() link.Uplink {
	up := link.Uplink{Gateways: []netip.Addr{netip.MustParseAddr("10.241.0.5"), netip.MustParseAddr("fe80::1")}}
	for _, p := range []string{"10.241.0.6/16", "fd00:241::5/64", "fe80::7/64"} {
		up.Prefixes = append(up.Prefixes, netip.MustParsePrefix(p))
	}
	return up
}

func equal(t *testing.T, what string, got any, want string) {
	t.Helper()
	if s := fmt.Sprint(got); s != want {
		t.Errorf("%s: %s, want %s", what, s, want)
	}
}

// Only where the pods are in the node's own subnet does everybody beside the node
// have a way back to them.
func TestExceptions(t *testing.T) {
	t.Parallel()
	const masquerade, except = `"masquerade":{}`, `"masquerade":{"except":["10.0.0.0/8"]}`
	rows := []struct {
		conf *netconf.Conf
		up   link.Uplink
		want string
	}{
		{conf(t, flatPools), uplink(), "[]"},
		{conf(t, overlayPools), uplink(), "[]"},
		{conf(t, flatPools, masquerade), uplink(), "[10.241.0.0/16 fd00:241::/64 10.241.0.0/16 fd00:241::/64]"},
		{conf(t, flatPools, except), uplink(), "[10.0.0.0/8 10.241.0.0/16 fd00:241::/64 10.241.0.0/16 fd00:241::/64]"},
		{conf(t, flatPools, masquerade), link.Uplink{}, "[10.241.0.0/16 fd00:241::/64]"},
		{conf(t, overlayPools, masquerade), uplink(), "[10.99.1.0/29 fd00:99:1::/125]"},
		{conf(t, overlayPools, except), uplink(), "[10.0.0.0/8 10.99.1.0/29 fd00:99:1::/125]"},
		{conf(t, `"mode":"overlay","ipam":{"type":"dhcp"}`, masquerade), uplink(), "[]"},
	}
	for _, row := range rows {
		equal(t, fmt.Sprint(row.conf.Mode, row.conf.Masquerade), Exceptions(row.conf, row.up), row.want)
	}
	t.Logf("%d configurations", len(rows))
}

func TestGroups(t *testing.T) {
	t.Parallel()
	c := conf(t, flatPools, `"nsg":{"documents":["/etc/vnet"],"subnet":"s","virtualNetwork":["10.0.0.0/8"],"sameNode":"azure"}`)
	g := Groups(c, uplink())
	equal(t, "Documents", g.Documents, "[/etc/vnet]")
	equal(t, "Subnet", g.Subnet, "s")
	equal(t, "VirtualNetwork", g.VirtualNetwork, "[10.0.0.0/8]")
	equal(t, "SameNodeFree", g.SameNodeFree, "true")
	equal(t, "Pools", g.Pools, "[10.241.0.0/16 fd00:241::/64]")
	equal(t, "Uplink", g.Uplink, "[10.241.0.0/16 fd00:241::/64]")
	// Neither Azure's first four, nor the gateway and the node's own.
	equal(t, "Own", g.Own, "[{10.241.0.4 10.241.0.4} {10.241.0.7 10.241.0.7} {fd00:241::4 fd00:241::4} {fd00:241::6 fd00:241::7}]")
	// Whole ranges but the gateway and the node's own: what Azure reserves sends nothing.
	equal(t, "Sources", g.Sources, "[10.241.0.0/30 10.241.0.4/32 10.241.0.7/32 fd00:241::4/128 fd00:241::6/127]")
	equal(t, "RouteTable", g.RouteTable == nil, "true")
	o := Groups(conf(t, overlayPools, `"nsg":{"documents":["/etc/vnet"],"routeTable":"r"}`), uplink())
	equal(t, "Sources of whole subnets", o.Sources, "[10.99.1.0/29 fd00:99:1::/125]")
	equal(t, "RouteTable", *o.RouteTable, "r")
	t.Log("2 configurations")
}

func TestRules(t *testing.T) {
	t.Parallel()
	rows := []struct {
		members []string
		want    string // IPv4, IPv6, Masquerade, Except
	}{
		{[]string{flatPools}, "true true false []"},
		{[]string{overlayPools, `"masquerade":{}`}, "true true true [10.99.1.0/29 fd00:99:1::/125]"},
		{[]string{`"mode":"overlay","ipam":{"type":"vnet-ipam","pools":[{"subnet":"10.99.1.0/29"}]}`}, "true false false []"},
		{[]string{`"mode":"overlay","ipam":{"type":"vnet-ipam","pools":[{"subnet":"fd00:99:1::/125"}]}`}, "false true false []"},
		{[]string{`"ipam":{"type":"host-local"}`}, "true false false []"},
	}
	for _, row := range rows {
		n := Rules(conf(t, row.members...), uplink())
		equal(t, "rules", fmt.Sprint(n.IPv4, n.IPv6, n.Masquerade, n.Except), row.want)
		equal(t, "network", n.Name+n.StateDir, "pods/run/test")
		if n.Judging != nil || n.Pods == nil || n.NodePods == nil {
			t.Errorf("%+v", n)
		}
	}
	t.Logf("%d configurations", len(rows))
}

// Uplinks that are there and not, with the link layer that mode vnet needs and not.
func TestUplink(t *testing.T) {
	t.Parallel()
	rows := []struct {
		what     string
		members  []string
		ethernet bool // up0 with the default route; else there is lo only
		want     string
	}{
		{"flat", []string{flatPools}, true, "up0 1400"},
		{"flat, named", []string{flatPools, `"uplink":"up0"`}, true, "up0 1400"},
		{"flat, missing", []string{flatPools, `"uplink":"up1"`}, true, "no usable uplink"},
		{"flat, nothing", []string{flatPools}, false, "no usable uplink"},
		{"flat, no Ethernet", []string{flatPools, `"uplink":"lo"`}, false, "no usable uplink"},
		{"overlay", []string{overlayPools}, true, "up0 1400"},
		{"overlay, missing", []string{overlayPools, `"uplink":"up1"`}, true, "no usable uplink"},
		{"overlay, nothing", []string{overlayPools}, false, " 1500"},
		{"overlay, no Ethernet", []string{overlayPools, `"uplink":"lo"`}, false, "lo 1300"},
	}
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			h := node(t)
			if row.ethernet {
				testhost.Sh(t, "ip link add up0 mtu 1400 type veth peer name far0; ip link set up0 up; ip link set far0 up; ip addr add 10.241.0.6/16 dev up0; ip route add default via 10.241.0.5")
			} else {
				testhost.Sh(t, "ip link set lo mtu 1300 up")
			}
			up, err := Uplink(h, conf(t, row.members...))
			got := fmt.Sprint(up.Name, " ", up.MTU)
			if errors.Is(err, link.ErrNoUplink) {
				got, err = "no usable uplink", nil
			}
			if err != nil || got != row.want {
				t.Errorf("%q, %v, want %q", got, err, row.want)
			}
		})
	}
	t.Logf("%d nodes", len(rows))
}

// node puts the test into a namespace of its own, without a name.
func node(t *testing.T) *link.Host {
	t.Helper()
	testhost.Enter(t)
	h, err := link.OpenHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}
