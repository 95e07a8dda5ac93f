package firewall

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// cluster is a world in which another node, with pods of its own, is behind a device
// of the node. What the node has of a service leads there.
type cluster struct {
	*world
	other   *end
	network Network
	pods    []Pod // whom the packet filter is told of
	sent    int
}

// addresses are those that a test of one family uses.
type addresses struct {
	v6                            bool
	friend, foe                   netip.Addr // outside
	node                          netip.Addr
	webPod, dbPod, waiting, plain netip.Addr // of the other node
	guarded, choosy, free         netip.Addr // of this node: pods 0, 1 and 2
}

func addressesOf(v6 bool) addresses {
	a := func(v4, six string) netip.Addr { return addr2(v4, six)[v6] }
	return addresses{
		v6: v6, friend: a("203.0.113.1", "2001:db8:1::1"), foe: a("203.0.113.2", "2001:db8:1::2"), node: a("192.0.2.1", "2001:db8:2::1"),
		webPod: a("10.9.1.1", "fd00:9:1::1"), dbPod: a("10.9.1.2", "fd00:9:1::2"), waiting: a("10.9.1.3", "fd00:9:1::3"), plain: a("10.9.1.4", "fd00:9:1::4"),
		guarded: a("10.9.0.1", "fd00:9::1"), choosy: a("10.9.0.2", "fd00:9::2"), free: a("10.9.0.3", "fd00:9::3"),
	}
}

func (a addresses) remote() []netip.Addr { return []netip.Addr{a.webPod, a.dbPod, a.waiting, a.plain} }
func (a addresses) local() []netip.Addr  { return []netip.Addr{a.guarded, a.choosy, a.free} }

const servicePort, webPort = 30080, 80

func newCluster(t *testing.T, f *Firewall, n Network) *cluster {
	t.Helper()
	n.Masquerade = false
	c := &cluster{world: newWorld(t, f, n), network: n}
	c.other = c.endBehind("the other node", "other0", 0xfe)
	c.other.marker = addr2("198.51.100.3", "2001:db8:ffff::3")
	both := []addresses{addressesOf(false), addressesOf(true)}
	for _, a := range both {
		c.route(c.other, c.other.marker[a.v6])
		for _, p := range a.remote() {
			c.route(c.other, p)
		}
		for i, p := range a.local() {
			c.route(c.world.pods[i], p)
		}
		for _, client := range []netip.Addr{a.friend, a.foe} {
			c.route(c.outside, client)
		}
		c.giveNode(a.node, "other0")
		c.service(a)
	}
	c.pods = []Pod{
		{Addrs: []netip.Addr{both[0].guarded, both[1].guarded}, Group: "guarded"},
		{Addrs: []netip.Addr{both[0].choosy, both[1].choosy}, Group: "choosy"},
		{Addrs: []netip.Addr{both[0].free, both[1].free}},
		{Addrs: []netip.Addr{both[0].webPod, both[1].webPod}, Group: "web", Remote: true},
		{Addrs: []netip.Addr{both[0].dbPod, both[1].dbPod}, ASGs: []string{"db"}, Remote: true},
		{Addrs: []netip.Addr{both[0].waiting, both[1].waiting}, Group: "unknown", Remote: true},
		{Addrs: []netip.Addr{both[0].plain, both[1].plain}, Remote: true},
	}
	c.network.Judging = &Judging{Groups: []string{"web", "guarded", "choosy"}, Pods: c.list, Load: func() (*Policies, error) {
		return &Policies{Interfaces: clusterPolicies(both), Unusable: []string{"unknown"}, Pods: c.pods, List: c.list}, nil
	}}
	ensure(t, f, c.network)
	for _, p := range c.pods {
		if !p.Remote {
			must(t, f.AddPod(c.network, p))
		}
	}
	return c
}

func (c *cluster) list() ([]Pod, error) { return c.pods, nil }

// service leads a port of the node to the web pod, with the node's address, as
// kube-proxy does.
func (c *cluster) service(a addresses) {
	c.t.Helper()
	program, to := "iptables", a.webPod.String()
	if a.v6 {
		program, to = "ip6tables", "["+to+"]"
	}
	sh(c.t, fmt.Sprintf("%[1]s -w -t nat -A PREROUTING -p udp -d %[2]v --dport %[3]d -j DNAT --to-destination %[4]s:%[5]d; %[1]s -w -t nat -A POSTROUTING -o other0 -m conntrack --ctstate DNAT -j SNAT --to-source %[2]v",
		program, a.node, servicePort, to, webPort))
}

// clusterPolicies: web is for the friend only, guarded only for the application
// security group db, and choosy sends to anybody but that.
func clusterPolicies(both []addresses) map[string]*nsg.Policy {
	any, db := nsg.EndpointDefinition{Prefix: "*", Port: "*"}, nsg.EndpointDefinition{ASGs: []string{"db"}, Port: "*"}
	friend := func(i int) nsg.EndpointDefinition {
		return nsg.EndpointDefinition{Prefix: both[i].friend.String(), Port: "*"}
	}
	rule := func(priority int, direction, access string, from, to nsg.EndpointDefinition) nsg.RuleDefinition {
		return nsg.RuleDefinition{Name: "r" + strconv.Itoa(priority), Priority: strconv.Itoa(priority), Protocol: "*", Direction: direction, Access: access, Source: from, Destination: to}
	}
	group := func(name string, rules ...nsg.RuleDefinition) *nsg.Policy {
		return nsgtest.MustPolicy(nsg.Definition{Name: name, Rules: rules})
	}
	openOut, closedIn := rule(4000, "Outbound", "Allow", any, any), rule(4001, "Inbound", "Deny", any, any)
	return map[string]*nsg.Policy{
		"web":     group("web", rule(100, "Inbound", "Allow", friend(0), any), rule(101, "Inbound", "Allow", friend(1), any), openOut, closedIn),
		"guarded": group("guarded", rule(100, "Inbound", "Allow", db, any), openOut, closedIn),
		"choosy":  group("choosy", rule(100, "Outbound", "Deny", any, db), openOut, closedIn),
	}
}

// sync tells the packet filter of the pods as they are now.
func (c *cluster) sync() {
	c.t.Helper()
	must(c.t, c.f.Alone(c.network.StateDir, func() error {
		_, err := c.f.SyncRemote(c.network.Name, c.list)
		return err
	}))
}

// send sends a packet and returns what arrives of it.
func (c *cluster) send(from, to *end, p crafted) (crafted, bool) {
	c.t.Helper()
	defer onOneProcessor(c.t)()
	if p.kind != complaint { // which has those of what it is about
		p.id, p.protocol = c.newID(), nsg.UDP
	}
	if p.kind == 0 {
		p.kind = request
	}
	c.sent++
	must(c.t, from.send(p))
	last, neutral := c.newID(), c.outside
	if to == c.outside {
		neutral = c.world.pods[2]
	}
	v6 := p.ipv6()
	must(c.t, neutral.send(crafted{kind: request, id: last, protocol: nsg.UDP, src: neutral.marker[v6], dst: to.marker[v6], srcPort: 9, dstPort: 9}))
	var got crafted
	to.read(c.t, v6, last, func(a arrival) {
		if a.packet.id == p.id {
			got = a.packet
		}
	})
	return got, got.id == p.id
}

// want sends the first packet of a flow and wants it to arrive or not.
func (c *cluster) want(passes bool, why string, from, to *end, src, dst netip.Addr, port uint16) crafted {
	c.t.Helper()
	c.forget()
	got, arrived := c.send(from, to, crafted{src: src, dst: dst, srcPort: 40000, dstPort: port})
	if arrived != passes {
		c.t.Errorf("%s: from %v to %v port %d: arrived: %t, want %t", why, src, dst, port, arrived, passes)
	}
	return got
}

// What enters the cluster at this node and is for a pod of another one is judged here
// by that pod's groups, with the sender's true address; what this node's pods send there
// only if they do so through a service, and the node's own not at all. Members of application security groups are
// members wherever they are.
func TestRemotePods(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		c := newCluster(t, f, n)
		c.sync()
		if problems, err := f.Problems(c.network, c.pods...); err != nil || len(problems) > 0 {
			t.Errorf("Problems: %q, %v; want none", problems, err)
		}
		for _, a := range []addresses{addressesOf(false), addressesOf(true)} {
			c.entrances(a)
			c.flowsGoOn(a)
			c.members(a)
		}
		t.Logf("%d packets", c.sent)
	})
}

func (c *cluster) entrances(a addresses) {
	c.t.Helper()
	through := c.want(true, "a friend through the service", c.outside, c.other, a.friend, a.node, servicePort)
	if through.src != a.node || through.dst != a.webPod || through.dstPort != webPort {
		c.t.Errorf("through the service came %v, want it from %v to %v", through, a.node, a.webPod)
	}
	c.want(false, "a foe through the service", c.outside, c.other, a.foe, a.node, servicePort)
	c.want(true, "a friend", c.outside, c.other, a.friend, a.webPod, webPort)
	c.want(false, "a foe", c.outside, c.other, a.foe, a.webPod, webPort)
	c.want(true, "a pod without a group of its own", c.outside, c.other, a.foe, a.plain, webPort)
	c.want(false, "a pod whose group is not known here", c.outside, c.other, a.friend, a.waiting, webPort)
	c.want(true, "a pod of this node, which the other node judges", c.world.pods[2], c.other, a.free, a.webPod, webPort)
	c.want(true, "a pod of this node to one that waits", c.world.pods[2], c.other, a.free, a.waiting, webPort)
	c.want(false, "a pod of this node through the service, which gives it the node's address", c.world.pods[2], c.other, a.free, a.node, servicePort)
	c.want(true, "the node", c.node, c.other, a.node, a.webPod, webPort)
	c.want(false, "another node's pod to a pod that is for db only", c.other, c.world.pods[0], a.webPod, a.guarded, webPort)
}

// flowsGoOn: a flow keeps its verdict when the pod gets another group, and with a
// later one it does not begin.
func (c *cluster) flowsGoOn(a addresses) {
	c.t.Helper()
	first := c.want(true, "a friend through the service", c.outside, c.other, a.friend, a.node, servicePort)
	if back, arrived := c.send(c.other, c.outside, crafted{kind: reply, src: first.dst, dst: first.src, srcPort: first.dstPort, dstPort: first.srcPort}); !arrived || back.src != a.node || back.dst != a.friend {
		c.t.Errorf("the answer: %v, arrived: %t; want it from the service to the friend", back, arrived)
	}
	c.pods[3].Group = "guarded"
	c.sync()
	if _, arrived := c.send(c.outside, c.other, crafted{src: a.friend, dst: a.node, srcPort: 40000, dstPort: servicePort}); !arrived {
		c.t.Error("a running flow ends when the pod gets another group")
	}
	c.want(false, "a friend of the old group", c.outside, c.other, a.friend, a.node, servicePort)
	c.pods[3].Group = "web"
	c.sync()
	c.want(true, "a friend of the old group again", c.outside, c.other, a.friend, a.node, servicePort)
}

// members: groups of groups hold the pods of other nodes, on either side of a rule.
func (c *cluster) members(a addresses) {
	c.t.Helper()
	in := func(passes bool, why string, from netip.Addr) {
		c.t.Helper()
		c.want(passes, why, c.other, c.world.pods[0], from, a.guarded, webPort)
	}
	out := func(passes bool, why string, to netip.Addr) {
		c.t.Helper()
		c.want(passes, why, c.world.pods[1], c.other, a.choosy, to, webPort)
	}
	in(true, "a member to who is for members", a.dbPod)
	in(false, "no member to who is for members", a.plain)
	out(false, "to a member", a.dbPod)
	out(true, "to no member", a.plain)
	c.pods[4].ASGs, c.pods[6].ASGs = nil, []string{"db"}
	c.sync()
	in(false, "a former member", a.dbPod)
	in(true, "a new member", a.plain)
	out(true, "to a former member", a.dbPod)
	out(false, "to a new member", a.plain)
	c.pods[4].ASGs, c.pods[6].ASGs = []string{"db"}, nil
	c.sync()
}

// Somebody takes away only what leads there, or the whole chain: it is noticed and
// comes back.
func TestRemoteRuleIsRepaired(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		c := newCluster(t, f, n)
		c.sync()
		a := addressesOf(false)
		want := rules(t, f)
		damages := []string{
			"iptables -w -t mangle -D " + forwardChain + " ! -i vnet+ ! -o vnet+ -m set --match-set " + farSet(ipv4) + " dst -j " + inChain,
			"iptables -w -t mangle -F " + forwardChain,
		}
		for _, damage := range damages {
			sh(t, damage)
			c.want(true, "a foe, without the rule", c.outside, c.other, a.foe, a.webPod, webPort)
			await(t, "the damage becomes visible", func() bool {
				problems, err := f.Problems(c.network)
				return err != nil || len(problems) > 0
			})
			ensure(t, f, c.network)
			c.want(false, "a foe", c.outside, c.other, a.foe, a.webPod, webPort)
			if got := rules(t, f); got != want {
				t.Errorf("after %q and Ensure:\n%s\nwant:\n%s", damage, got, want)
			}
		}
		t.Logf("%d damages", len(damages))
	})
}

// Pods of other nodes keep the rules that judge what enters here; without them all
// goes, the set that they were in included.
func TestRemotePodsKeepTheRules(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		clean := rules(t, f)
		n, p := judged(n, 1, 3)
		n.Judging.Pods = func() ([]Pod, error) { return p.Pods, nil }
		p.Pods = []Pod{{Addrs: []netip.Addr{pod4, pod6}, Group: "web", Remote: true}}
		p.List = n.Judging.Pods
		for _, ending := range []bool{false, true} {
			ensure(t, f, n)
			whole := rules(t, f)
			must(t, f.Remove(n.StateDir, n.Name))
			if got := rules(t, f); got != whole {
				t.Errorf("after Remove with pods of other nodes:\n%s\nwant:\n%s", got, whole)
			}
			if ending {
				must(t, f.EndJudging(n.StateDir, n.Name, n.Judging.Pods))
			} else {
				_, err := f.SyncRemote(n.Name, func() ([]Pod, error) { return nil, nil })
				must(t, err)
			}
			must(t, f.Remove(n.StateDir, n.Name))
			if got := rules(t, f); got != clean {
				t.Errorf("after Remove without:\n%s\nwant:\n%s", got, clean)
			}
		}
	})
}

// A flow between pods is judged by the receiver's groups at its own node, one from
// elsewhere or through a service where it enters.
func TestFlushOfRemotePods(t *testing.T) {
	f := inNamespace(t)
	group, _ := nsg.New(nsg.Definition{Name: "closed"})
	closed, _ := nsg.NewPolicy(group, nsg.Tags{})
	here, far := netip.MustParseAddr("10.9.0.7"), netip.MustParseAddr("10.9.1.7")
	p := &Policies{Interfaces: map[string]*nsg.Policy{"closed": closed}, Flush: []string{"closed"}, Pods: []Pod{podOf(here), {Addrs: []netip.Addr{far}, Group: "closed", Remote: true}}}
	list := []flow{
		{from: here.String(), to: far.String(), answers: far.String(), seen: here.String()},
		{from: far.String(), to: here.String(), answers: here.String(), seen: far.String()},
		{from: here.String(), to: "192.0.2.1", answers: far.String(), seen: "192.0.2.1", gone: true},
		{from: "203.0.113.9", to: "192.0.2.1", answers: far.String(), seen: "192.0.2.1", gone: true},
		{from: "203.0.113.9", to: far.String(), answers: far.String(), seen: "203.0.113.9", gone: true},
	}
	stay := 0
	for i, c := range list {
		c.track(t, uint16(3000+i))
		if !c.gone {
			stay++
		}
	}
	must(t, f.flush(p))
	if got := tracked(t); len(got) != stay {
		t.Errorf("tracked after a flush: %q, want %d flows", got, stay)
	}
	t.Logf("%d flows, %d stay", len(list), stay)
}
