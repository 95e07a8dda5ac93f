package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
)

// groups are documents of the NSGs web, api and shop-nsg; web denies port 80, and 85
// from the ASG far.
func groups() map[string]string {
	return map[string]string{"web.json": group("web", "80"), "api.json": group("api", "81"), "shop.json": group("shop-nsg", "82"), "far.json": group("far-nsg", "85", "far")}
}

// wants fails unless the pod has the groups: in its record, in sets, as published.
func (c *container) wants(when, nsg string, asgs ...string) {
	r := c.rig
	r.t.Helper()
	_, record := c.lease()
	if nsg != "" {
		nsg = key(nsg)
	}
	if record.Group != nsg || !slices.Equal(record.ASGs, asgs) || record.Lost {
		r.t.Errorf("%s: the record has %q and %q, lost %t; want %q and %q", when, record.Group, record.ASGs, record.Lost, nsg, asgs)
	}
	sets := r.sets(c.addrs()[0])
	for kind, want := range map[string]int{"vnet-asg-": len(asgs), "vnet-nsg-": min(len(nsg), 1)} {
		if n := len(slices.DeleteFunc(slices.Clone(sets), func(s string) bool { return !strings.HasPrefix(s, kind) })); n != want {
			r.t.Errorf("%s: in %v, want %d %s", when, sets, want, kind)
		}
	}
	i := slices.IndexFunc(r.cluster.published, func(e kube.PodEntry) bool { return slices.Equal(e.Addresses, c.addrs()) })
	if i < 0 || r.cluster.published[i].NSG != nsg || !slices.Equal(r.cluster.published[i].ASGs, asgs) {
		r.t.Errorf("%s: published %+v", when, r.cluster.published)
	}
}

// A pod has its namespace's groups, and its own where it says so; both may change
// while it runs, as far as they may.
func TestChoices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.configure("nsg: {allowed: {shop: [shop-nsg, shop, web, front, api], default: ['*']}}")
	r.good()
	pod, bare := r.added("shop/p"), r.added("default/q")
	steps := []struct {
		what   string
		change func()
		nsg    string
		asgs   []string
		told   string // about the pod
	}{
		{"attached", func() {}, "shop-nsg", []string{"shop"}, ""},
		{"own NSG", func() { r.cluster.pod("shop/p", "nsg=web") }, "web", []string{"shop"}, ""},
		{"own ASGs, too", func() { r.cluster.pod("shop/p", "nsg=web", "asgs=front,api") }, "web", []string{"api", "front"}, ""},
		{"by its id", func() { r.cluster.pod("shop/p", "nsg="+resources+"networkSecurityGroups/Web", "asgs=front,api") }, "web", []string{"api", "front"}, ""},
		{"not allowed", func() { r.cluster.pod("shop/p", "nsg=far-nsg", "asgs=front") }, "web", []string{"api", "front"}, `annotation vnet-cni.io/nsg of the pod: nsg.allowed does not have "far-nsg"`},
		{"not allowed by its id", func() {
			r.cluster.pod("shop/p", "nsg="+resources+"networkSecurityGroups/far-nsg", "asgs=front")
		}, "web", []string{"api", "front"}, "nsg.allowed does not have"},
		{"an ASG that is not allowed", func() { r.cluster.pod("shop/p", "asgs=far") }, "web", []string{"api", "front"}, `annotation vnet-cni.io/asgs of the pod: nsg.allowed does not have "far"`},
		{"unknown", func() { r.cluster.pod("shop/p", "nsg=nowhere") }, "web", []string{"api", "front"}, `annotation vnet-cni.io/nsg of the pod: network security group "nowhere"`},
		{"nonsense", func() { r.cluster.pod("shop/p", "nsg=a b") }, "web", []string{"api", "front"}, `annotation vnet-cni.io/nsg of the pod: value "a b"`},
		{"emptied", func() { r.cluster.pod("shop/p", "asgs=") }, "web", []string{"api", "front"}, "asgs"},
		{"terminating", func() { r.cluster.pod("shop/p", "nsg=api", "terminating") }, "web", []string{"api", "front"}, ""},
		{"gone", func() { r.cluster.change(func() { delete(r.cluster.pods, "shop/p") }) }, "web", []string{"api", "front"}, ""},
		{"there again", func() { r.cluster.pod("shop/p", "nsg=api") }, "api", []string{"shop"}, ""},
		{"nothing of its own", func() { r.cluster.pod("shop/p") }, "shop-nsg", []string{"shop"}, ""},
		{"another default", func() { r.cluster.change(func() { r.cluster.namespaces["shop"] = kube.Choice{NSG: "api"} }) }, "api", nil, ""},
		{"an unknown default", func() { r.cluster.change(func() { r.cluster.namespaces["shop"] = kube.Choice{NSG: "nowhere"} }) }, "api", nil, "annotation vnet-cni.io/nsg of namespace shop: "},
		{"nonsense by default", func() { r.cluster.change(func() { r.cluster.namespaces["shop"] = kube.Choice{ASGs: "a b"} }) }, "api", nil, `annotation vnet-cni.io/asgs of namespace shop: value "a b"`},
		{"a namespace that nobody knows", func() { r.cluster.change(func() { delete(r.cluster.namespaces, "shop") }) }, "api", nil, ""},
		{"no default", func() { r.cluster.change(func() { r.cluster.namespaces["shop"] = kube.Choice{} }) }, "", nil, ""},
	}
	for _, s := range steps {
		s.change()
		r.cluster.change(func() { r.cluster.events = nil })
		r.good() // whoever may write a pod must not make the node unready
		r.good()
		r.good() // publishes what the pass before changed
		pod.wants(s.what, s.nsg, s.asgs...)
		told := r.cluster.events
		if s.told == "" && len(told) > 0 || s.told != "" && (len(told) != 1 || !strings.Contains(told[0], "Pod/p SecurityGroupNotApplied: pod shop/p: ") || !strings.Contains(told[0], s.told)) {
			t.Errorf("%s: told %q", s.what, told)
		}
	}
	bare.wants("beside", "")
	t.Logf("%d changes", len(steps))
}

// A pod that came back under its name does not wait for what its predecessor left.
func TestSameName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	old := r.added("shop/web-0", "nsg=web")
	r.runtime.change(func() { delete(r.runtime.known, old.ContainerID()) })
	old.Delete() // the kernel takes the links, and nobody calls DEL
	r.eventually("the link goes", func() bool { return !strings.Contains(r.shell("ip", "route"), old.addrs()[0].String()+" ") })
	again := r.added("shop/web-0", "nsg=api")
	for range 3 {
		r.good()
	}
	again.wants("again", "api", "shop")
	r.cluster.pod("shop/web-0", "nsg=web")
	r.good()
	r.good()
	again.wants("changed", "web", "shop")
	if told := r.cluster.events; len(told) > 0 {
		t.Errorf("told %q", told)
	}
	t.Log("2 pods of one name")
}

// While the agent does not hear of pods, the one that it knows by a name may be gone: the
// next one of that name keeps the groups that its ADD gave it.
func TestSameNameUnheard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	old := r.added("shop/web-0", "nsg=web")
	r.good()
	must(t, old.verb("del"))
	r.cluster.change(func() { r.cluster.lost = []string{"pods"} })
	again := r.added("shop/web-0", "nsg=api")
	r.cluster.pod("shop/web-0", "nsg=web") // the old one's still
	r.good()
	again.wants("unheard", "api", "shop")
	r.cluster.change(func() { r.cluster.lost = nil })
	r.good()
	r.good()
	again.wants("heard", "web", "shop")
	t.Log("2 pods of one name")
}

// What another agent was killed in the middle of is brought to its end, also where the
// annotation is by now what it was.
func TestInterruptedChoice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	pod := r.added("shop/p", "nsg=web")
	r.good()
	l, record := pod.lease()
	record.Next, record.Lost = key("api"), true
	var err error
	l.Attachment, err = record.Encode()
	must(t, err)
	must(t, r.record(l))
	r.good()
	pod.wants("repaired", "web", "shop")
	if _, record := pod.lease(); record.Next != "" {
		t.Errorf("it is about to get %s", record.Next)
	}
	t.Log("1 interrupted choice")
}

// A node speaks for the addresses of its own podCIDRs alone, and only as long as it
// is in the cluster.
func TestMembers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	pod := r.added("default/p", "nsg=far-nsg")
	r.good()
	own := pod.addrs()[0]
	addr := netip.MustParseAddr
	cases := []struct {
		addr   netip.Addr
		taken  bool
		reason string
	}{
		{addr("10.244.2.9"), true, "its podCIDR"}, {addr("fd00:10:244:2::9"), true, "its other podCIDR"},
		{addr("10.244.3.9"), false, "another node's"}, {addr("10.244.1.77"), false, "this node's"}, {own, false, "a pod of this node"},
		{addr("10.241.0.1"), false, "a node"}, {addr("203.0.113.10"), false, "elsewhere"},
	}
	var all []netip.Addr
	for _, c := range cases {
		all = append(all, c.addr)
	}
	before := r.sets(own)
	r.cluster.change(func() {
		r.cluster.nodes = append(r.cluster.nodes, other("n3", 3, prefixes("10.244.3.0/24")...))
		r.cluster.members = []kube.NodePods{
			{Node: "n2", Pods: []kube.PodEntry{{Addresses: all, NSG: key("web"), ASGs: []string{"far"}}}, Faults: []string{`pods[7].addresses[0] "x" is not an address`}},
			{Node: "nobody", Pods: []kube.PodEntry{{Addresses: []netip.Addr{addr("10.244.2.10")}, ASGs: []string{"far"}}}},
			{Node: "n1", Pods: []kube.PodEntry{{Addresses: []netip.Addr{addr("10.244.1.78")}, ASGs: []string{"far"}}}},
		}
	})
	r.good()
	r.good()
	for _, c := range cases {
		if c.addr == own {
			if now := r.sets(own); !slices.Equal(now, before) {
				t.Errorf("a pod of this node is in %v, and was in %v", now, before)
			}
		} else if in := slices.DeleteFunc(r.sets(c.addr), isPeers); (len(in) > 0) != c.taken {
			t.Errorf("%s (%s) is in %v", c.addr, c.reason, in)
		}
	}
	for _, a := range []string{"10.244.2.10", "10.244.1.78"} {
		if in := r.sets(addr(a)); len(in) > 0 {
			t.Errorf("%s is in %v", a, in)
		}
	}
	if told := r.cluster.events; len(told) != 1 || !strings.Contains(told[0], "InvalidNodePods: node n2: pods[7]") {
		t.Errorf("told %q", told)
	}
	r.cluster.change(func() { r.cluster.nodes = r.cluster.nodes[:1] })
	r.good()
	for _, c := range cases[:2] {
		if in := r.sets(c.addr); len(in) > 0 {
			t.Errorf("its node went, and %s is in %v", c.addr, in)
		}
	}
	t.Logf("%d addresses", len(cases)+2)
}

// A namespace that the agent does not know keeps its pods waiting, and the next pass
// lets them in.
func TestNewNamespace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	tries := 0
	for err := errors.New("never tried"); err != nil; {
		tries++
		name := fmt.Sprint("new", tries)
		if _, err := os.Stat(r.paths.Data + "/namespaces/" + name); err == nil {
			t.Fatal("the namespace is known")
		}
		r.cluster.change(func() { r.cluster.namespaces[name] = kube.Choice{NSG: "api"} })
		pod := &container{r.node.NewPod(), r, name + "/p", nil}
		r.runtime.change(func() { r.runtime.known[pod.ContainerID()] = struct{}{} })
		done := make(chan error, 1)
		go func() { done <- pod.verb("add") }()
		r.good()
		// An ADD waits for five seconds, in which a busy machine may not come to the pass.
		if err = <-done; err != nil && (tries == 5 || !strings.Contains(err.Error(), "is not known in")) {
			t.Fatal(err)
		}
		r.good()
		if err == nil {
			pod.wants("late", "api")
		}
	}
	t.Logf("%d namespaces", tries)
}

// isPeers tells whether a set is one of nodes.
func isPeers(set string) bool { return strings.HasPrefix(set, "vnet-peers-") }
