package cluster

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// TestHarnessScale: many pods that come and go, beside the same with the reference
// plugins, whose time is told and not required.
func TestHarnessScale(t *testing.T) {
	const pods, rounds = 200, 3
	settings := testcluster.Settings{Proxy: "nftables", Containerd: "2", Family: "dual"}
	var ours, reference time.Duration
	t.Run("Ours", func(t *testing.T) {
		c := begin(t, settings, testcluster.Overlay)
		ours = upAndDown(t, c, pods, rounds, func() { c.Consistent(t) })
	})
	t.Run("Reference", func(t *testing.T) {
		c := testcluster.Start(t, settings)
		if _, err := c.Script("ptp"); err != nil {
			t.Fatal(err)
		}
		c.AwaitNodes(t, time.Minute, true, "n1", "n2")
		reference = upAndDown(t, c, pods, rounds, func() {})
	})
	if ours > 0 && reference > 0 {
		t.Logf("%d pods, %d times: %.1f s, with ptp and host-local %.1f s: ratio %.2f",
			pods, rounds, ours.Seconds(), reference.Seconds(), ours.Seconds()/reference.Seconds())
	}
}

// TestHarnessMemory measures the agents with many pods that have many rules.
func TestHarnessMemory(t *testing.T) {
	agentMemory(t, begin(t, testcluster.Settings{Proxy: "nftables", Containerd: "2", Family: "dual"}, testcluster.Overlay), 250)
}

// deployment is one of pods that do nothing.
func deployment(n *testcluster.Namespace, annotations map[string]string) testcluster.Object {
	labels := map[string]string{"app": "many"}
	return testcluster.Object{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": testcluster.Object{"name": "many", "namespace": n.Name},
		"spec": testcluster.Object{
			"replicas": 1, "selector": testcluster.Object{"matchLabels": labels},
			"template": testcluster.Object{
				"metadata": testcluster.Object{"labels": labels, "annotations": annotations},
				"spec": testcluster.Object{
					"terminationGracePeriodSeconds": 1, "enableServiceLinks": false, "automountServiceAccountToken": false,
					"containers": []any{testcluster.Object{"name": "pause", "image": "local.test/pause:1", "imagePullPolicy": "Never"}},
				},
			},
		},
	}
}

// scale brings the deployment to a number of pods and waits until they are Ready and
// all others gone. No address may be there twice.
func scale(t *testing.T, n *testcluster.Namespace, pods int) time.Duration {
	t.Helper()
	began := time.Now()
	n.Must(t, "-n", n.Name, "scale", "deployment/many", fmt.Sprintf("--replicas=%d", pods))
	testcluster.Await(t, 10*time.Minute, fmt.Sprintf("%d pods", pods), func() error {
		states, err := n.Pods("app=many")
		if err != nil {
			return err
		}
		ready, owner := 0, map[netip.Addr]string{}
		for name, s := range states {
			if s.Ready && !s.Ending {
				ready++
			}
			for _, a := range s.Addrs {
				if other := owner[a]; other != "" && !s.Ending && !states[other].Ending {
					t.Errorf("%s is the address of %s and of %s", a, name, other)
				}
				owner[a] = name
			}
		}
		if ready != pods || len(states) != pods {
			return fmt.Errorf("%d are there and %d Ready", len(states), ready)
		}
		return nil
	})
	return time.Since(began)
}

func upAndDown(t *testing.T, c *testcluster.Cluster, pods, rounds int, look func()) (total time.Duration) {
	n := c.Namespace(t, "scale", nil)
	n.Apply(t, deployment(n, nil))
	scale(t, n, 1)
	for range rounds {
		up := scale(t, n, pods)
		look()
		down := scale(t, n, 1)
		look()
		t.Logf("to %d pods in %.1f s, back in %.1f s", pods, up.Seconds(), down.Seconds())
		total += up + down
	}
	scale(t, n, 0)
	look()
	return total
}

// mostMemory is what an agent may hold.
const mostMemory = 60 << 20

// agentMemory: what agents hold with many pods that have a group of a thousand rules.
func agentMemory(t *testing.T, c *testcluster.Cluster, pods int) {
	id := testcluster.Unique("thousand")
	g := testcluster.NSG{Name: id}
	for i := range 1000 {
		g.Rules = append(g.Rules, testcluster.Rule{
			Name: fmt.Sprintf("rule-%d", i), Priority: 100 + i, Allow: i%3 != 0, Protocol: "Tcp",
			Port: fmt.Sprint(1000 + i), From: fmt.Sprintf("10.%d.%d.0/24", i/250, i%250),
		})
	}
	c.Documents(t, id, g)
	n := c.Namespace(t, "memory", nil)
	n.Apply(t, deployment(n, map[string]string{testcluster.AnnotationNSG: id}))
	took := scale(t, n, pods)
	c.Consistent(t)
	nodes := c.Nodes(t)
	for _, node := range nodes {
		bytes, err := c.AgentMemory(node.Name)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("node %s: the agent has %.1f MB resident", node.Name, float64(bytes)/1e6)
		if bytes > mostMemory {
			t.Errorf("that is more than %d bytes", mostMemory)
		}
	}
	t.Logf("%d pods with 1000 rules in %.1f s, %d agents", pods, took.Seconds(), len(nodes))
}
