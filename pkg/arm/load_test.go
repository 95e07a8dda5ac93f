package arm

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const smallGroup = `{"name":"%","securityRules":[]}`

func write(t *testing.T, path, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(smallGroup, "%", name)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func groupNames(d *Documents) string {
	var names []string
	for _, g := range d.Groups {
		names = append(names, g.Name)
	}
	return strings.Join(names, " ")
}

func TestLoadFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.json", "a.jsonc", "C.JSON", ".hidden.json", "x.json~", "x.json.bak", "#x.json#", ".x.json.swp", "notes.txt", "deep/d.json", "folder.json/e.json"} {
		write(t, filepath.Join(dir, name), filepath.Base(name))
	}
	d := Load([]string{dir})
	if got := groupNames(d); got != "C.JSON a.jsonc b.json" || len(d.Findings) != 0 {
		t.Errorf("got %q, findings %v", got, d.Findings)
	}
	// What is named itself is read whatever it is called; twice the same is once.
	d = Load([]string{filepath.Join(dir, "notes.txt"), filepath.Join(dir, ".hidden.json"), dir, filepath.Join(dir, "b.json")})
	if got := groupNames(d); got != "notes.txt .hidden.json C.JSON a.jsonc b.json" || len(d.Findings) != 0 {
		t.Errorf("got %q, findings %v", got, d.Findings)
	}
	if file := d.Groups[4].File; file != filepath.Join(dir, "b.json") {
		t.Errorf("file %q", file)
	}
	t.Log("2 folders")
}

// TestLoadConfigMap reads a folder as the kubelet lays out a ConfigMap.
func TestLoadConfigMap(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "..2024_01_01", "nsg.json"), "mounted")
	for link, target := range map[string]string{"..data": "..2024_01_01", "nsg.json": "..data/nsg.json"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := Load([]string{dir})
	if got := groupNames(d); got != "mounted" || len(d.Findings) != 0 {
		t.Errorf("got %q, findings %v", got, d.Findings)
	}
	linked := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, linked); err != nil {
		t.Fatal(err)
	}
	if got := groupNames(Load([]string{linked})); got != "mounted" {
		t.Errorf("through a link to the folder: %q", got)
	}
	t.Log("2 folders")
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling.json")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop.json")
	if err := os.Symlink("loop.json", loop); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for _, path := range []string{pipe, dangling, loop, missing, "/dev/zero", "", "a\x00b"} {
		d := Load([]string{path})
		if len(d.Findings) != 1 || d.Findings[0].Code != Unreadable || d.Err() == nil {
			t.Errorf("%q: findings %v", path, d.Findings)
		}
	}
	d := Load([]string{dir}) // the pipe and both links
	if len(d.Findings) != 3 || !strings.Contains(d.Err().Error(), "dangling.json") {
		t.Errorf("findings %v", d.Findings)
	}
	empty := Load([]string{t.TempDir()})
	if len(empty.Findings) != 1 || empty.Findings[0].Code != EmptyFolder || empty.Err() != nil {
		t.Errorf("an empty folder: %v", empty.Findings)
	}
	t.Log("9 paths")
}

// TestLoadHuge loads a sparse file beyond the limit.
func TestLoadHuge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.json")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	d := Load([]string{path})
	if len(d.Findings) != 1 || d.Findings[0].Code != TooLarge {
		t.Errorf("findings %v", d.Findings)
	}
	t.Log("1 file")
}

// TestLoadHere names the files of the folder that one stands in.
func TestLoadHere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.json"), "here")
	t.Chdir(dir)
	for _, path := range []string{".", "./"} {
		if d := Load([]string{path}); len(d.Groups) != 1 || d.Groups[0].File != "a.json" {
			t.Errorf("%s: groups %v, findings %v", path, d.Groups, d.Findings)
		}
	}
	t.Log("2 paths")
}
