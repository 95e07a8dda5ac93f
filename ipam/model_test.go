package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what the store must agree with, written without regard to cost.
type model struct {
	t       *rapid.T
	dir     string
	boots   int
	clock   clock
	leases  map[Key][]netip.Addr
	pools   []Pool
	exclude []netip.Addr
	subnet  netip.Prefix // what the store was last asked for
	last    netip.Addr   // what was released last, if the store knew its subnet
	steps   map[string]int
}

func (m *model) store() *Store {
	return New(Options{Dir: m.dir, Network: "pods", Now: m.clock.now, BootID: boot(fmt.Sprint(m.boots))})
}

var modelPools = [][2]string{
	{"10.0.0.0/28", ""}, {"10.0.0.0/28", "10.0.0.0/29"}, {"10.0.0.0/28", "10.0.0.8/29"}, {"10.0.0.0/27", ""},
	{"10.0.0.0/28", "10.0.0.10-10.0.0.12"}, {"10.0.0.0/29", ""}, {"10.9.0.0/28", ""},
}

func (m *model) choosePools() {
	c := modelPools[rapid.IntRange(0, len(modelPools)-1).Draw(m.t, "pool")]
	var ranges []string
	if c[1] != "" {
		ranges = []string{c[1]}
	}
	p, err := ParsePool(c[0], ranges)
	if err != nil {
		m.t.Fatal(err)
	}
	m.pools = []Pool{p}
	if rapid.Bool().Draw(m.t, "dual stack") {
		v6, err := ParsePool("fd00::/64", []string{"fd00::10-fd00::18"})
		if err != nil {
			m.t.Fatal(err)
		}
		m.pools = append(m.pools, v6)
	}
}

// free returns a pool's addresses that a request has to get one of.
func (m *model) free(p Pool) []netip.Addr {
	var free []netip.Addr
	for _, r := range p.Leasable() {
		for a := r.First; r.Contains(a); a = a.Next() {
			if !m.leased(a) && !slices.Contains(m.exclude, a) {
				free = append(free, a)
			}
		}
	}
	return free
}

func (m *model) leased(a netip.Addr) bool {
	for _, held := range m.leases {
		if slices.Contains(held, a) {
			return true
		}
	}
	return false
}

func (m *model) anyKey() Key { return key(rapid.IntRange(0, 11).Draw(m.t, "key")) }

func (m *model) acquire(fixed []netip.Addr) {
	k := m.anyKey()
	free := make([][]netip.Addr, len(m.pools))
	full := false
	for i, p := range m.pools {
		free[i] = m.free(p)
		full = full || len(free[i]) == 0
	}
	l, created, err := m.store().Acquire(Request{Key: k, Pools: m.pools, Exclude: m.exclude, Fixed: fixed, Cooldown: time.Minute})
	if held, ok := m.leases[k]; ok {
		if err != nil || created || !slices.Equal(held, addrsOf(l)) {
			m.t.Fatalf("%v holds %v and got %v, %v, %v", k, held, l, created, err)
		}
		m.steps["acquire again"]++
		return
	}
	if len(fixed) > 0 && (errors.Is(err, ErrOutside) || errors.Is(err, ErrTaken)) {
		m.checkFixedRefusal(fixed[0], err)
		return
	}
	if full {
		if !errors.Is(err, ErrNoFree) {
			m.t.Fatalf("a full pool gave %v, %v", l, err)
		}
		m.steps["full"]++
		return
	}
	if err != nil || !created {
		m.t.Fatalf("free %v, but Acquire gave %v, %v", free, created, err)
	}
	m.checkLease(l, free, fixed)
	m.leases[k] = addrsOf(l)
	m.subnet = m.pools[0].Subnet
	m.steps["acquire"]++
}

func (m *model) checkFixedRefusal(a netip.Addr, err error) {
	for i, p := range m.pools {
		if slices.Contains(m.free(m.pools[i]), a) && p.Contains(a) {
			m.t.Fatalf("fixed address %v is free and was refused: %v", a, err)
		}
	}
	m.steps["fixed refused"]++
}

func (m *model) checkLease(l Lease, free [][]netip.Addr, fixed []netip.Addr) {
	for i, a := range addrsOf(l) {
		if !slices.Contains(free[i], a) || m.pools[i].Reserved(a) {
			m.t.Fatalf("%v was given, free were %v", a, free[i])
		}
		if a == m.last && len(free[i]) > 1 && !slices.Contains(fixed, a) {
			m.t.Fatalf("%v was just released and given again, though free were %v", a, free[i])
		}
	}
	for _, a := range fixed {
		if !l.holds(a) {
			m.t.Fatalf("fixed %v, got %v", a, l)
		}
	}
}

func addrsOf(l Lease) []netip.Addr {
	var all []netip.Addr
	for _, p := range l.Addresses {
		all = append(all, p.Addr())
	}
	return all
}

func (m *model) release() {
	k := m.anyKey()
	_, held := m.leases[k]
	l, found, err := m.store().Release(k)
	if err != nil || found != held || !slices.Equal(addrsOf(l), m.leases[k]) {
		m.t.Fatalf("Release of %v gave %v, %v, %v; it held %v", k, l, found, err, m.leases[k])
	}
	if held {
		m.last = netip.Addr{}
		if m.subnet == m.pools[0].Subnet {
			m.last = m.leases[k][0]
		}
		delete(m.leases, k)
		m.steps["release"]++
	}
}

func (m *model) check(*rapid.T) {
	all, err := m.store().Leases()
	if err != nil || len(all) != len(m.leases) {
		m.t.Fatalf("Leases: %v, %v; want %v", all, err, m.leases)
	}
	for _, l := range all {
		if !slices.Equal(addrsOf(l), m.leases[l.Key]) {
			m.t.Fatalf("%v holds %v, want %v", l.Key, l.Addresses, m.leases[l.Key])
		}
	}
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"acquire":  func(*rapid.T) { m.acquire(nil) },
		"acquire2": func(*rapid.T) { m.acquire(nil) },
		"fixed": func(*rapid.T) {
			a := m.pools[0].Subnet.Addr()
			for range rapid.IntRange(0, 16).Draw(m.t, "offset") {
				a = a.Next()
			}
			m.acquire([]netip.Addr{a})
		},
		"release": func(*rapid.T) { m.release() },
		"pools": func(*rapid.T) {
			m.choosePools()
			m.last = netip.Addr{} // a changed layout starts over
			m.steps["pools changed"]++
		},
		"exclude": func(*rapid.T) {
			m.exclude = nil
			for range rapid.IntRange(0, 2).Draw(m.t, "excluded") {
				p := m.pools[0].Leasable()[0]
				m.exclude = append(m.exclude, p.First)
			}
		},
		"clock": func(*rapid.T) { m.clock.advance(time.Minute) },
		"boot": func(*rapid.T) {
			if rapid.IntRange(0, 9).Draw(m.t, "reboot") == 0 {
				m.boots++
				m.leases, m.last = map[Key][]netip.Addr{}, netip.Addr{}
				m.steps["boot"]++
			}
		},
		"": m.check,
	}
}

func TestStoreAgreesWithModel(t *testing.T) {
	steps := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{t: rt, dir: t.TempDir(), leases: map[Key][]netip.Addr{}, steps: steps}
		m.choosePools()
		rt.Repeat(m.actions())
	})
	t.Logf("steps: %v", steps)
	for _, name := range []string{"acquire", "acquire again", "release", "pools changed", "full", "fixed refused", "boot"} {
		if steps[name] == 0 {
			t.Errorf("no step %q was made", name)
		}
	}
}
