package attachment

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// table writes a route table that drops what is for the prefixes, and names it.
func (s *site) table(prefixes ...string) {
	s.t.Helper()
	var list []string
	for i, p := range prefixes {
		list = append(list, fmt.Sprintf(`{"name": "r%d", "addressPrefix": %q, "nextHopType": "None"}`, i, p))
	}
	file := filepath.Join(filepath.Dir(s.config.Documents[0]), "table.json")
	must(s.t, os.WriteFile(file, []byte(`{"name": "r", "type": "Microsoft.Network/routeTables", "routes": [`+strings.Join(list, ",")+`]}`), 0o600))
	if s.config.RouteTable == nil {
		name := "r"
		s.config.RouteTable, s.config.Sources = &name, []netip.Prefix{netip.MustParsePrefix("10.241.4.0/28")}
		s.config.Documents = append(s.config.Documents, file)
	}
}

// routed is what there is of the network's rules and routes.
func routed(t *testing.T) string {
	t.Helper()
	return testhost.Sh(t, "(ip rule; ip route show table all) | grep 'proto 87' || true")
}

func wantRouted(t *testing.T, when string, parts ...string) {
	t.Helper()
	got := routed(t)
	for _, p := range parts {
		gone := strings.HasPrefix(p, "!")
		if strings.Contains(got, strings.TrimPrefix(p, "!")) == gone {
			t.Errorf("%s: %s in\n%s", when, p, got)
		}
	}
}

// Whoever has older documents puts those in force that are, and the pods that are there
// have what the latest say.
func TestRouteByWhatIsInForce(t *testing.T) {
	s := newSite(t)
	if got := routed(t); got != "" {
		t.Fatalf("without a table: %s", got)
	}
	s.table("192.0.2.0/24")
	s.enforce()
	wantRouted(t, "the first", "from 10.241.4.0/28 lookup main", "blackhole 192.0.2.0/24")
	old := inForceRouting(t, s)
	s.table("198.51.100.0/24", "203.0.113.0/24")
	if done := s.enforce(); !done.Changed {
		t.Errorf("%+v", done)
	}
	latest := routed(t)
	wantRouted(t, "the next", "!192.0.2.0/24", "blackhole 198.51.100.0/24", "blackhole 203.0.113.0/24")
	must(t, s.node.Route(s.state, old, s.addr))
	if got := routed(t); got != latest {
		t.Errorf("after somebody with the first:\n%s\nwant\n%s", got, latest)
	}
	if done := s.enforce(); done.Changed || len(done.Repaired) > 0 {
		t.Errorf("nothing to do: %+v", done)
	}
	testhost.Sh(t, "ip route del blackhole 198.51.100.0/24 table "+fmt.Sprint(routes.Table(siteNetwork)))
	problems, _, err := RoutingProblems(s.state, siteNetwork, s.addr)
	must(t, err)
	if len(problems) != 1 || !strings.Contains(problems[0], "198.51.100.0/24") {
		t.Errorf("problems %q", problems)
	}
	if done := s.enforce(); len(done.Repaired) != 1 || routed(t) != latest {
		t.Errorf("%+v\n%s", done, routed(t))
	}
	other := Record{}.Rules("other", s.state, []netip.Addr{s.addr})
	config := s.config
	config.RouteTable = nil
	_, err = s.node.Enforce(other, config, false, nil) // its pods would be in the same range
	must(t, err)
	for _, names := range [][2]string{{siteNetwork, "other"}, {"other", siteNetwork}} {
		if problems, _, err = RoutingProblems(s.state, names[0]); err != nil || len(problems) != 1 || !strings.Contains(problems[0], "routes of network "+names[1]) {
			t.Errorf("%s with the same range: %q, %v", names, problems, err)
		}
	}
	s.table()
	s.enforce()
	if got := routed(t); got != "" {
		t.Errorf("of an empty table: %s", got)
	}
	if problems, _, err = RoutingProblems(s.state, siteNetwork); err != nil || len(problems) > 0 {
		t.Errorf("nothing to mix: %q, %v", problems, err)
	}
	t.Log("5 tables")
}

func inForceRouting(t *testing.T, s *site) routes.Config {
	t.Helper()
	c, found := policy.Routing(s.state, siteNetwork)
	if !found {
		t.Fatal("nothing is in force")
	}
	return c
}

// A pod outside the ranges has rules of its own, from its ADD to its end; a network's go
// with its rules.
func TestRoutesOfSinglePodsAndTheEnd(t *testing.T) {
	s := newSite(t)
	s.table("192.0.2.0/24")
	s.enforce()
	alone := routed(t)
	outside := netip.MustParseAddr("10.241.77.7")
	key := ipam.Key{ContainerID: "c2", IfName: "eth0"}
	r := attach(t, s.node, siteNetwork, "c2", false, []netip.Addr{outside})
	r.Judged = true
	record, err := r.Encode()
	must(t, err)
	must(t, Store(s.state, siteNetwork).Record(ipam.Lease{Key: key, Addresses: []netip.Prefix{netip.PrefixFrom(outside, 16)}, Attachment: record}))
	must(t, s.node.Route(s.state, inForceRouting(t, s), outside))
	wantRouted(t, "with a pod outside", "from 10.241.77.7 lookup main", "from 10.241.77.7 lookup "+fmt.Sprint(routes.Table(siteNetwork)), "!from 10.241.4.7 ")
	must(t, s.node.Remove(s.state, siteNetwork, key, r, []netip.Addr{outside}, func() error {
		_, _, err := Store(s.state, siteNetwork).Release(key)
		return err
	}))
	if got := routed(t); got != alone {
		t.Errorf("without it:\n%s\nwant\n%s", got, alone)
	}
	s.remove()
	must(t, s.node.Firewall.Remove(s.state, siteNetwork))
	if found, err := s.node.RulesPresent(siteNetwork); err != nil || !found {
		t.Errorf("routes without rules: %t, %v", found, err)
	}
	for range 2 {
		must(t, s.node.RemoveRules(s.state, siteNetwork))
	}
	if found, err := s.node.RulesPresent(siteNetwork); err != nil || found || routed(t) != "" {
		t.Errorf("at the end: %t, %v\n%s", found, err, routed(t))
	}
	must(t, s.node.RestoreRoutes(s.state, siteNetwork)) // for a pod that came meanwhile
	if got := routed(t); got != alone {
		t.Errorf("restored:\n%s\nwant\n%s", got, alone)
	}
	must(t, s.node.EndJudging(s.state, siteNetwork))
	if got := routed(t); got != "" || policy.Exists(s.state, siteNetwork) {
		t.Errorf("without security groups: %s", got)
	}
	t.Log("6 states")
}
