package cluster

import (
	"fmt"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// The tests of security groups do not run beside each other: a document that is
// broken on purpose holds up everybody's changes.

func TestClusterNSG(t *testing.T)         { groupsDecide(t, testcluster.Existing(t)) }
func TestClusterNSGServices(t *testing.T) { groupsDecideBehindServices(t, testcluster.Existing(t)) }
func TestClusterNSGDefault(t *testing.T)  { namespaceDefaults(t, testcluster.Existing(t)) }
func TestClusterASG(t *testing.T)         { applicationGroups(t, testcluster.Existing(t)) }

// only allows one protocol in to a port of each pod that has the group, and denies the
// rest.
func only(name, protocol, port string) testcluster.NSG {
	return testcluster.NSG{Name: name, Rules: []testcluster.Rule{
		{Name: "allow-one", Priority: 100, Allow: true, Protocol: protocol, Port: port},
		{Name: "deny-the-rest", Priority: 200},
	}}
}

func withGroup(name string, node testcluster.Node, group string) *testcluster.Pod {
	return &testcluster.Pod{Name: name, Node: node.Name, Labels: map[string]string{"role": name}, Annotations: map[string]string{testcluster.AnnotationNSG: group}}
}

// judged are flows to a pod of which one protocol is allowed.
func judged(from testcluster.Place, pod *testcluster.Pod, families []bool, allowed string) []testcluster.Flow {
	flows := to(from, pod, families, testcluster.Answered)
	for i := range flows {
		if flows[i].Proto != allowed {
			flows[i].Want = testcluster.Silent
		}
	}
	return flows
}

// groupsDecide: pods that a group protects, on both nodes, answer what it allows and
// are silent to the rest, whoever asks from wherever; their own node reaches them, and
// so shows that what is silent to others does answer. A group of the sender's decides
// about what it sends.
func groupsDecide(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("groups")
	tcpOnly, udpOnly, icmpOnly, mute := id+"-tcp", id+"-udp", id+"-icmp", id+"-mute"
	c.Documents(t, id, only(tcpOnly, "Tcp", "8080"), only(udpOnly, "Udp", "8081"), only(icmpOnly, "Icmp", "*"),
		testcluster.NSG{Name: mute, Rules: []testcluster.Rule{{Name: "no-http-out", Priority: 100, Outbound: true, Protocol: "Tcp", Port: "8080"}}})
	f := newFixture(t, c, "groups")
	servers := map[*testcluster.Pod]string{}
	var pods []*testcluster.Pod
	for _, node := range []testcluster.Node{f.nodeA, f.nodeB} {
		for group, allowed := range map[string]string{tcpOnly: testcluster.TCP, udpOnly: testcluster.UDP, icmpOnly: testcluster.ICMP} {
			p := withGroup(allowed+"-"+node.Name, node, group)
			servers[p] = allowed
			pods = append(pods, p)
			if allowed == testcluster.ICMP {
				p.Probe = testcluster.Object{"exec": testcluster.Object{"command": []string{"true"}}}
			}
		}
	}
	silent := withGroup("mute", f.nodeA, mute)
	f.Run(t, append(pods, silent)...)

	var flows []testcluster.Flow
	for server, allowed := range servers {
		own, other := f.hostA, f.hostB
		if server.Node == f.nodeB.Name {
			own, other = other, own
		}
		flows = append(flows, to(own, server, f.families, testcluster.Answered)...)
		for _, from := range []testcluster.Place{f.a1, f.b1, other} {
			flows = append(flows, judged(from, server, f.families, allowed)...)
		}
	}
	for _, server := range []*testcluster.Pod{f.a1, f.b1} {
		for _, flow := range to(silent, server, f.families, testcluster.Answered) {
			if flow.Proto == testcluster.TCP {
				flow.Want = testcluster.Silent
			}
			flows = append(flows, flow)
		}
	}
	took := testcluster.Expect(t, flows...)
	t.Logf("%s to %d pods with groups, %d families, in %.1f s", tally(flows), len(servers), len(f.families), took.Seconds())
}

// groupsDecideBehindServices: what a service passes on is judged by the pod that it
// comes to and by its port there, also when the pod is on another node and when the
// client is outside.
func groupsDecideBehindServices(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("behind")
	mute := id + "-mute"
	c.Documents(t, id, only(id, "Tcp", "8080"),
		testcluster.NSG{Name: mute, Rules: []testcluster.Rule{{Name: "no-http-out", Priority: 100, Outbound: true, Protocol: "Tcp", Port: "8080"}}})
	f := newFixture(t, c, "behind")
	server := withGroup("server", f.nodeB, id)
	silent := withGroup("mute", f.nodeA, mute)
	f.Run(t, server, silent)
	guarded := &testcluster.Service{Name: "guarded", Type: "NodePort", Selector: map[string]string{"role": "server"}}
	open := &testcluster.Service{Name: "open", Type: "NodePort", Selector: map[string]string{"role": "b1"}}
	f.Serve(t, guarded, open)
	var flows []testcluster.Flow
	for _, v6 := range f.families {
		for _, from := range []testcluster.Place{f.a1, f.b1, f.hostA, f.Outside(), silent} {
			for s, by := range map[*testcluster.Service]string{guarded: "server", open: "b1"} {
				flows = append(flows, f.behind(from, s, by, v6)...)
			}
		}
	}
	for i, flow := range flows {
		toGuarded := flow.By[0] == "server"
		// A pod's own group judges what its node sends: the endpoint, unless another
		// node chooses that.
		elsewhere := flow.Port == guarded.NodePort || flow.Port == open.NodePort
		elsewhere = elsewhere && (flow.To == f.nodeB.Addr(false).String() || flow.To == f.nodeB.Addr(true).String())
		if toGuarded && flow.Proto == testcluster.UDP || flow.From == silent && flow.Proto == testcluster.TCP && !elsewhere {
			flows[i].Want = testcluster.Silent
		}
	}
	took := testcluster.Expect(t, flows...)
	t.Logf("%s through services, %d families, in %.1f s", tally(flows), len(f.families), took.Seconds())
}

// behind are flows to a service in all ways that the place has.
func (f *fixture) behind(from testcluster.Place, s *testcluster.Service, by string, v6 bool) []testcluster.Flow {
	var flows []testcluster.Flow
	if from != f.Outside() {
		flows = append(flows, target{
			why: s.Name, addr: s.Addr(v6), tcp: testcluster.ServiceTCP, udp: testcluster.ServiceUDP, by: []string{by}, want: testcluster.Answered,
		}.flows(from)...)
	}
	for _, node := range []testcluster.Node{f.nodeA, f.nodeB} {
		flows = append(flows, target{
			why: s.Name + " by " + node.Name, addr: node.Addr(v6), tcp: s.NodePort, udp: s.NodePortUDP, by: []string{by}, want: testcluster.Answered,
		}.flows(from)...)
	}
	return flows
}

// namespaceDefaults: a namespace's annotation gives its pods their group, a pod's own
// goes before; both can change while the pod runs.
func namespaceDefaults(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("default")
	tcpOnly, udpOnly := id+"-tcp", id+"-udp"
	c.Documents(t, id, only(tcpOnly, "Tcp", "8080"), only(udpOnly, "Udp", "8081"))
	f := newFixture(t, c, "clients")
	n := c.Namespace(t, "default", map[string]string{testcluster.AnnotationNSG: tcpOnly})
	plain := &testcluster.Pod{Name: "plain", Node: f.nodeA.Name}
	own := withGroup("own", f.nodeB, udpOnly)
	n.Run(t, plain, own)
	total := 0
	state := func(what, plainHas, ownHas string) {
		t.Helper()
		var flows []testcluster.Flow
		for _, from := range []testcluster.Place{f.a1, f.b1} {
			flows = append(flows, has(from, plain, f.families, plainHas)...)
			flows = append(flows, has(from, own, f.families, ownHas)...)
		}
		flows = append(flows, to(f.hostA, plain, f.families, testcluster.Answered)...)
		flows = append(flows, to(f.hostB, own, f.families, testcluster.Answered)...)
		total += len(flows)
		t.Logf("%s: %s after %.1f s", what, tally(flows), testcluster.Expect(t, flows...).Seconds())
	}
	state("the namespace's and a pod's own", testcluster.TCP, testcluster.UDP)
	c.Must(t, "annotate", "namespace", n.Name, "--overwrite", testcluster.AnnotationNSG+"="+udpOnly)
	state("the namespace's changed", testcluster.UDP, testcluster.UDP)
	c.Must(t, "-n", n.Name, "annotate", "pod", "own", "--overwrite", testcluster.AnnotationNSG+"="+tcpOnly)
	state("the pod's own changed", testcluster.UDP, testcluster.TCP)
	c.Must(t, "-n", n.Name, "annotate", "pod", "own", testcluster.AnnotationNSG+"-")
	state("the pod's own gone", testcluster.UDP, testcluster.UDP)
	c.Must(t, "annotate", "namespace", n.Name, testcluster.AnnotationNSG+"-")
	state("none at all", "", "")
	t.Logf("%d flows", total)
}

// has are flows to a pod that allows one protocol, or all if that is "".
func has(from testcluster.Place, pod *testcluster.Pod, families []bool, allowed string) []testcluster.Flow {
	if allowed == "" {
		return to(from, pod, families, testcluster.Answered)
	}
	return judged(from, pod, families, allowed)
}

// applicationGroups: a rule that lets the members of one application security group in
// to those of another means members on every node; who becomes one is let in, who
// ceases to be one is not, and a connection that stands goes on.
func applicationGroups(t *testing.T, c *testcluster.Cluster) {
	id := testcluster.Unique("tiers")
	web, api := id+"-web", id+"-api"
	c.Documents(t, id, testcluster.NSG{Name: id, Rules: []testcluster.Rule{
		{Name: "web-to-api", Priority: 100, Allow: true, Protocol: "*", FromASG: web, ToASG: api},
		{Name: "deny-api", Priority: 200, ToASG: api},
	}})
	f := newFixture(t, c, "tiers")
	member := func(name string, node testcluster.Node, asg, group string) *testcluster.Pod {
		annotations := map[string]string{testcluster.AnnotationASGs: asg}
		if group != "" {
			annotations[testcluster.AnnotationNSG] = group
		}
		return &testcluster.Pod{Name: name, Node: node.Name, Annotations: annotations}
	}
	webA, webB := member("web-a", f.nodeA, web, ""), member("web-b", f.nodeB, web, "")
	apiA, apiB := member("api-a", f.nodeA, api, id), member("api-b", f.nodeB, api, id)
	f.Run(t, webA, webB, apiA, apiB)
	total := 0
	state := func(what string, in, out []*testcluster.Pod) {
		t.Helper()
		var flows []testcluster.Flow
		for _, server := range []*testcluster.Pod{apiA, apiB} {
			for _, from := range in {
				flows = append(flows, to(from, server, f.families, testcluster.Answered, from)...)
			}
			for _, from := range out {
				flows = append(flows, to(from, server, f.families, testcluster.Silent)...)
			}
		}
		total += len(flows)
		t.Logf("%s: %s after %.1f s", what, tally(flows), testcluster.Expect(t, flows...).Seconds())
	}
	state("as made", []*testcluster.Pod{webA, webB}, []*testcluster.Pod{f.a1, f.b1})
	streams := []*testcluster.Stream{testcluster.OpenStream(t, webB, apiA, f.families[0]), testcluster.OpenStream(t, webB, apiB, f.families[0])}
	c.Must(t, "-n", f.Name, "annotate", "pod", "web-b", testcluster.AnnotationASGs+"-")
	c.Must(t, "-n", f.Name, "annotate", "pod", "a1", testcluster.AnnotationASGs+"="+web)
	state("members changed", []*testcluster.Pod{webA, f.a1}, []*testcluster.Pod{webB, f.b1})
	for _, s := range streams {
		s.Goes(t)
		s.Close(t)
	}
	t.Logf("%d flows, %d connections that went on", total, len(streams))
}

// tally counts what flows are to come to.
func tally(flows []testcluster.Flow) string {
	n := map[testcluster.Verdict]int{}
	for _, f := range flows {
		n[f.Want]++
	}
	return fmt.Sprintf("%d flows allowed and %d denied", n[testcluster.Answered], n[testcluster.Silent])
}
