package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// TestHarnessSettings gives the agents configurations of other kinds.
func TestHarnessSettings(t *testing.T) {
	c := begin(t, testcluster.Settings{Family: "dual", Masks: "27 64"}, testcluster.Overlay)
	t.Run("Subnet", func(t *testing.T) { subnetGroup(t, c) })
	t.Run("Allowed", func(t *testing.T) { allowedGroups(t, c) })
	t.Run("PoolExhausted", func(t *testing.T) { poolExhausted(t, c) })
}

// subnetGroup: the subnet's group holds for every pod, besides the pod's own: both
// must allow.
func subnetGroup(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("subnet")
	subnet, own := id+"-all", id+"-own"
	t.Cleanup(func() { c.Configure(t, "mode: overlay\n") })
	c.Documents(t, id,
		testcluster.NSG{Name: subnet, Rules: []testcluster.Rule{{Name: "no-ping", Priority: 100, Protocol: "Icmp"}}}, only(own, "Tcp", "8080"))
	f := newFixture(t, c, "subnet")
	server := withGroup("server", f.nodeB, own)
	f.Run(t, server)
	testcluster.Expect(t, to(f.a1, f.b1, f.families, testcluster.Answered)...)
	c.Configure(t, fmt.Sprintf("mode: overlay\nnsg: {subnet: %s}\n", subnet))
	var flows []testcluster.Flow
	for _, from := range []testcluster.Place{f.a1, f.b1, f.hostA} {
		flows = append(flows, judged(from, server, f.families, testcluster.TCP)...)
		for _, pod := range []*testcluster.Pod{f.a2, f.b1} {
			if from == testcluster.Place(pod) || from == testcluster.Place(f.hostA) && pod == f.a2 {
				continue // a node reaches its own
			}
			for _, flow := range to(from, pod, f.families, testcluster.Answered) {
				if flow.Proto == testcluster.ICMP {
					flow.Want = testcluster.Silent
				}
				flows = append(flows, flow)
			}
		}
	}
	testcluster.Expect(t, flows...)
	t.Logf("%s by the subnet's group and a pod's own", tally(flows))
}

// allowedGroups: pods of a namespace run with the groups that it is allowed, and do
// not run with others; nor can a running pod change to one.
func allowedGroups(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("allowed")
	mine, theirs := id+"-mine", id+"-theirs"
	t.Cleanup(func() { c.Configure(t, "mode: overlay\n") })
	c.Documents(t, id, only(mine, "Tcp", "8080"), only(theirs, "Udp", "8081"))
	f := newFixture(t, c, "clients")
	n := c.Namespace(t, "allowed", nil)
	c.Configure(t, fmt.Sprintf("mode: overlay\nnsg: {allowed: {%s: [%s], %s: ['*']}}\n", n.Name, mine, f.Name))
	good, bad := withGroup("good", f.nodeB, mine), withGroup("bad", f.nodeB, theirs)
	n.Begin(t, bad)
	n.Run(t, good)
	flows := append(judged(f.a1, good, f.families, testcluster.TCP), judged(f.b1, good, f.families, testcluster.TCP)...)
	testcluster.Expect(t, flows...)
	testcluster.Await(t, 30*time.Second, "the Event about the pod that may not", func() error {
		_, err := c.Event("FailedCreatePodSandBox", "bad")
		return err
	})
	c.Must(t, "-n", n.Name, "annotate", "pod", "good", "--overwrite", testcluster.AnnotationNSG+"="+theirs)
	testcluster.Await(t, 30*time.Second, "the Event about the change that is not allowed", func() error {
		_, err := c.Event("SecurityGroupNotApplied", "good")
		return err
	})
	testcluster.Expect(t, flows...)
	states, err := n.Pods("")
	if err != nil {
		t.Fatal(err)
	}
	if len(states["bad"].Addrs) > 0 {
		t.Errorf("the pod with a group that its namespace is not allowed has the addresses %v", states["bad"].Addrs)
	}
	t.Logf("%s; 1 pod and 1 change refused", tally(flows))
}

// poolExhausted: when a node's pool is empty, pods wait and an Event tells; when
// others go, they start.
func poolExhausted(t *testing.T, c *testcluster.Cluster) {
	const size = 27 // of a /27, less the five that are reserved
	n := c.Namespace(t, "full", nil)
	_, node := c.Two(t)
	var pods []*testcluster.Pod
	for i := range size + 2 {
		pods = append(pods, &testcluster.Pod{Name: fmt.Sprintf("pod-%d", i), Node: node.Name, Labels: map[string]string{"n": fmt.Sprint(i)}})
	}
	n.Begin(t, pods...)
	ready := func(want int) func() error {
		return func() error {
			states, err := n.Pods("")
			count := 0
			for _, s := range states {
				if s.Ready {
					count++
				}
			}
			if err == nil && count != want {
				err = fmt.Errorf("%d of %d are", count, len(states))
			}
			return err
		}
	}
	testcluster.Await(t, 2*time.Minute, "the pods that the pool has room for", ready(size))
	testcluster.Await(t, 30*time.Second, "the Event PoolExhausted", func() error {
		_, err := c.Event("PoolExhausted", node.Name)
		return err
	})
	v, _, err := c.Metric(node, "vnet_plugin_errors_total", `verb="ADD"`, `code="11"`)
	if err != nil || v < 1 {
		t.Errorf("the metric of failed ADDs with code 11 is %v (%v)", v, err)
	}
	states, err := n.Pods("")
	if err != nil {
		t.Fatal(err)
	}
	gone := 0
	for name, s := range states {
		if s.Ready && gone < 4 {
			gone++
			n.Must(t, "-n", n.Name, "delete", "pod", name, "--grace-period=1", "--wait=false")
		}
	}
	testcluster.Await(t, 3*time.Minute, "the pods that waited", ready(size+2-gone))
	left := c.Consistent(t)
	t.Logf("%d pods in a pool of %d; in the end %d", len(pods), size, left)
}
