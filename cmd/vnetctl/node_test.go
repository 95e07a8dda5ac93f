package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

const testConf = `{"cniVersion":"1.0.0","name":"vctl","type":"vnet","mode":"vnet","uplink":"up0","stateDir":%q,
 "masquerade":{"except":["10.0.0.0/8"]},
 "ipam":{"type":"vnet-ipam","pools":[{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/24"]},
   {"subnet":"fd00:10:241::/64","ranges":["fd00:10:241::400/120"]}]}}`

// testNode is a node with the plugin, and the command line for people on it.
type testNode struct {
	testing.TB
	dir string
}

func newTestNode(t testing.TB) testNode {
	inNode(t)
	sh(t, "ip link set lo up")
	sh(t, "ip link add up0 type veth peer name wire0")
	sh(t, "ip link set wire0 up")
	sh(t, "ip addr add 10.241.0.4/16 dev up0")
	sh(t, "ip addr add fd00:10:241::4/64 dev up0 nodad")
	sh(t, "ip link set up0 up")
	return testNode{t, t.TempDir()}
}

// add attaches a pod with the plugin.
func (n testNode) add(id, path string) {
	n.Helper()
	cmd := exec.Command(binDir + "/vnet")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(testConf, n.dir))
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_NETNS="+path, "CNI_IFNAME=eth0", "CNI_PATH="+binDir)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.Fatalf("ADD %s: %v\n%s", id, err, out)
	}
}

func (n testNode) vnetctl(args ...string) answer {
	return vnetctl(append(args, "--state-dir", n.dir)...)
}

// pods are the attachments by container.
func (n testNode) pods() map[string]podEntry {
	n.Helper()
	all := map[string]podEntry{}
	for _, e := range decode[[]podEntry](n, n.vnetctl("pods", "-o", "json").must(n)) {
		if e.Problems == nil || e.Healthy != (len(e.Problems) == 0) {
			n.Errorf("health and problems disagree: %+v", e)
		}
		all[e.ContainerID] = e
	}
	return all
}

func (n testNode) gc(args ...string) collect.Report {
	n.Helper()
	return decode[collect.Report](n, n.vnetctl(append([]string{"gc", "-o", "json"}, args...)...).must(n))
}

// ipsets counts the sets of the node's rules.
func (n testNode) ipsets() int {
	n.Helper()
	sets, err := netlink.IpsetListAll()
	if err != nil {
		n.Fatal(err)
	}
	return len(sets)
}

func (n testNode) hasLink(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

func TestLifeOfANode(t *testing.T) {
	n := newTestNode(t)
	names, paths := map[string]string{}, map[string]string{}
	for _, id := range []string{"a", "b", "c"} {
		names[id], paths[id] = testhost.Beside(t, id)
		n.add(id, paths[id])
	}
	pods := n.pods()
	for id, p := range pods {
		if !p.Healthy || p.HostVeth != link.HostName("vctl", id, "eth0") || strings.Count(p.Address, ",") != 1 {
			t.Errorf("pod %s: %+v", id, p)
		}
	}
	if len(pods) != 3 {
		t.Fatalf("%d pods, want 3: %+v", len(pods), pods)
	}
	n.expectStatus(3, rulesInstalled)
	n.vnetctl("ipam", "release", "vctl", "a").fails(t, exitFailed, "is alive", "--force")
	if r := n.gc(); len(r.Removed)+len(r.Kept) != 0 {
		t.Errorf("gc of a healthy node: %+v", r)
	}

	sh(t, "ip route del 10.241.4.1 dev %s", pods["b"].HostVeth)
	if p := n.pods()["b"]; p.Healthy || !strings.Contains(strings.Join(p.Problems, ";"), "route to 10.241.4.1") {
		t.Errorf("pod b without its route: %+v", p)
	}
	if table := n.vnetctl("pods", "vctl").must(t); !strings.Contains(table, "route to 10.241.4.1") {
		t.Errorf("table: %s", table)
	}

	n.collectPod("c", names["c"], pods["c"].HostVeth)

	n.vnetctl("ipam", "release", "vctl", "b").fails(t, exitFailed, "is alive", "--force") // though damaged
	n.vnetctl("ipam", "release", "vctl", "b", "--force").must(t)
	n.vnetctl("ipam", "release", "vctl", "a", "--force").must(t)
	if left := n.pods(); len(left) != 0 || n.hasLink(pods["a"].HostVeth) || n.hasLink(pods["b"].HostVeth) {
		t.Errorf("after the release of all: %+v", left)
	}
	n.collectRules()
}

func (n testNode) expectStatus(pods int, rules string) {
	n.Helper()
	r := decode[statusReport](n, n.vnetctl("status", "-o", "json").must(n))
	if !r.OK || len(r.Networks) != 1 || r.Networks[0].Pods != pods || r.Networks[0].Rules != rules || len(r.Networks[0].Problems) != 0 {
		n.Errorf("status: %+v, want %d pods and rules %s", r, pods, rules)
	}
	if *r.Networks[0].Free != 256-uint64(pods) {
		n.Errorf("room for %d more pods, want %d", *r.Networks[0].Free, 256-pods)
	}
}

// collectPod deletes a pod's namespace behind the plugin's back.
func (n testNode) collectPod(id, ns, hostVeth string) {
	n.Helper()
	if err := netns.DeleteNamed(ns); err != nil {
		n.Fatal(err)
	}
	if p := n.pods()[id]; p.Healthy || !strings.Contains(p.Problems[0], ns) {
		n.Errorf("pod %s without its namespace: %+v", id, p)
	}
	for _, dry := range []bool{true, false} {
		args := []string{"--dry-run"}
		if !dry {
			args = nil
		}
		r := n.gc(args...)
		if r.DryRun != dry || len(r.Removed) != 1 || r.Removed[0].ContainerID != id || r.Removed[0].Kind != collect.KindLease || len(r.Kept) != 0 {
			n.Errorf("gc, dry-run %v: %+v", dry, r)
		}
		if _, there := n.pods()[id]; there != dry {
			n.Errorf("after gc, dry-run %v, pod %s is there: %v", dry, id, there)
		}
	}
	if n.hasLink(hostVeth) {
		n.Errorf("link %s is there after gc", hostVeth)
	}
	n.expectStatus(2, rulesInstalled)
}

// collectRules expects that the node has no pods any more.
func (n testNode) collectRules() {
	n.Helper()
	before := n.ipsets()
	n.expectStatus(0, rulesNotNeeded)
	if r := n.gc("--dry-run"); len(r.Removed) != 2 || r.Removed[0].Kind != collect.KindRules || n.ipsets() != before {
		n.Errorf("dry-run on a node without pods: %+v", r)
	}
	out := n.vnetctl("gc").must(n)
	expectText(n, "gc", out, "removed the packet filter rules of network vctl: the network has no lease\n"+
		"removed the packet filter rules that all networks share: no network has a lease\n")
	if before == 0 || n.ipsets() != 0 {
		n.Errorf("%d sets before, %d after gc", before, n.ipsets())
	}
	expectText(n, "gc again", n.vnetctl("gc").must(n), "no leftovers to remove\n")
	n.Logf("%d sets removed with their rules", before)
}

func TestPodOutlivesItsNamespacesPath(t *testing.T) {
	n := newTestNode(t)
	name, path := testhost.Beside(t, "lively")
	n.add("lively", path)
	process := inhabitant(t, name)
	if err := netns.DeleteNamed(name); err != nil {
		t.Fatal(err)
	}
	r := n.gc()
	if len(r.Removed) != 0 || len(r.Kept) != 1 || !strings.Contains(r.Kept[0].Reason, "/proc/") {
		t.Errorf("gc while a process lives in the namespace: %+v", r)
	}
	if p := n.pods()["lively"]; p.Healthy {
		t.Errorf("pod without its path: %+v", p)
	}
	process.end()
	await(t, "the process is gone", func() bool { r = n.gc(); return len(r.Kept) == 0 })
	if len(r.Removed) != 3 || r.Removed[0].Kind != collect.KindLease || r.Removed[1].Network != "vctl" || r.Removed[2].Kind != collect.KindRules {
		t.Errorf("gc after the process's end: %+v", r)
	}
}

func TestLostStore(t *testing.T) {
	n := newTestNode(t)
	name, path := testhost.Beside(t, "lost")
	n.add("lost", path)
	if err := os.WriteFile(n.dir+"/vctl.db", []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := n.pods()["lost"]; !p.Healthy {
		t.Errorf("pod with a rebuilt lease: %+v", p)
	}
	n.vnetctl("ipam", "release", "vctl", "lost").fails(t, exitFailed, "is alive")
	if table := n.vnetctl("ipam").must(t); !strings.HasSuffix(table, "  eth0       -\n") {
		t.Errorf("age of a rebuilt lease: %s", table)
	}
	if l := decode[ipamEntries](t, n.vnetctl("ipam", "-o", "json").must(t)).Leases; len(l) != 2 || l[0].Since != "" {
		t.Errorf("rebuilt lease for programs: %+v", l)
	}
	if r := n.gc(); len(r.Removed) != 0 {
		t.Errorf("gc of a living pod with a rebuilt lease: %+v", r)
	}

	// Without the store's file nobody asks for a rebuilt one.
	if err := os.Remove(n.dir + "/vctl.db"); err != nil {
		t.Fatal(err)
	}
	if p := n.pods()["lost"]; p.Healthy || p.Problems[0] != "no lease" {
		t.Errorf("link without a lease: %+v", p)
	}
	if r := n.gc(); len(r.Removed) != 0 || len(r.Kept) != 1 || r.Kept[0].Kind != collect.KindLink {
		t.Errorf("gc of a living link without a lease: %+v", r)
	}
	n.collectAbandonedLink(name, path)
}

// collectAbandonedLink leaves a namespace to which only an open file leads: its
// links stay, and nobody is there.
func (n testNode) collectAbandonedLink(name, path string) {
	n.Helper()
	file, err := os.Open(path)
	if err != nil {
		n.Fatal(err)
	}
	defer file.Close()
	if err := netns.DeleteNamed(name); err != nil {
		n.Fatal(err)
	}
	hostVeth := link.HostName("vctl", "lost", "eth0")
	if !n.hasLink(hostVeth) {
		n.Fatal("the link went with the name")
	}
	r := n.gc()
	if len(r.Removed) != 3 || r.Removed[0].Kind != collect.KindLink || r.Removed[0].HostVeth != hostVeth || n.hasLink(hostVeth) {
		n.Errorf("gc of an abandoned link: %+v", r)
	}
	if sets := n.ipsets(); sets != 0 {
		n.Errorf("%d sets left of a network without a store", sets)
	}
}

func TestStatusTellsDamage(t *testing.T) {
	n := newTestNode(t)
	_, path := testhost.Beside(t, "pod")
	n.add("pod", path)
	sh(t, "iptables -w -t raw -F")
	a := n.vnetctl("status", "-o", "json")
	r := decode[statusReport](t, a.stdout)
	if a.status != exitFailed || a.stderr != "" || r.OK || r.Networks[0].Rules != rulesDamaged || len(r.Networks[0].Problems) == 0 {
		t.Errorf("status %d without raw rules: %+v %s", a.status, r, a.stderr)
	}
	if p := n.pods()["pod"]; p.Healthy {
		t.Errorf("pod without rules: %+v", p)
	}
	if a := n.vnetctl("status"); a.status != exitFailed || !strings.Contains(a.stdout, rulesDamaged) {
		t.Errorf("table of a damaged node: %+v", a)
	}
}

// process is one that the test started in a pod.
type process struct {
	testing.TB
	cmd *exec.Cmd
}

func inhabitant(t testing.TB, ns string) process {
	t.Helper()
	p := process{t, exec.Command("ip", "netns", "exec", ns, "sleep", "600")}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	await(t, "sleep runs in "+ns, func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid))
		return err == nil && strings.TrimSpace(string(name)) == "sleep"
	})
	return p
}

// end kills the process and waits for it; twice is once.
func (p process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
