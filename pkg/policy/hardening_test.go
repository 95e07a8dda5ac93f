package policy

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
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

// Rules that there is no room to write down take none.
func TestFullDisk(t *testing.T) {
	s := newScene(t)
	s.state = testhost.Tmpfs(t, "64k")
	s.config.Subnet = "web"
	s.write("80", false)
	s.apply(s.mustOpen())
	s.raw(`[{"name": "web", "type": "Microsoft.Network/networkSecurityGroups", "description": "", "securityRules": [{"name": "a", "priority": 100,
		"direction": "Inbound", "access": "Allow", "protocol": "Tcp", "sourcePortRange": "*", "destinationPortRange": "81", "destinationAddressPrefix": "*",
		"sourceAddressPrefixes": ["` + strings.Join(manyPrefixes(4000), `", "`) + `"]}]}]`)
	p, err := s.mustOpen().Judging().Load()
	must(t, err)
	if err := p.InForce(nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("written down: %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.state, "another"), make([]byte, 32<<10), 0o600); err != nil {
		t.Errorf("it left no room for others: %v", err)
	}
	if p, err := s.mustOpen().Judging().Load(); err != nil || allows(p.Subnet, 80) {
		t.Errorf("the next: %v", err)
	}
	t.Log("1 change")
}

// A network whose rules are gone leaves nothing, also of a verb that was killed while it
// wrote.
func TestForget(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "web"
	s.write("80", false)
	s.apply(s.mustOpen())
	must(t, os.WriteFile(statePath(s.state, "pods")+".new", []byte("{"), 0o600))
	must(t, Forget(s.state, "pods"))
	if left, err := filepath.Glob(filepath.Join(s.state, "pods.*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	must(t, Forget(s.state, "pods"))
	t.Log("1 network")
}

// manyPrefixes are prefixes that do not overlap and cannot be joined.
func manyPrefixes(n int) (list []string) {
	for i := range n {
		list = append(list, netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 0}).String()+"/32")
	}
	return list
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
