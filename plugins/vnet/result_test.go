package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/verb"
)

func ptr(i int) *int { return &i }

func route(dst string, change func(*types.Route)) *types.Route {
	_, network, err := net.ParseCIDR(dst)
	if err != nil {
		panic(err)
	}
	r := &types.Route{Dst: *network}
	if change != nil {
		change(r)
	}
	return r
}

func TestExtraRoutes(t *testing.T) {
	gateway := func(r *types.Route) { r.GW = net.ParseIP("10.0.0.1") }
	rows := []struct {
		in   *types.Route
		want string // "": left out
	}{
		{route("10.9.0.0/16", nil), "{10.9.0.0/16 invalid IP 0 0 0 0 0}"},
		{route("10.9.0.0/16", gateway), "{10.9.0.0/16 invalid IP 0 0 0 0 0}"}, // every pod's next hop is the node
		{route("fd99::/48", nil), "{fd99::/48 invalid IP 0 0 0 0 0}"},
		{route("0.0.0.0/0", nil), ""}, {route("::/0", nil), ""}, // every pod has it anyway
		{route("0.0.0.0/0", gateway), ""},
		{route("0.0.0.0/0", func(r *types.Route) { r.Table = ptr(100) }), "{0.0.0.0/0 invalid IP 0 0 0 0 100}"},
		{route("10.9.0.0/16", func(r *types.Route) { r.MTU, r.AdvMSS, r.Priority = 1400, 1360, 7 }), "{10.9.0.0/16 invalid IP 0 1400 1360 7 0}"},
		{route("10.9.0.0/16", func(r *types.Route) { r.Scope = ptr(253) }), "{10.9.0.0/16 invalid IP 253 0 0 0 0}"},
		{&types.Route{Dst: net.IPNet{IP: net.ParseIP("10.9.0.0"), Mask: net.CIDRMask(16, 32)}}, "{10.9.0.0/16 invalid IP 0 0 0 0 0}"}, // 16 bytes
		{&types.Route{}, ""},
	}
	var all []*types.Route
	var want []string
	for _, row := range rows {
		list := extraRoutes([]*types.Route{row.in})
		got := ""
		if len(list) > 0 {
			got = plain(list[0])
		}
		if got != row.want {
			t.Errorf("%v: %s, want %s", row.in, got, row.want)
		}
		all = append(all, row.in)
		if row.want != "" {
			want = append(want, row.want)
		}
	}
	var got []string
	for _, r := range extraRoutes(all) {
		got = append(got, plain(r))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("together %v, want %v", got, want)
	}
	t.Logf("%d routes", len(rows))
}

func plain(r link.Route) string {
	return fmt.Sprintf("{%v %v %d %d %d %d %d}", r.Dst, r.Via, r.Scope, r.MTU, r.AdvMSS, r.Priority, r.Table)
}

func testAddition(addrs ...string) *addition {
	a := &addition{
		call: &call{&verb.Call{Key: ipam.Key{ContainerID: "c1", IfName: "eth0"}, Netns: "/run/netns/c1", Conf: &netconf.Conf{Name: "pods"}}},
		mtu:  1430,
		dns:  types.DNS{Nameservers: []string{"168.63.129.16"}, Domain: "internal.cloudapp.net"},
		record: attachment.Record{Routes: extraRoutes([]*types.Route{
			route("10.9.0.0/16", func(r *types.Route) { r.MTU, r.AdvMSS, r.Priority, r.Table = 1400, 1360, 7, ptr(100) }),
			route("fd99::/48", nil),
		})},
	}
	for _, s := range addrs {
		a.addrs = append(a.addrs, netip.MustParseAddr(s))
	}
	return a
}

// What runtimes read, in each version of the specification that they may ask for.
func TestResultAsJSON(t *testing.T) {
	pods := map[string]*addition{
		"ipv4": testAddition("10.241.4.7"),
		"dual": testAddition("10.241.4.7", "fd00:241::7"),
		"pair": testAddition("10.241.4.7", "10.242.0.7"),
	}
	rows := []struct{ pod, version, want string }{
		{"ipv4", "1.1.0", `{"cniVersion":"1.1.0",
"dns":{"domain":"internal.cloudapp.net","nameservers":["168.63.129.16"]},
"interfaces":[{"mac":"aa:aa:aa:aa:aa:aa","mtu":1430,"name":"vnet62b22f842bf"},{"mac":"0a:20:4e:05:55:9a","mtu":1430,"name":"eth0","sandbox":"/run/netns/c1"}],
"ips":[{"address":"10.241.4.7/32","gateway":"169.254.1.1","interface":1}],
"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"advmss":1360,"dst":"10.9.0.0/16","gw":"169.254.1.1","mtu":1400,"priority":7,"table":100}]}`},
		{"pair", "1.0.0", `{"cniVersion":"1.0.0",
"dns":{"domain":"internal.cloudapp.net","nameservers":["168.63.129.16"]},
"interfaces":[{"mac":"aa:aa:aa:aa:aa:aa","mtu":1430,"name":"vnet62b22f842bf"},{"mac":"0a:20:4e:05:55:9a","mtu":1430,"name":"eth0","sandbox":"/run/netns/c1"}],
"ips":[{"address":"10.241.4.7/32","gateway":"169.254.1.1","interface":1},{"address":"10.242.0.7/32","gateway":"169.254.1.1","interface":1}],
"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"advmss":1360,"dst":"10.9.0.0/16","gw":"169.254.1.1","mtu":1400,"priority":7,"table":100}]}`},
		{"dual", "0.3.1", `{"cniVersion":"0.3.1",
"interfaces":[{"name":"vnet62b22f842bf","mac":"aa:aa:aa:aa:aa:aa"},{"name":"eth0","mac":"0a:20:4e:05:55:9a","sandbox":"/run/netns/c1"}],
"ips":[{"version":"4","interface":1,"address":"10.241.4.7/32","gateway":"169.254.1.1"},{"version":"6","interface":1,"address":"fd00:241::7/128","gateway":"fe80::1234:5678:9abc"}],
"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"10.9.0.0/16","gw":"169.254.1.1","mtu":1400,"advmss":1360,"priority":7,"table":100},{"dst":"::/0","gw":"fe80::1234:5678:9abc"},{"dst":"fd99::/48","gw":"fe80::1234:5678:9abc"}],
"dns":{"nameservers":["168.63.129.16"],"domain":"internal.cloudapp.net"}}`},
		{"dual", "0.4.0", `{"cniVersion":"0.4.0",
"interfaces":[{"name":"vnet62b22f842bf","mac":"aa:aa:aa:aa:aa:aa"},{"name":"eth0","mac":"0a:20:4e:05:55:9a","sandbox":"/run/netns/c1"}],
"ips":[{"version":"4","interface":1,"address":"10.241.4.7/32","gateway":"169.254.1.1"},{"version":"6","interface":1,"address":"fd00:241::7/128","gateway":"fe80::1234:5678:9abc"}],
"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"10.9.0.0/16","gw":"169.254.1.1","mtu":1400,"advmss":1360,"priority":7,"table":100},{"dst":"::/0","gw":"fe80::1234:5678:9abc"},{"dst":"fd99::/48","gw":"fe80::1234:5678:9abc"}],
"dns":{"nameservers":["168.63.129.16"],"domain":"internal.cloudapp.net"}}`},
		{"dual", "1.0.0", `{"cniVersion":"1.0.0",
"dns":{"domain":"internal.cloudapp.net","nameservers":["168.63.129.16"]},
"interfaces":[{"mac":"aa:aa:aa:aa:aa:aa","mtu":1430,"name":"vnet62b22f842bf"},{"mac":"0a:20:4e:05:55:9a","mtu":1430,"name":"eth0","sandbox":"/run/netns/c1"}],
"ips":[{"address":"10.241.4.7/32","gateway":"169.254.1.1","interface":1},{"address":"fd00:241::7/128","gateway":"fe80::1234:5678:9abc","interface":1}],
"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"advmss":1360,"dst":"10.9.0.0/16","gw":"169.254.1.1","mtu":1400,"priority":7,"table":100},{"dst":"::/0","gw":"fe80::1234:5678:9abc"},{"dst":"fd99::/48","gw":"fe80::1234:5678:9abc"}]}`},
		{"dual", "1.1.0", `{"cniVersion":"1.1.0",
"dns":{"domain":"internal.cloudapp.net","nameservers":["168.63.129.16"]},
"interfaces":[{"mac":"aa:aa:aa:aa:aa:aa","mtu":1430,"name":"vnet62b22f842bf"},{"mac":"0a:20:4e:05:55:9a","mtu":1430,"name":"eth0","sandbox":"/run/netns/c1"}],
"ips":[{"address":"10.241.4.7/32","gateway":"169.254.1.1","interface":1},{"address":"fd00:241::7/128","gateway":"fe80::1234:5678:9abc","interface":1}],
"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"advmss":1360,"dst":"10.9.0.0/16","gw":"169.254.1.1","mtu":1400,"priority":7,"table":100},{"dst":"::/0","gw":"fe80::1234:5678:9abc"},{"dst":"fd99::/48","gw":"fe80::1234:5678:9abc"}]}`},
	}
	versions := map[string]bool{}
	for _, row := range rows {
		versions[row.version] = true
		var out bytes.Buffer
		if err := cnimain.PrintResult(&out, pods[row.pod].result(), row.version); err != nil {
			t.Fatalf("%s in version %s: %v", row.pod, row.version, err)
		}
		if got := compact(t, out.String()); got != compact(t, row.want) {
			t.Errorf("%s in version %s:\n%s\ninstead of\n%s", row.pod, row.version, got, compact(t, row.want))
		}
	}
	for _, v := range cnimain.Versions.SupportedVersions() {
		if !versions[v] {
			t.Errorf("version %s is not tested", v)
		}
	}
	t.Logf("%d results in %d versions", len(rows), len(versions))
}

// compact takes the space out, and keeps the order.
func compact(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
