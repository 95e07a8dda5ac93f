package cluster

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

func TestClusterServices(t *testing.T) {
	t.Parallel()
	servicesAnswer(t, testcluster.Existing(t))
}

func TestClusterAffinity(t *testing.T) {
	t.Parallel()
	affinityHolds(t, testcluster.Existing(t))
}

func TestClusterHostPort(t *testing.T) {
	t.Parallel()
	hostPortsAnswer(t, testcluster.Existing(t))
}

// awaitOutput runs a script in a pod until its output has the text in it.
func awaitOutput(t *testing.T, pod testcluster.Place, script, want string) {
	t.Helper()
	testcluster.Await(t, 30*time.Second, fmt.Sprintf("%q from %s", want, pod.Title()), func() error {
		out, err := pod.Shell(script)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
}

// target is where a service answers.
type target struct {
	why      string
	addr     netip.Addr
	tcp, udp int
	by       []string
	client   []netip.Addr
	want     testcluster.Verdict
}

func (g target) flows(from testcluster.Place) []testcluster.Flow {
	flow := func(proto string, port int) testcluster.Flow {
		return testcluster.Flow{
			From: from, Proto: proto, To: g.addr.String(), Port: port, Want: g.want, By: g.by, Client: g.client, Why: g.why,
		}
	}
	return []testcluster.Flow{flow(testcluster.TCP, g.tcp), flow(testcluster.UDP, g.udp)}
}

// servicesAnswer: a service by its cluster address and by node ports, from pods and
// nodes and from outside, with endpoints on one node or on both; with
// externalTrafficPolicy Local the server sees the client and other nodes are silent;
// a pod reaches itself through its own service.
func servicesAnswer(t *testing.T, c *testcluster.Cluster) {
	f := newFixture(t, c, "services")
	both := &testcluster.Service{Name: "both", Type: "NodePort", Selector: map[string]string{"kind": "server"}}
	one := &testcluster.Service{Name: "one", Type: "NodePort", Selector: map[string]string{"role": "b1"}}
	local := &testcluster.Service{Name: "local", Type: "NodePort", Local: true, Selector: map[string]string{"role": "b1"}}
	f.Must(t, "-n", f.Name, "label", "pod", "a1", "b1", "kind=server")
	f.Serve(t, both, one, local)

	var flows []testcluster.Flow
	for _, v6 := range f.families {
		flows = append(flows, f.clusterFlows(both, one, v6)...)
		flows = append(flows, f.nodePortFlows(t, both, one, v6)...)
		flows = append(flows, f.localFlows(t, local, v6)...)
	}
	took := testcluster.Expect(t, flows...)
	t.Logf("%d flows to services, %d families, in %.1f s", len(flows), len(f.families), took.Seconds())
}

// clusterFlows are those to cluster addresses.
func (f *fixture) clusterFlows(both, one *testcluster.Service, v6 bool) []testcluster.Flow {
	var flows []testcluster.Flow
	for _, from := range f.all() {
		flows = append(flows, target{
			why: "cluster address, endpoints on both nodes", addr: both.Addr(v6), tcp: testcluster.ServiceTCP, udp: testcluster.ServiceUDP,
			by: []string{"a1", "b1"}, want: testcluster.Answered,
		}.flows(from)...)
		g := target{
			why: "cluster address, endpoint on node B", addr: one.Addr(v6), tcp: testcluster.ServiceTCP, udp: testcluster.ServiceUDP,
			by: []string{"b1"}, want: testcluster.Answered,
		}
		if from == f.b1 {
			g.why = "a pod by its own service"
		} else if !from.HostNetwork {
			g.client = []netip.Addr{from.Addr(v6)} // kube-proxy leaves it alone
		}
		flows = append(flows, g.flows(from)...)
	}
	return flows
}

// nodePortFlows are those to ports of the nodes: that with the endpoint and the other.
func (f *fixture) nodePortFlows(t *testing.T, both, one *testcluster.Service, v6 bool) []testcluster.Flow {
	var flows []testcluster.Flow
	places := []testcluster.Place{f.Outside()}
	for _, p := range f.all() {
		places = append(places, p)
	}
	for _, from := range places {
		for _, node := range []testcluster.Node{f.nodeA, f.nodeB} {
			if !node.Addr(v6).IsValid() {
				t.Fatalf("node %s has pods of a family that it has no address of", node.Name)
			}
			flows = append(flows, target{
				why: "node port of " + node.Name + ", endpoints on both", addr: node.Addr(v6), tcp: both.NodePort, udp: both.NodePortUDP,
				by: []string{"a1", "b1"}, want: testcluster.Answered,
			}.flows(from)...)
			flows = append(flows, target{
				why: "node port of " + node.Name + ", endpoint on node B", addr: node.Addr(v6), tcp: one.NodePort, udp: one.NodePortUDP,
				by: []string{"b1"}, want: testcluster.Answered,
			}.flows(from)...)
		}
	}
	return flows
}

// localFlows are those to a service that keeps the client's address.
func (f *fixture) localFlows(t *testing.T, local *testcluster.Service, v6 bool) []testcluster.Flow {
	t.Helper()
	client := f.OutsideAddr(t, f.nodeB.Addr(v6))
	flows := target{
		why: "externalTrafficPolicy Local, node with the endpoint", addr: f.nodeB.Addr(v6), tcp: local.NodePort, udp: local.NodePortUDP,
		by: []string{"b1"}, client: []netip.Addr{client}, want: testcluster.Answered,
	}.flows(f.Outside())
	return append(flows, target{
		why: "externalTrafficPolicy Local, node without an endpoint", addr: f.nodeA.Addr(v6), tcp: local.NodePort, udp: local.NodePortUDP,
		want: testcluster.Silent,
	}.flows(f.Outside())...)
}

// affinityHolds: with session affinity a client always comes to the same server,
// without it to both.
func affinityHolds(t *testing.T, c *testcluster.Cluster) {
	f := newFixture(t, c, "affinity")
	f.Must(t, "-n", f.Name, "label", "pod", "a1", "b1", "kind=server")
	selector := map[string]string{"kind": "server"}
	sticky := &testcluster.Service{Name: "sticky", Selector: selector, Affinity: true}
	loose := &testcluster.Service{Name: "loose", Selector: selector}
	f.Serve(t, sticky, loose)
	const rounds = 16 // both servers, but for one time in 32,768
	ask := func(from testcluster.Place, s *testcluster.Service, v6 bool) (map[string]int, error) {
		flows := make([]testcluster.Flow, rounds)
		for i := range flows {
			flows[i] = testcluster.Flow{From: from, Proto: testcluster.TCP, To: s.Addr(v6).String(), Port: testcluster.ServiceTCP}
		}
		outcomes, err := testcluster.Send(flows)
		servers := map[string]int{}
		for _, o := range outcomes {
			servers[o.Server]++
		}
		if err == nil && servers[""] > 0 {
			err = fmt.Errorf("%d of %d requests were not answered", servers[""], rounds)
		}
		return servers, err
	}
	cases := 0
	for _, v6 := range f.families {
		for _, from := range []*testcluster.Pod{f.a2, f.b1, f.hostA} {
			for s, want := range map[*testcluster.Service]int{sticky: 1, loose: 2} {
				testcluster.Await(t, 30*time.Second, fmt.Sprintf("%s to come to %d servers of %s", from.Name, want, s.Name), func() error {
					servers, err := ask(from, s, v6)
					if err == nil && len(servers) != want {
						err = fmt.Errorf("it came to %v", servers)
					}
					return err
				})
				cases++
			}
		}
	}
	t.Logf("%d clients, each %d times", cases, rounds)
}

// hostPortsAnswer: a container's host port on its node, for pods and nodes and from
// outside; on the other node nothing listens.
func hostPortsAnswer(t *testing.T, c *testcluster.Cluster) {
	f := newFixture(t, c, "hostport")
	port := 15000 + f.hostA.TCP%5000
	server := &testcluster.Pod{Name: "server", Node: f.nodeB.Name, HostPort: port}
	f.Run(t, server)
	var flows []testcluster.Flow
	for _, v6 := range f.families {
		for _, from := range []testcluster.Place{f.Outside(), f.a1, f.b1, f.hostA, f.hostB} {
			flow := testcluster.Flow{From: from, Proto: testcluster.TCP, To: f.nodeB.Addr(v6).String(), Port: port, Want: testcluster.Answered, By: []string{"server"}}
			if from == f.Outside() {
				flow.Client = []netip.Addr{c.OutsideAddr(t, f.nodeB.Addr(v6))}
			}
			flows = append(flows, flow)
			flow.To, flow.Want, flow.Why = f.nodeA.Addr(v6).String(), testcluster.Refused, "the other node"
			flows = append(flows, flow)
		}
	}
	testcluster.Expect(t, flows...)
	t.Logf("%d flows to host ports", len(flows))
}
