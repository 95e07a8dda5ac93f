package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// TestHarnessMixed has two nodes on one network, between which routes will do, and a
// third one that comes and goes behind a router.
func TestHarnessMixed(t *testing.T) {
	c := begin(t, testcluster.Settings{Layout: "mixed", Proxy: "iptables", Containerd: "1", Family: "dual"}, testcluster.Overlay)
	t.Run("Joins", func(t *testing.T) { farNodeJoins(t, c) })
	t.Run("NodesChange", func(t *testing.T) { nodesChange(t, c) })
	t.Run("NSGServices", func(t *testing.T) { groupsDecideBehindServices(t, c) })
}

// tunnel is the device that leads to nodes behind a router.
const tunnel = "vxvnet"

// way is what a node needs to reach another one's pods.
type way struct {
	from, to testcluster.Node
	dev      string
}

// check tells what is wrong with the node's routes to the other's pods.
func (w way) check(c *testcluster.Cluster) error {
	for _, cidr := range w.to.PodCIDRs {
		family := "-4"
		if cidr.Addr().Is6() {
			family = "-6"
		}
		out, err := c.NodeExec(w.from.Name, "ip", family, "-o", "route", "show", cidr.String())
		if err != nil {
			return err
		}
		if want := w.dev != "" && strings.Count(out, cidr.String()+" ") == 1 && strings.Contains(out, " dev "+w.dev+" "); !want && (w.dev != "" || out != "") {
			return fmt.Errorf("node %s has %q for %s, not one route by %q", w.from.Name, out, cidr, w.dev)
		}
	}
	return nil
}

func awaitWays(t *testing.T, c *testcluster.Cluster, ways ...way) {
	t.Helper()
	for _, w := range ways {
		testcluster.Await(t, time.Minute, fmt.Sprintf("the way from %s to %s", w.from.Name, w.to.Name), func() error { return w.check(c) })
	}
}

// farNodeJoins: the nodes on one network go on by their routes, and reach the one
// behind the router, and it them, through the tunnel, with packets of any size, from
// pods that were there before as well; when it is gone so is the tunnel.
func farNodeJoins(t *testing.T, c *testcluster.Cluster) {
	g := newGuard(t, c, "mixed", true)
	near := []way{{g.nodeA, g.nodeB, "eth0"}, {g.nodeB, g.nodeA, "eth0"}}
	awaitWays(t, c, near...)
	for _, n := range []testcluster.Node{g.nodeA, g.nodeB} {
		if hasTunnel(t, c, n) {
			t.Errorf("node %s has a tunnel to nobody", n.Name)
		}
	}
	if _, err := c.Script("node-add", "n3"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() { // the next test adds it as well
			_, _ = c.Script("node-del", "n3")
		}
	})
	c.AwaitNodes(t, time.Minute, true, "n3")
	c.AwaitAgents(t)
	nodes := c.Nodes(t)
	far := nodes[slices.IndexFunc(nodes, func(n testcluster.Node) bool { return n.Name == "n3" })]
	ways := near
	for _, n := range []testcluster.Node{g.nodeA, g.nodeB} {
		ways = append(ways, way{n, far, tunnel}, way{far, n, tunnel})
	}
	awaitWays(t, c, ways...)
	pod, fresh := &testcluster.Pod{Name: "far", Node: far.Name}, &testcluster.Pod{Name: "fresh", Node: g.nodeA.Name}
	guarded := withGroup("guarded-far", far, g.id)
	guarded.Probe = g.server.Probe
	g.Run(t, pod, fresh, guarded)
	flows := judged(pod, g.server, g.families, testcluster.UDP)
	for _, other := range append(g.all(), fresh) {
		flows = append(flows, to(pod, other, g.families, testcluster.Answered)...)
		flows = append(flows, to(other, pod, g.families, testcluster.Answered)...)
		flows = append(flows, judged(other, guarded, g.families, testcluster.UDP)...)
	}
	testcluster.Expect(t, flows...)
	large := 0
	for _, pair := range [][2]*testcluster.Pod{{g.a1, pod}, {fresh, pod}, {pod, g.a1}, {pod, g.b1}, {g.a1, g.b1}} {
		large += g.upload(t, pair[0], pair[1])
	}
	g.works(t)
	g.Must(t, "-n", g.Name, "delete", "pod", pod.Name, guarded.Name, "--force", "--grace-period=0")
	if _, err := c.Script("node-del", far.Name); err != nil {
		t.Fatal(err)
	}
	for _, n := range []testcluster.Node{g.nodeA, g.nodeB} {
		awaitWays(t, c, way{n, far, ""})
		testcluster.Await(t, time.Minute, "the end of the tunnel of "+n.Name, func() error {
			if hasTunnel(t, c, n) {
				return fmt.Errorf("it is there")
			}
			return nil
		})
	}
	awaitWays(t, c, near...)
	pods := g.works(t)
	t.Logf("%d ways between 3 nodes, %s, %d large transfers; %d pods, nothing of others; %d connections stayed denied", len(ways), tally(flows), large, pods, g.end(t))
}

func hasTunnel(t *testing.T, c *testcluster.Cluster, n testcluster.Node) bool {
	t.Helper()
	out, err := c.NodeExec(n.Name, "ip", "-o", "link", "show")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(out, " "+tunnel+":")
}

// upload sends a pod a file that takes many full packets, in each family, and returns
// how often.
func (g *guard) upload(t *testing.T, from, to *testcluster.Pod) (n int) {
	t.Helper()
	if _, err := to.Shell("mkdir -p /uploads"); err != nil {
		t.Fatal(err)
	}
	for _, v6 := range g.families {
		at := netip.AddrPortFrom(to.Addr(v6), uint16(to.TCP))
		awaitOutput(t, from, "head -c 1000000 /dev/zero >/tmp/large && curl -g -sS -m 10 -F file=@/tmp/large http://"+at.String()+"/upload", `"output"`)
		n++
	}
	return n
}
