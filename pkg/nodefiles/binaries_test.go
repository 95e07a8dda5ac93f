package nodefiles

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
)

const program = "-rwxr-xr-x "

// shipped are the folders of a test: what an image has, and a node's.
func shipped(t *testing.T, files map[string]string) (from, to string) {
	t.Helper()
	from, to = t.TempDir(), filepath.Join(t.TempDir(), "opt", "bin")
	for name, content := range files {
		write(t, filepath.Join(from, name), content, 0o644) // whatever the image made of it
	}
	return from, to
}

// programs is a folder without the manifest.
func programs(t *testing.T, to string) map[string]string {
	t.Helper()
	found := tree(t, to)
	delete(found, manifestName)
	return found
}

func TestBinaries(t *testing.T) {
	t.Parallel()
	from, to := shipped(t, map[string]string{"vnet": "v1", "portmap": "p1", "loopback": "l1"})
	write(t, filepath.Join(to, "vnet"), "by hand", 0o700)
	write(t, filepath.Join(to, "portmap"), "the distribution's", 0o755)
	always, ifMissing := []string{"vnet"}, []string{"portmap", "loopback"}
	steps := []struct {
		what    string
		do      func()
		changed []string
		want    map[string]string
	}{
		{"first", func() {}, []string{"vnet", "loopback"},
			map[string]string{"vnet": "v1", "portmap": "the distribution's", "loopback": "l1"}},
		{"nothing new", func() {}, nil, map[string]string{"vnet": "v1", "portmap": "the distribution's", "loopback": "l1"}},
		{"all new, of the same length", func() {
			for name, content := range map[string]string{"vnet": "v2", "portmap": "p2", "loopback": "l2"} {
				write(t, filepath.Join(from, name), content, 0o644)
			}
		}, []string{"vnet", "loopback"}, map[string]string{"vnet": "v2", "portmap": "the distribution's", "loopback": "l2"}},
		{"damage", func() {
			write(t, filepath.Join(to, "vnet"), "xx", 0o755)
			write(t, filepath.Join(to, "loopback"), "somebody's", 0o755)
		}, []string{"vnet"}, map[string]string{"vnet": "v2", "portmap": "the distribution's", "loopback": "somebody's"}},
		{"not executable", func() { must(t, os.Chmod(filepath.Join(to, "vnet"), 0o644)) }, []string{"vnet"},
			map[string]string{"vnet": "v2", "portmap": "the distribution's", "loopback": "somebody's"}},
		{"gone", func() { os.Remove(filepath.Join(to, "portmap")) }, []string{"portmap"},
			map[string]string{"vnet": "v2", "portmap": "p2", "loopback": "somebody's"}},
		{"a manifest of noise", func() { write(t, filepath.Join(to, manifestName), "[7", 0o644) }, nil,
			map[string]string{"vnet": "v2", "portmap": "p2", "loopback": "somebody's"}},
	}
	for _, s := range steps {
		s.do()
		changed, err := Binaries(from, to, always, ifMissing)
		if err != nil || !slices.Equal(changed, s.changed) {
			t.Errorf("%s: changed %q, %v; want %q", s.what, changed, err, s.changed)
		}
		want := map[string]string{}
		for name, content := range s.want {
			want[name] = program + content
		}
		if got := programs(t, to); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", s.what, got, want)
		}
	}
	t.Logf("%d cases", len(steps))
}

// Only what is ours goes; what somebody replaced since, and what was there, stays.
func TestRemoveBinaries(t *testing.T) {
	t.Parallel()
	from, to := shipped(t, map[string]string{"vnet": "v", "vnetctl": "c", "portmap": "p", "loopback": "l"})
	write(t, filepath.Join(to, "portmap"), "p", 0o755) // the distribution's, by chance the same
	if _, err := Binaries(from, to, []string{"vnet", "vnetctl"}, []string{"portmap", "loopback"}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(to, "loopback"), "somebody's", 0o755)
	removed, err := RemoveBinaries(to)
	want := map[string]string{"portmap": program + "p", "loopback": program + "somebody's"}
	if got := tree(t, to); err != nil || !slices.Equal(removed, []string{"vnet", "vnetctl"}) || !reflect.DeepEqual(got, want) {
		t.Errorf("removed %q, %v; left %q", removed, err, got)
	}
	for _, dir := range []string{to, filepath.Join(to, "no", "such")} {
		if removed, err := RemoveBinaries(dir); err != nil || len(removed) != 0 {
			t.Errorf("once more, in %s: %q, %v", dir, removed, err)
		}
	}
	t.Log("3 removals")
}

// Binaries that did not change are not read again.
func TestUnchangedIsNotRead(t *testing.T) {
	t.Parallel()
	from, to := shipped(t, map[string]string{"vnet": "v1", "loopback": "l1"})
	for range 2 {
		if _, err := Binaries(from, to, []string{"vnet"}, []string{"loopback"}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readManifest(to)
	must(t, err)
	for name, e := range m { // only one that believes the stamps takes it for whole
		e.Hashes = []string{"of another content"}
		m[name] = e
	}
	must(t, disk{}.note(to, m, "none", entry{Hashes: []string{"x"}}))
	changed, err := Binaries(from, to, []string{"vnet"}, []string{"loopback"})
	if now, _ := readManifest(to); err != nil || len(changed) != 0 || !reflect.DeepEqual(now, m) {
		t.Errorf("%q, %v: %+v", changed, err, now)
	}
	t.Logf("%d binaries", len(m)-1)
}

// A missing binary in the image is told of, and the others are installed.
func TestMissingSource(t *testing.T) {
	t.Parallel()
	from, to := shipped(t, map[string]string{"vnet": "v"})
	changed, err := Binaries(from, to, []string{"vnetctl", "vnet"}, nil)
	if !errors.Is(err, os.ErrNotExist) || !slices.Equal(changed, []string{"vnet"}) {
		t.Errorf("%q, %v", changed, err)
	}
	if got := programs(t, to); len(got) != 1 || got["vnet"] != program+"v" {
		t.Errorf("%q", got)
	}
	t.Log("1 binary of 2")
}

// The kernel refuses to open a running program for writing.
func TestRunningProgram(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	content, err := os.ReadFile(sleep)
	must(t, err)
	from, to := shipped(t, map[string]string{"vnet": string(content)})
	if _, err := Binaries(from, to, []string{"vnet"}, nil); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(to, "vnet")
	running := exec.Command(target, "60")
	must(t, running.Start())
	defer func() {
		running.Process.Kill()
		running.Wait()
	}()
	if f, err := os.OpenFile(target, os.O_WRONLY, 0); !errors.Is(err, syscall.ETXTBSY) {
		f.Close()
		t.Fatalf("open a running program for writing: %v", err)
	}
	write(t, filepath.Join(from, "vnet"), "v2", 0o644)
	if changed, err := Binaries(from, to, []string{"vnet"}, nil); err != nil || len(changed) != 1 {
		t.Errorf("%q, %v", changed, err)
	}
	if err := running.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the running program: %v", err)
	}
	t.Log("1 running program")
}

// At no step is a binary half there, and whatever was put there is known as ours:
// a removal after the death takes it away, and the distribution's stays.
func TestBinariesKilled(t *testing.T) {
	t.Parallel()
	from, to := shipped(t, map[string]string{"vnet": "v2", "loopback": "l2", "portmap": "p2"})
	old := map[string]string{"vnet": "v1", "loopback": "l1"}
	begin := func() {
		must(t, os.RemoveAll(to))
		before := t.TempDir()
		for name, content := range old {
			write(t, filepath.Join(before, name), content, 0o644)
		}
		if _, err := Binaries(before, to, []string{"vnet"}, []string{"loopback"}); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, "ptp"), "foreign", 0o755)
	}
	look := func() {
		for name, content := range programs(t, to) {
			if name != ".vnet.new" && name != ".loopback.new" && name != ".portmap.new" && name != "..vnet-cni.new" && !slices.Contains([]string{"v1", "v2", "l1", "l2", "p2", "foreign"}, content[len(program):]) {
				t.Errorf("%s is %q", name, content)
			}
		}
		for name := range old { // at no moment is one missing
			if _, err := os.Stat(filepath.Join(to, name)); err != nil {
				t.Error(err)
			}
		}
	}
	want := map[string]string{"vnet": program + "v2", "loopback": program + "l2", "portmap": program + "p2", "ptp": program + "foreign"}
	install := func(d disk) error {
		_, err := d.binaries(from, to, []string{"vnet"}, []string{"loopback", "portmap"})
		return err
	}
	deaths := atEachStep(t, install, begin, look, func() {
		if got := programs(t, to); !reflect.DeepEqual(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	removals := atEachStep(t, func(d disk) error {
		_, err := d.removeBinaries(to)
		return err
	}, func() { begin(); must(t, install(disk{})) }, func() {}, func() {
		if got := tree(t, to); len(got) != 1 {
			t.Errorf("left after a removal: %q", got)
		}
	})
	uninstalled := 0
	for ; ; uninstalled++ { // a removal right after a death
		begin()
		err := install(killedAt(uninstalled, new(int)))
		if _, err := RemoveBinaries(to); err != nil {
			t.Fatal(err)
		}
		if got := tree(t, to); len(got) != 1 {
			t.Errorf("left after a death at step %d: %q", uninstalled, got)
		}
		if err == nil {
			break
		}
	}
	t.Logf("%d deaths, %d in removals, %d before one", deaths, removals, uninstalled)
}
