package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
)

// blocked puts a file where a folder is to be made: nobody, not even root, writes
// below it.
func blocked(t testing.TB, path string) (mend func()) {
	t.Helper()
	aside := path + ".aside"
	if err := os.Rename(path, aside); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	must(t, os.WriteFile(path, nil, 0o644))
	return func() {
		must(t, os.Remove(path))
		if err := os.Rename(aside, path); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// failure is a step that fails.
type failure struct {
	what    string
	harm    func(r *rig) (mend func())
	reason  string // of the Event, and a word of it
	word    string
	offered bool // nevertheless
}

func failures() []failure {
	return []failure{
		{"unwritable bin folder", func(r *rig) func() { return blocked(r.t, r.paths.Binaries) }, "StepFailed", "install the plugins", false},
		{"unwritable data folder", func(r *rig) func() { return blocked(r.t, r.paths.Data) }, "StepFailed", "write the documents", false},
		{"unwritable conflist folder", func(r *rig) func() { return blocked(r.t, r.paths.Conflist) }, "StepFailed", "offer the node", false},
		{"broken documents without good ones", func(r *rig) func() {
			r.cluster.document("bad", map[string]string{"a.json": "{"})
			return func() { r.cluster.document("bad", nil) }
		}, "DocumentsRejected", "bad_a.json", false},
		{"a subnet's group that is not there", func(r *rig) func() {
			r.configure("nsg: {subnet: nowhere}")
			return func() { r.configure("") }
		}, "DocumentsRejected", "nowhere", false},
		{"overlay", func(r *rig) func() {
			r.configure("encapsulation: always")
			_, _ = r.node.Shell("ip", "link", "del", "vxvnet")
			r.shell("ip", "link", "add", "vxvnet", "type", "veth", "peer", "name", "other0")
			return func() {
				r.configure("")
				r.shell("ip", "link", "del", "vxvnet")
			}
		}, "StepFailed", "reach the other nodes", false},
		{"runtime away", func(r *rig) func() {
			r.runtime.change(func() { r.runtime.away = true })
			return func() { r.runtime.change(func() { r.runtime.away = false }) }
		}, "StepFailed", errAway.Error(), true},
		{"API server away", func(r *rig) func() {
			r.cluster.change(func() { r.cluster.broken = errors.New("connection refused") })
			return func() { r.cluster.change(func() { r.cluster.broken = nil }) }
		}, "StepFailed", "publish the pods", true},
		{"no podCIDR", func(r *rig) func() {
			r.cluster.change(func() { r.cluster.nodes[0].PodCIDRs = nil })
			return func() { r.cluster.change(func() { r.cluster.nodes[0].PodCIDRs = ownCIDRs }) }
		}, "StepFailed", "no podCIDR", false},
		{"not in the cluster", func(r *rig) func() {
			was := r.cluster.nodes
			r.cluster.change(func() { r.cluster.nodes = nil })
			return func() { r.cluster.change(func() { r.cluster.nodes = was }) }
		}, "StepFailed", "not in the cluster", false},
		{"kube-proxy in mode ipvs", func(r *rig) func() {
			r.shell("ip", "link", "add", "kube-ipvs0", "type", "veth", "peer", "name", "other0")
			return func() { r.shell("ip", "link", "del", "kube-ipvs0") }
		}, "UnsupportedKubeProxy", "ipvs", false},
		{"a configuration that nobody knows", func(r *rig) func() {
			r.configure("mod: vnet")
			return func() { r.configure("") }
		}, "InvalidConfiguration", "mod", false},
		{"an uplink that is not there", func(r *rig) func() {
			r.configure("uplink: eth9")
			return func() { r.configure("") }
		}, "InvalidConfiguration", "eth9", false},
		{"podCIDRs of elsewhere", func(r *rig) func() {
			r.configure("mode: vnet")
			return func() { r.configure("") }
		}, "InvalidPodCIDR", "10.244.1.0/24", false},
	}
}

// A step that fails leaves the others to be done, keeps a new node from being
// offered if it comes before that, stands in Ready, is told of once, and is over
// when it is mended.
func TestFailingStep(t *testing.T) {
	t.Parallel()
	for _, f := range failures() {
		t.Run(f.what, func(t *testing.T) {
			t.Parallel()
			f.happens(t)
		})
	}
	t.Logf("%d failing steps", len(failures()))
}

func (c failure) happens(t *testing.T) {
	r := newRig(t)
	mend := c.harm(r)
	for range 3 {
		if err := r.pass(); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Fatalf("ready says %v, which should have %q", err, c.word)
		}
	}
	if r.offered() != c.offered {
		t.Errorf("offered: %t, want %t", r.offered(), c.offered)
	}
	told := len(r.cluster.events)
	if len(r.cluster.about("Node/n1", c.reason, c.word)) != 1 || len(unique(r.cluster.events)) != told {
		t.Errorf("told %q", r.cluster.events)
	}
	r.othersAreDone(c.word)
	mend()
	r.good()
	if !r.offered() || len(r.cluster.events) != told {
		t.Errorf("mended: offered %t, events %q", r.offered(), r.cluster.events)
	}
	r.added("default/p")
	c.harm(r)
	if err := r.pass(); err == nil && c.reason != "DocumentsRejected" { // now there are good ones
		t.Error("the second time nobody notices")
	}
	if len(r.cluster.about("Node/n1", c.reason, c.word)) != 2 {
		t.Errorf("the second time: %q", r.cluster.events)
	}
}

func unique(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// othersAreDone looks for what every other step leaves behind.
func (r *rig) othersAreDone(failed string) {
	r.t.Helper()
	done := map[string]bool{}
	note := func(what string, is bool) { done[what] = is }
	_, err := os.Stat(filepath.Join(r.paths.Binaries, "vnet"))
	note("install the plugins", err == nil)
	_, err = os.Stat(filepath.Join(r.paths.Data, "namespaces", "shop"))
	note("write the documents", err == nil)
	note("reach the other nodes", strings.Contains(r.routes(), "10.244.2.0/24"))
	note("put the rules in force", r.rules("VNET") > 0)
	published := read(r.cluster, func() []kube.PodEntry { return r.cluster.published })
	note("publish the pods", published != nil)
	if done["publish the pods"] == false && !strings.Contains(failed, "publish") {
		if r.rules("VNET") == 0 { // nobody knew the node
			return
		}
	}
	depends := map[string]string{
		"write the documents": "put the rules in force", "bad_a.json": "put the rules in force", "nowhere": "put the rules in force",
	}
	for what, is := range done {
		if !is && what != failed && depends[failed] != what {
			r.t.Errorf("with %q failing, nobody did %q", failed, what)
		}
	}
}

// The API server forgets an Event after an hour: what is wrong for longer is told of
// again before that, or `kubectl describe` would say nothing.
func TestToldAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.good()
	r.added("default/p")
	r.cluster.pod("default/p", "nsg=nowhere")
	r.configure("mode: neither")
	wrong := [][]string{{"Node/n1", invalidConfiguration, "neither"}, {"Pod/p", notApplied, "nowhere"}}
	for minutes, times := range []int{1, 1, 1, 2, 2, 2, 3} {
		if err := r.pass(); err == nil {
			t.Fatal("nobody notices")
		}
		for _, w := range wrong {
			if told := r.cluster.about(w...); len(told) != times {
				t.Errorf("after %d minutes told %q, want it %d times", 10*minutes, told, times)
			}
		}
		r.clock = r.clock.Add(10*time.Minute - collectEvery)
	}
	t.Logf("%d faults", len(wrong))
}

// An API server and a runtime that do not answer do not keep a node's rules and routes
// from being repaired in ten seconds.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.good()
	r.cluster.document("groups", map[string]string{"a.json": "{"})
	r.cluster.change(func() { r.cluster.hangs = true })
	r.runtime.change(func() { r.runtime.hangs = true })
	// A busy machine adds to what a look waits for, and seldom to five in a row.
	var took []time.Duration
	for len(took) == 0 || slices.Min(took) > 10*time.Second && len(took) < 5 {
		r.restart()
		began := time.Now()
		if err := r.pass(); err == nil || !strings.Contains(err.Error(), "publish the pods") || !strings.Contains(err.Error(), "tell of findings") {
			t.Errorf("ready says %v", err)
		}
		took = append(took, time.Since(began))
	}
	if slices.Min(took) > 10*time.Second {
		t.Errorf("looks take %s", took)
	}
	r.cluster.change(func() { r.cluster.hangs = false })
	r.eventually("the runtime's silence is told", func() bool { return r.pass() != nil && strings.Contains(r.Ready().Error(), "collect") })
	r.runtime.change(func() { r.runtime.hangs = false })
	r.good()
	t.Log("3 questions")
}

// The conflist is the last thing that a new node gets, and it is one that a runtime
// can use at once.
func TestFirstPass(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{ModeOverlay, ModeVNet} {
		r := newRig(t)
		r.configure("mode: " + mode)
		if mode == ModeVNet {
			r.cluster.nodes[0].PodCIDRs = flatCIDRs
		}
		if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "not over") {
			t.Errorf("%s: ready before the first look: %v", mode, err)
		}
		r.good()
		if len(r.cluster.events) > 0 {
			t.Errorf("%s: %q", mode, r.cluster.events)
		}
		written, err := os.Stat(r.conflistPath())
		must(t, err)
		for _, path := range r.files() {
			info, err := os.Stat(path)
			must(t, err)
			if !info.IsDir() && info.ModTime().After(written.ModTime()) {
				t.Errorf("%s: %s was written after the conflist", mode, path)
			}
		}
		pod := r.added("default/p")
		if err := pod.verb("check"); err != nil {
			t.Errorf("%s: CHECK: %v", mode, err)
		}
		if got := len(pod.addrs()); got != 2 {
			t.Errorf("%s: %d addresses", mode, got)
		}
		r.good()
		if got := r.cluster.published; len(got) != 1 || len(got[0].Addresses) != 2 {
			t.Errorf("%s: published %+v", mode, got)
		}
		must(t, pod.verb("del"))
		r.good()
		if got := r.cluster.published; got == nil || len(got) != 0 {
			t.Errorf("%s: published after DEL %+v", mode, got)
		}
	}
	t.Log("2 modes")
}
