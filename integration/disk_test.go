package integration

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestFullDisk fills the file system of the state directory: a new network gets
// a clean error, and every pod can still be deleted.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	h := newTinyHouse(t)
	filler := filepath.Join(h.node.StateDir(), "filler")
	testhost.Fill(t, filler)
	refused := 0
	var added []*testnet.Pod
	for range 5 { // of the addresses that are left
		p := h.node.NewPod()
		added = append(added, p)
		if out := h.node.Exec("vnet", p.Env("ADD"), h.stdin); out.Err != nil {
			refused++
			h.expectStoreCode("ADD on a full disk", out)
		}
	}
	other := h.conf
	other.network = "others"
	before := testnet.Snapshot(h.node)
	out := h.node.Exec("vnet", h.pod.Env("ADD"), other.stdin(t, nil))
	h.expectStoreCode("ADD of a new network on a full disk", out)
	for _, line := range testnet.Diff(before, testnet.Snapshot(h.node)) {
		t.Errorf("ADD of a new network on a full disk left: %s", line)
	}
	h.expectUnavailable("STATUS of a new network on a full disk", other)
	for _, p := range append(added, h.pod) {
		if out := h.node.Exec("vnet", p.Env("DEL"), h.stdin); out.Err != nil {
			t.Errorf("DEL on a full disk: %+v", out.Err)
		}
	}
	for _, p := range h.pods {
		if out := h.node.Exec("vnet", p.Env("DEL"), h.stdin); out.Err != nil {
			t.Errorf("DEL of a living pod on a full disk: %+v", out.Err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.expectClean("after a full disk")
	t.Logf("%d of %d ADDs refused on a full disk, all pods deleted", refused, len(added))
}

// TestFullDiskLostStore deletes the pods of a store that is lost as well.
func TestFullDiskLostStore(t *testing.T) {
	t.Parallel()
	h := newTinyHouse(t)
	h.damage(noise(0, len(h.store)))
	filler := filepath.Join(h.node.StateDir(), "filler")
	testhost.Fill(t, filler)
	for _, p := range h.pods {
		if out := h.node.Exec("vnet", p.Env("DEL"), h.stdin); out.Err != nil {
			t.Errorf("DEL on a full disk without a store: %+v", out.Err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.must("ADD")
	h.must("DEL")
	h.expectClean("after a full disk without a store")
}

// TestReadOnlyStateDir wants clean errors while nothing can be written, and
// everything in order afterwards.
func TestReadOnlyStateDir(t *testing.T) {
	t.Parallel()
	h := newTinyHouse(t)
	before := testnet.Snapshot(h.node)
	remount(t, h.node.StateDir(), unix.MS_RDONLY)
	out := h.run("ADD")
	h.expectStoreCode("ADD", out)
	if out := h.checkPod(h.pods[0]); out.Err != nil {
		t.Errorf("CHECK, which only reads: %+v", out.Err)
	}
	h.expectUnavailable("STATUS", h.conf)
	for _, line := range testnet.Diff(before, testnet.Snapshot(h.node)) {
		t.Errorf("ADD and CHECK left: %s", line)
	}
	for _, p := range h.pods {
		if out := h.node.Exec("vnet", p.Env("DEL"), h.stdin); out.Err != nil {
			h.expectStoreCode("DEL", out)
		}
	}
	remount(t, h.node.StateDir(), 0)
	h.empty("after a read-only state directory")
}

// expectStoreCode wants an error with the store's code, or of one that waits.
func (h *house) expectStoreCode(what string, out testnet.Output) {
	h.t.Helper()
	if out.Err == nil || out.Err.Code != 105 {
		h.t.Errorf("%s: %+v, want an error with code 105", what, out.Err)
	}
}

func (h *house) expectUnavailable(what string, c config) {
	h.t.Helper()
	out := h.node.Exec("vnet", map[string]string{"CNI_COMMAND": "STATUS", "CNI_PATH": "/nowhere"}, c.stdin(h.t, nil))
	if out.Err == nil || out.Err.Code != 50 {
		h.t.Errorf("%s: %+v, want code 50", what, out.Err)
	}
}

// newTinyHouse is a house whose state directory is a small file system.
func newTinyHouse(t *testing.T) *house {
	t.Helper()
	h := &house{bench: newColdBench(t, testnet.New(t))}
	dir := h.node.StateDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount a small file system on %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	h.conf.pools(poolOf("10.241.0.0/16", "10.241.4.10-10.241.4.19"), poolOf("fd00:10:241::/64", "fd00:10:241::410-fd00:10:241::419"))
	h.stdin = h.conf.stdin(t, nil)
	h.must("ADD")
	h.must("DEL")
	h.baseline()
	for range 3 {
		h.pods = append(h.pods, h.moveIn(h.node.NewPod()))
	}
	h.store, _ = os.ReadFile(h.db())
	return h
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
		t.Fatalf("mount %s again: %v", dir, err)
	}
}
