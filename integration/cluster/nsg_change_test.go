package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

func TestClusterNSGChange(t *testing.T) { changesUnderTraffic(t, testcluster.Existing(t), 50, 6) }
func TestClusterNSGBroken(t *testing.T) { brokenDocuments(t, testcluster.Existing(t)) }

// TestHarnessDocuments changes documents while packets come.
func TestHarnessDocuments(t *testing.T) {
	c := begin(t, testcluster.Settings{Layout: "routed", Proxy: "nftables", Containerd: "2", Family: "dual"}, testcluster.Overlay)
	t.Run("Change", func(t *testing.T) { changesUnderTraffic(t, c, 50, 6) })
	t.Run("Broken", func(t *testing.T) { brokenDocuments(t, c) })
}

// changesUnderTraffic: a group's rules change again and again while many pods have it.
// Each change is in force for all of them within seconds, and what every version denies
// does not pass for a moment.
func changesUnderTraffic(t *testing.T, c *testcluster.Cluster, count, changes int) {
	id := testcluster.Unique("storm")
	version := func(i int) testcluster.NSG {
		g := testcluster.NSG{Name: id, Rules: []testcluster.Rule{{Name: "deny-http", Priority: 100 + i%7, Protocol: "Tcp", Port: "8080"}}}
		g.Rules = append(g.Rules, testcluster.Rule{Name: "now-and-then", Priority: 200, Allow: i%2 == 0, Protocol: "Udp", Port: "8081"})
		for k := range 20 * (i % 3) { // more rules, other programs
			g.Rules = append(g.Rules, testcluster.Rule{Name: fmt.Sprint("filler-", k), Priority: 300 + k, Protocol: "Tcp", Port: fmt.Sprint(9000 + 7*k)})
		}
		return g
	}
	c.Documents(t, id, version(0))
	f := newFixture(t, c, "storm")
	exec := testcluster.Object{"exec": testcluster.Object{"command": []string{"true"}}}
	var pods []*testcluster.Pod
	for i := range count {
		p := withGroup(fmt.Sprintf("server-%d", i), []testcluster.Node{f.nodeA, f.nodeB}[i%2], id)
		p.Probe = exec
		pods = append(pods, p)
	}
	f.Run(t, pods...)
	ask := func(want testcluster.Verdict) []testcluster.Flow {
		var flows []testcluster.Flow
		for i, p := range pods {
			from := []testcluster.Place{f.a1, f.b1}[i/2%2]
			flows = append(flows, testcluster.Flow{From: from, Proto: testcluster.UDP, To: p.Addr(f.families[0]).String(), Port: p.UDP, Want: want, By: []string{p.Name}})
		}
		return flows
	}
	testcluster.Expect(t, ask(testcluster.Answered)...)
	testcluster.Expect(t, to(f.hostA, pods[0], f.families, testcluster.Answered)...) // the servers are there
	watches := []*testcluster.Watch{
		testcluster.WatchDenied(t, f.a1, pods[0], pods[1], pods[2], pods[3]), testcluster.WatchDenied(t, f.b1, pods[4], pods[5], pods[6], pods[7]),
	}
	slowest := time.Duration(0)
	for i := 1; i <= changes; i++ {
		c.Change(t, id, version(i))
		want := testcluster.Silent
		if i%2 == 0 {
			want = testcluster.Answered
		}
		slowest = max(slowest, testcluster.Expect(t, ask(want)...))
	}
	tries := 0
	for _, w := range watches {
		tries += w.End(t)
	}
	t.Logf("%d changes of a group that %d pods have, the slowest seen by all within %.1f s; %d connections that stayed denied meanwhile",
		changes, count, slowest.Seconds(), tries)
}

// brokenDocuments: a document that cannot be used changes nothing of what is in force,
// and the cluster says what is wrong with it until it is mended or gone.
func brokenDocuments(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("broken")
	bad := id + "-bad"
	c.Documents(t, id, only(id, "Tcp", "8080"))
	c.Documents(t, bad, testcluster.NSG{Name: bad, Rules: []testcluster.Rule{{Name: "fine", Priority: 100}}})
	f := newFixture(t, c, "broken")
	server := withGroup("server", f.nodeB, id)
	f.Run(t, server)
	var flows []testcluster.Flow
	for _, from := range []testcluster.Place{f.a1, f.b1} {
		flows = append(flows, judged(from, server, f.families, testcluster.TCP)...)
	}
	flows = append(flows, to(f.hostB, server, f.families, testcluster.Answered)...)
	testcluster.Expect(t, flows...)
	broken := []struct{ what, rule, property, file string }{
		{"a prefix that is none", "oops", "sourceAddressPrefix", testcluster.NSG{Name: bad, Rules: []testcluster.Rule{{Name: "oops", Priority: 100, From: "10.0.0.0/33"}}}.JSON()},
		{"a protocol that is none", "odd", "protocol", testcluster.NSG{Name: bad, Rules: []testcluster.Rule{{Name: "odd", Priority: 100, Protocol: "Carrier Pigeon"}}}.JSON()},
		{"not JSON", "", "", `{"name": "` + bad + `", "properties": {`},
	}
	for _, k := range broken {
		c.ChangeFiles(t, bad, map[string]string{bad + ".json": k.file})
		testcluster.Await(t, 30*time.Second, "the findings about "+k.what, func() error { return findingsName(c, bad, k.rule, k.property) })
		testcluster.Expect(t, flows...)
		for _, node := range c.Nodes(t) {
			if !node.Ready {
				t.Errorf("%s: node %s is not Ready", k.what, node.Name)
			}
		}
		late := withGroup(testcluster.Unique("late"), f.nodeA, id) // pods go on to start
		f.Run(t, late)
		testcluster.Expect(t, judged(f.b1, late, f.families, testcluster.TCP)...)
	}
	c.Must(t, "-n", testcluster.SystemNamespace, "annotate", "configmap", id, "touched=yes") // and good ones are free of findings
	c.Change(t, bad, testcluster.NSG{Name: bad, Rules: []testcluster.Rule{{Name: "mended", Priority: 100}}})
	testcluster.Await(t, 30*time.Second, "the findings to go", func() error {
		if text := findings(c, bad); text != "" {
			return errors.New("there are still findings: " + text)
		}
		return nil
	})
	if text := findings(c, id); text != "" {
		t.Errorf("a good document has findings: %s", text)
	}
	testcluster.Expect(t, flows...)
	t.Logf("%d broken documents, %s with each", len(broken), tally(flows))
}

func findings(c *testcluster.Cluster, configMap string) string {
	out, err := c.Kubectl("-n", testcluster.SystemNamespace, "get", "configmap", configMap,
		"-o", `jsonpath={.metadata.annotations.vnet-cni\.io/findings}`)
	if err != nil {
		return err.Error()
	}
	return out
}

// findingsName tells whether annotation and Event name the rule and the property.
func findingsName(c *testcluster.Cluster, configMap, rule, property string) error {
	text := findings(c, configMap)
	if text == "" || !strings.Contains(text, rule) || !strings.Contains(text, property) {
		return fmt.Errorf("the annotation is %q", text)
	}
	out, err := c.Kubectl("-n", testcluster.SystemNamespace, "get", "events", "-o", `jsonpath={range .items[*]}{.involvedObject.name}{"\t"}{.message}{"\n"}{end}`)
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, configMap+"\t") && strings.Contains(line, rule) && strings.Contains(line, property) {
			return nil
		}
	}
	return fmt.Errorf("no Event about ConfigMap %s names rule %q and property %q", configMap, rule, property)
}
