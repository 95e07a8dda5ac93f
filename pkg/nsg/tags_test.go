package nsg

import (
	"strings"
	"testing"
)

func TestTagsAddresses(t *testing.T) {
	for _, row := range []struct {
		tag, inside, outside string // addresses
	}{
		{"VirtualNetwork", "10.0.0.1 10.255.255.255 fd00::1 168.63.129.16", "11.0.0.0 192.168.0.1 168.63.129.17 2001:db8::1"},
		{"virtualNETWORK", "10.0.0.1", "11.0.0.0"},
		{"AzureLoadBalancer", "168.63.129.16", "168.63.129.15 10.0.0.1 fd00::1 169.254.169.254"},
		{"Internet", "9.255.255.255 11.0.0.0 8.8.8.8 172.15.255.255 172.32.0.0 192.167.0.1 100.63.255.255 100.128.0.0 2001:db8::1 3fff::1",
			"10.0.0.1 172.16.0.0 172.31.255.255 192.168.0.0 100.64.0.0 100.127.255.255 168.63.129.16 fd00::1 fe80::1 4000::1 ::1"},
		{"AzurePlatformDNS", "168.63.129.16", "169.254.169.254"},
		{"azureplatformimds", "169.254.169.254", "168.63.129.16"},
		{"AzurePlatformLKM", "168.63.129.16", "169.254.169.254"},
		{"STORAGE.westeurope", "20.38.0.1 2603:1020::1", "20.39.0.0"},
	} {
		tags := vnetTags()
		s, known := tags.Resolve(row.tag)
		if !known {
			t.Errorf("%s is not known", row.tag)
		}
		for _, a := range strings.Fields(row.inside) {
			if addr, _ := hostPort(a); !s.Contains(addr) {
				t.Errorf("%s has no %s", row.tag, a)
			}
		}
		for _, a := range strings.Fields(row.outside) {
			if addr, _ := hostPort(a); s.Contains(addr) {
				t.Errorf("%s has %s", row.tag, a)
			}
		}
	}
}

// A route of 0.0.0.0/0 to an appliance makes the virtual network everything, and
// leaves nothing to the Internet.
func TestVirtualNetworkOfEverything(t *testing.T) {
	tags := Tags{VirtualNetwork: set("0.0.0.0/0", "fd00::/8")}
	if got := tags.internet().Prefixes(); len(got) != 1 || got[0].String() != "2000::/3" {
		t.Errorf("the Internet is %v", got)
	}
	if without := (&Tags{}).virtualNetwork(); !without.Equal(set("168.63.129.16/32")) {
		t.Errorf("an unknown virtual network is %v", without.Prefixes())
	}
}

func TestUnknownTags(t *testing.T) {
	storage := changed(func(r *RuleDefinition) {
		r.Source.Prefix, r.Destination.Prefix = "Storage.WestEurop", "Virtualnetworks"
	})
	g := mustNew(t, storage)
	for _, row := range []struct {
		services map[string]AddressSet
		want     []string // parts of the source's message
	}{
		{nil, []string{"Storage.WestEurop", "there is none"}},
		{vnetTags().Services, []string{"Storage.WestEurop", "no service tag", `did you mean "storage.westeurope"?`}},
	} {
		p, findings := NewPolicy(g, Tags{Services: row.services})
		if p != nil || len(findings) != 2 {
			t.Fatalf("%v, %+v", p, findings)
		}
		for i, property := range []string{"sourceAddressPrefix", "destinationAddressPrefix"} {
			f := findings[i]
			if f.Severity != Error || f.Code != CodeInvalidPrefix || f.File != "nsg.json" || f.NSG != "web-nsg" || f.Rule != "r1" || f.Property != property {
				t.Errorf("%+v", f)
			}
		}
		for _, part := range row.want {
			if !strings.Contains(findings[0].Message, part) {
				t.Errorf("%q does not say %q", findings[0].Message, part)
			}
		}
		if !strings.Contains(findings[1].Message, `did you mean "VirtualNetwork"?`) || findings[1].Value != "Virtualnetworks" {
			t.Errorf("%+v", findings[1])
		}
	}
	tags := vnetTags()
	if near := tags.nearest("Completely.Different"); near != "" {
		t.Errorf("Completely.Different is taken for %q", near)
	}
}
