package agent

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
)

// An edited configuration takes effect; a broken one leaves the last good one in
// force, for the node, for a node that changes meanwhile, and for another agent.
func TestConfigurationEdited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.nodes[0].PodCIDRs = flatCIDRs
	r.cluster.document("groups", map[string]string{"pods": group("pods-nsg", "80")})
	r.configure("mode: vnet\nmasquerade: true\nmasqueradeExcept: [192.0.2.0/24]\nnsg: {subnet: pods-nsg}")
	r.good()
	if p := r.vnet(); p.Mode != ModeVNet || !contains(p.Masquerade.Except, "192.0.2.0/24") || p.NSG.Subnet != "pods-nsg" || r.rules("deny-80") == 0 {
		t.Errorf("first: %+v, %d rules", p, r.rules("deny-80"))
	}
	if strings.Contains(r.routes(), "10.244.2.0/24") {
		t.Errorf("mode vnet has routes to other nodes: %s", r.routes())
	}
	r.cluster.nodes[0].PodCIDRs = ownCIDRs
	r.configure("masqueradeExcept: [198.51.100.0/24]")
	r.good()
	p := r.vnet()
	if p.Mode != ModeOverlay || contains(p.Masquerade.Except, "192.0.2.0/24") || !contains(p.Masquerade.Except, "198.51.100.0/24") || p.NSG.Subnet != "" || r.rules("deny-80") > 0 {
		t.Errorf("edited: %+v, %d rules", p, r.rules("deny-80"))
	}
	if !strings.Contains(r.routes(), "10.244.2.0/24") {
		t.Errorf("mode overlay has no routes: %s", r.routes())
	}
	broken := []string{"mode: bridge", "masqueradeExcept: [everything]", "nsg: {sameNode: never}", "uplink: eth9", "mode: vnet", "mtu: 3"}
	for i, text := range broken {
		r.configure(text)
		if err := r.pass(); err == nil {
			t.Errorf("%s: ready", text)
		}
		if told := r.cluster.about("Invalid"); len(told) != i+1 {
			t.Errorf("%s: told %q", text, told)
		}
		// The cluster goes on, and so does its repair.
		must(t, os.Remove(r.conflistPath()))
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(10 + i), 0}), 24)
		r.cluster.change(func() { r.cluster.nodes = append(r.cluster.nodes, other("m", byte(10+i), cidr)) })
		if i%2 == 1 {
			r.restart()
		}
		if err := r.pass(); err == nil {
			t.Errorf("%s: ready", text)
		}
		if p := r.vnet(); !contains(p.Masquerade.Except, cidr.String()) && !slices.ContainsFunc(p.Masquerade.Except, func(e netip.Prefix) bool { return e.Contains(cidr.Addr()) }) ||
			!contains(p.Masquerade.Except, "198.51.100.0/24") || !strings.Contains(r.routes(), cidr.String()) {
			t.Errorf("%s: %+v, %s", text, p, r.routes())
		}
		r.cluster.change(func() { r.cluster.events = r.cluster.events[:i+1] }) // another agent tells again
	}
	r.configure("")
	r.good()
	if p := r.vnet(); contains(p.Masquerade.Except, "198.51.100.0/24") || p.Mode != ModeOverlay {
		t.Errorf("without the file: %+v", p)
	}
	t.Logf("2 edits, %d broken ones", len(broken))
}

// A configuration that this node cannot have leaves the last good conflist, also with
// another agent, and the rules that the pods were attached with. Other nodes go on
// knowing the pods.
func TestConfigurationRefusedHere(t *testing.T) {
	t.Parallel()
	refused := []struct{ what, config, mtu, word string }{
		{"an MTU that IPv6 cannot have", "mtu: 1000", "1500", "mtu"},
		{"a subnet's group that no document has", "nsg: {subnet: wep}", "1500", "wep"},
		{"a tunnel that leaves too little for IPv6", "nsg: {subnet: web}\nencapsulation: always", "1300", "mtu"},
	}
	for _, c := range refused {
		r := newRig(t)
		r.cluster.document("groups", map[string]string{"a.json": group("web", "80")})
		r.configure("nsg: {subnet: web}")
		r.good()
		r.added("default/p", "asgs=front")
		r.good()
		r.configure(c.config)
		r.shell("ip", "link", "set", "eth0", "mtu", c.mtu)
		for range 2 {
			r.shell("iptables", "-t", "mangle", "-F")
			if err := r.pass(); err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%s: ready says %v", c.what, err)
			}
			if n, sent := r.rules("deny-80"), r.cluster.published; n == 0 || len(sent) != 1 {
				t.Errorf("%s: %d rules came back, published %+v", c.what, n, sent)
			}
			if p := r.vnet(); p.NSG.Subnet != "web" {
				t.Errorf("%s: the conflist has %+v", c.what, p)
			}
			r.restart()
		}
	}
	t.Logf("%d configurations", len(refused))
}

// Another name for the network waits until the pods of the old one are gone.
func TestNetworkRenamed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	pod := r.added("shop/p")
	r.configure("network: tenant")
	if err := r.pass(); err == nil || !strings.Contains(err.Error(), `"tenant"`) || !strings.Contains(err.Error(), `"pods"`) {
		t.Errorf("with a pod: %v, want an error with both names", err)
	}
	named := func(name string) bool {
		data, err := os.ReadFile(r.conflistPath())
		must(t, err)
		return strings.Contains(string(data), `"name": "`+name+`"`)
	}
	if !named("pods") {
		t.Error("the conflist is of another network")
	}
	must(t, pod.verb("del"))
	far := netip.MustParseAddr("10.244.2.9")
	r.cluster.change(func() {
		r.cluster.members = []kube.NodePods{{Node: "n2", Pods: []kube.PodEntry{{Addresses: []netip.Addr{far}, NSG: key("web")}}}}
	})
	r.configure("")
	r.good()
	r.good()
	if len(r.sets(far)) == 0 || r.rules("VNET-IN-pods") == 0 {
		t.Errorf("the old network: another node's pod is in %v, %d rules", r.sets(far), r.rules("VNET-IN-pods"))
	}
	r.cluster.change(func() { r.cluster.members = nil })
	r.configure("network: tenant")
	r.good()
	if !named("tenant") {
		t.Error("without pods the conflist is of the old network still")
	}
	if in := slices.DeleteFunc(r.sets(far), isPeers); len(in) > 0 || r.rules("VNET-IN-pods") > 0 || r.rules("VNET-IN-tenant") == 0 {
		t.Errorf("another node's pod is in %v still, %d rules of the old network, %d of the new", in, r.rules("VNET-IN-pods"), r.rules("VNET-IN-tenant"))
	}
	if left := strings.Join(r.files(), "\n"); strings.Contains(left, "pods.nsg\n") || strings.Contains(left, "pods.members") {
		t.Errorf("files of the old network are left: %s", left)
	}
	t.Log("2 names")
}

// Another mode waits, too: nobody would bring packets to the pods of the old one. A
// configuration that lacks the mode, or is gone, is of mode overlay.
func TestModeChanged(t *testing.T) {
	t.Parallel()
	for _, without := range []string{"nsg: {sameNode: azure}", ""} {
		r := newRig(t)
		r.cluster.nodes[0].PodCIDRs = flatCIDRs
		r.cluster.document("groups", groups())
		r.configure("mode: vnet")
		r.good()
		pod := r.added("shop/p")
		r.configure(without)
		for range 2 {
			if err := r.pass(); err == nil || !strings.Contains(err.Error(), `mode: value "overlay": 1 pods of this node are in mode "vnet" still`) {
				t.Errorf("%q with a pod: %v, want an error with both modes", without, err)
			}
			r.restart()
		}
		if p := r.vnet(); p.Mode != ModeVNet {
			t.Errorf("%q: the next pod is attached in mode %s", without, p.Mode)
		}
		must(t, pod.verb("del"))
		r.good()
		if p := r.vnet(); p.Mode != ModeOverlay {
			t.Errorf("%q without pods: mode %s", without, p.Mode)
		}
	}
	t.Log("2 configurations")
}

// A list of the allowed that is empty allows nobody, also where another agent goes on
// with the last good configuration.
func TestNobodyAllowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	for _, config := range []string{"nsg: {allowed: {}}", "mode: neither"} {
		r.configure(config)
		r.restart()
		_ = r.pass()
		if _, err := r.add("default/p", "nsg=web"); err == nil || !strings.Contains(err.Error(), "allowed") {
			t.Errorf("%s: ADD of a pod that chooses says %v", config, err)
		}
	}
	r.added("default/plain")
	r.cluster.pod("default/plain", "nsg=web")
	_ = r.pass()
	if told := r.cluster.about(notApplied, "nsg.allowed"); len(told) != 1 {
		t.Errorf("told %q", told)
	}
	t.Log("3 choices")
}

// Security groups can be turned off and on again under pods; those of other nodes
// included.
func TestGroupsDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", map[string]string{"a.json": group("web", "80", "far"), "b.json": group("shop-nsg", "81")})
	r.cluster.change(func() {
		r.cluster.members = []kube.NodePods{{Node: "n2", Pods: []kube.PodEntry{{Addresses: []netip.Addr{netip.MustParseAddr("10.244.2.9")}, NSG: key("web"), ASGs: []string{"far"}}}}}
	})
	r.good()
	pod := r.added("shop/p", "nsg=web")
	r.good()
	if r.rules("deny-80") == 0 || len(r.sets(pod.addrs()[0])) < 3 {
		t.Fatalf("not judged: %d rules, sets %v", r.rules("deny-80"), r.sets(pod.addrs()[0]))
	}
	r.configure("nsg: {disabled: true}")
	for range 2 {
		r.good()
		if n, sets, far := r.rules("deny-"), r.sets(pod.addrs()[0]), r.sets(netip.MustParseAddr("10.244.2.9")); n > 0 || len(far) > 0 {
			t.Errorf("disabled: %d rules, the pod is in %v, the other node's in %v", n, sets, far)
		}
		if r.vnet().NSG != nil {
			t.Errorf("disabled: %+v", r.vnet().NSG)
		}
	}
	if got := r.cluster.published; len(got) != 1 {
		t.Logf("published while disabled: %+v", got)
	}
	r.configure("")
	r.good()
	r.good()
	if n, sets, far := r.rules("deny-80"), r.sets(pod.addrs()[0]), r.sets(netip.MustParseAddr("10.244.2.9")); n == 0 || len(sets) < 3 || len(far) == 0 {
		t.Errorf("enabled again: %d rules, the pod is in %v, the other node's in %v", n, sets, far)
	}
	t.Log("2 changes")
}

// What other nodes are shows in the conflist and in the routes.
func TestNodesChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.configure("encapsulation: never")
	steps := []struct {
		what    string
		nodes   []kube.Node
		cidrs   []string // of other nodes, which have a way
		gone    []string
		address string // of another node, in the virtual network
		told    string
	}{
		{"one other", []kube.Node{other("n2", 2, otherCIDRs[0])}, []string{"10.244.2.0/24"}, nil, "10.241.0.2", ""},
		{"a third", []kube.Node{other("n2", 2, otherCIDRs[0]), other("n3", 3, prefixes("10.250.3.0/24")...)}, []string{"10.244.2.0/24", "10.250.3.0/24"}, nil, "10.241.0.3", ""},
		{"another range", []kube.Node{other("n2", 2, prefixes("10.251.2.0/24")...)}, []string{"10.251.2.0/24"}, []string{"10.244.2.0/24", "10.250.3.0/24"}, "10.241.0.2", ""},
		{"one without a range", []kube.Node{other("n2", 2)}, nil, []string{"10.251.2.0/24"}, "10.241.0.2", ""},
		{"faults", []kube.Node{{Name: "n2", Faults: []string{`spec.podCIDRs[0] "x" is not a prefix`}}}, nil, nil, "", "InvalidNode: node n2: spec.podCIDRs[0]"},
		{"out of reach", []kube.Node{{Name: "n4", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.77")}, PodCIDRs: prefixes("10.252.0.0/24")}}, nil, []string{"10.252.0.0/24"}, "203.0.113.77", "NodeUnreachable: node n4"},
		{"none", nil, nil, []string{"10.252.0.0/24"}, "", ""},
	}
	self := r.cluster.nodes[0]
	for _, s := range steps {
		r.cluster.change(func() { r.cluster.nodes, r.cluster.events = append([]kube.Node{self}, s.nodes...), nil })
		for range 2 {
			r.good()
		}
		p, routes := r.vnet(), r.routes()
		for _, c := range s.cidrs {
			if !contains(p.Masquerade.Except, c) || !contains(p.NSG.VirtualNetwork, c) || !strings.Contains(routes, c) {
				t.Errorf("%s: %s is not everywhere: %+v %+v %s", s.what, c, p.Masquerade, p.NSG, routes)
			}
		}
		for _, c := range s.gone {
			if strings.Contains(routes, c) {
				t.Errorf("%s: %s has a way: %s", s.what, c, routes)
			}
		}
		if a := s.address; a != "" && !slices.ContainsFunc(p.NSG.VirtualNetwork, func(v netip.Prefix) bool { return v.Contains(netip.MustParseAddr(a)) }) {
			t.Errorf("%s: %s is not in %v", s.what, a, p.NSG.VirtualNetwork)
		}
		if told := r.cluster.events; s.told == "" && len(told) > 0 || s.told != "" && (len(told) != 1 || !strings.Contains(told[0], s.told)) {
			t.Errorf("%s: told %q", s.what, told)
		}
	}
	if n := r.counted("vnet_agent_repaired_total", "routes"); n != 0 {
		t.Errorf("%v changes of the cluster count as damage", n)
	}
	t.Logf("%d sets of nodes", len(steps))
}
