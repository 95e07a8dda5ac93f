package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// childPaths are the Paths for a process that removes everything, as JSON.
const childPaths = "VNET_AGENT_TEST_REMOVE"

func removeAsChild(paths string) int {
	var p Paths
	err := json.Unmarshal([]byte(paths), &p)
	if err == nil {
		a := New("n1", p, slog.New(slog.DiscardHandler), time.Hour, grace)
		a.Cluster = &fakeCluster{}
		err = a.Remove(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// foreign puts things of others on the node.
func (r *rig) foreign() {
	r.t.Helper()
	must(r.t, os.MkdirAll(r.paths.Binaries, 0o755))
	portmap, err := os.ReadFile(filepath.Join(image, "portmap"))
	must(r.t, err)
	for path, content := range map[string]string{
		filepath.Join(r.paths.Binaries, "ptp"): "#!", filepath.Join(r.paths.Binaries, "portmap"): string(portmap) + "the distribution's",
		filepath.Join(r.paths.Conflist, "10-other.conflist"): "{}",
	} {
		must(r.t, os.WriteFile(path, []byte(content), 0o755))
	}
	r.shell("ip", "route", "add", "198.51.100.0/24", "dev", "eth0")
	r.shell("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.0/24", "-j", "MASQUERADE")
	r.shell("ipset", "create", "foreign", "hash:ip")
	// What others have caused to be there as well, and nobody removes: the tables' own
	// chains, and the routes of a router.
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat", "mangle", "raw"} {
			r.shell(program, "-t", table, "-A", "OUTPUT", "-j", "ACCEPT")
			r.shell(program, "-t", table, "-D", "OUTPUT", "-j", "ACCEPT")
		}
	}
	must(r.t, r.node.SetSysctl("ipv6/conf/all/forwarding", "1"))
}

// bare is the node's state and all of its files, without the runtime's cache.
func (r *rig) bare() testnet.State {
	s := testnet.Snapshot(r.node)
	delete(s, "sysctl") // forwarding stays on: others may have come to need it
	s["file"] = slices.DeleteFunc(r.files(), func(f string) bool { return f == r.paths.Config })
	return s
}

func (r *rig) nothingLeft(when string, before testnet.State) {
	r.t.Helper()
	if left := testnet.Diff(before, r.bare()); len(left) > 0 {
		r.t.Errorf("%s: %s", when, strings.Join(left, "\n"))
	}
}

func (r *rig) withMembers() {
	r.cluster.document("groups", groups())
	r.cluster.document("routes", routeTable("192.0.2.0/24 None", "2001:db8::/32 None"))
	r.cluster.change(func() {
		r.cluster.members = []kube.NodePods{{Node: "n2", Pods: []kube.PodEntry{{Addresses: []netip.Addr{netip.MustParseAddr("10.244.2.9")}, NSG: key("web"), ASGs: []string{"far"}}}}}
	})
}

// Nothing of ours is left, and everything of others.
func TestRemove(t *testing.T) {
	t.Parallel()
	cases := []struct {
		what, config string
		cidrs        []netip.Prefix
		pods         int
		damage       func(r *rig)
	}{
		{"overlay", "encapsulation: always", ownCIDRs, 2, nil},
		{"vnet", "mode: vnet\nmasquerade: true", flatCIDRs, 2, nil},
		{"routes", "nsg: {routeTable: r}", ownCIDRs, 1, nil},
		{"routes, never a pod", "nsg: {routeTable: r}", ownCIDRs, 0, nil},
		{"without security groups", "nsg: {disabled: true}", ownCIDRs, 2, nil},
		{"never a pod", "network: blue", ownCIDRs, 0, nil},
		{"never a pod, no groups", "network: blue\nnsg: {disabled: true}", ownCIDRs, 0, nil},
		{"a broken configuration meanwhile", "", ownCIDRs, 1, func(r *rig) { r.configure("mod: x") }},
		{"a flushed table", "", ownCIDRs, 1, func(r *rig) { r.shell("iptables", "-t", "mangle", "-F") }},
		{"a damaged store", "", ownCIDRs, 1, func(r *rig) {
			must(r.t, os.WriteFile(filepath.Join(r.paths.State, "pods.db"), []byte("noise"), 0o600))
		}},
		{"a missing store", "", ownCIDRs, 1, func(r *rig) { must(r.t, os.Remove(filepath.Join(r.paths.State, "pods.db"))) }},
		{"a missing namespace", "", ownCIDRs, 0, func(r *rig) { r.added("shop/dead").Delete() }},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.foreign()
			r.cluster.nodes[0].PodCIDRs = c.cidrs
			r.withMembers()
			before := r.bare()
			if c.config != "" {
				r.configure(c.config)
			}
			r.good()
			for i := range c.pods {
				r.added(fmt.Sprintf("shop/p%d", i))
			}
			r.good()
			if during := testnet.Diff(before, r.bare()); len(during) < 20 {
				t.Fatalf("an agent shows as %q only", during)
			}
			if c.damage != nil {
				c.damage(r)
			}
			r.restart()
			for _, when := range []string{"once", "twice"} {
				r.on(func() error { return r.Remove(context.Background()) })
				r.nothingLeft(when, before)
			}
			if r.cluster.unpublished != 2 {
				t.Errorf("unpublished %d times", r.cluster.unpublished)
			}
		})
	}
	t.Logf("%d nodes", len(cases))
}

// A port of the node that leads to a pod does not outlive it: the pod of a DaemonSet is
// there still when the node is drained.
func TestRemovePortMappings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.good()
	r.added("default/p", "port=18080")
	r.added("default/q")
	mapped := func() int {
		return strings.Count(r.shell("iptables-save", "-t", "nat")+r.shell("ip6tables-save", "-t", "nat"), "18080")
	}
	if mapped() == 0 {
		t.Fatal("the port leads nowhere")
	}
	must(t, os.Remove(filepath.Join(r.paths.Binaries, "portmap")))
	r.on(func() error { return r.Remove(context.Background()) })
	if n := mapped(); n > 0 {
		t.Errorf("%d rules of the port are left: %s", n, r.shell("iptables-save", "-t", "nat"))
	}
	t.Log("1 port")
}

// Whoever continues after a removal that was killed finds all that is left.
func TestRemoveKilled(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	must(t, err)
	points := map[string][]int{"unlinkat": {1, 3, 8}, "sendto,sendmsg": {6, 30, 60}, "execve": {3}}
	var killed atomic.Int32
	t.Run("points", func(t *testing.T) {
		for calls, at := range points {
			for _, n := range at {
				t.Run(fmt.Sprintf("%s-%d", calls, n), func(t *testing.T) {
					t.Parallel()
					r := newRig(t)
					r.foreign()
					r.withMembers()
					before := r.bare()
					r.good()
					r.added("shop/a")
					r.added("shop/b", "nsg=web")
					r.good()
					paths, err := json.Marshal(r.paths)
					must(t, err)
					cmd := r.node.Command(map[string]string{childPaths: string(paths)}, strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+calls,
						"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", calls, n), os.Args[0])
					var said bytes.Buffer
					cmd.Stdout, cmd.Stderr = &said, &said
					if err := r.node.Run(cmd); err != nil {
						killed.Add(1)
					}
					r.on(func() error { return r.Remove(context.Background()) })
					r.nothingLeft("after "+said.String(), before)
				})
			}
		}
	})
	if killed.Load() == 0 {
		t.Error("nobody was killed")
	}
	t.Logf("%d deaths", killed.Load())
}

// A removal that fails is tried again, and then the agent is ready.
func TestRunRemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.good()
	r.cluster.change(func() { r.cluster.broken = errors.New("connection refused") })
	r.restart()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.node.Do(func() error { r.RunRemoval(ctx); return nil }) }()
	r.eventually("a failure", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "connection refused")
	})
	if r.offered() {
		t.Error("the conflist is still there")
	}
	r.cluster.change(func() { r.cluster.broken = nil })
	r.eventually("ready", func() bool { return r.Ready() == nil })
	stop()
	must(t, <-done)
	t.Log("2 attempts")
}
