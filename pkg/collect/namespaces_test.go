package collect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// A namespace may be mounted after this process's mounts were looked at and before
// init's are, whose root may be closed even to root: it is found where this process has
// it, and only what it cannot see hides from it.
func TestMountedMeanwhile(t *testing.T) {
	testhost.Stay(t)
	_, path := testhost.Beside(t, "late")
	_, other := testhost.Beside(t, "other")
	var late unix.Stat_t
	if err := unix.Stat(path, &late); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	closed, mountinfo := filepath.Join(dir, "closed"), filepath.Join(dir, "mountinfo")
	for where, found := range map[string]bool{path: true, other: false, "/nowhere": false} {
		line := fmt.Sprintf("521 27 0:4 net:[%d] %s rw - nsfs nsfs rw\n", late.Ino, where)
		for file, text := range map[string]string{closed: "", mountinfo: line} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n := &namespaces{seen: map[uint64]bool{}, complete: true}
		if err := n.addMounts(mountinfo, closed); err != nil { // a file, below which nothing can be looked up
			t.Fatal(err)
		}
		if n.complete != found || slices.Contains(n.paths, path) != found {
			t.Errorf("mounted at %s, of %s and %s: complete: %t, paths %q", where, path, other, n.complete, n.paths)
		}
	}
	t.Log("3 mounts")
}
