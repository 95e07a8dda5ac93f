package nodefiles

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// house is a node's files, all below one folder.
type house struct{ dir, image string }

func newHouse(t *testing.T, dir string) house {
	t.Helper()
	return house{dir, t.TempDir()}
}

// calls are what an agent does in a round, with one letter for everything.
func (h house) calls(t *testing.T, letter string) map[string]func() (bool, error) {
	t.Helper()
	content := large(letter)
	write(t, filepath.Join(h.image, "vnet"), content, 0o755)
	return map[string]func() (bool, error){
		"bin": func() (bool, error) {
			changed, err := Binaries(h.image, filepath.Join(h.dir, "bin"), []string{"vnet"}, nil)
			return len(changed) > 0, err
		},
		"net.d": func() (bool, error) {
			return WriteConflist(filepath.Join(h.dir, "net.d"), "05-vnet.conflist", []byte(content))
		},
		"documents": func() (bool, error) {
			return WriteGeneration(filepath.Join(h.dir, "documents"), contents(map[string]string{"a.json": letter, "b.json": content}))
		},
		"namespaces": func() (bool, error) {
			changed, err := WriteDefaults(filepath.Join(h.dir, "namespaces"), map[string]netconf.Default{"a": {NSG: content}})
			return changed > 0, err
		},
	}
}

// whole is what a folder's readers find.
func (h house) whole(t *testing.T, folder string) map[string]string {
	t.Helper()
	dir := filepath.Join(h.dir, folder)
	if folder == "documents" {
		return documents(t, dir)
	}
	found := tree(t, dir)
	delete(found, manifestName)
	return found
}

// On a full disk nothing changes but for the error, and no scrap takes what is
// left; with room again the same call succeeds.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	h := newHouse(t, testhost.Tmpfs(t, "4m"))
	for name, call := range h.calls(t, "a") {
		if changed, err := call(); err != nil || !changed {
			t.Fatalf("%s: %v, %v", name, changed, err)
		}
	}
	before := map[string]map[string]string{}
	calls := h.calls(t, "b")
	for name := range calls {
		before[name] = h.whole(t, name)
	}
	testhost.Fill(t, filepath.Join(h.dir, "ballast"))
	for name, call := range calls {
		if _, err := call(); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s on a full disk: %v", name, err)
		}
		if got := h.whole(t, name); !reflect.DeepEqual(got, before[name]) {
			t.Errorf("%s on a full disk is not what it was: %d entries", name, len(got))
		}
	}
	for name, call := range h.calls(t, "a") { // needs no room
		if changed, err := call(); err != nil || changed {
			t.Errorf("%s, unchanged, on a full disk: %v, %v", name, changed, err)
		}
	}
	must(t, os.Remove(filepath.Join(h.dir, "ballast")))
	for name, call := range h.calls(t, "b") {
		if changed, err := call(); err != nil || !changed {
			t.Errorf("%s with room again: %v, %v", name, changed, err)
		}
		if got := h.whole(t, name); reflect.DeepEqual(got, before[name]) {
			t.Errorf("%s with room again is what it was", name)
		}
	}
	t.Logf("%d folders", len(calls))
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t, testhost.Tmpfs(t, "8m"))
	calls := h.calls(t, "a")
	for range 2 { // the second sweeps
		for name, call := range calls {
			if _, err := call(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	must(t, unix.Mount("", h.dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	for name, call := range calls {
		if changed, err := call(); err != nil || changed {
			t.Errorf("%s, unchanged, on a read-only disk: %v, %v", name, changed, err)
		}
	}
	refused := map[string]func() error{
		"RemoveBinaries": func() error {
			_, err := RemoveBinaries(filepath.Join(h.dir, "bin"))
			return err
		},
		"RemoveConflist": func() error { return RemoveConflist(filepath.Join(h.dir, "net.d"), "05-vnet.conflist") },
		"RemoveAll":      func() error { return RemoveAll(filepath.Join(h.dir, "documents")) },
	}
	for name, call := range h.calls(t, "b") {
		refused[name] = func() error {
			_, err := call()
			return err
		}
	}
	for name, call := range refused {
		if err := call(); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s on a read-only disk: %v", name, err)
		}
	}
	for name := range calls {
		if got := h.whole(t, name); len(got) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	t.Logf("%d calls refused", len(refused))
}
