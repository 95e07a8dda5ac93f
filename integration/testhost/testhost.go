// Package testhost gives a package's own test a host to itself: network namespaces,
// and file systems of a size. All of it goes when the test ends.
//
// It knows namespaces and mounts. It must know nothing of this project, so that any
// package's tests can use it.
package testhost

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Stay binds the test's goroutine to its thread, and brings the thread back into its
// network namespace when the test ends.
func Stay(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatalf("find the thread's network namespace: %v", err)
	}
	t.Cleanup(func() {
		if netns.Set(before) == nil {
			runtime.UnlockOSThread() // else the thread dies with the goroutine
		}
		before.Close()
	})
}

// Enter puts the test's goroutine into a network namespace of its own, without a
// name, until the test ends.
func Enter(t testing.TB) {
	t.Helper()
	Stay(t)
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("make a network namespace, which needs root: %v", err)
	}
	ns.Close()
}

const (
	netnsDir   = "/run/netns"
	namePrefix = "testhost-"
)

var (
	named atomic.Uint64
	sweep sync.Once
)

// EnterNamed makes a network namespace with a name, which has the label in it, and
// leaves the thread there; see Stay. The path is where a runtime finds it.
func EnterNamed(t testing.TB, label string) (name, path string) {
	t.Helper()
	sweep.Do(func() { RemoveStale(namePrefix) })
	name = fmt.Sprintf("%s%d-%d-%s", namePrefix, os.Getpid(), named.Add(1), label)
	ns, err := netns.NewNamed(name)
	if err != nil {
		t.Fatalf("make network namespace %s, which needs root: %v", name, err)
	}
	ns.Close()
	t.Cleanup(func() { _ = netns.DeleteNamed(name) }) // the test may have done so
	return name, filepath.Join(netnsDir, name)
}

// RemoveStale removes the namespaces, named PREFIXpid-…, of test processes that were
// killed before they could. What has this process's own number is another's that had it
// earlier: call it before this one makes any.
func RemoveStale(prefix string) {
	found, _ := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	for _, path := range found {
		pid, _, ok := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
		_, err := os.Stat("/proc/" + pid)
		if ok && (errors.Is(err, os.ErrNotExist) || pid == strconv.Itoa(os.Getpid())) {
			_ = unix.Unmount(path, unix.MNT_DETACH) // unless it was killed before it had mounted it
			_ = os.Remove(path)
		}
	}
}

// Beside is EnterNamed for a namespace beside the thread's, such as a pod's: the thread
// comes back.
func Beside(t testing.TB, label string) (name, path string) {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatalf("find the thread's network namespace: %v", err)
	}
	defer here.Close()
	name, path = EnterNamed(t, label)
	if err := netns.Set(here); err != nil {
		t.Fatalf("come back from network namespace %s: %v", name, err)
	}
	return name, path
}

// Sh runs a shell command that must succeed and returns what it printed.
func Sh(t testing.TB, command string) string {
	t.Helper()
	var stderr strings.Builder // ip warns there of namespaces that others delete meanwhile
	cmd := exec.Command("sh", "-ec", command)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// Tmpfs mounts a file system of a size, as mount(8) has it, until the test ends.
func Tmpfs(t testing.TB, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Fill writes a file until the file system has no room, not even for one byte.
func Fill(t testing.TB, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
