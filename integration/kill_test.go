package integration

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// How many points an ordinary run takes; VNET_SOAK=1 takes all there are.
const (
	killsOfAdd   = 50
	killsOfDel   = 35
	killsOfFirst = 8 // for each iptables backend
)

const killWorkers = 3

// tally counts what became of the points.
type tally struct {
	points, killed, survived atomic.Int64
	programs                 atomic.Int64 // survived, but a program that it ran did not
	pools                    atomic.Int64 // times that the whole pool was leased
}

func (c *tally) String() string {
	return fmt.Sprintf("%d points: %d times killed there, %d times survived (%d of them lost a program they ran); whole pool leased %d times",
		c.points.Load(), c.killed.Load(), c.survived.Load(), c.programs.Load(), c.pools.Load())
}

// report logs the counts and fails a test that killed next to nothing: threads
// differ from run to run, so that some points are not reached.
func (c *tally) report(t *testing.T, what string) {
	t.Helper()
	t.Logf("%s: %s", what, c)
	if (c.killed.Load()+c.programs.Load())*4 < c.points.Load() || c.points.Load() == 0 {
		t.Errorf("%s: too few runs were killed to prove anything", what)
	}
}

// TestKillADD kills ADD before each of its system calls: two DELs later nothing
// may be left.
func TestKillADD(t *testing.T) {
	t.Parallel()
	testKills(t, "ADD", killsOfAdd, func(b *bench, p point, c *tally) bool {
		return c.count(b.traced(kill(p)))
	})
}

// TestKillDEL kills DEL before each of its system calls: two more DELs have to
// finish the work.
func TestKillDEL(t *testing.T) {
	t.Parallel()
	testKills(t, "DEL", killsOfDel, func(b *bench, p point, c *tally) bool {
		b.must("ADD")
		return c.count(b.traced(kill(p)))
	})
}

func (c *tally) count(out testnet.Output) (killed bool) {
	c.points.Add(1)
	if out.Code == -1 {
		c.killed.Add(1)
		return true
	}
	c.survived.Add(1)
	return false
}

// testKills spreads the points of a verb over workers with a node each.
func testKills(t *testing.T, verb string, k int, killAt func(*bench, point, *tally) bool) {
	trial := newBench(t)
	if verb == "DEL" {
		trial.must("ADD")
	}
	jobs := queue(t, verb, callsOf(t, trial.node, "vnet", trial.pod.Env(verb), trial.stdin), k)
	var c tally
	onWorkers(t, killWorkers, func(t *testing.T) {
		b := newBench(t)
		for j := range jobs {
			j.each(func(p point) bool {
				killed := killAt(b, p, &c)
				afterKill(b, p)
				return killed
			})
			if b.due(j.points) {
				b.expectWholePool(&c)
			}
		}
		b.expectWholePool(&c)
	})
	c.report(t, "kills of "+verb)
}

// job is a run of points of one call; an open one goes on for as long as the
// points are reached.
type job struct {
	point
	points int
	open   bool
}

func (j job) each(visit func(point) bool) {
	p := j.point
	for i := 0; i < j.points; i, p.n = i+1, p.n+1 {
		if !visit(p) && i+1 == j.points {
			return
		}
	}
	for ; j.open && visit(p); p.n++ {
	}
}

// queue is all points, by call, or a sample of them.
func queue(t *testing.T, verb string, calls map[string]int, k int) <-chan job {
	t.Helper()
	var jobs []job
	all := points(verb, calls)
	if soak() {
		for call, most := range calls {
			jobs = append(jobs, job{point{verb, call, 1}, most, true})
		}
	} else {
		for _, p := range sample(seeded(t), all, k) {
			jobs = append(jobs, job{p, 1, false})
		}
	}
	t.Logf("%s makes %d system calls with %d points; %d jobs", verb, len(calls), len(all), len(jobs))
	out := make(chan job, len(jobs))
	for _, j := range jobs {
		out <- j
	}
	close(out)
	return out
}

// onWorkers runs f n times at once, each as a test of its own, and waits.
func onWorkers(t *testing.T, n int, f func(*testing.T)) {
	t.Helper()
	t.Run("workers", func(t *testing.T) {
		for i := range n {
			t.Run(fmt.Sprint(i+1), func(t *testing.T) {
				t.Parallel()
				f(t)
			})
		}
	})
}

// afterKill wants two DELs to succeed and to leave nothing.
func afterKill(b *bench, p point) {
	b.t.Helper()
	for i := range 2 {
		if out := b.run("DEL"); out.Err != nil {
			b.t.Errorf("%s: DEL %d afterwards: %+v", p, i+1, out.Err)
		}
	}
	b.expectClean(p.String())
}

// expectClean wants the state from before any ADD. A fault is told once.
func (b *bench) expectClean(when string) bool {
	b.t.Helper()
	left := b.left()
	for _, line := range left {
		b.t.Errorf("%s: left: %s", when, line)
	}
	if len(left) > 0 {
		b.baseline()
	}
	return len(left) == 0
}

// due tells every now and then that the pool wants a look.
func (b *bench) due(points int) bool {
	const often = 25
	b.sinceLook += points
	if b.sinceLook < often {
		return false
	}
	b.sinceLook = 0
	return true
}

func (b *bench) expectWholePool(c *tally) {
	b.t.Helper()
	if err := b.leaseWholePool(); err != nil {
		b.t.Errorf("the whole pool cannot be leased any more: %v", err)
	}
	b.expectClean("after leasing the whole pool")
	c.pools.Add(1)
}

// TestKillFirstADD kills the ADD that installs the node's rules, or one of the
// programs that it runs for that: a clean ADD afterwards has to complete them,
// with nothing missing and nothing twice.
func TestKillFirstADD(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			want := rulesOf(newBench(t, testnet.WithIptables(backend)).node0)
			trial := newColdBench(t, testnet.New(t), testnet.WithIptables(backend))
			calls := callsOf(t, trial.node, "vnet", trial.pod.Env("ADD"), trial.stdin)
			jobs := queue(t, "first ADD", calls, killsOfFirst)
			var c tally
			onWorkers(t, killWorkers, func(t *testing.T) {
				f := testnet.New(t)
				for j := range jobs {
					j.each(func(p point) bool {
						if len(f.Nodes) > 200 { // addresses of nodes are bytes
							f = testnet.New(t)
						}
						return killFirst(t, f, p, backend, want, &c)
					})
				}
			})
			c.report(t, "kills of the first ADD, "+backend)
		})
	}
}

// killFirst kills the first ADD on a fresh node. It reports whether anything
// was killed, the plugin or a program that it started.
func killFirst(t *testing.T, f *testnet.Fabric, p point, backend string, want testnet.State, c *tally) bool {
	t.Helper()
	b := newColdBench(t, f, testnet.WithIptables(backend))
	defer b.node.Delete()
	defer b.pod.Delete()
	p.verb = "ADD"
	out := b.traced(kill(p))
	killed := c.count(out)
	if !killed && out.Err != nil && strings.Contains(out.Err.Msg, "killed") {
		c.programs.Add(1)
		killed = true
	}
	for range 2 {
		if out := b.run("DEL"); out.Err != nil {
			b.t.Errorf("first %s: DEL afterwards: %+v", p, out.Err)
		}
	}
	b.expectDetached("first " + p.String())
	b.expectSecondStart("first "+p.String(), want)
	return killed
}

// expectDetached wants nothing left of the attachment. What belongs to the node, as
// the routes of a route table do (protocol 87), may be there in part.
func (b *bench) expectDetached(when string) {
	b.t.Helper()
	sections := []string{"link", "address", "route", "neighbour", "proxy neighbour", "lease"}
	for _, line := range testnet.Diff(only(b.node0, sections...), only(testnet.Snapshot(b.node), sections...)) {
		if !anycast(line) && !strings.Contains(line, " proto 87 ") {
			b.t.Errorf("%s: left: %s", when, line)
		}
	}
	for _, line := range testnet.Snapshot(b.node)["ipset"] {
		if inSmallPool(line) {
			b.t.Errorf("%s: left: ipset: %s", when, line)
		}
	}
	for _, line := range testnet.Diff(b.pod0, testnet.SnapshotPod(b.pod)) {
		b.t.Errorf("%s: left: %s", when, line)
	}
}

// inSmallPool tells the line of a set of pods about an address of the pools of
// smallPools. What rules speak of stays with the rules.
func inSmallPool(line string) bool {
	return strings.HasPrefix(line, "add ") && !strings.HasPrefix(line, "add vnet-set-") && (strings.Contains(line, " 10.241.4.1") || strings.Contains(line, " fd00:10:241::41"))
}

// rulesOf is what every node with the same network has in common.
func rulesOf(s testnet.State) testnet.State {
	return only(s, "iptables nft", "iptables legacy", "ip6tables nft", "ip6tables legacy", "ipset", "rule", "sysctl", "file")
}

func only(s testnet.State, sections ...string) testnet.State {
	out := testnet.State{}
	for _, name := range sections {
		out[name] = s[name]
	}
	return out
}

// expectSecondStart wants another ADD and DEL to bring the node to where one
// comes whose first ADD was not disturbed.
func (b *bench) expectSecondStart(when string, want testnet.State) {
	b.t.Helper()
	add := b.run("ADD")
	if add.Err != nil {
		b.t.Errorf("%s: ADD afterwards: %+v", when, add.Err)
		return
	}
	if check := b.check(add.Stdout); check.Err != nil {
		b.t.Errorf("%s: CHECK afterwards: %+v", when, check.Err)
	}
	b.must("DEL")
	for _, line := range testnet.Diff(want, rulesOf(testnet.Snapshot(b.node))) {
		b.t.Errorf("%s: against a node that was never disturbed: %s", when, line)
	}
}

// anycast tells the route that the kernel makes itself on every interface of a
// node that forwards IPv6: the subnet-router anycast address (RFC 4291 2.6.1).
func anycast(line string) bool {
	return strings.HasPrefix(line, "+ route: ") && strings.Contains(line, " dev "+testnet.Uplink+" table 255 proto 2 scope 0 type 4 ")
}
