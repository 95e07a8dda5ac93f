package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// guard is a pod that denies connections, and who tries them all the time.
type guard struct {
	*fixture
	id      string // of the group and its ConfigMap
	server  *testcluster.Pod
	watches []*testcluster.Watch
}

// newGuard begins to watch the door of a pod on node B, from node A and, if that one is
// to stay, from node B. The pod answers over UDP, which shows that it is there.
func newGuard(t *testing.T, c *testcluster.Cluster, prefix string, stays bool) *guard {
	t.Helper()
	g := &guard{id: testcluster.Unique(prefix)}
	c.Documents(t, g.id, only(g.id, "Udp", "8081"))
	g.fixture = newFixture(t, c, prefix)
	g.server = withGroup("guarded", g.nodeB, g.id)
	g.server.Probe = testcluster.Object{"exec": testcluster.Object{"command": []string{"true"}}}
	g.Run(t, g.server)
	testcluster.Expect(t, g.door()...)
	g.watches = append(g.watches, testcluster.WatchDenied(t, g.a1, g.server))
	if stays {
		g.watches = append(g.watches, testcluster.WatchDenied(t, g.b1, g.server))
	}
	return g
}

// door is what becomes of flows to the guarded pod.
func (g *guard) door() []testcluster.Flow {
	var flows []testcluster.Flow
	for _, from := range []*testcluster.Pod{g.a1, g.b1} {
		flows = append(flows, judged(from, g.server, g.families, testcluster.UDP)...)
	}
	return append(flows, to(g.hostB, g.server, g.families, testcluster.Answered)...)
}

// works looks at everything after a fault: pods reach each other, the door is shut, no
// address is there twice, and nothing is left behind. It returns the number of pods.
func (g *guard) works(t *testing.T) int {
	t.Helper()
	flows := g.door()
	for _, from := range g.all() {
		for _, pod := range g.all() {
			if from != pod {
				flows = append(flows, to(from, pod, g.families, testcluster.Answered)...)
			}
		}
	}
	testcluster.Expect(t, flows...)
	return g.Consistent(t)
}

// end ends the watches and returns how many connections were denied.
func (g *guard) end(t *testing.T) int {
	t.Helper()
	tries := 0
	for _, w := range g.watches {
		tries += w.End(t)
	}
	return tries
}

// churn starts pods on both nodes, and ends those of the round before.
func (g *guard) churn(t *testing.T, round int) []*testcluster.Pod {
	t.Helper()
	var pods []*testcluster.Pod
	for i := range 4 {
		pods = append(pods, &testcluster.Pod{
			Name: fmt.Sprintf("churn-%d-%d", round, i), Node: []testcluster.Node{g.nodeA, g.nodeB}[i%2].Name,
			Labels: map[string]string{"round": fmt.Sprint(round)},
		})
	}
	g.Begin(t, pods...)
	g.Must(t, "-n", g.Name, "delete", "pods", "-l", fmt.Sprintf("round=%d", round-1), "--wait=false")
	return pods
}

// agentKilled: an agent may die at any moment, and pods come and go meanwhile.
func agentKilled(t *testing.T, c *testcluster.Cluster, rounds int) {
	g := newGuard(t, c, "killed", true)
	for round := 1; round <= rounds; round++ {
		pods := g.churn(t, round)
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		node := []testcluster.Node{g.nodeA, g.nodeB}[rand.IntN(2)]
		if err := c.Kill(node.Name); err != nil {
			t.Fatal(err)
		}
		g.AwaitPods(t, pods...)
		if round%3 == 0 { // the kubelet waits longer and longer; a new pod begins anew
			c.Must(t, "-n", testcluster.SystemNamespace, "delete", "pods", "-l", "app.kubernetes.io/name=vnet-agent", "--wait=false")
		}
	}
	g.Must(t, "-n", g.Name, "delete", "pods", "-l", "round")
	c.Must(t, "-n", testcluster.SystemNamespace, "delete", "pods", "-l", "app.kubernetes.io/name=vnet-agent")
	c.AwaitAgents(t)
	pods := g.works(t)
	t.Logf("%d times killed while pods came and went; %d pods are left, nothing of others; %d connections stayed denied", rounds, pods, g.end(t))
}
