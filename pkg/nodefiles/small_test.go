package nodefiles

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

const ordinary = "-rw-r--r-- "

func TestConflist(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net.d")
	const name = "05-vnet.conflist"
	steps := []struct {
		content string
		changed bool
	}{{"one", true}, {"one", false}, {"two", true}, {"", true}, {"", false}}
	for _, s := range steps {
		changed, err := WriteConflist(dir, name, []byte(s.content))
		if err != nil || changed != s.changed {
			t.Errorf("%q: changed %v, %v", s.content, changed, err)
		}
		if got := tree(t, dir); len(got) != 1 || got[name] != ordinary+s.content {
			t.Errorf("%q: %q", s.content, got)
		}
	}
	for range 2 {
		must(t, RemoveConflist(dir, name))
	}
	must(t, RemoveConflist(filepath.Join(dir, "no", "such"), name))
	if got := tree(t, dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	t.Logf("%d writes", len(steps))
}

// libcni loads what ends in .conf, .conflist or .json.
func TestConflistKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "net.d")
	const name = "05-vnet.conflist"
	loaded := func() (list []string) {
		for file, content := range tree(t, dir) {
			switch filepath.Ext(file) {
			case ".conf", ".conflist", ".json":
				list = append(list, file+" "+content)
			}
		}
		return list
	}
	begin := func() {
		must(t, os.RemoveAll(dir))
		if _, err := WriteConflist(dir, name, []byte("old")); err != nil {
			t.Fatal(err)
		}
	}
	prefix := name + " " + ordinary
	deaths := atEachStep(t, func(d disk) error {
		_, err := d.conflist(dir, name, []byte("new"))
		return err
	}, begin, func() {
		if got := loaded(); len(got) != 1 || got[0] != prefix+"old" && got[0] != prefix+"new" {
			t.Errorf("after a death a runtime loads %q", got)
		}
	}, func() {
		if got := tree(t, dir); len(got) != 1 || got[name] != ordinary+"new" {
			t.Errorf("at the end: %q", got)
		}
	})
	deaths += atEachStep(t, func(d disk) error { return d.removeConflist(dir, name) }, func() {
		begin()
		write(t, temporary(filepath.Join(dir, name)), "half", 0o600)
	}, func() {}, func() {
		if got := tree(t, dir); len(got) != 0 {
			t.Errorf("left: %q", got)
		}
	})
	// A death that left its file, and then nothing to write any more.
	begin()
	write(t, temporary(filepath.Join(dir, name)), "half", 0o600)
	if changed, err := WriteConflist(dir, name, []byte("old")); err != nil || changed || len(tree(t, dir)) != 1 {
		t.Errorf("left by somebody who was killed: %q, %v", tree(t, dir), err)
	}
	t.Logf("%d deaths", deaths)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "namespaces")
	steps := []struct {
		what    string
		now     map[string]netconf.Default
		changed int
	}{
		{"first", map[string]netconf.Default{"a": {}, "b": {NSG: "web"}, "c": {NSG: "db", ASGs: "x,y"}}, 3},
		{"the same", map[string]netconf.Default{"a": {}, "b": {NSG: "web"}, "c": {NSG: "db", ASGs: "x,y"}}, 0},
		{"one other, one gone, one new", map[string]netconf.Default{"a": {}, "b": {NSG: "db"}, "d": {}}, 3},
		{"none", nil, 3},
	}
	for _, s := range steps {
		changed, err := WriteDefaults(dir, s.now)
		if err != nil || changed != s.changed {
			t.Errorf("%s: %d changed, %v; want %d", s.what, changed, err, s.changed)
		}
		expectDefaults(t, dir, s.now)
	}
	for _, name := range []string{"", ".", "..", "a/b", ".hidden", "../x"} {
		changed, err := WriteDefaults(dir, map[string]netconf.Default{name: {}, "good": {}})
		if err == nil {
			t.Errorf("the namespace %q was taken", name)
		}
		if _, err := os.Stat(filepath.Join(dir, "good")); err != nil || changed > 1 {
			t.Errorf("besides %q: %d changed, %v", name, changed, err)
		}
	}
	t.Logf("%d cases, 6 names", len(steps))
}

// expectDefaults reads the folder as the plugin does.
func expectDefaults(t *testing.T, dir string, want map[string]netconf.Default) {
	t.Helper()
	got := map[string]netconf.Default{}
	for name := range tree(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if got[name], err = netconf.ReadDefault(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestDefaultsKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "namespaces")
	before := map[string]netconf.Default{"a": {NSG: "1"}, "b": {NSG: "2"}, "gone": {}}
	after := map[string]netconf.Default{"a": {NSG: "one"}, "b": {NSG: "2"}, "c": {}}
	deaths := atEachStep(t, func(d disk) error {
		_, err := d.defaults(dir, after)
		return err
	}, func() {
		must(t, os.RemoveAll(dir))
		if _, err := WriteDefaults(dir, before); err != nil {
			t.Fatal(err)
		}
	}, func() {
		for _, name := range []string{"a", "b"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			must(t, err)
			if d, err := netconf.ReadDefault(data); err != nil || d != before[name] && d != after[name] {
				t.Errorf("after a death %s is %q: %v", name, data, err)
			}
		}
	}, func() { expectDefaults(t, dir, after) })
	t.Logf("%d deaths", deaths)
}

// A second agent waits: every step is made while its folder is locked.
func TestOneWriterAtATime(t *testing.T) {
	t.Parallel()
	from, root := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "vnet"), "v", 0o755)
	calls := map[string]func(d disk, dir string) error{
		"binaries":       func(d disk, dir string) error { _, err := d.binaries(from, dir, []string{"vnet"}, nil); return err },
		"removeBinaries": func(d disk, dir string) error { _, err := d.removeBinaries(dir); return err },
		"conflist":       func(d disk, dir string) error { _, err := d.conflist(dir, "x.conflist", nil); return err },
		"removeConflist": func(d disk, dir string) error { return d.removeConflist(dir, "vnet") },
		"generation": func(d disk, dir string) error {
			_, err := d.generation(dir, contents(map[string]string{"a": "b"}))
			return err
		},
		"defaults": func(d disk, dir string) error {
			_, err := d.defaults(dir, map[string]netconf.Default{"a": {}})
			return err
		},
	}
	for name, call := range calls {
		dir := filepath.Join(root, name)
		if _, err := Binaries(from, dir, []string{"vnet"}, nil); err != nil {
			t.Fatal(err)
		}
		must(t, os.Remove(filepath.Join(dir, map[bool]string{true: "vnet", false: manifestName}[name == "binaries"])))
		if name == "removeBinaries" {
			write(t, filepath.Join(dir, manifestName), "{}", 0o644)
		}
		steps := 0
		d := disk{before: func(step, path string) error {
			steps++
			other, err := os.Open(dir)
			must(t, err)
			defer other.Close()
			if err := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
				t.Errorf("%s: %s %s without the lock: %v", name, step, path, err)
			}
			return nil
		}}
		if err := call(d, dir); err != nil || steps == 0 {
			t.Errorf("%s: %d steps, %v", name, steps, err)
		}
		other, err := os.Open(dir)
		must(t, err)
		if err := unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
		other.Close()
	}
	t.Logf("%d calls", len(calls))
}
