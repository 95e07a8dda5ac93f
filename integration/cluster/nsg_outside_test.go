package cluster

import (
	"net/netip"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

func TestClusterNSGOutside(t *testing.T) { groupsSeeTheClient(t, testcluster.Existing(t)) }

// groupsSeeTheClient: a client beyond the nodes that comes through a node port is judged
// by its own address, whether the endpoint is on the node that it asks or on the other
// one, where it arrives with a node's address and is judged once more; and whatever the
// traffic policy.
func groupsSeeTheClient(t *testing.T, c *testcluster.Cluster) {
	f := newFixture(t, c, "outside")
	clients := map[bool]netip.Addr{}
	for _, v6 := range f.families {
		clients[v6] = f.OutsideAddr(t, f.nodeB.Addr(v6))
	}
	cases := outsideCases(clients, c.Own())
	id := testcluster.Unique("outside")
	var groups []testcluster.NSG
	for i := range cases {
		cases[i].group.Name = id + "-" + cases[i].group.Name
		groups = append(groups, cases[i].group)
	}
	c.Documents(t, id, groups...)
	n := c.Namespace(t, "servers", nil)
	var flows []testcluster.Flow
	var pods []*testcluster.Pod
	for _, k := range cases {
		pods = append(pods, withGroup(k.name, f.nodeB, k.group.Name))
	}
	n.Run(t, pods...)
	for _, k := range cases {
		cluster := &testcluster.Service{Name: k.name + "-cluster", Type: "NodePort", Selector: map[string]string{"role": k.name}}
		local := &testcluster.Service{Name: k.name + "-local", Type: "NodePort", Local: true, Selector: map[string]string{"role": k.name}}
		n.Serve(t, cluster, local)
		for _, v6 := range f.families {
			flows = append(flows, k.flows(f, cluster, local, v6, clients[v6])...)
		}
	}
	took := testcluster.Expect(t, flows...)
	t.Logf("%s, %d groups × 2 policies × 2 nodes × %d families, in %.1f s", tally(flows), len(cases), len(f.families), took.Seconds())
}

// outsideCase is a group, and what becomes of who asks a pod that has it.
type outsideCase struct {
	name    string
	group   testcluster.NSG
	outside testcluster.Verdict
	pods    testcluster.Verdict // that ask the same node ports
}

// twice is what becomes of the client by another node than the pod's, with traffic
// policy Cluster: there it is judged by its own address, and on the pod's node, where
// it has that node's, as everybody of the virtual network is. So it is on AKS.
func (k outsideCase) twice() testcluster.Verdict {
	if k.outside == testcluster.Answered {
		return k.pods
	}
	return k.outside
}

// outsideCases are the groups. The tag Internet means clients of a cluster of ours
// only: others' may be anywhere.
func outsideCases(clients map[bool]netip.Addr, internet bool) []outsideCase {
	rules := func(allow bool, name string, priority int) []testcluster.Rule {
		var rules []testcluster.Rule
		for _, client := range clients { // families do not mix in a rule
			rules = append(rules, testcluster.Rule{
				Name: name, Priority: priority, Allow: allow, From: netip.PrefixFrom(client, client.BitLen()).String(),
			})
			name, priority = name+"-6", priority+1
		}
		return rules
	}
	everybody := testcluster.Rule{Name: "allow-everybody", Priority: 400, Allow: true}
	nobody := testcluster.Rule{Name: "deny-everybody", Priority: 400}
	cases := []outsideCase{
		{"anybody", testcluster.NSG{Name: "anybody", Rules: []testcluster.Rule{everybody}}, testcluster.Answered, testcluster.Answered},
		{"not-client", testcluster.NSG{Name: "not-client", Rules: append(rules(false, "deny-client", 100), everybody)}, testcluster.Silent, testcluster.Answered},
		{"only-client", testcluster.NSG{Name: "only-client", Rules: append(rules(true, "allow-client", 100), nobody)}, testcluster.Answered, testcluster.Silent},
	}
	if internet {
		deny := testcluster.Rule{Name: "deny-internet", Priority: 100, From: "Internet"}
		allow := testcluster.Rule{Name: "allow-internet", Priority: 100, Allow: true, From: "Internet"}
		cases = append(cases,
			outsideCase{"not-internet", testcluster.NSG{Name: "not-internet", Rules: []testcluster.Rule{deny, everybody}}, testcluster.Silent, testcluster.Answered},
			outsideCase{"only-internet", testcluster.NSG{Name: "only-internet", Rules: []testcluster.Rule{allow, nobody}}, testcluster.Answered, testcluster.Silent})
	}
	return cases
}

// flows are those of the client outside and of a pod, to the node ports of both nodes;
// the endpoint is on node B.
func (k outsideCase) flows(f *fixture, cluster, local *testcluster.Service, v6 bool, client netip.Addr) []testcluster.Flow {
	at := func(s *testcluster.Service, node testcluster.Node, want testcluster.Verdict) target {
		return target{
			why: k.name + ", " + s.Name + " by " + node.Name, addr: node.Addr(v6), tcp: s.NodePort, udp: s.NodePortUDP,
			by: []string{k.name}, want: want,
		}
	}
	here := at(local, f.nodeB, k.outside)
	here.client = []netip.Addr{client}
	var flows []testcluster.Flow
	for _, g := range []target{at(cluster, f.nodeA, k.twice()), at(cluster, f.nodeB, k.outside), here} {
		flows = append(flows, g.flows(f.Outside())...)
	}
	for _, from := range []testcluster.Place{f.a1, f.b1} {
		g := at(cluster, f.nodeB, k.pods)
		g.addr, g.tcp, g.udp, g.why = cluster.Addr(v6), testcluster.ServiceTCP, testcluster.ServiceUDP, k.name+" by its service"
		flows = append(flows, g.flows(from)...)
	}
	// Its own node shows that the server is there.
	own := at(cluster, f.nodeB, testcluster.Answered)
	own.addr, own.tcp, own.udp, own.why = cluster.Addr(v6), testcluster.ServiceTCP, testcluster.ServiceUDP, k.name+", its own node"
	return append(flows, own.flows(f.hostB)...)
}
