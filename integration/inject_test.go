package integration

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// The system calls that fail, each with an error that it really can have.
var (
	netlinkFaults = map[string]string{
		"sendto": "error=ENOBUFS", "sendmsg": "error=ENOBUFS", "recvfrom": "error=ENOBUFS", "recvmsg": "error=ENOBUFS",
		"setsockopt": "error=ENOBUFS", "socket": "error=EMFILE", "bind": "error=ENOMEM", "getsockname": "error=ENOBUFS",
		"setns": "error=EPERM", "socketpair": "error=EMFILE",
	}
	fileFaults = map[string]string{
		"openat": "error=EACCES", "read": "error=EIO", "write": "error=EIO", "pread64": "error=EIO", "pwrite64": "error=ENOSPC",
		"fallocate": "error=ENOSPC", "flock": "error=ENOLCK", "fstat": "error=EIO", "linkat": "error=ENOSPC",
		"renameat": "error=ENOSPC", "unlinkat": "error=EROFS", "ioctl": "error=EIO",
	}
)

// someFaults is how many points an ordinary run takes where it does not take all.
const someFaults = 15

const injectWorkers = 3

// outcome counts how the runs with a fault ended.
type outcome struct {
	points, succeeded, refused atomic.Int64
	crashed                    atomic.Int64 // the Go runtime itself gave up on the fault
	repaired                   atomic.Int64 // a lasting fault hit the rollback too, and DEL cleaned up
}

func (o *outcome) report(t *testing.T, what string) {
	t.Helper()
	t.Logf("%s: %d points: %d succeeded, %d refused with a code, %d ended by the Go runtime; %d rollbacks failed too and DEL cleaned up",
		what, o.points.Load(), o.succeeded.Load(), o.refused.Load(), o.crashed.Load(), o.repaired.Load())
	if o.refused.Load() == 0 {
		t.Errorf("%s: no fault made the verb fail: nothing is proved", what)
	}
}

// count tells a run that ended in order from one that the Go runtime ended, as
// it does when its poller's own calls fail: that is a kill to the plugin.
func (o *outcome) count(out testnet.Output) (crashed bool) {
	o.points.Add(1)
	switch {
	case out.Err == nil:
		o.succeeded.Add(1)
	case out.Code == 2 && bytes.Contains(out.Stderr, []byte("fatal error: ")):
		o.crashed.Add(1)
		return true
	default:
		o.refused.Add(1)
	}
	return false
}

// TestFaultADD makes one system call of ADD fail at a time. ADD succeeds, and
// the pod is whole, or it takes back all it did without any DEL.
func TestFaultADD(t *testing.T) {
	t.Parallel()
	testFaults(t, faulty{verb: "ADD"}, func(b *bench, f fault, o *outcome) {
		out := b.traced(f)
		switch crashed := o.count(out); {
		case crashed:
			b.must("DEL")
		case out.Err == nil:
			if check := b.check(out.Stdout); check.Err != nil {
				b.t.Errorf("%s: ADD succeeded, but CHECK says: %+v", f, check.Err)
			}
			b.must("DEL")
		default:
			b.expectCode(f, out)
			if rollbackFailed(out) {
				o.repaired.Add(1)
				b.must("DEL")
			}
		}
		if !b.expectClean(f.String()) {
			b.repair()
		}
	})
}

// TestFaultDEL makes one system call of DEL fail at a time. DEL succeeds or says
// why not, and the next one leaves nothing.
func TestFaultDEL(t *testing.T) {
	t.Parallel()
	testFaults(t, faulty{verb: "DEL", attached: true}, faultInDEL)
}

// TestLastingFaultADD makes all calls of a name fail from one on, the rollback's
// too: then it is DEL that has to leave nothing.
func TestLastingFaultADD(t *testing.T) {
	t.Parallel()
	testFaults(t, faulty{verb: "ADD", lasting: true, most: someFaults}, func(b *bench, f fault, o *outcome) {
		out := b.traced(f)
		if crashed := o.count(out); !crashed && out.Err != nil {
			b.expectCode(f, out)
		}
		if len(b.left()) > 0 && out.Err != nil {
			o.repaired.Add(1)
		}
		b.must("DEL")
		b.expectClean(f.String())
	})
}

// TestLastingFaultDEL does the same to DEL.
func TestLastingFaultDEL(t *testing.T) {
	t.Parallel()
	testFaults(t, faulty{verb: "DEL", attached: true, lasting: true, most: someFaults}, faultInDEL)
}

func faultInDEL(b *bench, f fault, o *outcome) {
	b.must("ADD")
	out := b.traced(f)
	if crashed := o.count(out); !crashed && out.Err != nil {
		b.expectCode(f, out)
	}
	b.must("DEL")
	b.expectClean(f.String())
}

// TestFaultFirstADD does to the ADD that installs the node's rules, and to the
// programs it runs for that, what TestFaultADD does to later ones. What belongs
// to the node may stay in part; the next ADD has to complete it.
func TestFaultFirstADD(t *testing.T) {
	t.Parallel()
	want := rulesOf(newBench(t).node0)
	trial := newColdBench(t, testnet.New(t))
	calls := callsOf(t, trial.node, "vnet", trial.pod.Env("ADD"), trial.stdin)
	jobs := faults(t, faulty{verb: "ADD", most: someFaults}, calls)
	var o outcome
	onWorkers(t, injectWorkers, func(t *testing.T) {
		f := testnet.New(t)
		for j := range jobs {
			if len(f.Nodes) > 200 { // addresses of nodes are bytes
				f = testnet.New(t)
			}
			faultInFirst(newColdBench(t, f), j, want, &o)
		}
	})
	o.report(t, "faults in the first ADD")
}

func faultInFirst(b *bench, f fault, want testnet.State, o *outcome) {
	b.t.Helper()
	defer b.node.Delete()
	defer b.pod.Delete()
	out := b.traced(f)
	if crashed := o.count(out); crashed || out.Err == nil {
		b.must("DEL")
	} else {
		b.expectCode(f, out)
		if rollbackFailed(out) {
			o.repaired.Add(1)
			b.must("DEL")
		}
	}
	b.expectDetached("first " + f.String())
	b.expectSecondStart("first "+f.String(), want)
}

// rollbackFailed tells an ADD that says so itself. strace counts by thread, so
// that one fault may hit several calls, the rollback's too.
func rollbackFailed(out testnet.Output) bool {
	return strings.Contains(out.Err.Msg, "the rollback left something behind, which DEL removes")
}

// expectCode wants an error object with a code of its own, unless it was the
// writing of the object that failed.
func (b *bench) expectCode(f fault, out testnet.Output) {
	b.t.Helper()
	if f.call == "write" && len(out.Stdout) == 0 {
		return
	}
	if out.Err.Code == 0 || out.Err.Code == 999 {
		b.t.Errorf("%s: code %d, exit %d: %s", f, out.Err.Code, out.Code, out.Err.Msg)
	}
}

// repair takes away what a rollback left, or the next point would be blamed.
func (b *bench) repair() {
	b.must("DEL")
	b.baseline()
}

// TestFaultRepeatedADD makes one system call of an ADD fail that finds the pod
// attached: whatever becomes of that ADD, the pod keeps all it has.
func TestFaultRepeatedADD(t *testing.T) {
	t.Parallel()
	testFaults(t, faulty{verb: "ADD", attached: true}, func(b *bench, f fault, o *outcome) {
		first := b.must("ADD")
		out := b.traced(f)
		if crashed := o.count(out); !crashed && out.Err != nil {
			b.expectCode(f, out)
		}
		if check := b.check(first.Stdout); check.Err != nil {
			b.t.Errorf("repeated %s: CHECK of the pod that lives: %+v", f, check.Err)
		}
		b.must("DEL")
		b.expectClean("repeated " + f.String())
	})
}

// faulty says which faults a test makes.
type faulty struct {
	verb     string
	attached bool // the verb finds the pod attached
	lasting  bool // the call fails from then on
	most     int  // points of an ordinary run; 0: all
}

// testFaults spreads the faults of a verb over workers with a node each.
func testFaults(t *testing.T, w faulty, visit func(*bench, fault, *outcome)) {
	trial := newBench(t)
	if w.attached {
		trial.must("ADD")
	}
	jobs := faults(t, w, callsOf(t, trial.node, "vnet", trial.pod.Env(w.verb), trial.stdin))
	var o outcome
	onWorkers(t, injectWorkers, func(t *testing.T) {
		b := newBench(t)
		for f := range jobs {
			visit(b, f, &o)
		}
		if err := b.leaseWholePool(); err != nil {
			t.Errorf("the whole pool cannot be leased any more: %v", err)
		}
	})
	o.report(t, fmt.Sprintf("faults %+v", w))
}

// faults lists the faults of the calls that the verb makes: all of netlink's
// and of the files', or some of them unless VNET_SOAK=1.
func faults(t *testing.T, w faulty, calls map[string]int) <-chan fault {
	t.Helper()
	what, some := map[string]string{}, map[string]int{}
	for _, kind := range []map[string]string{netlinkFaults, fileFaults} {
		for call, text := range kind {
			if calls[call] > 0 {
				what[call], some[call] = text, calls[call]
			}
		}
	}
	all := points(w.verb, some)
	if w.most > 0 && !soak() {
		all = sample(seeded(t), all, w.most)
	}
	out := make(chan fault, len(all))
	for _, p := range all {
		out <- fault{point: p, what: what[p.call], persist: w.lasting}
	}
	close(out)
	t.Logf("%s: %d faults in %d system calls", w.verb, len(all), len(some))
	return out
}
