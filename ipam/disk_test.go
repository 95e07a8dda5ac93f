package ipam

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

func TestFullDisk(t *testing.T) {
	dir := testhost.Tmpfs(t, "8m")
	s := newStore(t, dir, nil)
	pool := mustPool(t, "10.0.0.0/16")
	v6 := mustPool(t, "fd00::/64")
	n := 0
	for ; n < 1500; n++ {
		acquire(t, s, n, pool, v6)
	}
	testhost.Fill(t, filepath.Join(dir, "ballast"))
	var err error
	for ; err == nil; n++ {
		_, _, err = s.Acquire(Request{Key: key(n), Pools: []Pool{pool, v6}})
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("Acquire on a full disk: %v", err)
	}
	held := len(mustLeases(t, s))
	if held != n-1 {
		t.Fatalf("%d leases, want %d", held, n-1)
	}
	for i := range held { // in an order that scatters over the pages
		k := key(i * 7919 % held)
		if _, found, err := s.Release(k); err != nil || (!found && held%7919 != 0) {
			t.Fatalf("Release %d on a full disk: %v %v", i, found, err)
		}
	}
	if n := len(mustLeases(t, s)); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	t.Logf("%d leases released on a full disk", held)
}

func TestDamageOnFullDisk(t *testing.T) {
	dir := testhost.Tmpfs(t, "1m")
	s := newStore(t, dir, nil)
	pool := mustPool(t, "10.0.0.0/16")
	l := acquire(t, s, 1, pool)
	testhost.Fill(t, filepath.Join(dir, "ballast"))
	if err := os.WriteFile(s.path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	testhost.Fill(t, filepath.Join(dir, "ballast"))
	s.o.Rebuild = func() ([]Lease, error) { return []Lease{l}, nil }
	if got, found, err := s.Release(key(1)); err != nil || !found || !got.holds(l.Addresses[0].Addr()) {
		t.Errorf("Release: %v %v %v", got, found, err)
	}
	if _, found, err := s.Get(key(1)); err != nil || !found {
		t.Errorf("Get: %v %v", found, err)
	}
	if _, _, err := s.Acquire(Request{Key: key(2), Pools: []Pool{pool}}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Acquire: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := testhost.Tmpfs(t, "4m")
	s := newStore(t, dir, nil)
	pool := mustPool(t, "10.0.0.0/24")
	acquire(t, s, 1, pool)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Get(key(1)); !found || err != nil {
		t.Errorf("Get: %v %v", found, err)
	}
	_, _, acquireErr := s.Acquire(Request{Key: key(2), Pools: []Pool{pool}})
	_, _, releaseErr := s.Release(key(1))
	other := New(Options{Dir: filepath.Join(dir, "new"), Network: "pods"})
	for _, err := range []error{acquireErr, releaseErr, s.Check(), other.Check()} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("writing: %v", err)
		}
	}
}
