package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

func (r *rig) record(l ipam.Lease) error {
	return attachment.Store(r.paths.State, defaultNetwork).Record(l)
}

// chain finds a chain of the table mangle by a part of its name and the rules that it
// has.
func (r *rig) chain(part, rule string) string {
	r.t.Helper()
	for _, line := range strings.Split(r.shell("iptables-save", "-t", "mangle"), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "-A" && strings.Contains(f[1], part) && strings.Contains(line, rule) {
			return f[1]
		}
	}
	r.t.Fatalf("no chain %s has a rule %s", part, rule)
	return ""
}

// damage is what somebody does to a node.
type damage struct {
	what    string
	do      func(r *rig, pod *container)
	counted string // "": it is repaired, and nobody knows how much there was
}

func damages() []damage {
	return []damage{
		{"a member", func(r *rig, pod *container) {
			a := pod.addrs()[0]
			for _, set := range r.sets(a) {
				r.shell("ipset", "del", set, a.String())
			}
		}, "rules"},
		{"all members", func(r *rig, _ *container) { r.shell("ipset", "flush") }, "rules"},
		{"a chain", func(r *rig, _ *container) { r.shell("iptables", "-t", "mangle", "-F", "VNET-FORWARD") }, "rules"},
		{"the way to the chains", func(r *rig, _ *container) { r.shell("iptables", "-t", "mangle", "-F", "FORWARD") }, "rules"},
		{"a group's chain", func(r *rig, _ *container) {
			r.shell("iptables", "-t", "mangle", "-F", r.chain("VNET-", "deny-82"))
		}, "rules"},
		{"a rule in another's place", func(r *rig, _ *container) {
			r.shell("iptables", "-t", "mangle", "-R", r.chain("VNET-", "deny-82"), "1", "-m", "comment", "--comment", "mine", "-j", "RETURN")
		}, "rules"},
		{"the table mangle", func(r *rig, _ *container) { r.shell("iptables", "-t", "mangle", "-F") }, "rules"},
		{"the table nat", func(r *rig, _ *container) { r.shell("iptables", "-t", "nat", "-F") }, "rules"},
		{"the table raw", func(r *rig, _ *container) { r.shell("iptables", "-t", "raw", "-F") }, "rules"},
		{"the table filter", func(r *rig, _ *container) { r.shell("iptables", "-t", "filter", "-F") }, ""},
		{"IPv6's rules", func(r *rig, _ *container) { r.shell("ip6tables", "-t", "mangle", "-F") }, "rules"},
		{"a route", func(r *rig, _ *container) { r.shell("ip", "route", "del", "10.244.2.0/24") }, "routes"},
		{"the tunnel", func(r *rig, _ *container) { r.shell("ip", "link", "del", "vxvnet") }, "routes"},
		{"the conflist", func(r *rig, _ *container) { must(r.t, os.Remove(r.conflistPath())) }, "configuration"},
		{"the conflist's content", func(r *rig, _ *container) { must(r.t, os.WriteFile(r.conflistPath(), []byte("{}"), 0o644)) }, "configuration"},
		{"a binary", func(r *rig, _ *container) {
			must(r.t, os.Remove(filepath.Join(r.paths.Binaries, "vnet")))
			must(r.t, os.WriteFile(filepath.Join(r.paths.Binaries, "vnet"), []byte("#!"), 0o755))
		}, "plugins"},
		{"a missing binary", func(r *rig, _ *container) { must(r.t, os.Remove(filepath.Join(r.paths.Binaries, "loopback"))) }, "plugins"},
		{"a document", func(r *rig, _ *container) {
			files, err := filepath.Glob(filepath.Join(r.paths.Data, "documents", "current", "*"))
			must(r.t, err)
			must(r.t, os.WriteFile(files[0], []byte("{"), 0o644))
		}, ""},
		{"a namespace's default", func(r *rig, _ *container) { must(r.t, os.RemoveAll(filepath.Join(r.paths.Data, "namespaces"))) }, ""},
	}
}

// Whatever somebody damages is whole after the next deep pass, and counted; what is
// not ours stays.
func TestRepair(t *testing.T) {
	t.Parallel()
	for _, d := range damages() {
		t.Run(d.what, func(t *testing.T) {
			t.Parallel()
			d.isRepaired(t)
		})
	}
	t.Logf("%d kinds of damage", len(damages()))
}

func (c damage) isRepaired(t *testing.T) {
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.shell("ip", "route", "add", "198.51.100.0/24", "dev", "eth0")
	r.shell("iptables", "-t", "mangle", "-N", "FOREIGN")
	r.shell("iptables", "-t", "mangle", "-A", "FOREIGN", "-j", "DROP")
	must(t, os.WriteFile(filepath.Join(r.paths.Conflist, "10-other.conflist"), []byte("{}"), 0o644))
	r.good()
	pod := r.added("shop/p")
	r.good()
	r.good()
	before := r.snapshot()
	c.do(r, pod)
	if len(testnet.Diff(before, r.snapshot())) == 0 && c.counted != "configuration" && c.counted != "plugins" && c.what != "a document" {
		t.Fatal("there is no damage")
	}
	counted := r.counted("vnet_agent_repaired_total", "")
	r.good()
	var foreign []string
	if c.what == "the table mangle" { // somebody flushed what was not ours as well
		foreign = []string{"- iptables nft: mangle 1 -A FOREIGN -j DROP"}
	}
	if left := r.lacks(before, foreign...); len(left) > 0 {
		t.Errorf("not whole: %s", strings.Join(left, "\n"))
	}
	if err := pod.verb("check"); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	r.added("shop/q")
	if now := r.counted("vnet_agent_repaired_total", c.counted); c.counted != "" && now == 0 || counted > 0 {
		t.Errorf("%v %s repaired, and %v before", now, c.counted, counted)
	}
	r.good()
	now := r.counted("vnet_agent_repaired_total", "")
	r.good()
	if more := r.counted("vnet_agent_repaired_total", ""); more != now {
		t.Errorf("%v repaired without any damage", more-now)
	}
}

// An uplink that was set down has lost what the node answers for. For pods that are gone
// the node does not answer.
func TestAnswerAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.configure("mode: vnet")
	r.cluster.nodes[0].PodCIDRs = flatCIDRs
	r.good()
	pod, gone := r.added("default/p"), r.added("default/q")
	must(t, gone.verb("del"))
	before := r.snapshot()
	for _, a := range pod.addrs() {
		r.shell("ip", "neigh", "del", "proxy", a.String(), "dev", "eth0")
	}
	if err := pod.verb("check"); err == nil {
		t.Fatal("CHECK does not miss what the node answers for")
	}
	r.good()
	if err := pod.verb("check"); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	for _, line := range testnet.Diff(before, r.snapshot()) {
		t.Errorf("not as before: %s", line)
	}
	t.Logf("%d addresses", len(pod.addrs()))
}

// What the rules lack for a pod that has just come, here or elsewhere, nobody damaged.
func TestNewPodsAreNoDamage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	r.cluster.change(func() {
		r.cluster.members = []kube.NodePods{{Node: "n2", Pods: []kube.PodEntry{{Addresses: []netip.Addr{netip.MustParseAddr("10.244.2.9")}, NSG: key("web")}}}}
	})
	r.good()
	if r.rules("deny-80") == 0 {
		t.Error("nobody judges what enters for another node's pod")
	}
	pod := r.added("shop/p", "nsg=api")
	for _, set := range r.sets(pod.addrs()[0]) { // as if the ADD had not come to them
		r.shell("ipset", "del", set, pod.addrs()[0].String())
	}
	r.good()
	if n := r.counted("vnet_agent_repaired_total", ""); n != 0 || len(r.sets(pod.addrs()[0])) == 0 {
		t.Errorf("%v repaired; the pod is in %v", n, r.sets(pod.addrs()[0]))
	}
	t.Log("2 pods")
}

// The rules of pods that run come back also where nobody knows what the node is to be: its
// Node was removed and is made anew, or kube-proxy has another mode by now.
func TestRepairOfUnknownNode(t *testing.T) {
	t.Parallel()
	var states int
	for _, f := range failures() {
		if !slices.Contains([]string{"not in the cluster", "no podCIDR", "kube-proxy in mode ipvs"}, f.what) {
			continue
		}
		states++
		r := newRig(t)
		r.cluster.document("groups", groups())
		r.good()
		pod := r.added("shop/p")
		r.good()
		mend := f.harm(r)
		for range 2 {
			r.shell("iptables", "-t", "mangle", "-F")
			if err := r.pass(); err == nil || !strings.Contains(err.Error(), f.word) {
				t.Errorf("%s: ready says %v", f.what, err)
			}
			if r.rules("deny-82") == 0 || len(r.sets(pod.addrs()[0])) == 0 {
				t.Errorf("%s: %d rules, sets %v", f.what, r.rules("deny-82"), r.sets(pod.addrs()[0]))
			}
			r.restart()
		}
		mend()
		r.good()
	}
	t.Logf("%d states", states)
}

// What is known is repaired where this node's own Node is not: single rules, members and
// the routes of a route table.
func TestRepairOnUnknownNode(t *testing.T) {
	t.Parallel()
	var harms, states int
	for _, f := range failures() {
		if !slices.Contains([]string{"not in the cluster", "no podCIDR"}, f.what) {
			continue
		}
		for _, restarted := range []bool{false, true} {
			states++
			r := newRig(t)
			r.cluster.document("groups", groups())
			r.cluster.document("routes", routeTable("192.0.2.0/24 None"))
			r.configure("{encapsulation: never, nsg: {routeTable: r}}")
			r.good()
			pod := r.added("shop/p")
			r.good()
			r.good()
			f.harm(r)
			if restarted {
				r.restart()
			}
			_ = r.pass()
			before := r.snapshot()
			repairable := slices.DeleteFunc(damages(), func(d damage) bool {
				return d.counted != "rules" || d.what == "the table mangle" || d.what == "IPv6's rules"
			})
			repairable = append(repairable,
				damage{what: "a rule to the table", do: func(r *rig, _ *container) { r.shell("ip", "rule", "del", "pref", "7679") }},
				damage{what: "a route of the table", do: func(r *rig, _ *container) {
					r.shell("ip", "route", "del", "blackhole", "192.0.2.0/24", "table", "1992400579")
				}})
			for _, d := range repairable {
				harms++
				d.do(r, pod)
				if len(testnet.Diff(before, r.snapshot())) == 0 {
					t.Fatalf("%s: there is no damage", d.what)
				}
				if err := r.pass(); err == nil || !strings.Contains(err.Error(), f.word) {
					t.Errorf("%s, %s: ready says %v", f.what, d.what, err)
				}
				if left := r.lacks(before); len(left) > 0 {
					t.Errorf("%s, restarted %t, %s: not whole:\n%s", f.what, restarted, d.what, strings.Join(left, "\n"))
				}
			}
			if err := pod.verb("check"); err != nil {
				t.Errorf("%s: CHECK: %v", f.what, err)
			}
		}
	}
	t.Logf("%d kinds of damage in %d states", harms, states)
}

// Of another node that nobody can reach, everything else is repaired all the same.
func TestRepairBesideUnknownNode(t *testing.T) {
	t.Parallel()
	states := map[string]kube.Node{
		"no podCIDR":        {Name: "n3", UID: "u3", Addresses: other("n3", 3).Addresses},
		"no address":        {Name: "n3", UID: "u3", PodCIDRs: prefixes("10.244.3.0/24")},
		"nothing":           {Name: "n3", UID: "u3", Faults: []string{"spec.podCIDRs[0] \"x\" is not a prefix"}},
		"our podCIDR":       {Name: "n3", UID: "u3", Addresses: other("n3", 3).Addresses, PodCIDRs: ownCIDRs},
		"another's podCIDR": {Name: "n3", UID: "u3", Addresses: other("n3", 3).Addresses, PodCIDRs: otherCIDRs},
		"our address":       {Name: "n3", UID: "u3", Addresses: other("n1", 1).Addresses, PodCIDRs: prefixes("10.244.3.0/24")},
		"another's address": {Name: "n3", UID: "u3", Addresses: other("n2", 2).Addresses, PodCIDRs: prefixes("10.244.3.0/24")},
	}
	for what, n := range states {
		r := newRig(t)
		r.cluster.document("groups", groups())
		r.cluster.change(func() { r.cluster.nodes = append(r.cluster.nodes, n) })
		_ = r.pass()
		pod := r.added("shop/p")
		ready := r.pass()
		_ = r.pass()
		before := r.snapshot()
		for _, d := range damages() {
			if d.counted != "rules" && d.counted != "routes" || d.what == "the table mangle" || d.what == "IPv6's rules" {
				continue
			}
			d.do(r, pod)
			_ = r.pass()
			if left := r.lacks(before); len(left) > 0 {
				t.Errorf("%s, %s: not whole:\n%s", what, d.what, strings.Join(left, "\n"))
			}
		}
		t.Logf("%s: ready says %v", what, ready)
	}
}

// lacks tells what of the node's state is not as it was, besides what is known to be gone. The
// kernel makes the route to an IPv6 address of its own a moment after the address
// (net/ipv6/addrconf.c, addrconf_dad_work).
func (r *rig) lacks(before testnet.State, gone ...string) (left []string) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		left = slices.DeleteFunc(testnet.Diff(before, r.snapshot()), func(line string) bool { return slices.Contains(gone, line) })
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// snapshot is the node's state, without what passes as time does.
func (r *rig) snapshot() testnet.State {
	r.t.Helper()
	s := testnet.Snapshot(r.node)
	delete(s, "sysctl")
	var files []string
	for _, f := range s["file"] {
		if !strings.Contains(f, "var-lib") && !strings.Contains(f, "/documents/") {
			files = append(files, f)
		}
	}
	s["file"] = files
	return s
}

// An attachment whose container the runtime does not know goes after the grace, and
// nothing goes where the runtime does not answer.
func TestCollect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	living := r.added("shop/living", "port=18081")
	dead := r.added("shop/dead", "port=18082")
	r.good()
	has := func(c *container) bool { return len(c.addrs()) > 0 }
	r.runtime.change(func() { delete(r.runtime.known, dead.ContainerID()) })
	r.good()
	r.clock = r.clock.Add(grace - 3*collectEvery)
	r.good()
	if !has(dead) {
		t.Error("it went before the grace was over")
	}
	r.clock = r.clock.Add(grace)
	r.runtime.change(func() { r.runtime.away = true })
	if r.pass() == nil || !has(dead) || !has(living) {
		t.Error("it went though the runtime was away")
	}
	if err := r.look(false); err == nil {
		t.Error("the fault is forgotten before the runtime is asked again")
	}
	r.runtime.change(func() { r.runtime.away = false })
	a := dead.addrs()[0]
	r.clock = r.clock.Add(collectEvery)
	r.good()
	if !has(dead) {
		t.Error("it went while the API server had the pod here: the runtime may be another's")
	}
	r.cluster.change(func() { delete(r.cluster.pods, "shop/dead") })
	r.clock = r.clock.Add(collectEvery)
	r.good()
	if has(dead) || !has(living) {
		t.Errorf("after the grace: dead %t, living %t", has(dead), has(living))
	}
	if in := r.sets(a); len(in) > 0 || strings.Contains(r.shell("ip", "route"), a.String()+" ") {
		t.Errorf("it left something: %v", in)
	}
	if nat := r.shell("iptables-save", "-t", "nat"); strings.Contains(nat, "18082") || !strings.Contains(nat, "18081") {
		t.Errorf("ports of the node: %s", nat)
	}
	if n := r.counted("vnet_agent_collected_total", ""); n != 1 {
		t.Errorf("%v collected", n)
	}
	r.good()
	if got := r.cluster.published; len(got) != 1 {
		t.Errorf("published %+v", got)
	}
	must(t, living.verb("check"))
	t.Log("2 attachments")
}
