package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// How many points an ordinary run takes of vnet-nsg.
const (
	killsOfChainedAdd   = 25
	killsOfChainedDel   = 15
	killsOfChainedFirst = 5 // for each iptables backend
)

// chainedBench is a pod of another main plugin on which vnet-nsg's verbs are run over
// and over, as a runtime would that kept trying.
type chainedBench struct {
	chainedPod
	node0 testnet.State
}

func newChainedBench(t *testing.T, docs documents, opts ...testnet.NodeOption) *chainedBench {
	t.Helper()
	c := newChain(t, "bridge", docs.conf("some"), opts...)
	behind(c.node, config{network: "pods", plugin: c.main})
	return &chainedBench{chainedPod: c.add()}
}

func (b *chainedBench) stdin(verb string) []byte {
	extra := b.withResult()
	if verb == "ADD" {
		extra["runtimeConfig"] = map[string]any{annotations: map[string]string{"vnet-cni.io/nsg": "asgs", "vnet-cni.io/asgs": "asg-1,asg-9"}}
	}
	return b.c.nsg.stdin(b.c.t, extra)
}

func (b *chainedBench) must(verb string) testnet.Output {
	b.c.t.Helper()
	out := b.c.node.Exec("vnet-nsg", b.Env(verb), b.stdin(verb))
	if out.Err != nil {
		b.c.t.Fatalf("%s: %+v", verb, out.Err)
	}
	return out
}

// warm leaves on the node what stays between pods.
func (b *chainedBench) warm() *chainedBench {
	b.c.t.Helper()
	b.must("ADD")
	b.must("DEL")
	b.node0 = testnet.Snapshot(b.c.node)
	return b
}

func (b *chainedBench) killed(p point, c *tally) bool {
	b.c.t.Helper()
	return c.count(traced(b.c.t, b.c.node, kill(p), "vnet-nsg", b.Env(p.verb), b.stdin(p.verb)))
}

// TestChainedKill kills vnet-nsg's ADD and DEL before their system calls: two DELs
// later nothing may be left.
func TestChainedKill(t *testing.T) {
	t.Parallel()
	for verb, k := range map[string]int{"ADD": killsOfChainedAdd, "DEL": killsOfChainedDel} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			docs := lifeDocuments(t)
			trial := newChainedBench(t, docs).warm()
			if verb == "DEL" {
				trial.must("ADD")
			}
			jobs := queue(t, verb, callsOf(t, trial.c.node, "vnet-nsg", trial.Env(verb), trial.stdin(verb)), k)
			var c tally
			onWorkers(t, 2, func(t *testing.T) {
				b := newChainedBench(t, docs).warm()
				for j := range jobs {
					j.each(func(p point) bool {
						if verb == "DEL" {
							b.must("ADD")
						}
						killed := b.killed(p, &c)
						b.must("DEL")
						b.must("DEL")
						for _, line := range testnet.Diff(b.node0, testnet.Snapshot(b.c.node)) {
							t.Errorf("%s: left: %s", p, line)
						}
						return killed
					})
				}
			})
			c.report(t, "kills of vnet-nsg's "+verb)
		})
	}
}

// TestChainedOvertaken has a DEL come and go while the ADD of the same pod is on its way,
// as one can be whose runtime has died: nobody stays a member whom no record tells of.
func TestChainedOvertaken(t *testing.T) {
	t.Parallel()
	docs := lifeDocuments(t)
	b := newChainedBench(t, docs).warm()
	refused, points := 0, 0
	last := callsOf(t, b.c.node, "vnet-nsg", b.Env("ADD"), b.stdin("ADD"))["sendto"]
	// Where a process starts late, DEL may come before the ADD has begun, or after its end.
	for ahead := 250 * time.Millisecond; refused == 0 && ahead < testnet.Patience/2; ahead *= 4 {
		for _, known := range []bool{false, true} {
			for n := last / 3; n < last; n += 3 {
				if b.overtaken(n, ahead, known) {
					refused++
				}
				points++
			}
		}
	}
	if refused == 0 {
		t.Error("no ADD was overtaken: nothing is proved")
	}
	t.Logf("%d points, %d times refused", points, refused)
}

// overtaken starts an ADD that is held up at its n-th message to the kernel, and a DEL some
// time after it. It reports whether the ADD was refused.
func (b *chainedBench) overtaken(n int, ahead time.Duration, known bool) bool {
	b.c.t.Helper()
	b.must("DEL")
	if known {
		b.must("ADD")
	}
	added := make(chan testnet.Output, 1)
	go func() {
		defer close(added)
		f := fault{point: point{"ADD", "sendto", n}, what: fmt.Sprintf("delay_enter=%d", 2*ahead.Microseconds())}
		added <- traced(b.c.t, b.c.node, f, "vnet-nsg", b.Env("ADD"), b.stdin("ADD"))
	}()
	time.Sleep(ahead)
	del := b.c.node.Exec("vnet-nsg", b.Env("DEL"), b.stdin("DEL"))
	add := <-added
	if del.Err != nil {
		b.c.t.Errorf("DEL that overtakes an ADD at #%d: %+v", n, del.Err)
	}
	if left := b.c.memberships(b.chainedPod); left > 0 && strings.Contains(b.c.ctl("pods"), "no pods") {
		b.c.t.Errorf("overtaken at #%d, known %t: it is a member of %d sets, and no record tells", n, known, left)
	}
	return add.Err != nil
}

// TestChainedKillFirstADD kills the ADD that installs the rules, or a program that it
// runs: the next ADD completes them, with nothing missing and nothing twice.
func TestChainedKillFirstADD(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			docs, with := lifeDocuments(t), testnet.WithIptables(backend)
			rules := []string{"iptables " + backend, "ip6tables " + backend, "ipset"}
			want := only(newChainedBench(t, docs, with).warm().node0, rules...)
			trial := newChainedBench(t, docs, with)
			jobs := queue(t, "ADD", callsOf(t, trial.c.node, "vnet-nsg", trial.Env("ADD"), trial.stdin("ADD")), killsOfChainedFirst)
			var c tally
			for j := range jobs {
				j.each(func(p point) bool {
					b := newChainedBench(t, docs, with)
					out := traced(t, b.c.node, kill(p), "vnet-nsg", b.Env("ADD"), b.stdin("ADD"))
					killed := c.count(out)
					if !killed && out.Err != nil {
						c.programs.Add(1)
						killed = true
					}
					b.must("DEL")
					expectNoMembers(t, b.c.node, "first "+p.String())
					b.warm()
					for _, line := range testnet.Diff(want, only(b.node0, rules...)) {
						t.Errorf("first %s: against a node that was never disturbed: %s", p, line)
					}
					return killed
				})
			}
			c.report(t, "kills of vnet-nsg's first ADD, "+backend)
		})
	}
}
