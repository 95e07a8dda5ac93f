package link

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func TestOpenSandboxRefuses(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	must(t, unix.Mkfifo(fifo, 0o600)) // nobody writes: a plain open would wait for ever
	loop := filepath.Join(dir, "loop")
	must(t, os.Symlink(loop, loop))
	rows := []struct {
		path, text string
		gone       bool // for sure
	}{
		{"", "no such file", true},
		{filepath.Join(dir, "missing"), "no such file", true},
		{filepath.Join(file, "below"), "not a directory", false},
		{loop, "too many levels", false},
		{file, "is not a network namespace", true},
		{dir, "is not a network namespace", true},
		{fifo, "is not a network namespace", true},
		{"/proc/self/ns/uts", "is not a network namespace", true},
		{"/proc/thread-self/ns/net", "own namespace", false},
	}
	for _, row := range rows {
		s, err := OpenSandbox(row.path)
		if !errors.Is(err, ErrSandbox) || !strings.Contains(err.Error(), row.text) || !strings.Contains(err.Error(), row.path) {
			t.Errorf("OpenSandbox(%q): %v; want ErrSandbox and %q", row.path, err, row.text)
		}
		if s != nil {
			t.Errorf("OpenSandbox(%q) gives a sandbox with its error", row.path)
		}
		if got := SandboxGone(row.path); got != row.gone {
			t.Errorf("SandboxGone(%q) = %v", row.path, got)
		}
	}
	if path := anotherNamespace(t).path(); SandboxGone(path) {
		t.Errorf("SandboxGone(%q) = true for a namespace", path)
	}
	t.Logf("%d paths refused, 1 accepted", len(rows))
}

// The goroutine comes back to its own namespace, after an error as well, and
// does inside what it is said to.
func TestSandboxDo(t *testing.T) {
	inNode(t)
	pod := anotherNamespace(t)
	s := openSandbox(t, pod)
	home := current(t)
	sentinel := errors.New("sentinel")
	for _, want := range []error{nil, sentinel} {
		var inside string
		err := s.Do(func() error { inside = current(t); return want })
		if !errors.Is(err, want) {
			t.Errorf("Do gives %v, want %v", err, want)
		}
		if inside != pod.handle.UniqueId() || inside == home {
			t.Errorf("f ran in %s, want %s", inside, pod.handle.UniqueId())
		}
		if now := current(t); now != home {
			t.Errorf("afterwards in %s, want %s", now, home)
		}
	}
	t.Log("2 calls")
}

// Close releases the namespace and its socket.
func TestSandboxesLeaveNoDescriptors(t *testing.T) {
	inNode(t)
	pod := anotherNamespace(t)
	before := descriptors(t)
	const count = 100
	for range count {
		s, err := OpenSandbox(pod.path())
		must(t, err)
		s.Close()
		_, err = OpenSandbox("/proc/self/ns/uts")
		if err == nil {
			t.Fatal("a uts namespace is accepted")
		}
	}
	if after := descriptors(t); after > before+20 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	t.Logf("%d sandboxes, %d refusals", count, count)
}

func current(t testing.TB) string {
	t.Helper()
	ns, err := netns.Get()
	must(t, err)
	defer ns.Close()
	return ns.UniqueId()
}
