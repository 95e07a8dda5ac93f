package ipam

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// victim is a store with enough leases for a tree of branches, and what the
// kernel would still show of it.
type victim struct {
	s       *Store
	pool    Pool
	want    map[Key]Lease
	content []byte
	rebuilt int
}

func newVictim(t testing.TB, n int) *victim {
	v := &victim{pool: mustPool(t, "10.0.0.0/16")}
	v.s = newStore(t, t.TempDir(), nil)
	for i := range n {
		acquire(t, v.s, i, v.pool)
	}
	for i := 0; i < n; i += 7 {
		if _, _, err := v.s.Release(key(i)); err != nil {
			t.Fatal(err)
		}
	}
	v.want = mustLeases(t, v.s)
	v.content = mustRead(t, v.s.path)
	v.s.o.Rebuild = func() ([]Lease, error) {
		v.rebuilt++
		var all []Lease
		for _, l := range v.want {
			all = append(all, l)
		}
		return all, nil
	}
	return v
}

// expect writes a damaged file and requires that each kind of method still
// sees every lease, and gives out none of their addresses.
func (v *victim) expect(t testing.TB, what string, content []byte) {
	t.Helper()
	mustWrite(t, v.s.path, content)
	for k, l := range v.want {
		got, found, err := v.s.Get(k)
		if err != nil || !found || !got.holds(l.Addresses[0].Addr()) {
			t.Fatalf("%s: Get gave %v, %v, %v", what, got, found, err)
		}
		break
	}
	fresh, created, err := v.s.Acquire(Request{Key: key(1 << 30), Pools: []Pool{v.pool}})
	if err != nil || !created {
		t.Fatalf("%s: Acquire gave %v, %v", what, created, err)
	}
	for k, l := range v.want {
		if l.holds(fresh.Addresses[0].Addr()) {
			t.Fatalf("%s: %v is leased to %v already", what, fresh.Addresses, k)
		}
	}
	v.want[fresh.Key] = fresh // the kernel would show it, too
	got := mustLeases(t, v.s)
	for k, l := range v.want {
		if !got[k].holds(l.Addresses[0].Addr()) {
			t.Fatalf("%s: the lease of %v is lost", what, k)
		}
	}
	if len(got) != len(v.want) {
		t.Fatalf("%s: %d leases, want %d", what, len(got), len(v.want))
	}
	if _, found, err := v.s.Release(fresh.Key); err != nil || !found {
		t.Fatalf("%s: Release gave %v, %v", what, found, err)
	}
	delete(v.want, fresh.Key)
}

func TestTruncatedAnywhere(t *testing.T) {
	v := newVictim(t, 150)
	tries := 0
	for size := 0; size < len(v.content); size += 512 {
		v.expect(t, fmt.Sprintf("truncated to %d bytes", size), v.content[:size])
		tries++
	}
	t.Logf("%d sizes tried, %d rebuilt", tries, v.rebuilt)
	if v.rebuilt < 20 {
		t.Errorf("only %d rebuilt", v.rebuilt)
	}
}

func TestNoise(t *testing.T) {
	v := newVictim(t, 150)
	random := rand.New(rand.NewPCG(1, 2))
	tries := 0
	noise := func(what string, start, size int) {
		content := bytes.Clone(v.content)
		for i := start; i < min(start+size, len(content)); i++ {
			content[i] = byte(random.Uint32())
		}
		v.expect(t, fmt.Sprintf("%s at %d", what, start), content)
		tries++
	}
	page := os.Getpagesize()
	noise("noise throughout", 0, len(v.content))
	for start := 0; start < len(v.content); start += page {
		noise("a page of noise", start, page)
		noise("a header of noise", start, 16)
		noise("half a page of noise", start+page/2, page/2)
		for range 4 {
			noise("one byte of noise", start+random.IntN(page), 1)
		}
		zeros := bytes.Clone(v.content)
		clear(zeros[start : start+page])
		v.expect(t, "a page of zeros", zeros)
	}
	t.Logf("%d kinds of noise tried, %d rebuilt", tries, v.rebuilt)
	if v.rebuilt < 20 {
		t.Errorf("only %d rebuilt", v.rebuilt)
	}
}

// A page may be a good one of an earlier transaction: noise that checksums miss.
func TestStalePages(t *testing.T) {
	v := newVictim(t, 150)
	older := v.content
	for i := 200; i < 260; i++ {
		acquire(t, v.s, i, v.pool)
	}
	v.want = mustLeases(t, v.s)
	v.content = mustRead(t, v.s.path)
	page := os.Getpagesize()
	tries := 0
	for start := 0; start < 2*page; start += page { // the meta pages
		content := bytes.Clone(v.content)
		copy(content[start:], older[start:start+page])
		v.expect(t, fmt.Sprintf("old page at %d", start), content)
		tries++
	}
	t.Logf("%d old pages tried", tries)
}

// A branch that leads to itself makes bbolt recurse until its stack is full.
func TestLoops(t *testing.T) {
	v := newVictim(t, 400)
	page := os.Getpagesize()
	tries := 0
	for start := 2 * page; start < len(v.content); start += page {
		id, flags := order.Uint64(v.content[start:]), order.Uint16(v.content[start+8:])
		if flags != branchFlag || id != uint64(start/page) {
			continue
		}
		for i := range int(order.Uint16(v.content[start+10:])) {
			content := bytes.Clone(v.content)
			order.PutUint64(content[start+pageHeaderSize+i*elementSize+8:], id)
			v.expect(t, fmt.Sprintf("page %d leads to itself", id), content)
			tries++
		}
	}
	t.Logf("%d loops tried, %d rebuilt", tries, v.rebuilt)
	if tries == 0 || v.rebuilt == 0 {
		t.Error("no loop was made")
	}
}

func TestDamageWithoutRebuild(t *testing.T) {
	t.Run("at all", func(t *testing.T) { expectDamageKept(t, Options{}) })
	t.Run("in doubt", func(t *testing.T) {
		expectDamageKept(t, Options{Doubtful: true, Rebuild: func() ([]Lease, error) { return nil, nil }})
	})
}

// In doubt, leases that the kernel shows are enough.
func TestDamageInDoubt(t *testing.T) {
	v := newVictim(t, 20)
	v.s.o.Doubtful = true
	v.expect(t, "in doubt", []byte("noise"))
}

func expectDamageKept(t *testing.T, o Options) {
	t.Helper()
	v := newVictim(t, 20)
	v.s.o.Rebuild, v.s.o.Doubtful = o.Rebuild, o.Doubtful
	for _, content := range [][]byte{nil, v.content[:4096], make([]byte, len(v.content))} {
		mustWrite(t, v.s.path, content)
		_, _, acquireErr := v.s.Acquire(Request{Key: key(1), Pools: []Pool{v.pool}})
		_, _, releaseErr := v.s.Release(key(1))
		_, _, getErr := v.s.Get(key(1))
		_, leasesErr := v.s.Leases()
		for _, err := range []error{acquireErr, releaseErr, getErr, leasesErr, v.s.Check()} {
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), v.s.path) || !strings.Contains(err.Error(), "remove") {
				t.Errorf("%d bytes: %v", len(content), err)
			}
		}
		if got := mustRead(t, v.s.path); !bytes.Equal(got, content) {
			t.Errorf("%d bytes became %d", len(content), len(got))
		}
	}
}

func TestFailedRebuildLeavesTheFile(t *testing.T) {
	v := newVictim(t, 20)
	broken := errors.New("netlink says no")
	v.s.o.Rebuild = func() ([]Lease, error) { return nil, broken }
	mustWrite(t, v.s.path, []byte("noise"))
	if err := v.s.Check(); !errors.Is(err, broken) {
		t.Errorf("Check: %v", err)
	}
	if got := mustRead(t, v.s.path); string(got) != "noise" {
		t.Errorf("the file was changed: %q", got)
	}
}

func TestAnotherBootStartsAfresh(t *testing.T) {
	v := newVictim(t, 50)
	v.s.o.BootID = boot("boot-2")
	for k := range v.want {
		if _, found, err := v.s.Get(k); found || err != nil {
			t.Fatalf("Get: %v %v", found, err)
		}
		if _, found, err := v.s.Release(k); found || err != nil {
			t.Fatalf("Release: %v %v", found, err)
		}
		break
	}
	if l, err := v.s.Leases(); len(l) != 0 || err != nil {
		t.Fatalf("Leases: %v %v", l, err)
	}
	if l := acquire(t, v.s, 1, v.pool); l.Addresses[0].String() != "10.0.0.4/16" {
		t.Errorf("first lease %v", l.Addresses)
	}
	if n := len(mustLeases(t, v.s)); n != 1 || v.rebuilt != 0 {
		t.Errorf("%d leases, %d rebuilds", n, v.rebuilt)
	}
}

func TestDeletedFileIsRebuilt(t *testing.T) {
	v := newVictim(t, 50)
	if err := os.Remove(v.s.path); err != nil {
		t.Fatal(err)
	}
	acquire(t, v.s, 5000, v.pool)
	if n := len(mustLeases(t, v.s)); n != len(v.want)+1 {
		t.Errorf("%d leases, want %d", n, len(v.want)+1)
	}
	left, err := filepath.Glob(filepath.Join(v.s.o.Dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
