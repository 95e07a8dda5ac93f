package ipam

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestManyAtOnce(t *testing.T) {
	const workers, rounds = 32, 2000
	dir := t.TempDir()
	pool := mustPool(t, "10.0.0.0/24")
	var mu sync.Mutex
	holder := map[netip.Addr]int{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			s := newStore(t, dir, nil)
			for i := range rounds / workers {
				l, _, err := s.Acquire(Request{Key: key(w), Pools: []Pool{pool}})
				if err != nil {
					t.Errorf("worker %d, round %d: %v", w, i, err)
					return
				}
				a := l.Addresses[0].Addr()
				mu.Lock()
				if other, held := holder[a]; held {
					t.Errorf("%v is leased to workers %d and %d", a, other, w)
				}
				holder[a] = w
				mu.Unlock()
				mu.Lock()
				delete(holder, a)
				mu.Unlock()
				if _, found, err := s.Release(key(w)); err != nil || !found {
					t.Errorf("worker %d: Release %v %v", w, found, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(mustLeases(t, newStore(t, dir, nil))); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	t.Logf("%d workers, %d leases taken and released", workers, rounds/workers*workers)
}

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("IPAM_TEST_WORKER"); dir != "" {
		work(dir)
		return
	}
	os.Exit(m.Run())
}

// work takes and releases leases, and says so after each, until it is killed.
func work(dir string) {
	pool, _ := ParsePool("10.0.0.0/16", nil)
	base := rand.IntN(1 << 30)
	for i := 0; ; i++ {
		s := New(Options{Dir: dir, Network: "pods", BootID: boot("boot-1")})
		l, _, err := s.Acquire(Request{Key: key(base + i), Pools: []Pool{pool}, Attachment: []byte(`"` + strings.Repeat("x", 200) + `"`)})
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println("leased", l.ContainerID, l.Addresses[0].Addr())
		if i%3 == 0 {
			fmt.Println("releasing", l.ContainerID)
			if _, _, err := s.Release(l.Key); err != nil {
				fmt.Println("failed", err)
				return
			}
		}
	}
}

// killOne runs a worker, kills it at a random moment and adds what it was told
// to have. Moments are counted by what the worker has done, as on a busy machine it may
// take long to begin.
func killOne(t *testing.T, dir string, have map[string]string) {
	t.Helper()
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), "IPAM_TEST_WORKER="+dir)
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	alive := rand.IntN(60)
	for n := 0; ; n++ {
		if n == alive {
			time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { worker.Process.Kill() })
		}
		if !lines.Scan() {
			break
		}
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 3 && f[0] == "leased":
			have[f[1]] = f[2]
		case len(f) == 2 && f[0] == "releasing":
			delete(have, f[1])
		case len(f) > 0 && f[0] == "failed":
			t.Error(lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	worker.Wait()
}

func TestKilledAnywhere(t *testing.T) {
	const kills = 100
	dir := t.TempDir()
	have := map[string]string{}
	for i := range kills {
		killOne(t, dir, have)
		if i%4 != 0 {
			continue
		}
		got := mustLeases(t, newStore(t, dir, nil)) // fails on a duplicate
		for id, a := range have {
			if l := got[Key{id, "eth0"}]; !l.holds(netip.MustParseAddr(a)) {
				t.Fatalf("after kill %d the lease of %v to %s is lost", i, a, id)
			}
		}
	}
	if len(have) == 0 {
		t.Error("no worker got as far as a lease")
	}
	t.Logf("%d kills, %d leases, none lost", kills, len(have))
}
