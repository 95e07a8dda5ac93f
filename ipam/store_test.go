package ipam

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

func TestAcquireTwiceIsTheSameLease(t *testing.T) {
	s := newStore(t, t.TempDir(), nil)
	v4, v6 := mustPool(t, "10.241.0.0/16", "10.241.4.0/24"), mustPool(t, "fd00:10:241::/64", "fd00:10:241::400/120")
	first, created, err := s.Acquire(Request{Key: key(1), Pools: []Pool{v4, v6}, Attachment: []byte(`{"a":1}`)})
	if err != nil || !created {
		t.Fatalf("first Acquire: created %v, %v", created, err)
	}
	if want := prefixes("10.241.4.0/16", "fd00:10:241::400/64"); !slices.Equal(first.Addresses, want) {
		t.Errorf("addresses %v, want %v", first.Addresses, want)
	}
	again, created, err := s.Acquire(Request{Key: key(1), Pools: []Pool{mustPool(t, "10.9.0.0/24")}, Attachment: []byte(`{"a":2}`)})
	if err != nil || created {
		t.Fatalf("second Acquire: created %v, %v", created, err)
	}
	if !slices.Equal(first.Addresses, again.Addresses) || string(again.Attachment) != `{"a":1}` || !again.Since.Equal(first.Since) {
		t.Errorf("second lease %v, first %v", again, first)
	}
	got, found, err := s.Get(key(1))
	if err != nil || !found || string(got.Attachment) != `{"a":1}` || got.Key != key(1) {
		t.Errorf("Get: %v %v %v", got, found, err)
	}
}

func TestReadingCreatesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := newStore(t, dir, nil)
	pool := mustPool(t, "10.0.0.0/24")
	if _, found, err := s.Get(key(1)); found || err != nil {
		t.Errorf("Get: %v %v", found, err)
	}
	if l, err := s.Leases(); len(l) != 0 || err != nil {
		t.Errorf("Leases: %v %v", l, err)
	}
	if st, err := s.Stats([]Pool{pool}); err != nil || st[0].Free != 251 {
		t.Errorf("Stats: %v %v", st, err)
	}
	if _, found, err := s.Release(key(1)); found || err != nil {
		t.Errorf("Release: %v %v", found, err)
	}
	if names, err := Networks(dir); len(names) != 0 || err != nil {
		t.Errorf("Networks: %v %v", names, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was created: %v", dir, err)
	}
	acquire(t, s, 1, pool)
	info, err := os.Stat(s.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v %v", info.Mode(), err)
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory: %v", info.Mode())
	}
	if names, err := Networks(dir); !slices.Equal(names, []string{"pods"}) || err != nil {
		t.Errorf("Networks: %v %v", names, err)
	}
}

func TestFixedAddresses(t *testing.T) {
	s := newStore(t, t.TempDir(), nil)
	pool := mustPool(t, "10.0.0.0/24", "10.0.0.0/28")
	excluded := []netip.Addr{netip.MustParseAddr("10.0.0.9")}
	tries := []struct {
		addr string
		want error
	}{
		{"10.0.0.7", nil}, {"10.0.0.7", ErrTaken}, {"10.0.0.9", ErrOutside}, {"10.0.0.1", ErrOutside},
		{"10.0.0.20", ErrOutside}, {"10.1.0.1", ErrOutside}, {"fd00::7", ErrOutside},
	}
	for i, try := range tries {
		_, _, err := s.Acquire(Request{Key: key(i), Pools: []Pool{pool}, Exclude: excluded, Fixed: []netip.Addr{netip.MustParseAddr(try.addr)}})
		if !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", try.addr, err, try.want)
		}
	}
	var taken *TakenError
	_, _, err := s.Acquire(Request{Key: key(99), Pools: []Pool{pool}, Fixed: []netip.Addr{netip.MustParseAddr("10.0.0.7")}})
	if !errors.As(err, &taken) || taken.Owner != key(0) {
		t.Errorf("owner: %v", err)
	}
	t.Logf("%d fixed addresses tried", len(tries)+1)
}

func TestExcludedAddressBecomesUsableLater(t *testing.T) {
	s := newStore(t, t.TempDir(), nil)
	pool := mustPool(t, "10.0.0.0/29") // .4 .5 .6
	exclude := []netip.Addr{netip.MustParseAddr("10.0.0.4")}
	for i := range 2 {
		l, _, err := s.Acquire(Request{Key: key(i), Pools: []Pool{pool}, Exclude: exclude})
		if err != nil || l.holds(exclude[0]) {
			t.Fatalf("lease %d: %v %v", i, l, err)
		}
	}
	_, _, err := s.Acquire(Request{Key: key(3), Pools: []Pool{pool}, Exclude: exclude})
	var none *NoFreeError
	if !errors.Is(err, ErrNoFree) || !errors.As(err, &none) || none.Size != 3 || none.Network != "pods" {
		t.Fatalf("full pool: %v", err)
	}
	if l := acquire(t, s, 3, pool); !l.holds(exclude[0]) {
		t.Errorf("lease %v, want 10.0.0.4", l)
	}
}

// An address that was excluded was never used: it comes before those that were,
// in whatever order the store met them.
func TestExcludedAddressIsUsedBeforeOneJustReleased(t *testing.T) {
	pool := mustPool(t, "10.0.0.0/29") // .4 .5 .6
	excluded := netip.MustParseAddr("10.0.0.4")
	for name, fixed := range map[string][]netip.Addr{"met first": nil, "met last": {netip.MustParseAddr("10.0.0.6")}} {
		s := newStore(t, t.TempDir(), nil)
		request := func(i int, fixed []netip.Addr) {
			if _, _, err := s.Acquire(Request{Key: key(i), Pools: []Pool{pool}, Exclude: []netip.Addr{excluded}, Fixed: fixed}); err != nil {
				t.Fatal(err)
			}
		}
		release := func(i int) {
			if _, found, err := s.Release(key(i)); !found || err != nil {
				t.Fatal(found, err)
			}
		}
		request(0, fixed)
		if fixed == nil { // two are released, one of them used again
			request(1, nil)
			release(0)
			release(1)
			request(2, nil)
		} else { // .6 is released before .4 is met
			release(0)
			request(1, nil)
		}
		if l := acquire(t, s, 3, pool); !l.holds(excluded) {
			t.Errorf("%s: lease %v, want %v", name, l, excluded)
		}
	}
}

func TestReleasedAddressIsTheLastToBeUsedAgain(t *testing.T) {
	c := &clock{}
	s := New(Options{Dir: t.TempDir(), Network: "pods", BootID: boot("1"), Now: c.now})
	pool := mustPool(t, "10.0.0.0/28") // .4 to .14
	for i := range 4 {
		acquire(t, s, i, pool)
	}
	for _, i := range []int{2, 0, 1} {
		if _, found, err := s.Release(key(i)); !found || err != nil {
			t.Fatal(found, err)
		}
	}
	if err := s.Quarantine(netip.MustParseAddr("10.0.0.6")); err != nil { // was first in the queue
		t.Fatal(err)
	}
	var order []string
	for i := range 10 {
		order = append(order, acquire(t, s, 10+i, pool).Addresses[0].Addr().String()[len("10.0.0."):])
	}
	if want := []string{"8", "9", "10", "11", "12", "13", "14", "4", "5", "6"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestRecord(t *testing.T) {
	s := newStore(t, t.TempDir(), nil)
	pool := mustPool(t, "10.0.0.0/29")
	l := Lease{Key: key(1), Addresses: prefixes("10.0.0.4/29", "192.168.7.7/32"), Attachment: []byte(`{}`)}
	for range 2 {
		if err := s.Record(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Record(Lease{Key: key(2), Addresses: prefixes("192.168.7.7/24")}); !errors.Is(err, ErrTaken) {
		t.Errorf("second key: %v", err)
	}
	if got := acquire(t, s, 3, pool); !got.holds(netip.MustParseAddr("10.0.0.5")) {
		t.Errorf("lease %v, want the address behind the recorded one", got)
	}
	if err := s.Record(Lease{Key: key(1), Addresses: prefixes("192.168.7.8/32")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Record(Lease{Key: key(2), Addresses: prefixes("192.168.7.7/32", "10.0.0.4/32")}); err != nil {
		t.Errorf("addresses that the first key gave up: %v", err)
	}
	if n := len(mustLeases(t, s)); n != 3 {
		t.Errorf("%d leases, want 3", n)
	}
}

func TestStats(t *testing.T) {
	c := &clock{}
	s := New(Options{Dir: t.TempDir(), Network: "pods", BootID: boot("1"), Now: c.now})
	pools := []Pool{mustPool(t, "10.0.0.0/24", "10.0.0.0/28"), mustPool(t, "fd00::/64")}
	for i := range 5 {
		if _, _, err := s.Acquire(Request{Key: key(i), Pools: pools, Cooldown: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		s.Release(key(i))
		c.advance(20 * time.Second)
	}
	got, err := s.Stats(pools)
	want := []PoolStats{{pools[0].Subnet, 12, 3, 8, 1}, {pools[1].Subnet, 1<<64 - 5, 3, 1<<64 - 9, 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Stats %v %v, want %v", got, err, want)
	}
}

func TestChangedSubnetTakesTheQueueOver(t *testing.T) {
	s := newStore(t, t.TempDir(), nil)
	wide, narrow := mustPool(t, "10.0.0.0/28"), mustPool(t, "10.0.0.0/29")
	for i := range 11 {
		acquire(t, s, i, wide)
	}
	for i := range 11 {
		s.Release(key(i))
	}
	for _, p := range []Pool{narrow, wide, narrow, wide} {
		for i := range int(p.Size()) {
			acquire(t, s, 100+i, p)
		}
		if _, _, err := s.Acquire(Request{Key: key(200), Pools: []Pool{p}}); !errors.Is(err, ErrNoFree) {
			t.Fatalf("pool %v has more than its %d addresses: %v", p.Subnet, p.Size(), err)
		}
		for i := range int(p.Size()) {
			s.Release(key(100 + i))
		}
	}
}

func TestLockDeadline(t *testing.T) {
	s := New(Options{Dir: t.TempDir(), Network: "pods", Timeout: 50 * time.Millisecond})
	pool := mustPool(t, "10.0.0.0/24")
	acquire(t, s, 1, pool)
	holder, err := openLocked(s.path, os.O_RDWR, unix.LOCK_EX, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, _, err = s.Acquire(Request{Key: key(2), Pools: []Pool{pool}})
	if waited := time.Since(start); !errors.Is(err, ErrLocked) || waited < 50*time.Millisecond {
		t.Errorf("locked store: %v after %v", err, waited)
	}
	if _, _, err := s.Get(key(1)); !errors.Is(err, ErrLocked) {
		t.Errorf("Get of a locked store: %v", err)
	}
	holder.Close()
	patient := New(Options{Dir: s.o.Dir, Network: "pods"})
	acquire(t, patient, 2, pool)
}

func TestNetworkNames(t *testing.T) {
	names := map[string]bool{"pods": true, "a.b_c-d": true, "0": true, "": false, ".pods": false, "a/b": false, "../x": false, "a b": false, "é": false}
	for name, good := range names {
		err := New(Options{Dir: t.TempDir(), Network: name}).Check()
		if (err == nil) != good {
			t.Errorf("network %q: %v", name, err)
		}
	}
	t.Logf("%d names", len(names))
}

// What is kept beside a network's leases is a store of its own, whose holders are
// found by their addresses.
func TestBesideANetwork(t *testing.T) {
	dir := t.TempDir()
	leases, beside := New(Options{Dir: dir, Network: "pods"}), New(Options{Dir: dir, Network: "pods+nsg"})
	k1, k2 := Key{"c1", "eth0"}, Key{"c2", "eth0"}
	a := netip.MustParsePrefix("10.1.0.7/32")
	if err := errors.Join(leases.Record(Lease{Key: k1, Addresses: []netip.Prefix{a}}), beside.Record(Lease{Key: k2, Addresses: []netip.Prefix{a}})); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[*Store]Key{leases: k1, beside: k2} {
		if l, found, err := s.Holder(a.Addr()); err != nil || !found || l.Key != want {
			t.Errorf("%s is held by %v, %t, %v; want %v", a, l.Key, found, err, want)
		}
		if l, found, err := s.Holder(a.Addr().Next()); err != nil || found {
			t.Errorf("nobody's address is held by %v, %v", l.Key, err)
		}
	}
	if _, _, err := beside.Release(k2); err != nil {
		t.Fatal(err)
	}
	if _, found, err := beside.Holder(a.Addr()); found || err != nil {
		t.Errorf("a released address is held: %t, %v", found, err)
	}
	if names, err := Networks(dir); err != nil || !slices.Equal(names, []string{"pods+nsg", "pods"}) {
		t.Errorf("networks %q, %v", names, err)
	}
	for _, name := range []string{"pods+", "pods+NSG", "+nsg", "pods+nsg+x", "pods+../x"} {
		if _, _, err := New(Options{Dir: dir, Network: name}).Get(k1); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
	t.Log("2 stores, 5 bad names")
}

// A store that was lost is asked for holders by what can be rebuilt.
func TestHolderInALostStore(t *testing.T) {
	a := netip.MustParsePrefix("10.1.0.7/32")
	s := New(Options{Dir: t.TempDir(), Network: "pods", Rebuild: func() ([]Lease, error) {
		return []Lease{{Key: Key{"c1", "eth0"}, Addresses: []netip.Prefix{a}}}, nil
	}})
	if l, found, err := s.Holder(a.Addr()); err != nil || !found || l.ContainerID != "c1" {
		t.Errorf("%v, %t, %v", l, found, err)
	}
	if _, found, err := s.Holder(a.Addr().Next()); err != nil || found {
		t.Errorf("another address: %t, %v", found, err)
	}
	t.Log("2 addresses")
}
