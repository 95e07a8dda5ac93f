package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
)

// binDir holds the main plugin and vnetctl itself, built once for all tests.
var binDir string

func TestMain(m *testing.M) { os.Exit(withPrograms(m)) }

func withPrograms(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vctl-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, "../../plugins/vnet", ".")
	out, err := build.CombinedOutput()
	if err == nil {
		err = os.Chmod(dir, 0o755) // one test is not root
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	binDir = dir
	return m.Run()
}

// noon is the tests' present.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// answer is what a command line came to.
type answer struct {
	status         int
	stdout, stderr string
}

// vnetctl runs a command line in the calling thread's network namespace.
func vnetctl(args ...string) answer {
	var out, errs bytes.Buffer
	args = append([]string{}, args...) // for nil cobra takes those of the test's own process
	status := run(args, &out, &errs, func() time.Time { return noon })
	return answer{status, out.String(), errs.String()}
}

// must fails the test unless the command line succeeds without a complaint.
func (a answer) must(t testing.TB) string {
	t.Helper()
	if a.status != 0 || a.stderr != "" {
		t.Fatalf("status %d\nstdout: %s\nstderr: %s", a.status, a.stdout, a.stderr)
	}
	return a.stdout
}

// fails fails the test unless the command line ends with the status and tells all
// the words on standard error.
func (a answer) fails(t testing.TB, status int, words ...string) {
	t.Helper()
	if a.status != status || !strings.HasPrefix(a.stderr, "vnetctl: ") {
		t.Errorf("status %d, want %d\nstdout: %s\nstderr: %s", a.status, status, a.stdout, a.stderr)
	}
	for _, w := range words {
		if !strings.Contains(a.stderr, w) {
			t.Errorf("stderr lacks %q: %s", w, a.stderr)
		}
	}
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
	return v
}

func expectText(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// inNode puts the test into a network namespace of its own that plays a node.
func inNode(t testing.TB) {
	t.Helper()
	testhost.Stay(t)
	testhost.EnterNamed(t, "node")
}

func mustPool(t testing.TB, subnet string, ranges ...string) ipam.Pool {
	t.Helper()
	p, err := ipam.ParsePool(subnet, ranges)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lease leases for a key with a record, as of a while before noon.
func lease(t testing.TB, dir, network string, k ipam.Key, record any, ago time.Duration, pools ...ipam.Pool) ipam.Lease {
	t.Helper()
	raw, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if record == nil {
		raw = nil
	}
	store := ipam.New(ipam.Options{Dir: dir, Network: network})
	l, _, err := store.Acquire(ipam.Request{Key: k, Pools: pools, Cooldown: time.Hour, Attachment: raw})
	if err != nil {
		t.Fatal(err)
	}
	l.Since = noon.Add(-ago)
	if err := store.Record(l); err != nil {
		t.Fatal(err)
	}
	return l
}

func sh(t testing.TB, line string, args ...any) string {
	t.Helper()
	line = fmt.Sprintf(line, args...)
	words := strings.Fields(line)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// await polls until the condition holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
