package tally

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// countVar makes the test's program count until it is told to end.
const countVar = "VNET_TALLY_TEST_COUNT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(countVar); dir != "" {
		for i := range perProcess {
			if err := Observe(dir, "pods", Verb(i%int(verbs)), time.Duration(i)*time.Microsecond, uint(i%3)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const perProcess = 3000

// tester is of package testing or of rapid.
type tester interface {
	Helper()
	Fatal(args ...any)
}

func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustRead(t tester, dir, network string) Counts {
	t.Helper()
	c, err := Read(dir, network)
	must(t, err)
	return c
}

// model counts as the package should.
type model map[Verb]VerbCounts

var all = []Verb{Add, Del, Check, Status, GC}

func (m model) observe(v Verb, took time.Duration, code uint) {
	c := m[v]
	if c.Errors == nil {
		c.Errors = map[uint]uint64{}
	}
	c.Count++
	c.Sum += took
	at, _ := slices.BinarySearch(Bounds[:], took)
	c.Buckets[at]++
	switch {
	case code >= 1 && code <= 11 || code == 50 || code >= 100 && code <= 127:
		c.Errors[code]++
	case code != 0:
		c.Errors[Other]++
	}
	m[v] = c
}

func TestCountsAreTheModels(t *testing.T) {
	t.Parallel()
	count := 0
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		must(t, err)
		m := model{}
		for range rapid.IntRange(0, 60).Draw(t, "observations") {
			count++
			v := rapid.SampledFrom(all).Draw(t, "verb")
			took := rapid.OneOf(rapid.SampledFrom(Bounds[:]), rapid.Map(rapid.Int64Range(0, int64(time.Minute)), func(n int64) time.Duration { return time.Duration(n) })).Draw(t, "took")
			code := rapid.OneOf(rapid.Just(uint(0)), rapid.UintRange(0, 140), rapid.Uint()).Draw(t, "code")
			must(t, Observe(dir, "pods", v, took, code))
			m.observe(v, took, code)
		}
		got := mustRead(t, dir, "pods")
		for _, v := range all {
			want := m[v]
			want.Verb = v
			if want.Errors == nil {
				want.Errors = map[uint]uint64{}
			}
			if !reflect.DeepEqual(got.Verbs[v], want) {
				t.Fatalf("%v: %+v, want %+v", v, got.Verbs[v], want)
			}
		}
	})
	t.Logf("%d observations", count)
}

// Every code that is counted for itself comes back as itself.
func TestCodes(t *testing.T) {
	t.Parallel()
	seen := map[int]uint{}
	for code := uint(1); code < 300; code++ {
		slot := codeSlot(code)
		if slot == codes-1 {
			continue
		}
		if other, taken := seen[slot]; taken || codeOf(slot) != code {
			t.Errorf("code %d is slot %d, which is of code %d and %d", code, slot, codeOf(slot), other)
		}
		seen[slot] = code
	}
	if len(seen) != codes-1 {
		t.Errorf("%d slots are used, want %d", len(seen), codes-1)
	}
	if words := fmt.Sprintf("%v", all); words != "[ADD DEL CHECK STATUS GC]" || len(all) != int(verbs) {
		t.Errorf("verbs %s", words)
	}
	t.Logf("%d codes", len(seen))
}

// Processes and goroutines add to one file at once, which the first of them makes.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const processes = 4
	var group sync.WaitGroup
	for range processes {
		group.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = []string{countVar + "=" + dir, "GORACE=atexit_sleep_ms=0"}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	group.Wait()
	var total, failed uint64
	for _, v := range mustRead(t, dir, "pods").Verbs {
		total += v.Count
		failed += v.Errors[1] + v.Errors[2]
	}
	if total != processes*perProcess || failed != processes*perProcess*2/3 {
		t.Errorf("%d verbs, %d errors", total, failed)
	}
	t.Logf("%d processes, %d verbs", processes, total)
}

// A file that is not ours is replaced, and until then nothing was counted.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	noise := []byte(strings.Repeat("noise 12", pageSize/8))
	rows := map[string]func(path string) error{
		"empty":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"zeroes":        func(path string) error { return os.WriteFile(path, make([]byte, pageSize), 0o600) },
		"noise":         func(path string) error { return os.WriteFile(path, noise, 0o600) },
		"short":         func(path string) error { return os.WriteFile(path, noise[:100], 0o600) },
		"long":          func(path string) error { return os.WriteFile(path, append(noise, 'x'), 0o600) },
		"a link":        func(path string) error { return os.Symlink("/etc/hostname", path) },
		"an empty dir":  func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":        func(path string) error { return unix.Mkfifo(path, 0o600) },
		"not there yet": func(string) error { return nil },
	}
	for name, make := range rows {
		dir := t.TempDir()
		must(t, make(filepath.Join(dir, "pods"+suffix)))
		if c, err := Read(dir, "pods"); err == nil && c.Verbs[Add].Count+c.Verbs[Del].Count != 0 {
			t.Errorf("%s: read %+v", name, c)
		}
		err := Observe(dir, "pods", Del, time.Millisecond, 7)
		if err != nil && name != "a link" && name != "an empty dir" {
			t.Errorf("%s: %v", name, err)
		}
		info, statErr := os.Lstat(filepath.Join(dir, "pods"+suffix))
		if err == nil && (statErr != nil || info.Size() != pageSize || info.Mode() != 0o600) {
			t.Errorf("%s became %v, %v", name, info, statErr)
		}
		if err == nil {
			if c := mustRead(t, dir, "pods"); c.Verbs[Del].Count != 1 || c.Verbs[Del].Errors[7] != 1 {
				t.Errorf("%s: %+v", name, c.Verbs[Del])
			}
		}
	}
	t.Logf("%d files", len(rows))
}

// Nothing is made but the file itself, and that only in a state directory.
func TestNoStateDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	if err := Observe(dir, "pods", Add, 0, 0); err != nil {
		t.Errorf("without a state directory: %v", err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory: %v", err)
	}
	if c := mustRead(t, dir, "pods"); c.Verbs[Add].Count != 0 {
		t.Errorf("%+v", c)
	}
	must(t, os.MkdirAll(dir, 0o700))
	names := []string{"", "../pods", "a/b", "a\x00"}
	for _, name := range names {
		if err := Observe(dir, name, Add, 0, 0); err == nil {
			t.Errorf("network %q was counted", name)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	t.Logf("%d names", len(names))
}

// A full disk is an error, nobody's death, and leaves nothing; a tally that exists
// goes on counting.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := testhost.Tmpfs(t, "256k")
	must(t, Observe(dir, "pods", Add, 0, 0))
	testhost.Fill(t, filepath.Join(dir, "ballast"))
	if err := Observe(dir, "others", Add, 0, 0); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a new tally on a full disk: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "others"+suffix)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left on a full disk: %v", err)
	}
	must(t, Observe(dir, "pods", Add, 0, 0))
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if err := Observe(dir, "pods", Add, 0, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("on a read-only disk: %v", err)
	}
	if c := mustRead(t, dir, "pods"); c.Verbs[Add].Count != 2 {
		t.Errorf("%+v", c.Verbs[Add])
	}
	t.Log("2 tallies")
}

// A file that shrinks while it is used must not kill the process.
func TestTruncatedMeanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, Observe(dir, "pods", Add, 0, 0))
	path := filepath.Join(dir, "pods"+suffix)
	err := onPage(path, true, func(p *page) {
		must(t, os.Truncate(path, 0))
		p.verbs[Add].sum++
	})
	if err == nil {
		t.Error("a file without its page was used")
	}
	must(t, Observe(dir, "pods", Del, 0, 0))
	if c := mustRead(t, dir, "pods"); c.Verbs[Add].Count != 0 || c.Verbs[Del].Count != 1 {
		t.Errorf("%+v", c)
	}
	t.Log("1 file")
}

func BenchmarkObserve(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if err := Observe(dir, "pods", Add, 3*time.Millisecond, 0); err != nil {
			b.Fatal(err)
		}
	}
}
