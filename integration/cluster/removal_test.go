package cluster

import (
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// removal: the manifests for it take everything off every node, that of running pods
// as well, and what was there before is there still.
func removal(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("removal")
	c.Documents(t, id, only(id, "Tcp", "8080"))
	f := newFixture(t, c, "removal")
	guarded := withGroup("guarded", f.nodeB, id)
	f.Run(t, guarded)
	lines, gone := 0, 0
	nodes := c.Nodes(t)
	for _, node := range nodes {
		with, err := c.Snapshot(node.Name)
		if err != nil {
			t.Fatal(err)
		}
		if len(testcluster.Differences(c.Before(node.Name), with)) < 20 {
			t.Errorf("the snapshots of node %s do not show that there is a network", node.Name)
		}
		gone += len(with)
	}
	c.Remove(t)
	for _, node := range nodes {
		after, err := c.Snapshot(node.Name)
		if err != nil {
			t.Fatal(err)
		}
		lines += len(after)
		if d := testcluster.Differences(c.Before(node.Name), after); len(d) > 0 {
			t.Errorf("node %s is not as it was before the installation:\n%s", node.Name, strings.Join(d, "\n"))
		}
	}
	c.Must(t, "-n", f.Name, "delete", "pods", "--all", "--force", "--grace-period=0") // no network can end them any more
	t.Logf("%d nodes: of %d lines of state, as before the installation %d are left", len(nodes), gone, lines)
}
