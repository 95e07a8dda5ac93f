package firewall

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// A pod comes just before the way to its network's chains is removed, of the first
// family or of the second: it is judged or dropped, never free, and the next Ensure
// gives it its rules back.
func TestPodDuringJudgedRemoval(t *testing.T) {
	moments := map[int][]netip.Addr{1: {pod4, pod6}, 3: {pod4}} // by how often the rules were changed
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n, p := judged(n, 1, 5)
		n.Masquerade = false // its sets go first
		pod := p.Pods[0]
		p.Pods = nil
		came := 0
		for at, addrs := range moments {
			pod.Addrs = addrs
			ensure(t, f, n)
			want := rules(t, f)
			seen := 0
			f.step = func(name string) {
				if name != "remove groups" {
					return
				}
				if seen++; seen == at {
					came++
					must(t, f.AddPod(n, pod))
				}
			}
			must(t, f.Remove(n.StateDir, n.Name))
			f.step = func(string) {}
			wantNotFree(t, f, n, pod)
			await(t, "the rules that are gone become visible", func() bool {
				problems, err := f.Problems(n)
				return err != nil || len(problems) > 0
			})
			ensure(t, f, n)
			must(t, f.AddPod(n, pod))
			if problems, err := f.Problems(n, pod); err != nil || len(problems) > 0 {
				t.Errorf("with %s: Problems: %q, %v; want none", addrs, problems, err)
			}
			must(t, f.RemovePod(n.Name, pod))
			ensure(t, f, n)
			if got := withoutASGs(rules(t, f)); got != withoutASGs(want) {
				t.Errorf("with %s, after Ensure:\n%s\nwant:\n%s", addrs, got, want)
			}
			must(t, f.Remove(n.StateDir, n.Name))
		}
		if came != len(moments) {
			t.Errorf("a pod came at %d moments, want %d", came, len(moments))
		}
		t.Logf("a pod came at %d moments of a removal", came)
	})
}

// withoutASGs leaves out the sets of application security groups: they go with the
// next rules.
func withoutASGs(lines string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(lines, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "vnet-asg-")
	}), "\n")
}

// wantNotFree makes sure of each of the pod's addresses which is known to the node
// that somebody judges it: its network, or the rule for those who wait for theirs.
func wantNotFree(t *testing.T, f *Firewall, n Network, p Pod) {
	t.Helper()
	for _, a := range p.Addrs {
		fam, program := familyOf(a), "iptables"
		if fam == ipv6 {
			program = "ip6tables"
		}
		sends, err := f.sets.contains(fam.podSet(), single(a))
		must(t, err)
		if !sends {
			t.Errorf("%s may not send: nothing is proved", a)
		}
		for _, set := range []string{judgedSet(fam), memberSet(n.Name, fam)} {
			if in, err := f.sets.contains(set, single(a)); err != nil || !in {
				t.Errorf("%s may send, and is in %s: %t, %v", a, set, in, err)
			}
		}
		for chain, own := range map[string]string{outChain: "src", inChain: "dst"} {
			list := chainOf(t, program, "mangle", chain)
			if len(list) == 0 || !strings.Contains(list[len(list)-1], judgedSet(fam)+" "+own+" -j DROP") {
				t.Errorf("%s may send, and %s does not end with the DROP of judged pods: %q", a, chain, list)
			}
		}
	}
}

// Without any of the sets that judge it, a pod does not come to the set of those
// who may send.
func TestAddPodJudgesFirst(t *testing.T) {
	f := inNamespace(t)
	n, p := judged(testNetwork(t, "pods"), 1, 1)
	sets, _ := podSets(n, p.Pods[0], ipv4)
	if !slices.Contains(sets, judgedSet(ipv4)) || len(sets) < 6 {
		t.Fatalf("a judged pod belongs to %q", sets)
	}
	pod := p.Pods[0]
	pod.Addrs = []netip.Addr{pod4}
	for _, lacking := range sets {
		for _, set := range sets {
			if set != lacking {
				must(t, f.sets.create(set, hashIP, ipv4))
			}
		}
		if err := f.AddPod(n, pod); !errors.Is(err, unix.ENOENT) {
			t.Errorf("without %s: %v, want ENOENT", lacking, err)
		}
		if in, err := f.sets.contains(ipv4.podSet(), single(pod4)); in || err != nil && !noSuchSet(err) {
			t.Errorf("without %s: the pod may send: %t, %v", lacking, in, err)
		}
		for _, set := range sets {
			must(t, f.sets.destroy(set))
		}
	}
	t.Logf("each of %d sets was lacking", len(sets))
}

// changed is the network with policies that are not in force, and counts how often
// they are loaded.
func changed(n Network, seed uint64) (other Network, loads *int) {
	other, p := judged(n, seed, 20)
	loads = new(int)
	other.Judging = staleOnce([]string{"web"}, p)
	load := other.Judging.Load
	other.Judging.Load = func() (*Policies, error) {
		*loads++
		return load()
	}
	return other, loads
}

// An installation of another network is no reason to go on with old rules.
func TestChangeWaitsForOtherNetworks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n, _ = judged(n, 1, 5)
		ensure(t, f, n)
		old := rules(t, f)
		n, loads := changed(n, 2)
		unlock, err := lock(n.StateDir, 0)
		must(t, err)
		var once sync.Once
		release := func() { once.Do(unlock) }
		returned, over := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			for opened(filepath.Join(n.StateDir, lockFile)) < 2 { // until Ensure is waiting
				select {
				case <-returned:
					return
				default:
				}
			}
			release()
		}()
		ensure(t, f, n)
		close(returned)
		<-over
		release()
		if got := rules(t, f); *loads != 1 || got == old {
			t.Errorf("Ensure loaded the policies %d times, want once; rules are still the old ones: %t", *loads, got == old)
		}
	})
}

// opened counts this process's descriptors of a file.
func opened(path string) (count int) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == path {
			count++
		}
	}
	return count
}

// Another process that changes the same network's policies does it for all.
func TestChangeLeftToWhoeverMakesIt(t *testing.T) {
	f := inNamespace(t)
	n, _ := judged(testNetwork(t, "pods"), 1, 5)
	ensure(t, f, n)
	n, loads := changed(n, 2)
	done, err := lockChange(n, 0)
	must(t, err)
	ensure(t, f, n)
	if *loads != 0 {
		t.Errorf("Ensure loaded the policies %d times while another process did", *loads)
	}
	f.patience = 15 * time.Millisecond
	n.Judging.Wait = true
	wantLocked(t, "Ensure that must not return before", f.Ensure(n))
	done()
	ensure(t, f, n)
	if *loads != 1 {
		t.Errorf("Ensure loaded the policies %d times after that process had gone, want once", *loads)
	}
}

// What the node itself opens is not judged: a flush leaves it alone.
func TestFlushSparesTheNode(t *testing.T) {
	f := inNamespace(t)
	sh(t, "ip link set lo up; ip addr add 172.16.0.1/32 dev lo; ip addr add fd00:16::1/128 dev lo nodad")
	group, findings := nsg.New(nsg.Definition{Name: "closed"})
	closed, more := nsg.NewPolicy(group, nsg.Tags{})
	if closed == nil {
		t.Fatal(findings, more)
	}
	p := &Policies{Subnet: closed, Flush: []string{SubnetKey}, Pods: []Pod{podOf(owner4, owner6)}}
	list := []flow{
		{from: "172.16.0.1", to: "10.9.0.2", answers: "10.9.0.2", seen: "172.16.0.1"},
		{from: "fd00:16::1", to: "fd00:9::2", answers: "fd00:9::2", seen: "fd00:16::1"},
		{from: "172.16.0.1", to: "10.9.255.1", answers: "10.9.0.2", seen: "172.16.0.1"}, // through a service
		{from: "10.9.1.7", to: "10.9.0.2", answers: "10.9.0.2", seen: "10.9.1.7", gone: true},
		{from: "fd00:9:1::7", to: "fd00:9::2", answers: "fd00:9::2", seen: "fd00:9:1::7", gone: true},
	}
	var stay []string
	for i, c := range list {
		port := uint16(2000 + i)
		c.track(t, port)
		if !c.gone {
			stay = append(stay, c.name(port))
		}
	}
	must(t, f.flush(p))
	slices.Sort(stay)
	if got := tracked(t); !slices.Equal(got, stay) {
		t.Errorf("tracked after a flush:\n%q\nwant\n%q", got, stay)
	}
	t.Logf("%d flows, %d stay", len(list), len(stay))
}

// Somebody empties all sets: what rules speak of is told to be empty, and made
// anew when that is asked for.
func TestEmptiedContentsAreRepaired(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n, p := judged(n, 1, 30)
		ensure(t, f, n)
		must(t, f.AddPod(n, p.Pods[0]))
		members := func() map[string]uint32 {
			headers, err := f.sets.list("list the ipsets", "", flagListHeader)
			must(t, err)
			counts := map[string]uint32{}
			for _, h := range headers {
				counts[h.name] = h.members
			}
			return counts
		}
		want := members()
		sh(t, "ipset flush")
		problems, err := f.Problems(n)
		empty := 0
		for _, problem := range problems {
			if strings.HasPrefix(problem, "ipset "+contentSets(n.Name)) && strings.HasSuffix(problem, " is empty") {
				empty++
			}
		}
		if err != nil || empty < 10 {
			t.Errorf("%d empty sets are told of, %v", empty, err)
		}
		n.Judging.Anew = true
		ensure(t, f, n)
		must(t, f.AddPod(n, p.Pods[0]))
		if got := members(); !maps.Equal(got, want) {
			t.Errorf("members %v, want %v", got, want)
		}
		t.Logf("%d sets of %d told of", empty, len(want))
	})
}
