package members

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// A list that has no room takes none, and the one before stays.
func TestWriteOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := testhost.Tmpfs(t, "64k")
	few := []Member{{Addrs: addrs("10.0.0.1")}}
	if _, err := Write(dir, "pods", few); err != nil {
		t.Fatal(err)
	}
	many := []Member{{Addrs: addrs("10.0.0.2"), Group: strings.Repeat("x", 64<<10)}}
	if changed, err := Write(dir, "pods", many); changed || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("changed %t, %v", changed, err)
	}
	if got, err := Read(dir, "pods"); err != nil || !reflect.DeepEqual(got, few) {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "another"), make([]byte, 32<<10), 0o600); err != nil {
		t.Errorf("it left no room for others: %v", err)
	}
	t.Log("1 list")
}

// What is written is read again, in whatever order it was given, and is not written
// twice.
func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	count := 0
	rapid.Check(t, func(r *rapid.T) {
		count++
		dir := filepath.Join(t.TempDir(), "state")
		var list []Member
		for i := range rapid.IntRange(0, 6).Draw(r, "members") {
			m := Member{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i), 1})}}
			if rapid.Bool().Draw(r, "dual") {
				m.Addrs = append(m.Addrs, netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)}))
			}
			m.Group = rapid.SampledFrom([]string{"", "web", "/subscriptions/s/web"}).Draw(r, "group")
			m.ASGs = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"api", "db", "web"}), 0, 3, rapid.ID).Draw(r, "asgs")
			slices.Sort(m.ASGs)
			if len(m.ASGs) == 0 {
				m.ASGs = nil
			}
			list = append(list, m)
		}
		shuffled := rapid.Permutation(list).Draw(r, "order")
		if changed, err := Write(dir, "pods", shuffled); err != nil || !changed {
			r.Fatalf("first time: %t, %v", changed, err)
		}
		if changed, err := Write(dir, "pods", list); err != nil || changed {
			r.Fatalf("again, in another order: %t, %v", changed, err)
		}
		got, err := Read(dir, "pods")
		if err != nil || len(got) != len(list) || len(list) > 0 && !reflect.DeepEqual(got, list) {
			r.Fatalf("read %+v, %v; want %+v", got, err, list)
		}
		if changed, err := Write(dir, "pods", append(list, Member{Addrs: addrs("10.9.9.9")})); err != nil || !changed {
			r.Fatalf("one more: %t, %v", changed, err)
		}
	})
	t.Logf("%d lists", count)
}

// What cannot be a pod's, or is another's already, does not get into the file.
func TestWriteLeavesOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := addrs("0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "ff02::1", "169.254.1.1", "fe80::1", "fe80::1%eth0", "255.255.255.255")
	list := []Member{
		{Addrs: append(bad, addrs("::ffff:10.0.0.1")...), Group: "WEB", ASGs: []string{"B", "a", "b"}},
		{Addrs: addrs("10.0.0.1"), Group: "late"},
		{Addrs: []netip.Addr{{}}},
		{Addrs: addrs("10.0.0.2", "10.0.0.1", "10.0.0.2")},
	}
	if _, err := Write(dir, "pods", list); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir, "pods")
	want := []Member{{Addrs: addrs("10.0.0.1"), Group: "web", ASGs: []string{"a", "b"}}, {Addrs: addrs("10.0.0.2")}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	t.Logf("%d addresses left out", len(bad)+4)
}

// No file is no member; one that makes no sense is an error that names it.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	rows := []string{"", "{", "noise", `{"addrs":[]}`, `[{"addrs":["10.0.0"]}]`, `[{"addrs":["0.0.0.0"]}]`, `[{"addrs":[""]}]`, `[{"addrs":["10.0.0.1"]}`, "[] []"}
	for _, row := range rows {
		dir := t.TempDir()
		file := filepath.Join(dir, "pods.members")
		if err := os.WriteFile(file, []byte(row), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := Read(dir, "pods"); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v, %v; want an error that names the file", row, list, err)
		}
		if changed, err := Write(dir, "pods", nil); err != nil || !changed {
			t.Errorf("%q is not replaced: %t, %v", row, changed, err)
		}
		for range 2 {
			if err := Forget(dir, "pods"); err != nil {
				t.Error(err)
			}
			if list, err := Read(dir, "pods"); err != nil || list != nil {
				t.Errorf("without a file: %v, %v", list, err)
			}
		}
	}
	t.Logf("%d broken files", len(rows))
}
