package integration

import (
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// How many points an ordinary run takes of verbs with security groups.
const (
	killsOfJudgedAdd   = 25
	killsOfJudgedDel   = 15
	killsOfJudgedFirst = 5 // for each iptables backend
)

// newJudgedBench is a node on which no plugin ran yet. The pod asks for a group and
// for application security groups.
func newJudgedBench(t *testing.T, f *testnet.Fabric, docs documents, opts ...testnet.NodeOption) *bench {
	t.Helper()
	b := newColdBench(t, f, opts...)
	judged(docs.conf("some"))(b.conf)
	b.stdin = b.conf.stdin(t, map[string]any{"runtimeConfig": map[string]any{
		annotations: map[string]string{"vnet-cni.io/nsg": "asgs", "vnet-cni.io/asgs": "asg-1,asg-9"}}})
	return b
}

func (b *bench) warm() *bench {
	b.t.Helper()
	b.must("ADD")
	b.must("DEL")
	b.baseline()
	return b
}

// TestNSGKill kills ADD and DEL of a pod with groups before their system calls: two
// DELs later nothing may be left.
func TestNSGKill(t *testing.T) {
	t.Parallel()
	for verb, k := range map[string]int{"ADD": killsOfJudgedAdd, "DEL": killsOfJudgedDel} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			docs := lifeDocuments(t)
			trial := newJudgedBench(t, testnet.New(t), docs).warm()
			if verb == "DEL" {
				trial.must("ADD")
			}
			jobs := queue(t, verb, callsOf(t, trial.node, "vnet", trial.pod.Env(verb), trial.stdin), k)
			var c tally
			onWorkers(t, 2, func(t *testing.T) {
				b := newJudgedBench(t, testnet.New(t), docs).warm()
				for j := range jobs {
					j.each(func(p point) bool {
						if verb == "DEL" {
							b.must("ADD")
						}
						killed := c.count(b.traced(kill(p)))
						afterKill(b, p)
						return killed
					})
				}
				b.expectWholePool(&c)
			})
			c.report(t, "kills of "+verb+" with groups")
		})
	}
}

// TestNSGKillFirstADD kills the ADD that installs the groups' rules, or a program
// that it runs: the next ADD completes them, with nothing missing and nothing twice.
func TestNSGKillFirstADD(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			docs, with := lifeDocuments(t), testnet.WithIptables(backend)
			want := rulesOf(newJudgedBench(t, testnet.New(t), docs, with).warm().node0)
			trial := newJudgedBench(t, testnet.New(t), docs, with)
			jobs := queue(t, "ADD", callsOf(t, trial.node, "vnet", trial.pod.Env("ADD"), trial.stdin), killsOfJudgedFirst)
			f := testnet.New(t)
			var c tally
			for j := range jobs {
				j.each(func(p point) bool {
					if len(f.Nodes) > 200 { // addresses of nodes are bytes
						f = testnet.New(t)
					}
					b := newJudgedBench(t, f, docs, with)
					defer b.node.Delete()
					defer b.pod.Delete()
					out := b.traced(kill(p))
					killed := c.count(out)
					if !killed && out.Err != nil {
						c.programs.Add(1)
						killed = true
					}
					b.must("DEL")
					b.expectDetached("first " + p.String())
					expectNoMembers(t, b.node, "first "+p.String())
					b.expectSecondStart("first "+p.String(), want)
					return killed
				})
			}
			c.report(t, "kills of the first ADD with groups, "+backend)
		})
	}
}
