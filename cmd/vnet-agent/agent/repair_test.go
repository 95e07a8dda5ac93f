package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		{"a chain", func(r *rig, _ *container) { r.shell("iptables", "-t", "mangle", "-F", "VNET-FORWARD") }, ""},
		{"the way to the chains", func(r *rig, _ *container) { r.shell("iptables", "-t", "mangle", "-F", "FORWARD") }, "rules"},
		{"a group's chain", func(r *rig, _ *container) {
			r.shell("iptables", "-t", "mangle", "-F", r.chain("VNET-", "deny-82"))
		}, ""},
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
	if left := testnet.Diff(before, r.snapshot()); len(left) > 0 && c.what != "a document" {
		foreign := strings.Join(left, "\n")
		if strings.Contains(c.what, "table mangle") { // somebody flushed what was not ours as well
			foreign = strings.ReplaceAll(foreign, "- iptables nft: mangle 1 -A FOREIGN -j DROP", "")
		}
		if strings.TrimSpace(foreign) != "" {
			t.Errorf("not whole: %s", strings.Join(left, "\n"))
		}
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
	living := r.added("shop/living")
	dead := r.added("shop/dead")
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
