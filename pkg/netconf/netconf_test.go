package netconf

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const (
	pool4 = `{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/24"]}`
	pool6 = `{"subnet":"fd00:10:241::/64","ranges":["fd00:10:241::400/120"]}`

	minimal = `{"cniVersion":"1.0.0","name":"pods","type":"vnet","ipam":{"type":"vnet-ipam","pools":[` + pool4 + `]}}`

	full = `{
  "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "pods",
  "type": "vnet", "mode": "vnet", "uplink": "eth0", "mtu": 1500, "stateDir": "/run/vnet",
  "masquerade": {"except": ["10.0.0.0/8"]},
  "ipam": {"type": "vnet-ipam", "cooldown": "30s", "routes": [], "pools": [
     {"subnet": "10.241.0.0/16", "ranges": ["10.241.4.0/24", "10.241.9.10-10.241.9.20"]},
     {"subnet": "fd00:10:241::/64", "ranges": ["fd00:10:241::400/120"]}]}
}`

	// Everything that CNI itself may add, and every own key.
	everything = `{
  "cniVersion": "1.1.0", "cniVersions": ["1.1.0"], "name": "a.b_c-9", "type": "vnet", "mode": "overlay",
  "uplink": "bond0.100", "mtu": 1280, "stateDir": "/var/lib/vnet", "masquerade": {"except": ["10.0.0.0/8", "fd00::/8"]},
  "disableCheck": true, "disableGC": false, "loadOnlyInlinedPlugins": true, "capabilities": {"ips": true, "mac": true},
  "args": {"cni": {"labels": []}}, "cni.dev/attachments": null, "cni.dev/anything": 1,
  "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "net1", "later": 1}],
  "dns": {"nameservers": ["10.0.0.10"], "domain": "d", "search": ["a", "b"], "options": ["ndots:5"]},
  "runtimeConfig": {"ips": ["10.241.4.9/16", "fd00:10:241::409"], "mac": "02:00:00:00:00:09", "portMappings": [], "x": {"y": 1}},
  "prevResult": {"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": "/n"}],
     "ips": [{"version": "4", "address": "10.241.4.9/16", "gateway": "10.241.0.1", "interface": 0}], "routes": [{"dst": "0.0.0.0/0"}]},
  "ipam": {"type": "vnet-ipam", "cooldown": "1h30m", "pools": [` + pool4 + `, {"subnet": "fd00:10:241::/64"}],
     "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd00:1::/64", "gw": "fd00:10:241::1", "mtu": 1400, "advmss": 1360,
                 "priority": 7, "table": 0, "scope": 253}]}
}`
)

func mustStrict(t *testing.T, p Plugin, stdin string) *Conf {
	t.Helper()
	c, err := ParseStrict(p, []byte(stdin))
	if err != nil {
		t.Fatalf("ParseStrict(%d, %s): %v", p, stdin, err)
	}
	return c
}

func mustPool(t *testing.T, subnet string, ranges ...string) ipam.Pool {
	t.Helper()
	p, err := ipam.ParsePool(subnet, ranges)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v", what, got, want)
	}
}

// checkError holds an error to what every error of this package promises.
func checkError(t *testing.T, err error) uint {
	t.Helper()
	var coded *cnierr.Error
	if !errors.As(err, &coded) {
		t.Fatalf("error without a code: %v", err)
	}
	switch coded.Code {
	case cnierr.UnsupportedField, cnierr.Environment, cnierr.Decode, cnierr.Config:
	default:
		t.Fatalf("code %d: %v", coded.Code, err)
	}
	if len(err.Error()) > 2000 || err.Error() == "" {
		t.Fatalf("message of %d bytes: %q", len(err.Error()), err)
	}
	for _, r := range err.Error() {
		if !strconv.IsPrint(r) {
			t.Fatalf("message has %U: %q", r, err)
		}
	}
	return coded.Code
}

func TestMinimal(t *testing.T) {
	equal(t, "minimal", mustStrict(t, VNet, minimal), &Conf{
		CNIVersion: "1.0.0", Name: "pods", Mode: ModeVNet, StateDir: "/run/vnet",
		IPAM: IPAM{Type: "vnet-ipam", Cooldown: 30 * time.Second, Pools: []ipam.Pool{mustPool(t, "10.241.0.0/16", "10.241.4.0/24")}},
	})
}

func TestFullSample(t *testing.T) {
	equal(t, "full", mustStrict(t, VNet, full), &Conf{
		CNIVersion: "1.0.0", Name: "pods", Mode: ModeVNet, Uplink: "eth0", MTU: 1500, StateDir: "/run/vnet",
		Masquerade: &Masquerade{Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		IPAM: IPAM{Type: "vnet-ipam", Cooldown: 30 * time.Second, Routes: []*types.Route{}, Pools: []ipam.Pool{
			mustPool(t, "10.241.0.0/16", "10.241.4.0/24", "10.241.9.10-10.241.9.20"),
			mustPool(t, "fd00:10:241::/64", "fd00:10:241::400/120"),
		}},
	})
}

func TestEverything(t *testing.T) {
	c := mustStrict(t, VNet, everything)
	equal(t, "Name", c.Name, "a.b_c-9")
	equal(t, "Mode", c.Mode, ModeOverlay)
	equal(t, "Uplink", c.Uplink, "bond0.100")
	equal(t, "MTU", c.MTU, 1280)
	equal(t, "StateDir", c.StateDir, "/var/lib/vnet")
	equal(t, "Except", len(c.Masquerade.Except), 2)
	equal(t, "DNS", c.DNS, types.DNS{Nameservers: []string{"10.0.0.10"}, Domain: "d", Search: []string{"a", "b"}, Options: []string{"ndots:5"}})
	equal(t, "FixedIPs", c.FixedIPs, []netip.Addr{netip.MustParseAddr("10.241.4.9"), netip.MustParseAddr("fd00:10:241::409")})
	equal(t, "FixedMAC", c.FixedMAC, net.HardwareAddr{2, 0, 0, 0, 0, 9})
	equal(t, "ValidAttachments", c.ValidAttachments, []types.GCAttachment{{ContainerID: "c1", IfName: "eth0"}, {ContainerID: "c2", IfName: "net1"}})
	equal(t, "HasValidAttachments", c.HasValidAttachments, true)
	equal(t, "Cooldown", c.IPAM.Cooldown, 90*time.Minute)
	equal(t, "Delegated", c.IPAM.Delegated(), false)
	equal(t, "Pools", c.IPAM.Pools, []ipam.Pool{mustPool(t, "10.241.0.0/16", "10.241.4.0/24"), mustPool(t, "fd00:10:241::/64")})
	table, scope := 0, 253
	equal(t, "Routes", c.IPAM.Routes, []*types.Route{
		{Dst: net.IPNet{IP: net.IP{0, 0, 0, 0}, Mask: net.CIDRMask(0, 32)}},
		{
			Dst: net.IPNet{IP: net.ParseIP("fd00:1::"), Mask: net.CIDRMask(64, 128)}, GW: net.ParseIP("fd00:10:241::1"),
			MTU: 1400, AdvMSS: 1360, Priority: 7, Table: &table, Scope: &scope,
		},
	})
	equal(t, "PrevResult version", c.PrevResult.CNIVersion, "1.1.0")
	equal(t, "PrevResult address", c.PrevResult.IPs[0].Address.String(), "10.241.4.9/16")
	equal(t, "PrevResult interface", *c.PrevResult.IPs[0].Interface, 0)
}

func TestDelegatedIPAM(t *testing.T) {
	c := mustStrict(t, VNet, `{"cniVersion":"1.0.0","name":"n","type":"vnet","mtu":600,
		"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/16"}]],"routes":"theirs","pools":5}}`)
	equal(t, "IPAM", c.IPAM, IPAM{Type: "host-local", Cooldown: DefaultCooldown})
	equal(t, "Delegated", c.IPAM.Delegated(), true)
}

// The IPAM plugin is handed any main plugin's configuration.
func TestIPAMPluginIgnoresTheMainPlugin(t *testing.T) {
	c := mustStrict(t, VNetIPAM, `{"cniVersion":"1.0.0","name":"n","type":5,"bridge":"cni0","mtu":"big","nsg":1,"mode":[],
		"dns":7,"args":9,"stateDir":"/tmp/x","runtimeConfig":{"ips":["10.1.0.9"]},"cni.dev/valid-attachments":null,
		"ipam":{"type":"vnet-ipam","cooldown":"0s","pools":[{"subnet":"10.1.0.0/16"}]}}`)
	equal(t, "conf", c, &Conf{
		CNIVersion: "1.0.0", Name: "n", Mode: ModeVNet, StateDir: "/tmp/x",
		IPAM:     IPAM{Type: "vnet-ipam", Pools: []ipam.Pool{mustPool(t, "10.1.0.0/16")}},
		FixedIPs: []netip.Addr{netip.MustParseAddr("10.1.0.9")}, HasValidAttachments: true, ValidAttachments: []types.GCAttachment{},
	})
}

func TestNullsOfTheRuntimeAreAbsent(t *testing.T) {
	c := mustStrict(t, VNet, with(`"masquerade":null,"prevResult":null,"runtimeConfig":{"ips":null,"mac":null},"dns":null,"args":null,"capabilities":null`))
	equal(t, "conf", c, mustStrict(t, VNet, minimal))
	equal(t, "runtimeConfig", mustStrict(t, VNet, with(`"runtimeConfig":null`)), c)
}

func TestPrevResultOfEveryVersion(t *testing.T) {
	rows := []struct{ conf, result string }{
		{"0.2.0", `{"cniVersion":"0.2.0","ip4":{"ip":"10.241.4.9/16","gateway":"10.241.0.1"}}`},
		{"0.2.0", `{"ip4":{"ip":"10.241.4.9/16"}}`},
		{"0.3.1", `{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.241.4.9/16"}]}`},
		{"0.4.0", `{"ips":[{"version":"4","address":"10.241.4.9/16"}]}`},
		{"1.0.0", `{"cniVersion":"1.0.0","ips":[{"address":"10.241.4.9/16"}]}`},
		{"1.0.0", `{"ips":[{"address":"10.241.4.9/16"}]}`},
		{"1.1.0", `{"cniVersion":"1.0.0","ips":[{"address":"10.241.4.9/16"}]}`},
		{"1.1.0", `{"cniVersion":"1.1.0","ips":[{"address":"10.241.4.9/16"}],"interfaces":[{"name":"e","mtu":1}]}`},
	}
	for _, r := range rows {
		for _, stdin := range []string{
			`"cniVersion":"` + r.conf + `","prevResult":` + r.result,
			`"prevResult":` + r.result + `,"cniVersion":"` + r.conf + `"`,
		} {
			c := mustStrict(t, VNet, strings.Replace(minimal, `"cniVersion":"1.0.0"`, stdin, 1))
			if c.PrevResult == nil || len(c.PrevResult.IPs) != 1 || c.PrevResult.IPs[0].Address.String() != "10.241.4.9/16" {
				t.Errorf("%s: %+v", stdin, c.PrevResult)
			}
			equal(t, "version", c.PrevResult.CNIVersion, "1.1.0")
		}
	}
	t.Logf("%d results, each before and after cniVersion", len(rows))
}

// with is the minimal configuration with more members.
func with(more string) string { return strings.TrimSuffix(minimal, "}") + "," + more + "}" }

// withIPAM is the minimal configuration with these members of ipam.
func withIPAM(members string) string {
	return `{"cniVersion":"1.0.0","name":"pods","type":"vnet","ipam":{` + members + `}}`
}

// withPools is the minimal configuration with these pools.
func withPools(pools string) string { return withIPAM(`"type":"vnet-ipam","pools":` + pools) }

// withRoute is the minimal configuration with one route.
func withRoute(route string) string {
	return withIPAM(`"type":"vnet-ipam","pools":[` + pool4 + `],"routes":[` + route + `]`)
}

// deep is n lists in each other.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
