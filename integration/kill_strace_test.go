package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// point is a place in a run of a verb: the n-th time that one of its threads
// makes a system call.
type point struct {
	verb string
	call string
	n    int
}

func (p point) String() string { return fmt.Sprintf("%s at %s #%d", p.verb, p.call, p.n) }

// fault is what strace does to a run: at the point, and with persist at every
// later call of the same name.
type fault struct {
	point
	what    string // strace's words, such as "signal=KILL" or "error=ENOBUFS"
	persist bool
}

func (f fault) String() string {
	s := f.point.String() + " " + f.what
	if f.persist {
		s += " from there on"
	}
	return s
}

func (f fault) inject() string {
	s := fmt.Sprintf("inject=%s:%s:when=%d", f.call, f.what, f.n)
	if f.persist {
		s += "+"
	}
	return s
}

// kill is the fault that ends the process before the call is made.
func kill(p point) fault { return fault{point: p, what: "signal=KILL"} }

// stracePath fails the test where strace is missing: without it nothing is proved.
func stracePath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("strace is needed to kill and to inject: %v", err)
	}
	return path
}

// traced runs the plugin under strace with a fault. Output.Code is -1 when the
// plugin itself was killed: strace ends the way its child did.
func traced(t *testing.T, n *testnet.Node, f fault, plugin string, env map[string]string, stdin []byte) testnet.Output {
	t.Helper()
	return runCommand(t, n, n.Command(env, stracePath(t), "-f", "-qq", "-o", "/dev/null",
		"-e", "trace="+f.call, "-e", f.inject(), testnet.Bin(t, plugin)), stdin)
}

// commandTimeout is far more than any verb may take, which waits for a lock for 30 s:
// what is still there then hangs.
const commandTimeout = 2 * time.Minute

// runCommand is Node.Exec for a command with arguments, and ends what hangs.
func runCommand(t *testing.T, n *testnet.Node, cmd *exec.Cmd, stdin []byte) testnet.Output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := n.Start(cmd); err != nil {
		t.Fatalf("run %q on %s: %v", cmd.Args, n.Name, err)
	}
	hung := time.AfterFunc(commandTimeout, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !hung.Stop() {
		t.Errorf("%q on %s hung for %s", cmd.Args, n.Name, commandTimeout)
	}
	out := testnet.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}
	if err != nil {
		out.Err = &types.Error{}
		if json.Unmarshal(out.Stdout, out.Err) != nil || out.Err.Msg == "" {
			out.Err = &types.Error{Msg: fmt.Sprintf("no error object on stdout %q, stderr %q: %v", out.Stdout, out.Stderr, err)}
		}
	}
	return out
}

// callLine is a call's first line in strace's output: thread id, name.
var callLine = regexp.MustCompile(`(?m)^(\d+) +([a-z_0-9]+)\(`)

// callsOf runs the plugin once under strace and returns, for each system call
// it makes, how often its busiest thread does.
func callsOf(t *testing.T, n *testnet.Node, plugin string, env map[string]string, stdin []byte) map[string]int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	out := runCommand(t, n, n.Command(env, stracePath(t), "-f", "-qq", "-o", file, testnet.Bin(t, plugin)), stdin)
	if out.Err != nil {
		t.Fatalf("%s under strace: %+v", env["CNI_COMMAND"], out.Err)
	}
	trace, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type thread struct{ id, call string }
	count, most := map[thread]int{}, map[string]int{}
	for _, m := range callLine.FindAllSubmatch(trace, -1) {
		by := thread{string(m[1]), string(m[2])}
		count[by]++
		most[by.call] = max(most[by.call], count[by])
	}
	if len(most) < 10 {
		t.Fatalf("strace shows only %d system calls: %v", len(most), most)
	}
	return most
}

// points lists all points of the calls, in a fixed order.
func points(verb string, calls map[string]int) []point {
	var out []point
	for call, most := range calls {
		for n := 1; n <= most; n++ {
			out = append(out, point{verb, call, n})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return a.call < b.call || a.call == b.call && a.n < b.n
	})
	return out
}

// sample draws k points, taking the calls in turn: the hundred points of a
// call that the Go runtime makes at start-up would crowd out all others.
func sample(r *rand.Rand, all []point, k int) []point {
	byCall := map[string][]point{}
	var names []string
	for _, p := range all {
		if byCall[p.call] == nil {
			names = append(names, p.call)
		}
		byCall[p.call] = append(byCall[p.call], p)
	}
	for _, name := range names {
		list := byCall[name]
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	var out []point
	for round := 0; len(out) < min(k, len(all)); round++ {
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			if round < len(byCall[name]) && len(out) < k {
				out = append(out, byCall[name][round])
			}
		}
	}
	return out
}

// soak tells whether every point is wanted, however long that takes.
func soak() bool { return os.Getenv("VNET_SOAK") == "1" }

// seeded returns a source of random numbers, and says how to get it again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("VNET_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("VNET_SEED: %v", err)
		}
	}
	t.Logf("VNET_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// smallPools are five addresses of each family, so that one lost lease shows.
const smallPool = 5

func smallPools(c config) {
	c.plugin["masquerade"] = map[string]any{"except": []string{"10.0.0.0/8"}}
	c.pools(poolOf("10.241.0.0/16", "10.241.4.10-10.241.4.14"),
		poolOf("fd00:10:241::/64", "fd00:10:241::410-fd00:10:241::414"))
}

// bench is a node with one pod on which a verb is run over and over.
type bench struct {
	t     *testing.T
	node  *testnet.Node
	pod   *testnet.Pod
	stdin []byte
	conf  config

	node0, pod0 testnet.State // before any ADD, static rules installed
	crowd       []*testnet.Pod
	sinceLook   int // points since the whole pool was leased
}

// newBench makes a node, warmed up.
func newBench(t *testing.T, opts ...testnet.NodeOption) *bench {
	t.Helper()
	b := newColdBench(t, testnet.New(t), opts...)
	b.must("ADD")
	b.must("DEL")
	b.baseline()
	return b
}

// newColdBench makes a node on which no plugin ran yet.
func newColdBench(t *testing.T, f *testnet.Fabric, opts ...testnet.NodeOption) *bench {
	t.Helper()
	b := &bench{t: t, node: f.AddNode(fmt.Sprintf("n%d", len(f.Nodes)+1), opts...)}
	b.conf = vnetConfig(b.node, 0)
	smallPools(b.conf)
	b.stdin = b.conf.stdin(t, nil)
	b.pod = b.node.NewPod()
	b.baseline()
	return b
}

func (b *bench) baseline() {
	b.node0, b.pod0 = testnet.Snapshot(b.node), testnet.SnapshotPod(b.pod)
}

func (b *bench) run(verb string) testnet.Output {
	return b.node.Exec("vnet", b.pod.Env(verb), b.stdin)
}

// must runs a verb that has to succeed.
func (b *bench) must(verb string) testnet.Output {
	b.t.Helper()
	out := b.run(verb)
	if out.Err != nil {
		b.t.Fatalf("%s on %s: %+v", verb, b.node.Name, out.Err)
	}
	return out
}

func (b *bench) traced(f fault) testnet.Output {
	return traced(b.t, b.node, f, "vnet", b.pod.Env(f.verb), b.stdin)
}

// left tells what differs from the baseline on the node and in the pod.
func (b *bench) left() []string {
	return append(testnet.Diff(b.node0, testnet.Snapshot(b.node)), testnet.Diff(b.pod0, testnet.SnapshotPod(b.pod))...)
}

// check runs CHECK with the result of an ADD.
func (b *bench) check(result []byte) testnet.Output {
	return b.node.Exec("vnet", b.pod.Env("CHECK"),
		b.conf.stdin(b.t, map[string]any{"prevResult": json.RawMessage(result)}))
}

// leaseWholePool gives every address of the pool to a pod and takes it back.
func (b *bench) leaseWholePool() error {
	for len(b.crowd) < smallPool {
		b.crowd = append(b.crowd, b.node.NewPod())
	}
	seen := map[string]bool{}
	var errs []error
	for i, p := range b.crowd {
		out := b.node.Exec("vnet", p.Env("ADD"), b.stdin)
		if out.Err != nil {
			errs = append(errs, fmt.Errorf("lease %d of %d: %+v", i+1, smallPool, out.Err))
			continue
		}
		result, err := out.Result()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, ip := range result.IPs {
			if seen[ip.Address.String()] {
				errs = append(errs, fmt.Errorf("%s is given twice", ip.Address.String()))
			}
			seen[ip.Address.String()] = true
		}
	}
	for _, p := range b.crowd {
		if out := b.node.Exec("vnet", p.Env("DEL"), b.stdin); out.Err != nil {
			errs = append(errs, fmt.Errorf("DEL after leasing the whole pool: %+v", out.Err))
		}
	}
	return errors.Join(errs...)
}
