package cluster

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// Every test of this file and of services_test.go sees the network as pods do, and
// passes with any good network: none of them knows whose it is.

func TestClusterPods(t *testing.T) {
	t.Parallel()
	podsReachEachOther(t, testcluster.Existing(t))
}

func TestClusterProbes(t *testing.T) {
	t.Parallel()
	kubeletProbes(t, testcluster.Existing(t))
}

func TestClusterDNS(t *testing.T) {
	t.Parallel()
	dnsAnswers(t, testcluster.Existing(t))
}

func TestClusterAPI(t *testing.T) {
	t.Parallel()
	apiAnswers(t, testcluster.Existing(t))
}

// fixture is what most tests begin with: two pods on one node, one on another, and
// something on the network of each node.
type fixture struct {
	*testcluster.Namespace
	nodeA, nodeB testcluster.Node
	a1, a2, b1   *testcluster.Pod
	hostA, hostB *testcluster.Pod
	families     []bool
}

func newFixture(t *testing.T, c *testcluster.Cluster, prefix string) *fixture {
	t.Helper()
	f := &fixture{Namespace: c.Namespace(t, prefix, nil), families: c.Families(t)}
	f.nodeA, f.nodeB = c.Two(t)
	pod := func(name string, node testcluster.Node, host bool) *testcluster.Pod {
		return &testcluster.Pod{Name: name, Node: node.Name, HostNetwork: host, Labels: map[string]string{"role": name}}
	}
	f.a1, f.a2, f.b1 = pod("a1", f.nodeA, false), pod("a2", f.nodeA, false), pod("b1", f.nodeB, false)
	f.hostA, f.hostB = pod("host-a", f.nodeA, true), pod("host-b", f.nodeB, true)
	f.Run(t, f.a1, f.a2, f.b1, f.hostA, f.hostB)
	return f
}

func (f *fixture) all() []*testcluster.Pod {
	return []*testcluster.Pod{f.a1, f.a2, f.b1, f.hostA, f.hostB}
}

// to are the flows to a pod in all its families and in all protocols.
func to(from testcluster.Place, pod *testcluster.Pod, families []bool, want testcluster.Verdict, client ...*testcluster.Pod) []testcluster.Flow {
	var flows []testcluster.Flow
	for _, v6 := range families {
		addr := pod.Addr(v6)
		if !addr.IsValid() {
			continue
		}
		var seen []netip.Addr
		for _, c := range client {
			seen = append(seen, c.Addr(v6))
		}
		for _, proto := range []string{testcluster.TCP, testcluster.UDP, testcluster.ICMP} {
			flows = append(flows, testcluster.Flow{
				From: from, Proto: proto, To: addr.String(), Port: portOf(pod, proto),
				Want: want, By: []string{pod.Hostname()}, Client: seen, Why: "pod " + pod.Name,
			})
		}
	}
	return flows
}

func portOf(pod *testcluster.Pod, proto string) int {
	switch proto {
	case testcluster.TCP:
		return pod.TCP
	case testcluster.UDP:
		return pod.UDP
	}
	return 0
}

// podsReachEachOther: everybody reaches everybody, on one node and on two, in both
// families and all protocols; and pods see pods by their own addresses.
func podsReachEachOther(t *testing.T, c *testcluster.Cluster) {
	f := newFixture(t, c, "pods")
	var flows []testcluster.Flow
	for _, from := range f.all() {
		for _, pod := range f.all() {
			if from == pod {
				continue
			}
			var client []*testcluster.Pod
			if !from.HostNetwork && !pod.HostNetwork {
				client = append(client, from)
			}
			flows = append(flows, to(from, pod, f.families, testcluster.Answered, client...)...)
		}
	}
	took := testcluster.Expect(t, flows...)
	t.Logf("%d flows between %d places, families %v, in %.1f s", len(flows), len(f.all()), len(f.families), took.Seconds())
}

// kubeletProbes: a pod is Ready if and only if the kubelet's probe is answered.
func kubeletProbes(t *testing.T, c *testcluster.Cluster) {
	n := c.Namespace(t, "probes", nil)
	a, b := c.Two(t)
	http := testcluster.Object{"httpGet": testcluster.Object{"path": "/hostname", "port": testcluster.TCPPort}, "periodSeconds": 1}
	tcp := testcluster.Object{"tcpSocket": testcluster.Object{"port": testcluster.TCPPort}, "periodSeconds": 1}
	none := testcluster.Object{"tcpSocket": testcluster.Object{"port": 9}, "periodSeconds": 1}
	good := []*testcluster.Pod{
		{Name: "http-a", Node: a.Name, Probe: http}, {Name: "tcp-a", Node: a.Name, Probe: tcp},
		{Name: "http-b", Node: b.Name, Probe: http}, {Name: "tcp-b", Node: b.Name, Probe: tcp},
	}
	bad := []*testcluster.Pod{{Name: "none-a", Node: a.Name, Probe: none}, {Name: "none-b", Node: b.Name, Probe: none}}
	n.Begin(t, bad...)
	n.Run(t, good...)
	states, err := n.Pods("")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range bad {
		if states[p.Name].Ready {
			t.Errorf("pod %s is Ready though nothing answers its probe", p.Name)
		}
	}
	t.Logf("%d pods with probes, %d of them with one that nothing answers", len(states), len(bad))
}

// dnsAnswers: pods of both nodes resolve a service by its short names and its full one,
// and learn that there is no other.
func dnsAnswers(t *testing.T, c *testcluster.Cluster) {
	if c.Own() {
		if _, err := c.Script("dns"); err != nil {
			t.Fatal(err)
		}
	}
	f := newFixture(t, c, "dns")
	service := &testcluster.Service{Name: "web", Selector: map[string]string{"role": "a1"}}
	f.Serve(t, service)
	name := fmt.Sprintf("web.%s.svc.cluster.local", f.Name)
	var flows []testcluster.Flow
	for _, from := range []*testcluster.Pod{f.a1, f.a2, f.b1} {
		for _, to := range []string{"web", "web." + f.Name, name, name + "."} {
			flows = append(flows,
				testcluster.Flow{From: from, Proto: testcluster.TCP, To: to, Port: testcluster.ServiceTCP, Want: testcluster.Answered, By: []string{"a1"}},
				testcluster.Flow{From: from, Proto: testcluster.UDP, To: to, Port: testcluster.ServiceUDP, Want: testcluster.Answered, By: []string{"a1"}})
		}
		flows = append(flows, testcluster.Flow{From: from, Proto: testcluster.TCP, To: "nobody." + f.Name, Port: 80, Want: testcluster.Refused, Why: "no such name"})
	}
	testcluster.Expect(t, flows...)
	t.Logf("%d lookups by name from %d pods on two nodes", len(flows), 3)
}

// apiAnswers: the API server knows a pod by its service account, when asked at the
// address of the service kubernetes, which is not that of a pod.
func apiAnswers(t *testing.T, c *testcluster.Cluster) {
	f := newFixture(t, c, "api")
	const review = `d=/var/run/secrets/kubernetes.io/serviceaccount
curl -g -sS -m 5 --cacert $d/ca.crt -H "Authorization: Bearer $(cat $d/token)" -H 'Content-Type: application/json' \
	-d '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}' \
	"https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/authentication.k8s.io/v1/selfsubjectreviews"`
	want := fmt.Sprintf("system:serviceaccount:%s:default", f.Name)
	pods := []*testcluster.Pod{f.a1, f.a2, f.b1}
	for _, pod := range pods {
		awaitOutput(t, pod, review, want)
	}
	t.Logf("%d pods asked the API server who they are", len(pods))
}
