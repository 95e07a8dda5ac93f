package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

func TestClusterMetrics(t *testing.T) {
	t.Parallel()
	metricsTell(t, testcluster.Existing(t))
}

// metricsTell: each node's agent counts what happened.
func metricsTell(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("metrics")
	c.Documents(t, id, only(id, "Tcp", "8080"))
	f := newFixture(t, c, "metrics")
	server := withGroup("server", f.nodeB, id)
	f.Run(t, server)
	testcluster.Expect(t, judged(f.a1, server, f.families, testcluster.TCP)...)
	cases := []struct {
		name   string
		labels []string
		least  float64
	}{
		{"vnet_pool_addresses", []string{`state="used"`}, 1},
		{"vnet_pool_addresses", []string{`state="free"`}, 1},
		{"vnet_plugin_duration_seconds_count", []string{`verb="ADD"`}, 1},
		{"vnet_plugin_duration_seconds_sum", []string{`verb="ADD"`}, 0.0001},
		{"vnet_rule_packets_total", []string{id, `/allow-one"`}, 1},
		{"vnet_rule_packets_total", []string{id, `/deny-the-rest"`}, 1},
		{"vnet_agent_passes_total", []string{`result="ok"`}, 1},
	}
	for _, k := range cases {
		testcluster.Await(t, 20*time.Second, fmt.Sprintf("metric %s %v", k.name, k.labels), func() error {
			v, found, err := c.Metric(f.nodeB, k.name, k.labels...)
			if err == nil && (!found || v < k.least) {
				err = fmt.Errorf("it is %v (there: %v), not %v or more", v, found, k.least)
			}
			return err
		})
	}
	for _, node := range c.Nodes(t) {
		for _, path := range []string{"/healthz", "/readyz"} {
			if out, err := c.Ask(node, path); err != nil {
				t.Errorf("%s of node %s: %v %s", path, node.Name, err, out)
			}
		}
	}
	t.Logf("%d metrics", len(cases))
}
