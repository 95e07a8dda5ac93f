package policy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// scene is a network's documents and state, and its pods.
type scene struct {
	t      *testing.T
	state  string
	file   string
	config Config
	pods   []firewall.Pod

	written int // documents
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, state: t.TempDir(), file: filepath.Join(t.TempDir(), "groups.json")}
	s.config = Config{Documents: []string{s.file}, Pools: []netip.Prefix{netip.MustParsePrefix("10.241.0.0/16")}}
	return s
}

const web, api = "/subscriptions/s/resourcegroups/r/providers/microsoft.network/networksecuritygroups/web", "api"

// write writes two groups, the first with a rule for the port.
func (s *scene) write(port string, flush bool) {
	s.t.Helper()
	text := fmt.Sprintf(`[
		{"name": "web", "id": "/subscriptions/S/resourceGroups/r/providers/Microsoft.Network/networkSecurityGroups/web", "flushConnection": %t,
		 "securityRules": [{"name": "port", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
		   "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": %q}]},
		{"name": "api", "type": "Microsoft.Network/networkSecurityGroups", "securityRules": []}]`, flush, port)
	s.raw(text)
}

// raw replaces the document as an editor does. It stays under another name as well:
// a later one that got its inode, with the same size and in the same tick of the clock,
// could not be told from it.
func (s *scene) raw(text string) {
	s.t.Helper()
	s.written++
	must(s.t, os.WriteFile(s.file+".new", []byte(text), 0o600))
	must(s.t, os.Link(s.file+".new", fmt.Sprint(s.file, ".", s.written)))
	must(s.t, os.Rename(s.file+".new", s.file))
}

// touch changes the inode of the document: perhaps more than that.
func (s *scene) touch() {
	s.t.Helper()
	was, err := stampOf(s.file)
	for now := was; now == was; now, err = stampOf(s.file) { // until the clock has ticked
		must(s.t, err)
		must(s.t, os.Chmod(s.file, 0o644))
	}
	must(s.t, err)
}

func (s *scene) open() (*Rules, error) {
	return Open(s.state, "pods", s.config, func() ([]firewall.Pod, error) { return s.pods, nil })
}

func (s *scene) mustOpen() *Rules {
	s.t.Helper()
	r, err := s.open()
	must(s.t, err)
	return r
}

// apply does what the firewall does with stale rules.
func (s *scene) apply(r *Rules, counted ...firewall.Count) *firewall.Policies {
	s.t.Helper()
	p, err := r.Judging().Load()
	must(s.t, err)
	must(s.t, p.InForce(counted))
	return p
}

func (s *scene) wantStale(r *Rules, want bool) {
	s.t.Helper()
	if got := r.Judging().Stale(); got != want {
		s.t.Errorf("stale: %t, want %t", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func allows(p *nsg.Policy, port uint16) bool {
	f := nsg.Flow{Direction: nsg.Inbound, Protocol: nsg.TCP, LocalPort: port,
		Local: netip.MustParseAddr("10.241.4.4"), Remote: netip.MustParseAddr("192.0.2.1")}
	return p.First(f).Access == nsg.Allow
}

func TestDocumentsComeInForceOnce(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "Web"
	s.write("80", false)
	r := s.mustOpen()
	s.wantStale(r, true)
	if p := s.apply(r); !allows(p.Subnet, 80) || allows(p.Subnet, 81) {
		t.Error("the subnet's group is not that of the document")
	}
	r = s.mustOpen()
	if r.read != nil {
		t.Error("documents that did not change were read again")
	}
	s.wantStale(r, false)
	s.touch()
	s.wantStale(r, true)
	s.apply(s.mustOpen())

	s.write("81", false)
	s.wantStale(r, true)
	early, late := s.mustOpen(), s.mustOpen()
	s.apply(early)
	s.wantStale(late, false) // another process was quicker
	s.write("82", false)
	if p := s.apply(late); !allows(p.Subnet, 82) {
		t.Error("documents that changed after Open are not those in force")
	}
	s.wantStale(s.mustOpen(), false)
	s.config.SameNodeFree = true
	s.wantStale(s.mustOpen(), true)
}

func TestBrokenDocuments(t *testing.T) {
	broken := map[string]func(s *scene){
		"not JSON":     func(s *scene) { s.raw("{") },
		"gone":         func(s *scene) { must(s.t, os.Remove(s.file)) },
		"invalid rule": func(s *scene) { s.write("90-80", false) },
		"the subnet's is out": func(s *scene) {
			s.raw(`[{"name": "api", "securityRules": [], "type": "Microsoft.Network/networkSecurityGroups"}]`)
		},
		"a pod's is out": func(s *scene) {
			s.raw(`[{"name": "web", "id": "/subscriptions/S/resourceGroups/r/providers/Microsoft.Network/networkSecurityGroups/web", "securityRules": []}]`)
		},
		"unknown tag": func(s *scene) {
			text, err := os.ReadFile(s.file)
			must(s.t, err)
			s.raw(strings.Replace(string(text), `"sourceAddressPrefix": "*"`, `"sourceAddressPrefix": "Storage"`, 1))
		},
	}
	for name, damage := range broken {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.config.Subnet = "web"
			s.pods = []firewall.Pod{{Group: api}}
			s.write("80", false)
			damage(s)
			if _, err := s.open(); err == nil {
				t.Error("without good rules, Open has no error")
			}
			s.write("80", false)
			s.apply(s.mustOpen())
			damage(s)
			for range 2 { // the second time it is known
				r := s.mustOpen()
				s.wantStale(r, false)
				if Rejected(s.state, "pods") == "" {
					t.Error("nobody is told that the documents are rejected")
				}
				if p := s.apply(r); !allows(p.Subnet, 80) || p.Interfaces[api] == nil {
					t.Error("the last good rules are not kept")
				}
			}
			s.write("81", false)
			if p := s.apply(s.mustOpen()); !allows(p.Subnet, 81) || Rejected(s.state, "pods") != "" {
				t.Errorf("after the mending: rejected %q", Rejected(s.state, "pods"))
			}
		})
	}
	t.Logf("%d kinds of broken documents", len(broken))
}

// A link that is switched to other documents and back leaves the file as it was.
func TestRejectedDocumentsAreTakenBack(t *testing.T) {
	s := newScene(t)
	s.write("80", false)
	s.apply(s.mustOpen())
	aside := s.file + ".aside"
	must(t, os.Rename(s.file, aside)) // changes the inode, though not its stamp of change everywhere
	s.mustOpen()
	must(t, os.Rename(aside, s.file))
	s.apply(s.mustOpen())
	must(t, os.Symlink(s.file, s.file+".link"))
	s.config.Documents = []string{s.file + ".link"}
	s.apply(s.mustOpen())
	must(t, os.Remove(s.file+".link"))
	s.mustOpen()
	if Rejected(s.state, "pods") == "" {
		t.Error("a link that is gone is no fault")
	}
	must(t, os.Symlink(s.file, s.file+".link"))
	s.mustOpen()
	if why := Rejected(s.state, "pods"); why != "" {
		t.Errorf("still rejected: %s", why)
	}
}

func TestGroupsOfPods(t *testing.T) {
	s := newScene(t)
	s.write("80", false)
	for range 2 { // documents in hand, then in force
		r := s.mustOpen()
		for asked, want := range map[string]string{"WEB": web, web: web, "api": api, "wep": "", "/subscriptions/other": ""} {
			if got, err := r.Group(asked); got != want || (err == nil) != (want != "") {
				t.Errorf("Group(%q) = %q, %v; want %q", asked, got, err, want)
			}
		}
		s.pods = []firewall.Pod{{Group: api}, {Group: api}, {}}
		if p := s.apply(r); p.Interfaces[api] == nil || len(p.Interfaces) != 1 || p.Subnet != nil {
			t.Errorf("policies %+v", p)
		}
		if now, _ := readIndex(s.state, "pods"); !slices.Equal(now.Used, []string{api}) {
			t.Errorf("groups in force: %q", now.Used)
		}
	}
	s.write("90-80", false)
	s.pods = nil
	if _, err := s.mustOpen().Group("web"); err == nil || !strings.Contains(err.Error(), "90-80") {
		t.Errorf("a pod that asks for a broken group: %v", err)
	}
}

func TestCountersAndFlush(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "web"
	s.pods = []firewall.Pod{{Group: web}}
	one := firewall.Count{Group: "g", Direction: nsg.Inbound, Rule: "r", Packets: 1, Bytes: 60}
	other := firewall.Count{Group: "g", Direction: nsg.Outbound, Rule: "r", Packets: 5, Bytes: 500}
	steps := []struct {
		port  string
		flush bool
		want  int // groups to flush
	}{{"80", false, 0}, {"80", true, 0}, {"81", true, 2}, {"81", true, 0}, {"82", false, 0}}
	for i, step := range steps {
		s.write(step.port, step.flush)
		if p := s.apply(s.mustOpen(), one, other); len(p.Flush) != step.want {
			t.Errorf("step %d flushes %q, want %d groups", i, p.Flush, step.want)
		}
	}
	v, err := InForce(s.state, "pods")
	must(t, err)
	one.Packets, one.Bytes = 5, 300
	if got := v.Counted(); len(got) != 2 || got[0] != one || got[1].Packets != 25 {
		t.Errorf("counted %+v", got)
	}
	must(t, Forget(s.state, "pods"))
	if networks, err := Networks(s.state); err != nil || len(networks) != 0 || Exists(s.state, "pods") {
		t.Errorf("after Forget: %q, %v", networks, err)
	}
	t.Logf("%d steps", len(steps))
}

// A new version that makes other rules of the same documents puts its own in force.
func TestUpgradeComesInForce(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "web"
	s.write("80", false)
	one := firewall.Count{Group: "g", Direction: nsg.Inbound, Rule: "r", Packets: 1, Bytes: 60}
	s.apply(s.mustOpen(), one)
	now, read, err := readState(s.state, "pods")
	must(t, err)
	now.Making = making - 1
	must(t, writeState(s.state, "pods", now, read))
	r := s.mustOpen()
	s.wantStale(r, true)
	if p := s.apply(r); !allows(p.Subnet, 80) {
		t.Error("the rules are not those of the documents")
	}
	s.wantStale(s.mustOpen(), false)
	v, err := InForce(s.state, "pods")
	must(t, err)
	if got := v.Counted(); len(got) != 1 || got[0] != one {
		t.Errorf("counted %+v", got)
	}

	now.Making = making - 1
	must(t, writeState(s.state, "pods", now, read))
	s.raw("{") // what is in force stays until there is something better
	s.wantStale(s.mustOpen(), false)
	t.Log("2 upgrades")
}

// TestUpgradeTakesWhatWasRejected: what an older version did not take may be right to this one.
func TestUpgradeTakesWhatWasRejected(t *testing.T) {
	s := newScene(t)
	s.config.Subnet = "web"
	s.write("80", false)
	s.apply(s.mustOpen())
	s.write("81", false)
	r := s.mustOpen()
	seen, err := stamps(s.config.Documents)
	must(t, err)
	r.reject(rejection{Config: s.config, Making: making - 1, Stamps: seen, Reason: "it was not understood"})
	if p := s.apply(s.mustOpen()); !allows(p.Subnet, 81) {
		t.Error("the documents are still rejected")
	}
	if why := Rejected(s.state, "pods"); why != "" {
		t.Errorf("rejected: %s", why)
	}
	t.Log("1 upgrade")
}

func TestDamagedStateIsReadAnew(t *testing.T) {
	s := newScene(t)
	s.write("80", false)
	s.apply(s.mustOpen())
	whole, err := os.ReadFile(statePath(s.state, "pods"))
	must(t, err)
	cut := 0
	for size := 0; size < len(whole)-1; size += 7 {
		must(t, os.WriteFile(statePath(s.state, "pods"), whole[:size], 0o600))
		r, err := s.open()
		must(t, err)
		if _, err := r.Group("web"); err != nil {
			t.Errorf("cut to %d bytes: %v", size, err)
		}
		s.apply(r)
		cut++
	}
	t.Logf("cut at %d places", cut)
}
