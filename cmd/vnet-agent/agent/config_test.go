package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	cases := []struct{ text, names string }{
		{"mode: bridge", `mode: value "bridge"`},
		{"mod: vnet", `"mod"`},
		{"mode: vnet\nmode: overlay", `"mode"`},
		{"encapsulation: ipip", `encapsulation: value "ipip"`},
		{"vxlan: {vni: 0}", "vxlan.vni: value 0"},
		{"vxlan: {vni: 16777216}", "vxlan.vni: value 16777216"},
		{"vxlan: {port: 0}", "vxlan.port: value 0"},
		{"vxlan: {port: 70000}", "vxlan.port: value 70000 is not a whole number from 0 to 65535"},
		{"vxlan: 4789", "vxlan: value 4789 is not an object"},
		{"mode: [vnet]", `mode: value ["vnet"] is not a string`},
		{"mtu: '1500'", `mtu: value "1500" is not a whole number`},
		{"cooldown: soon", `cooldown: value "soon"`},
		{"subnets: [10.0.0.0/8]", "subnets"},
		{"mode: vnet\nsubnets: [10.0.0.1/8]", `subnets[0]: value "10.0.0.1/8"`},
		{"mode: vnet\nsubnets: [ten]", `subnets: value ["ten"] is not a list of CIDRs`},
		{"mode: vnet\nsubnets: 10.0.0.0/8", `subnets: value "10.0.0.0/8" is not a list of CIDRs`},
		{"masqueradeExcept: [10.0.0.0]", `masqueradeExcept: value ["10.0.0.0"] is not a list of CIDRs`},
		{"masqueradeExcept: ['']", `masqueradeExcept: value [""] is not a list of CIDRs`},
		{"nsg: {virtualNetwork: [10.0.0.0/8, 10.0.0.0]}", `nsg.virtualNetwork: value ["10.0.0.0/8","10.0.0.0"] is not`},
		{"nsg: {documents: [/etc]}", "documents"},
		{"masquerade: maybe", `masquerade: value "maybe" is not true or false`},
		{"[]", "array"},
		// What only the plugin can judge is judged before a pod meets it.
		{"network: a/b", "name"},
		{"mtu: 100", "mtu"},
		{"cooldown: 48h", "cooldown"},
		{"nsg: {subnet: 'a b'}", "nsg.subnet"},
		{"nsg: {routeTable: 'a b'}", "nsg.routeTable"},
		{"nsg: {sameNode: never}", "nsg.sameNode"},
		{"nsg: {allowed: {Shop: ['*']}}", "nsg.allowed"},
		{"nsg:\n  allowed:\n", "nsg.allowed"}, // absent means that every pod may choose
	}
	for _, c := range cases {
		_, err := parseConfig([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%q: error %v, which should name %s", c.text, err, c.names)
		}
	}
	t.Logf("%d broken configurations", len(cases))
}

func TestConfigAbsent(t *testing.T) {
	t.Parallel()
	c, err := ReadConfig(filepath.Join(t.TempDir(), "none"))
	if err != nil || c.Mode != ModeOverlay || c.Network != "pods" || !c.masquerades() {
		t.Fatalf("%+v, %v", c, err)
	}
}

var testSite = site{
	pools:     prefixes("10.244.1.0/24", "fd00:10:244:1::/64"),
	subnets:   prefixes("10.244.1.0/24", "fd00:10:244:1::/64"),
	uplink:    "eth0",
	stateDir:  "/run/vnet",
	documents: "/var/lib/vnet/documents/current",
	defaults:  "/var/lib/vnet/namespaces",
	cluster:   prefixes("10.244.1.0/24", "fd00:10:244:1::/64", "10.244.2.0/24", "fd00:10:244:2::/64"),
	space:     prefixes("172.30.0.11/32", "172.30.0.12/32", "10.244.1.0/24", "10.244.2.0/24"),
	tag:       prefixes("172.30.0.11/32", "172.30.0.12/32", "10.244.1.0/24", "10.244.2.0/24", "192.168.0.0/16"),
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestRenderGolden compares conflists with those in testdata; UPDATE=1 writes them.
func TestRenderGolden(t *testing.T) {
	t.Parallel()
	flat := testSite
	flat.pools, flat.subnets = prefixes("172.30.129.0/24"), prefixes("172.30.0.0/16")
	cases := []struct {
		name, config string
		site         site
	}{
		{"overlay", "mode: overlay", testSite},
		{"vnet", "mode: vnet", flat},
		{"plain", "mode: vnet\nnsg: {disabled: true}\ncooldown: 5s\nnetwork: flat", flat},
		{"all", `
network: blue
masqueradeExcept: [192.0.2.0/24]
nsg: {subnet: pods-nsg, routeTable: "", sameNode: azure, allowed: {shop: [web-nsg], kube-system: ["*"]}}`, testSite},
	}
	for _, c := range cases {
		config, err := parseConfig([]byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		got, conf, err := config.render(c.site)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if conf.Name != config.Network || len(conf.IPAM.Pools) != len(c.site.pools) {
			t.Errorf("%s: the plugin reads network %s with pools %v", c.name, conf.Name, conf.IPAM.Pools)
		}
		path := filepath.Join("testdata", c.name+".conflist")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v: got\n%s", c.name, err, got)
		}
	}
	t.Logf("%d conflists", len(cases))
}

func TestSubnetsOf(t *testing.T) {
	t.Parallel()
	connected := prefixes("172.30.0.0/16", "fd00:30::/64")
	vnet, overlay := Config{Mode: ModeVNet}, Config{Mode: ModeOverlay}
	pools := prefixes("172.30.129.0/24", "fd00:30::1:100:0/112")
	if got, err := vnet.subnetsOf(pools, connected); err != nil || got[0] != connected[0] || got[1] != connected[1] {
		t.Errorf("cut from the uplink's subnets: %v, %v", got, err)
	}
	if got, err := overlay.subnetsOf(pools, connected); err != nil || got[0] != pools[0] {
		t.Errorf("an overlay's podCIDRs are subnets themselves: %v, %v", got, err)
	}
	if _, err := vnet.subnetsOf(prefixes("10.244.1.0/24"), connected); err == nil || !strings.Contains(err.Error(), "10.244.1.0/24") {
		t.Errorf("a podCIDR from elsewhere: %v", err)
	}
	vnet.Subnets = prefixes("10.0.0.0/8")
	if got, err := vnet.subnetsOf(prefixes("10.244.1.0/24"), connected); err != nil || got[0] != vnet.Subnets[0] {
		t.Errorf("cut from the configured subnet: %v, %v", got, err)
	}
}
