package attachment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Ports of the test's groups: all allow the first, none the second, and web and api
// one each.
const openPort, closedPort, webPort, apiPort = 83, 82, 80, 81

// site is a node with a network that has security groups, and one pod of it.
type site struct {
	t      *testing.T
	node   *Node
	state  string
	config policy.Config
	want   firewall.Network
	key    ipam.Key
	addr   netip.Addr
}

const siteNetwork = "pods"

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, node: inNode(t), state: filepath.Join(t.TempDir(), "state"), addr: netip.MustParseAddr("10.241.4.7")}
	document := filepath.Join(t.TempDir(), "groups.json")
	s.config = policy.Config{Documents: []string{document}, Subnet: "subnet", Pools: []netip.Prefix{netip.MustParsePrefix("10.241.0.0/16")}}
	must(t, os.WriteFile(document, []byte("["+groupDocument("subnet", "Deny", closedPort)+","+
		groupDocument("web", "Allow", openPort, webPort)+","+groupDocument("api", "Allow", openPort, apiPort)+"]"), 0o600))
	s.want = Record{}.Rules(siteNetwork, s.state, []netip.Addr{s.addr})
	s.enforce()
	s.attach("c1")
	return s
}

// groupDocument is a group whose rule for the ports is the exception.
func groupDocument(name, access string, ports ...int) string {
	var list []string
	for _, p := range ports {
		list = append(list, strconv.Quote(strconv.Itoa(p)))
	}
	rule := func(name string, priority int, access, ports string) string {
		return fmt.Sprintf(`{"name": %q, "priority": %d, "direction": "Inbound", "access": %q, "protocol": "*", "sourceAddressPrefix": "*",
			"sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRanges": [%s]}`, name, priority, access, ports)
	}
	rest := map[string]string{"Allow": "Deny", "Deny": "Allow"}[access]
	return fmt.Sprintf(`{"name": %q, "type": "Microsoft.Network/networkSecurityGroups", "securityRules": [%s, %s]}`,
		name, rule("ports", 100, access, strings.Join(list, ",")), rule("rest", 4000, rest, `"0-65535"`))
}

func (s *site) enforce() Enforced {
	s.t.Helper()
	done, err := s.node.Enforce(s.want, s.config, false, nil)
	must(s.t, err)
	return done
}

// attach makes a pod as ADD does, in group web.
func (s *site) attach(id string) {
	s.t.Helper()
	s.key = ipam.Key{ContainerID: id, IfName: "eth0"}
	r := attach(s.t, s.node, siteNetwork, id, false, []netip.Addr{s.addr})
	r.Judged, r.Group, r.ASGs = true, "web", []string{"x"}
	record, err := r.Encode()
	must(s.t, err)
	must(s.t, Store(s.state, siteNetwork).Record(ipam.Lease{Key: s.key, Addresses: []netip.Prefix{netip.PrefixFrom(s.addr, 16)}, Attachment: record}))
	rules, err := policy.Reopen(s.state, siteNetwork, Pods(s.state, siteNetwork))
	must(s.t, err)
	n := s.want
	n.Judging = rules.Judging(r.FilterPod())
	must(s.t, s.node.Firewall.Ensure(n))
	must(s.t, s.node.Firewall.AddPod(n, r.FilterPod(s.addr)))
	must(s.t, s.node.Firewall.Ensure(n))
}

// sets names those with the pod's address.
func (s *site) sets() string {
	s.t.Helper()
	var names []string
	for line := range strings.Lines(testhost.Sh(s.t, "ipset save")) {
		if f := strings.Fields(line); f[0] == "add" && f[2] == s.addr.String() {
			names = append(names, f[1])
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (s *site) record() (Record, bool) {
	s.t.Helper()
	l, found, err := Store(s.state, siteNetwork).Get(s.key)
	must(s.t, err)
	r, _, err := Of(l)
	must(s.t, err)
	return r, found
}

func (s *site) choose(group string, asgs ...string) bool {
	s.t.Helper()
	changed, err := s.node.Choose(s.state, siteNetwork, s.key, group, asgs)
	must(s.t, err)
	return changed
}

// wantChoice wants the pod in the sets of its choice, and in no others.
func (s *site) wantChoice(group, sets string) {
	s.t.Helper()
	if r, found := s.record(); !found || r.Group != group || r.Lost {
		s.t.Errorf("the record: %t, group %q, lost: %t; want group %q", found, r.Group, r.Lost, group)
	}
	if got := s.sets(); got != sets {
		s.t.Errorf("with group %q the pod is in %s, want %s", group, got, sets)
	}
	if problems, err := s.node.Firewall.Problems(s.want); err != nil || len(problems) > 0 {
		s.t.Errorf("problems %q, %v", problems, err)
	}
}

func (s *site) remove() {
	s.t.Helper()
	r, _ := s.record()
	must(s.t, s.removeBy(s.node, r))
}

func (s *site) removeBy(n *Node, r Record) error {
	return n.Remove(s.state, siteNetwork, s.key, r, []netip.Addr{s.addr}, func() error {
		_, _, err := Store(s.state, siteNetwork).Release(s.key)
		return err
	})
}

// choices are what the tests choose from web with x; "" leads to no group.
var choices = []struct {
	group string
	asgs  []string
}{{"api", []string{"Y", "x"}}, {"", nil}, {"WEB", []string{"y"}}, {"web", []string{"x"}}}

func TestChoose(t *testing.T) {
	s := newSite(t)
	first := s.sets()
	for _, c := range choices {
		before := s.sets()
		if !s.choose(c.group, c.asgs...) || s.sets() == before {
			t.Errorf("%q with %q: nothing changed", c.group, c.asgs)
		}
		s.wantChoice(strings.ToLower(c.group), s.sets())
		if s.choose(c.group, c.asgs...) {
			t.Errorf("%q with %q again: changed", c.group, c.asgs)
		}
	}
	s.wantChoice("web", first)
	if changed, err := s.node.Choose(s.state, siteNetwork, s.key, "nobody's", nil); err == nil || changed || !strings.Contains(err.Error(), "nobody's") {
		t.Errorf("an unknown group: %t, %v", changed, err)
	}
	s.wantChoice("web", first)
	s.remove()
	if s.choose("api") || s.sets() != "" {
		t.Errorf("without a lease: changed, or in %s", s.sets())
	}
	t.Logf("%d choices", len(choices))
}

var errKilled = errors.New("killed")

// dies runs do and reports whether it was killed at its step; what a process leaves
// behind is what the deferred calls leave, which let go of locks.
func (s *site) dies(step int, do func()) (died bool) {
	s.t.Helper()
	count := 0
	s.node.step = func(string) {
		if count++; count == step {
			panic(errKilled)
		}
	}
	defer func() {
		s.node.step = nil
		if p := recover(); p != nil {
			if p != errKilled {
				panic(p)
			}
			died = true
		}
	}()
	do()
	return false
}

// Killed before any of its steps, a choice is made whole by the next one, the same or
// another, and taken down by DEL.
func TestChooseKilledAtAnyStep(t *testing.T) {
	s := newSite(t)
	want := map[string]string{"web": s.sets()}
	s.choose("api", "y")
	want["api"] = s.sets()
	kills := 0
	for _, target := range []string{"api", "web", "gone"} {
		for step := 1; ; step++ {
			s.choose("web", "x")
			if !s.dies(step, func() { s.choose("api", "y") }) {
				break
			}
			if kills++; step > 1 && kills%2 == 0 { // on its way from one group to the other
				testhost.Sh(t, "for s in $(ipset list -n | grep -E '^vnet-(nsg|asg)-.*-4$'); do ipset -exist add $s "+s.addr.String()+"; done")
			}
			switch target {
			case "api":
				s.choose("api", "y")
			case "web":
				s.choose("web", "x")
			default:
				s.remove()
				if got := s.sets(); got != "" {
					t.Errorf("killed at step %d, then DEL: in %s", step, got)
				}
				s.attach("c" + strconv.Itoa(kills))
				continue
			}
			s.wantChoice(target, want[target])
		}
	}
	if kills < 15 {
		t.Errorf("only %d kills", kills)
	}
	t.Logf("%d kills", kills)
}

// A DEL that read the record before comes at any step of a choice: nothing of the pod
// is left, and its lease does not come back.
func TestChooseDuringDEL(t *testing.T) {
	s := newSite(t)
	other, err := OpenNode()
	must(t, err)
	t.Cleanup(other.Close)
	steps := 0
	for step := 1; ; step++ {
		old, _ := s.record()
		count, released, unlocked := 0, make(chan error, 1), false
		s.node.step = func(name string) {
			if count++; count != step {
				return
			}
			del := func() { released <- s.removeBy(other, old) }
			if unlocked = slices.Contains([]string{"wait for others", "install the rules"}, name); unlocked {
				del()
			} else {
				go del()
			}
		}
		changed, err := s.node.Choose(s.state, siteNetwork, s.key, "api", []string{"y"})
		must(t, err)
		if count < step {
			break
		}
		steps++
		must(t, <-released)
		if unlocked && changed {
			t.Errorf("DEL at step %d, before the end: changed", step)
		}
		if _, found := s.record(); found || s.sets() != "" {
			t.Errorf("DEL at step %d: the lease is there: %t, in sets %q", step, found, s.sets())
		}
		s.node.step = nil
		s.attach("d" + strconv.Itoa(step))
	}
	if steps < 5 {
		t.Errorf("only %d steps", steps)
	}
	t.Logf("a DEL came at %d steps", steps)
}

// While an ADD is under way, before it has made the link, nothing is chosen.
func TestChooseDuringADD(t *testing.T) {
	s := newSite(t)
	before := s.sets()
	r, _ := s.record()
	must(t, s.node.Host.DeleteVeth(r.HostVeth))
	if changed, err := s.node.Choose(s.state, siteNetwork, s.key, "api", nil); err == nil || changed {
		t.Errorf("without a link: %t, %v", changed, err)
	}
	s.wantChoice("web", before)
}

// Flows begin all the time while groups are chosen and somebody installs all rules
// again and again: what every group allows always passes, and what none does never.
func TestChooseUnderTraffic(t *testing.T) {
	s := newSite(t)
	p := s.prober()
	other, err := OpenNode()
	must(t, err)
	t.Cleanup(other.Close)
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	var over atomic.Bool
	installed := make(chan int)
	go inside(t, here, func() {
		n := 0
		for ; !over.Load(); n++ {
			if _, err := other.Enforce(s.want, s.config, true, nil); err != nil {
				t.Errorf("install: %v", err)
				break
			}
		}
		installed <- n
	})
	probed := make(chan int)
	go inside(t, p.client, func() {
		n := 0
		for ; !over.Load() && !t.Failed(); n++ {
			p.probe(t, n)
		}
		probed <- n
	})
	r := rand.New(rand.NewPCG(1, 2))
	const rounds = 12
	for range rounds {
		c := choices[r.IntN(len(choices))]
		s.choose(c.group, c.asgs...)
	}
	over.Store(true)
	t.Logf("%d choices among %d installations and %d probes", rounds, <-installed, <-probed)
	p.wantNothing(t)
}
