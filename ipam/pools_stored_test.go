package ipam

import (
	"path/filepath"
	"reflect"
	"testing"
)

func TestPoolsAreThoseLastLeasedFrom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, dir, nil)
	expect := func(when string, want ...Pool) {
		t.Helper()
		got, err := s.Pools()
		if err != nil {
			t.Fatalf("Pools %s: %v", when, err)
		}
		if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("Pools %s: got %v, want %v", when, got, want)
		}
	}
	expect("without a file")

	first := mustPool(t, "10.241.0.0/16", "10.241.4.0/24", "10.241.9.10-10.241.9.20")
	second := mustPool(t, "fd00:10:241::/64", "fd00:10:241::/120")
	acquire(t, s, 1, first, second)
	cut := Pool{second.Subnet, second.Leasable()} // the reserved addresses are gone
	expect("after a lease", first, cut)

	stats, err := s.Stats([]Pool{first, cut})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range []Pool{first, second} {
		if stats[i].Size != p.Size() || stats[i].Used != 1 {
			t.Errorf("stats of the stored pool %v: %+v, want size %d and one used", p.Subnet, stats[i], p.Size())
		}
	}

	shrunk := mustPool(t, "10.241.0.0/16", "10.241.5.0/24")
	acquire(t, s, 2, shrunk, second)
	expect("after the layout changed", shrunk, cut)

	other := New(Options{Dir: dir, Network: "pods", BootID: boot("boot-2")})
	if pools, err := other.Pools(); err != nil || len(pools) != 0 {
		t.Errorf("pools of another boot: %v, %v", pools, err)
	}
	mustWrite(t, filepath.Join(dir, "pods.db"), []byte("noise"))
	expect("of a damaged file")
	t.Logf("5 layouts, %d pools", 2)
}
