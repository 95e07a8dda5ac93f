package policy

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Documents were those in force when somebody looked, and are others, or broken,
// by the time that rules are made of them.
func TestDocumentsChangeBeforeLoad(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "web"
	s.write("80", false)
	s.apply(s.mustOpen())
	steps := []struct {
		name  string
		write func()
		port  uint16
	}{
		{"changed", func() { s.write("81", false) }, 81},
		{"broken", func() { s.raw("{") }, 81},
		{"still broken", func() {}, 81},
		{"mended", func() { s.write("82", false) }, 82},
	}
	for _, step := range steps {
		r := s.mustOpen()
		step.write()
		p, err := r.Judging().Load()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !allows(p.Subnet, step.port) || allows(p.Subnet, step.port-1) {
			t.Errorf("%s: the rules are not those that open port %d", step.name, step.port)
		}
		must(t, p.InForce(nil))
	}
	s.wantStale(s.mustOpen(), false)
	t.Logf("%d changes after a look", len(steps))
}

// Many verbs find at once that a group which a pod has is in no document any more.
func TestManyRejectAtOnce(t *testing.T) {
	const verbs, looks = 16, 20
	s := newScene(t)
	s.pods = []firewall.Pod{{Group: api}}
	s.write("80", false)
	s.apply(s.mustOpen())
	s.raw(`[{"name": "web", "type": "Microsoft.Network/networkSecurityGroups", "securityRules": []}]`)
	var all sync.WaitGroup
	for range verbs {
		all.Go(func() {
			for range looks {
				if _, err := s.open(); err != nil {
					t.Errorf("Open: %v", err)
				}
				if Rejected(s.state, "pods") == "" {
					t.Error("the rejection is gone, or half written")
				}
			}
		})
	}
	all.Wait()
	why, found := readRejection(s.state, "pods")
	if !found || !why.ByPods {
		t.Errorf("noted: %+v, %t; want a rejection because of the pods", why, found)
	}
	s.pods = nil // with the last pod of the group the fault goes
	s.apply(s.mustOpen())
	if why := Rejected(s.state, "pods"); why != "" {
		t.Errorf("still rejected: %s", why)
	}
	t.Logf("%d looks by %d verbs", verbs*looks, verbs)
}

// A node's prefixes change on their own: that is no reason to fail while documents
// are broken. A configuration that asks for another group is one.
func TestOtherConfigurationOfBrokenDocuments(t *testing.T) {
	own := nsg.AddressRange{First: netip.MustParseAddr("10.241.9.0"), Last: netip.MustParseAddr("10.241.9.255")}
	changes := map[string]func(*Config){
		"uplink":            func(c *Config) { c.Uplink = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} },
		"own addresses":     func(c *Config) { c.Own = []nsg.AddressRange{own} },
		"pools":             func(c *Config) { c.Pools = append(c.Pools, netip.MustParsePrefix("fd00:241::/64")) },
		"same node":         func(c *Config) { c.SameNodeFree = true },
		"the other subnet":  func(c *Config) { c.Subnet = api },
		"an unknown subnet": func(c *Config) { c.Subnet = "nobody" },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.config.Subnet = "web"
			s.write("80", false)
			s.apply(s.mustOpen())
			s.raw("{")
			change(&s.config)
			if name == "an unknown subnet" {
				if _, err := s.open(); err == nil {
					t.Error("Open has no error")
				}
				return
			}
			for range 2 { // the second time it is known
				r := s.mustOpen()
				s.wantStale(r, false)
				if p, err := r.Judging().Load(); err != nil || !allows(p.Subnet, 80) {
					t.Errorf("the last good rules are not kept: %v", err)
				}
			}
			if Rejected(s.state, "pods") == "" {
				t.Error("nobody is told that the documents are rejected")
			}
		})
	}
	t.Logf("%d other configurations", len(changes))
}
