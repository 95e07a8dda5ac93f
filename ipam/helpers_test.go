package ipam

import (
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

func mustPool(t testing.TB, subnet string, ranges ...string) Pool {
	t.Helper()
	p, err := ParsePool(subnet, ranges)
	if err != nil {
		t.Fatalf("ParsePool(%q, %q): %v", subnet, ranges, err)
	}
	return p
}

func key(i int) Key { return Key{fmt.Sprintf("%064x", i), "eth0"} }

// clock is a boot clock that only moves when told to.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Duration      { return time.Duration(c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func boot(id string) func() (string, error) { return func() (string, error) { return id, nil } }

func newStore(t testing.TB, dir string, rebuild func() ([]Lease, error)) *Store {
	t.Helper()
	return New(Options{Dir: dir, Network: "pods", BootID: boot("boot-1"), Rebuild: rebuild})
}

// acquire leases for key(i) and fails the test on any error.
func acquire(t testing.TB, s *Store, i int, pools ...Pool) Lease {
	t.Helper()
	l, _, err := s.Acquire(Request{Key: key(i), Pools: pools, Attachment: []byte(fmt.Sprintf(`{"pod":%d}`, i))})
	if err != nil {
		t.Fatalf("Acquire %d: %v", i, err)
	}
	return l
}

func mustLeases(t testing.TB, s *Store) map[Key]Lease {
	t.Helper()
	all, err := s.Leases()
	if err != nil {
		t.Fatalf("Leases: %v", err)
	}
	byKey := make(map[Key]Lease, len(all))
	owners := make(map[netip.Addr]Key, len(all))
	for _, l := range all {
		byKey[l.Key] = l
		for _, p := range l.Addresses {
			if other, taken := owners[p.Addr()]; taken {
				t.Fatalf("%v is leased to %v and %v", p.Addr(), other, l.Key)
			}
			owners[p.Addr()] = l.Key
		}
	}
	return byKey
}

func mustWrite(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
