package ipam

import (
	"testing"
	"time"
)

// The pair shows that the cost of a lease does not depend on how many there are.
func BenchmarkAcquireEmpty(b *testing.B) { benchmarkAcquire(b, 0) }
func BenchmarkAcquire60k(b *testing.B)   { benchmarkAcquire(b, 60000) }

// fillStore gives a store n leases in one go, as a rebuild does, and then
// releases and takes some, so that its pages look like those of a store in use.
func fillStore(b testing.TB, dir string, n int) (*Store, Pool) {
	pool := mustPool(b, "10.0.0.0/8")
	leases := make([]Lease, n)
	a := pool.Leasable()[0].First
	for i := range leases {
		leases[i] = Lease{Key: key(i), Addresses: prefixes(a.String() + "/8"), Since: time.Unix(int64(i), 0),
			Attachment: []byte(`{"hostVeth":"vnet0123456789a","mac":"0a:58:0a:f1:04:05","nsg":"web-nsg","asgs":["web","api"]}`)}
		a = a.Next()
	}
	s := newStore(b, dir, func() ([]Lease, error) { return leases, nil })
	if err := s.Check(); err != nil {
		b.Fatal(err)
	}
	acquire(b, s, n, pool) // moves the frontier past the leases
	return s, pool
}

func benchmarkAcquire(b *testing.B, n int) {
	s, pool := fillStore(b, b.TempDir(), n)
	r := Request{Key: key(n + 1), Pools: []Pool{pool}, Attachment: []byte(`{"hostVeth":"vnet0123456789a"}`)}
	for b.Loop() {
		if _, _, err := s.Acquire(r); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, _, err := s.Release(r.Key); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkRelease60k(b *testing.B) {
	s, pool := fillStore(b, b.TempDir(), 60000)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		acquire(b, s, 70000+i, pool)
		b.StartTimer()
		if _, found, err := s.Release(key(70000 + i)); err != nil || !found {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkGet60k(b *testing.B) {
	s, _ := fillStore(b, b.TempDir(), 60000)
	for b.Loop() {
		if _, found, err := s.Get(key(30000)); err != nil || !found {
			b.Fatal(found, err)
		}
	}
}
