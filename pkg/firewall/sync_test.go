package firewall

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// room is two networks whose pods, here and elsewhere, are of few addresses, so that
// these often change hands.
type room struct {
	f        *Firewall
	r        *rand.Rand
	networks []Network
	local    []map[netip.Addr]Pod // by network
	remote   [][]Pod
	damaged  bool // somebody else has changed sets since the last sync
	evicted  int
}

var roomGroups, roomASGs = []string{"", "web", "api"}, []string{"x", "y", "z"}

func newRoom(t *testing.T, f *Firewall, seed uint64) *room {
	t.Helper()
	m := &room{f: f, r: rand.New(rand.NewPCG(seed, 7))}
	for _, name := range []string{"one", "two"} {
		n := testNetwork(t, name)
		n.Masquerade, n.Judging = false, &Judging{}
		m.networks = append(m.networks, n)
		m.local = append(m.local, map[netip.Addr]Pod{})
		m.remote = append(m.remote, nil)
		makeRoom(t, f, name)
	}
	return m
}

// makeRoom makes the sets as an installation does.
func makeRoom(t *testing.T, f *Firewall, network string) {
	t.Helper()
	for _, fam := range []family{ipv4, ipv6} {
		must(t, f.sets.create(fam.podSet(), hashIP, fam))
		must(t, f.makeMemberSets(Network{Name: network}, &Policies{Interfaces: map[string]*nsg.Policy{"web": nil, "api": nil}}, fam))
	}
}

func (m *room) address() netip.Addr {
	if m.r.IntN(2) == 0 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(m.r.IntN(8))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + m.r.IntN(8))})
}

func (m *room) pod(a netip.Addr) Pod {
	p := Pod{Addrs: []netip.Addr{a}, Group: roomGroups[m.r.IntN(len(roomGroups))]}
	for _, asg := range roomASGs {
		if m.r.IntN(3) == 0 {
			p.ASGs = append(p.ASGs, asg)
		}
	}
	return p
}

func (m *room) taken(a netip.Addr) bool {
	return slices.ContainsFunc(m.local, func(of map[netip.Addr]Pod) bool { _, has := of[a]; return has })
}

// list is what pkg/attachment lists: a lease wins.
func (m *room) list(i int) func() ([]Pod, error) {
	return func() ([]Pod, error) {
		pods := slices.Collect(maps.Values(m.local[i]))
		for _, p := range m.remote[i] {
			if !m.taken(p.Addrs[0]) {
				pods = append(pods, p)
			}
		}
		return pods, nil
	}
}

// act does something at random.
func (m *room) act(t *testing.T) {
	t.Helper()
	i := m.r.IntN(len(m.networks))
	n, a := m.networks[i], m.address()
	switch m.r.IntN(5) {
	case 0: // an ADD, perhaps of an address that is another node's yet
		if !m.taken(a) {
			m.local[i][a] = m.pod(a)
			was, err := m.f.sets.contains(farSet(familyOf(a)), single(a))
			must(t, err)
			must(t, m.f.AddPod(n, m.local[i][a]))
			if !m.damaged {
				m.wantNoOther(t, n, m.local[i][a])
			}
			if was {
				m.evicted++
			}
		}
	case 1:
		if p, has := m.local[i][a]; has {
			must(t, m.f.RemovePod(n.Name, p))
			delete(m.local[i], a)
		}
	case 2: // somebody takes a member away, or puts a wrong one in
		p := m.pod(a)
		p.Remote, m.damaged = true, true
		sets, asgs := p.membership(n.Name, familyOf(a))
		set := append(sets, asgs...)[m.r.IntN(len(sets)+len(asgs))]
		if m.r.IntN(2) == 0 {
			if !m.taken(a) { // else Admit puts it back
				must(t, m.f.sets.remove(set, single(a)))
			}
		} else {
			must(t, m.f.sets.create(set, hashIP, familyOf(a)))
			must(t, m.f.sets.add(set, single(a)))
		}
	default:
		m.remote[i] = nil
		seen := map[netip.Addr]bool{}
		for range m.r.IntN(6) {
			p := m.pod(m.address())
			p.Remote = true
			if !seen[p.Addrs[0]] {
				m.remote[i] = append(m.remote[i], p)
			}
			seen[p.Addrs[0]] = true
		}
	}
}

// wantNoOther wants an address that a pod of this node got in its own sets only.
func (m *room) wantNoOther(t *testing.T, n Network, p Pod) {
	t.Helper()
	a := p.Addrs[0]
	fam := familyOf(a)
	sets, asgs := podSets(n, p, fam)
	names, err := m.f.sets.names()
	must(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, fam.suffix()) {
			continue
		}
		in, err := m.f.sets.contains(name, single(a))
		if err != nil || in != (slices.Contains(sets, name) || slices.Contains(asgs, name)) {
			t.Fatalf("after AddPod of %v: in %s: %t, %v", p, name, in, err)
		}
	}
}

// wantModel compares every set with what it has to be.
func (m *room) wantModel(t *testing.T) {
	t.Helper()
	for _, fam := range []family{ipv4, ipv6} {
		want := memberships{}
		for i, n := range m.networks {
			pods, _ := m.list(i)()
			more, _ := membershipsOf(n.Name, pods, fam)
			for set, members := range more {
				for a := range members {
					want.add(set, a)
				}
			}
		}
		names, err := m.f.sets.names()
		must(t, err)
		for _, name := range names {
			if !strings.HasSuffix(name, fam.suffix()) || name == fam.podSet() {
				continue
			}
			got, err := m.f.sets.members(name)
			must(t, err)
			if !maps.Equal(got, want[name]) {
				t.Fatalf("%s has %v, want %v", name, got, want[name])
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Fatalf("sets that are not there: %v", want)
		}
	}
}

// Whatever happened before, after a sync of both networks every set has the pods of
// the lists, and another one finds nothing to do.
func TestSyncRemoteAgainstModel(t *testing.T) {
	f := inNamespace(t)
	const rounds = 400
	m := newRoom(t, f, 1)
	changes, idle := 0, 0
	for range rounds {
		for range m.r.IntN(8) {
			m.act(t)
		}
		for range 2 { // each can leave something to the other: an address that both had
			for i, n := range m.networks {
				changed, err := f.SyncRemote(n.Name, m.list(i))
				must(t, err)
				changes += changed
			}
		}
		m.wantModel(t)
		m.damaged = false
		for i, n := range m.networks {
			changed, err := f.SyncRemote(n.Name, m.list(i))
			must(t, err)
			if changed > 0 {
				t.Fatalf("a sync of what is synced changes %d members", changed)
			}
			idle++
		}
	}
	if changes < rounds || m.evicted < rounds/20 {
		t.Errorf("only %d changes, and %d addresses that came to this node", changes, m.evicted)
	}
	t.Logf("%d rounds, %d changed members, %d addresses came to this node, %d syncs with nothing to do", rounds, changes, m.evicted, idle)
}

// A pod of this node gets an address between the two looks at the list: it is in
// its own sets only.
func TestPodDuringSync(t *testing.T) {
	f := inNamespace(t)
	m := newRoom(t, f, 2)
	a := netip.MustParseAddr("10.0.0.1")
	m.remote[0] = []Pod{{Addrs: []netip.Addr{a}, Group: "api", ASGs: []string{"x"}, Remote: true}}
	looks := 0
	_, err := f.SyncRemote("one", func() ([]Pod, error) {
		pods, err := m.list(0)()
		if looks++; looks == 1 { // before anything is added: AddPod finds nothing to take away
			m.local[0][a] = Pod{Addrs: []netip.Addr{a}, Group: "web"}
			must(t, f.AddPod(m.networks[0], m.local[0][a]))
		}
		return pods, err
	})
	must(t, err)
	m.wantNoOther(t, m.networks[0], m.local[0][a])
	m.wantModel(t)
}

// Others put listed pods into the sets all the time: a pod that was taken off the
// list does not come back.
func TestSyncAgainstInstallers(t *testing.T) {
	f := inNamespace(t)
	n := testNetwork(t, "pods")
	n.Masquerade, n.Judging = false, &Judging{}
	must(t, os.MkdirAll(n.StateDir, 0o700))
	makeRoom(t, f, n.Name)
	var listed atomic.Pointer[[]Pod]
	listed.Store(&[]Pod{})
	list := func() ([]Pod, error) { return *listed.Load(), nil }
	var installers sync.WaitGroup
	var over atomic.Bool
	var installed atomic.Int64
	for i := range 2 {
		g, err := Open() // in this namespace
		must(t, err)
		defer g.Close()
		installers.Go(func() {
			for !over.Load() {
				var err error
				if i == 0 {
					err = g.Admit(n, list)
				} else {
					err = g.admitAll(n, &Policies{List: list}, ipv4)
				}
				if err != nil {
					t.Error(err)
					return
				}
				installed.Add(1)
			}
		})
	}
	defer installers.Wait()
	defer over.Store(true)
	const rounds = 15
	for i := range rounds {
		pods := []Pod{}
		for k := range 20 {
			p := Pod{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i % 3), byte(1 + k)})}, Group: roomGroups[(i+k)%3], Remote: true}
			pods = append(pods, p)
		}
		before := installed.Load()
		must(t, f.Alone(n.StateDir, func() error {
			listed.Store(&pods)
			_, err := f.SyncRemote(n.Name, list)
			return err
		}))
		await(t, "an installer comes", func() bool { return installed.Load() >= before+3 || t.Failed() })
		want, _ := membershipsOf(n.Name, pods, ipv4)
		for _, set := range []string{farSet(ipv4), memberSet(n.Name, ipv4), ownGroupSet(n.Name, ipv4), groupSet(n.Name, "web", ipv4), groupSet(n.Name, "api", ipv4)} {
			if got, err := f.sets.members(set); err != nil || !maps.Equal(got, want[set]) {
				t.Fatalf("round %d: %s has %v, %v; want %v", i, set, got, err, want[set])
			}
		}
	}
	over.Store(true)
	installers.Wait()
	t.Logf("%d syncs among %d installations", rounds, installed.Load())
}

// How long a sync takes: with nothing to do, on a large cluster.
func BenchmarkSyncRemote(b *testing.B) {
	for _, size := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := inNamespace(b)
			var pods []Pod
			for i := range size {
				pods = append(pods, Pod{Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}, Group: roomGroups[i%3], ASGs: roomASGs[:2], Remote: true})
			}
			list := func() ([]Pod, error) { return pods[1:], nil }
			sync := func() {
				if _, err := f.SyncRemote("pods", list); err != nil {
					b.Fatal(err)
				}
			}
			sync()
			for b.Loop() {
				sync()
			}
		})
	}
}
