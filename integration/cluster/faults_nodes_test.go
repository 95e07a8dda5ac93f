package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// TestHarnessFaults breaks everything that a cluster consists of.
func TestHarnessFaults(t *testing.T) {
	c := begin(t, testcluster.Settings{Layout: "routed", Proxy: "iptables", Containerd: "2", Family: "dual"}, testcluster.Overlay)
	t.Run("AgentKilled", func(t *testing.T) { agentKilled(t, c, 20) })
	t.Run("APIAway", func(t *testing.T) { apiAway(t, c, time.Minute) })
	t.Run("ContainerdRestarted", func(t *testing.T) { containerdRestarted(t, c, 6) })
	t.Run("Reboot", func(t *testing.T) { reboot(t, c) })
	t.Run("NodesChange", func(t *testing.T) { nodesChange(t, c) })
}

// TestHarnessFaultsVNet does the same to pods in the nodes' own network.
func TestHarnessFaultsVNet(t *testing.T) {
	c := begin(t, testcluster.Settings{Proxy: "iptables", Containerd: "1", Family: "dual"}, testcluster.VNet)
	t.Run("AgentKilled", func(t *testing.T) { agentKilled(t, c, 5) })
	t.Run("APIAway", func(t *testing.T) { apiAway(t, c, 20*time.Second) })
	t.Run("Reboot", func(t *testing.T) { reboot(t, c) })
	t.Run("NodesChange", func(t *testing.T) { nodesChange(t, c) })
}

// apiAway: without the API server nothing changes for pods that run, those that die
// are started again by the kubelet with the same groups, and static pods go on.
func apiAway(t *testing.T, c *testcluster.Cluster, howLong time.Duration) {
	g := newGuard(t, c, "api", true)
	static := staticPod(t, g)
	t.Cleanup(func() { // whatever fails: in the tests to come nobody would know the pod
		if _, err := c.NodeExec(g.nodeB.Name, "rm", static); err != nil {
			t.Error(err)
		}
	})
	mortal := withGroup("mortal", g.nodeB, g.id)
	mortal.Probe = g.server.Probe
	g.Run(t, mortal)
	from := map[*testcluster.Pod]testcluster.Place{g.a1: c.Within(g.nodeA.Name, g.a1.Addrs[0]), g.b1: c.Within(g.nodeB.Name, g.b1.Addrs[0])}
	leases := func() []netip.Addr {
		s, err := c.State(g.nodeB.Name)
		if err != nil {
			t.Fatal(err)
		}
		return s.Leases
	}
	had := leases()
	if _, err := c.Script("api", "stop"); err != nil {
		t.Fatal(err)
	}
	defer func() { // whatever fails: the tests to come need it
		if _, err := c.Script("api", "start"); err != nil {
			t.Error(err)
		}
	}()
	began, rounds := time.Now(), 0
	for time.Since(began) < howLong {
		rounds++
		killSandboxes(t, g, "mortal", "static-"+g.nodeB.Name)
		if rounds == 2 {
			if err := c.Kill(g.nodeB.Name); err != nil {
				t.Error(err)
			}
		}
		var fresh []netip.Addr // of the pods that were started again
		testcluster.Await(t, 2*time.Minute, "the kubelet to start the pods again without the API server", func() error {
			fresh = slices.DeleteFunc(leases(), func(a netip.Addr) bool { return slices.Contains(had, a) })
			if len(fresh) != 2*len(g.families) {
				return fmt.Errorf("there are the new addresses %v, not of %d pods", fresh, 2)
			}
			return nil
		})
		had = leases()
		var flows []testcluster.Flow
		for _, flow := range g.door() {
			if p, ok := flow.From.(*testcluster.Pod); ok && from[p] != nil {
				flow.From = from[p]
				flows = append(flows, flow)
			}
		}
		testcluster.Expect(t, flows...)
		awaitAnswers(t, from, fresh)
	}
	if _, err := c.Script("api", "start"); err != nil {
		t.Fatal(err)
	}
	c.AwaitNodes(t, 2*time.Minute, true, g.nodeA.Name, g.nodeB.Name)
	testcluster.Await(t, 2*time.Minute, "the API server to hear of the pod's last address", func() error {
		g.AwaitPods(t, mortal)
		if had = leases(); !slices.Contains(had, mortal.Addrs[0]) {
			return fmt.Errorf("it knows %v, and the node has leased %v", mortal.Addrs, had)
		}
		return nil
	})
	c.AwaitAgents(t)
	for _, place := range []*testcluster.Pod{g.a1, g.b1} {
		testcluster.Expect(t, judged(place, mortal, g.families, testcluster.UDP)...)
	}
	pods := g.works(t)
	t.Logf("API server away for %.0f s: 2 pods started again %d times; %d pods, nothing of others; %d connections stayed denied",
		time.Since(began).Seconds(), rounds, pods, g.end(t))
}

// awaitAnswers waits until pods that were started again answer over UDP, which those
// with a group do as well. The kubelet waits longer before each start, and minutes at
// last.
func awaitAnswers(t *testing.T, from map[*testcluster.Pod]testcluster.Place, pods []netip.Addr) {
	t.Helper()
	var flows []testcluster.Flow
	for _, a := range pods {
		for _, place := range from {
			flows = append(flows, testcluster.Flow{From: place, Proto: testcluster.UDP, To: a.String(), Port: testcluster.UDPPort, Want: testcluster.Answered})
		}
	}
	testcluster.Await(t, 5*time.Minute, "pods that were started again to answer", func() error {
		if faults := testcluster.Faults(t, flows); len(faults) > 0 {
			return errors.New(strings.Join(faults, "\n"))
		}
		return nil
	})
}

// staticPod has the kubelet of node B run a pod of a file, whose path it returns.
func staticPod(t *testing.T, g *guard) (path string) {
	t.Helper()
	const manifests = "/run/manifests"
	path = manifests + "/static.json"
	pod := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"static","namespace":%q},"spec":{"terminationGracePeriodSeconds":1,
"containers":[{"name":"server","image":%q,"imagePullPolicy":"IfNotPresent","args":["netexec"]}]}}`, g.Name, testcluster.Image)
	out, err := g.NodeExec(g.nodeB.Name, "sh", "-c", fmt.Sprintf(`mkdir -p %[1]s
grep -q staticPodPath /run/kubelet.yaml || echo 'staticPodPath: %[1]s' >>/run/kubelet.yaml
cat >%[2]s <<'EOF'
%[3]s
EOF`, manifests, path, pod))
	if err != nil {
		t.Fatalf("write a static pod: %v %s", err, out)
	}
	if _, err := g.Script("node-kubelet", g.nodeB.Name, "restart"); err != nil {
		t.Fatal(err)
	}
	g.AwaitPods(t, &testcluster.Pod{Name: "static-" + g.nodeB.Name})
	return path
}

// killSandboxes kills what holds the namespaces of pods on node B.
func killSandboxes(t *testing.T, g *guard, pods ...string) {
	t.Helper()
	for _, pod := range pods {
		out, err := g.NodeExec(g.nodeB.Name, "sh", "-c", fmt.Sprintf(
			`for i in $(ctr -n k8s.io containers ls -q 'labels."io.cri-containerd.kind"==sandbox,labels."io.kubernetes.pod.name"==%s,labels."io.kubernetes.pod.namespace"==%s'); do
	ctr -n k8s.io tasks kill -s SIGKILL $i 2>/dev/null && echo killed
done; true`, pod, g.Name))
		if err != nil || strings.Count(out, "killed") != 1 {
			t.Fatalf("kill the sandbox of %s: %v %q", pod, err, out)
		}
	}
}

// containerdRestarted: the runtime starts again while pods come and go.
func containerdRestarted(t *testing.T, c *testcluster.Cluster, rounds int) {
	g := newGuard(t, c, "containerd", true)
	for round := 1; round <= rounds; round++ {
		pods := g.churn(t, round)
		node := []testcluster.Node{g.nodeA, g.nodeB}[round%2]
		if _, err := c.Script("node-containerd", node.Name, "restart"); err != nil {
			t.Fatal(err)
		}
		g.AwaitPods(t, pods...)
	}
	g.Must(t, "-n", g.Name, "delete", "pods", "-l", "round")
	pods := g.works(t)
	t.Logf("containerd started again %d times; %d pods are left, nothing of others; %d connections stayed denied", rounds, pods, g.end(t))
}

// reboot: a node that starts again has its pods, its rules and its way to others, and
// nothing of before; what its pods denied is denied from the first moment.
func reboot(t *testing.T, c *testcluster.Cluster) {
	g := newGuard(t, c, "reboot", false)
	if _, err := c.Script("node-restart", g.nodeB.Name); err != nil {
		t.Fatal(err)
	}
	testcluster.Await(t, 2*time.Minute, "the pods of the node to run again", func() error {
		states, err := g.Pods("")
		if err != nil {
			return err
		}
		for _, p := range []*testcluster.Pod{g.b1, g.server} {
			if states[p.Name].Starts == 0 {
				return fmt.Errorf("pod %s was not started again: %s", p.Name, states[p.Name].Reason)
			}
		}
		return nil
	})
	before := slices.Clone(g.server.Addrs)
	g.AwaitPods(t, g.b1, g.server, g.hostB)
	c.AwaitAgents(t)
	after := testcluster.WatchDenied(t, g.a1, g.server)
	pods := g.works(t)
	t.Logf("a reboot: %v became %v; %d pods, nothing of others; %d connections stayed denied", before, g.server.Addrs, pods, g.end(t)+after.End(t))
}

// nodesChange: a node that comes is reached and reaches all; a node that goes leaves
// nothing of itself on the others, and another may have its range.
func nodesChange(t *testing.T, c *testcluster.Cluster) {
	g := newGuard(t, c, "nodes", true)
	for round, name := range []string{"n3", "n4"} {
		if _, err := c.Script("node-add", name); err != nil {
			t.Fatal(err)
		}
		took := c.AwaitNodes(t, time.Minute, true, name)
		c.AwaitAgents(t)
		var node testcluster.Node
		for _, n := range c.Nodes(t) {
			if n.Name == name {
				node = n
			}
		}
		pod := &testcluster.Pod{Name: "on-" + name, Node: name}
		guarded := withGroup("guarded-"+name, node, g.id)
		guarded.Probe = g.server.Probe
		g.Run(t, pod, guarded)
		flows := judged(pod, g.server, g.families, testcluster.UDP)
		for _, other := range g.all() {
			flows = append(flows, to(pod, other, g.families, testcluster.Answered)...)
			flows = append(flows, to(other, pod, g.families, testcluster.Answered)...)
			flows = append(flows, judged(other, guarded, g.families, testcluster.UDP)...)
		}
		testcluster.Expect(t, flows...)
		g.works(t)
		g.Must(t, "-n", g.Name, "delete", "pod", pod.Name, guarded.Name, "--force", "--grace-period=0")
		if _, err := c.Script("node-del", name); err != nil {
			t.Fatal(err)
		}
		gone := testcluster.Await(t, time.Minute, "the others to forget node "+name, func() error { return g.forgot(node) })
		t.Logf("node %s (round %d, pods %v): Ready after %.1f s, %s, forgotten %.1f s after it went", name, round+1, node.PodCIDRs, took.Seconds(), tally(flows), gone.Seconds())
	}
	pods := g.works(t)
	t.Logf("2 nodes came and went; %d pods, nothing of others; %d connections stayed denied", pods, g.end(t))
}

// forgot tells whether no other node has anything of a node: no route to its pods,
// no member, no neighbour.
func (g *guard) forgot(gone testcluster.Node) error {
	for _, node := range []testcluster.Node{g.nodeA, g.nodeB} {
		lines, err := g.Snapshot(node.Name)
		if err != nil {
			return err
		}
		state, err := g.State(node.Name)
		if err != nil {
			return err
		}
		for _, p := range gone.PodCIDRs {
			for _, l := range lines {
				if strings.HasPrefix(l, "route "+p.String()) {
					return fmt.Errorf("node %s has the route %s", node.Name, l)
				}
			}
			if i := slices.IndexFunc(state.Members, p.Contains); i >= 0 {
				return fmt.Errorf("node %s has the member %s", node.Name, state.Members[i])
			}
		}
	}
	return nil
}
