package firewall

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	pod4 = netip.MustParseAddr("10.9.0.2")
	pod6 = netip.MustParseAddr("fd00:9::2")
)

func TestEnsureInstallsOnceAndInPlace(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		before := rules(t, f)
		ensure(t, f, n)
		after := rules(t, f)
		for _, program := range []string{"iptables", "ip6tables"} {
			wantPlaces(t, program, n)
		}
		for line := range strings.Lines(before) {
			if !strings.Contains(after, strings.TrimSpace(line)) {
				t.Errorf("foreign rule or set is gone: %s", line)
			}
		}
		wantSound(t, f, n)

		t.Setenv("PATH", "/nonexistent") // no program can be started from here on
		for _, a := range []netip.Addr{pod4, pod6} {
			ensure(t, f, n)
			if err := f.AddPod(n, podOf(a)); err != nil {
				t.Fatal(err)
			}
			wantSound(t, f, n, a)
			if err := f.RemovePod(n.Name, podOf(a)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// wantPlaces checks that our entries are there once, first or last.
func wantPlaces(t *testing.T, program string, n Network) {
	t.Helper()
	fam := ipv4
	if program == "ip6tables" {
		fam = ipv6
	}
	for _, table := range tables(n, fam) {
		for _, e := range table.entries {
			wantEntries(t, chainOf(t, program, table.name, e.base), e)
		}
	}
}

func wantEntries(t *testing.T, chain []string, e entries) {
	t.Helper()
	var at, want []int
	for i, r := range chain {
		if e.owns(r) {
			at = append(at, i)
		}
	}
	first := 0
	if !e.first {
		first = len(chain) - len(e.rules)
	}
	for i := range e.rules {
		want = append(want, first+i)
	}
	if !slices.Equal(at, want) {
		t.Errorf("our entries are at %v of %d in %s, want %v:\n%s", at, len(chain), e.base, want, strings.Join(chain, "\n"))
	}
}

func TestEnsureHeals(t *testing.T) {
	damages := []string{
		"IPT -w -t raw -F PREROUTING",
		"IPT -w -t raw -F VNET-GUARD",
		"IPT -w -t raw -F; IPT -w -t raw -X",
		"IPT -w -t raw -D PREROUTING 1",
		"IPT -w -t raw -D PREROUTING 2",
		"IPT -w -F FORWARD",
		"IPT -w -D FORWARD 1",
		"IPT -w -t nat -F POSTROUTING",
		"IPT -w -t nat -F CHAIN",
		"IPT -w -t nat -F; IPT -w -t nat -X",
		"IPT -w -t raw -F; IPT -w -F; IPT -w -t nat -F",
		"ipset flush EXCEPT",
		// Copies, as somebody's restore may leave them, and more missing than copied.
		"IPT-save -t filter | IPT-restore -w --noflush; IPT-save -t nat | grep -v MASQUERADE | IPT-restore -w --noflush; IPT -w -t raw -F",
	}
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		ensure(t, f, n)
		want := rules(t, f)
		for _, damage := range damages {
			for program, fam := range map[string]family{"iptables": ipv4, "ip6tables": ipv6} {
				except := exceptSet(n.Name, fam, exceptions(n.Except, fam))
				sh(t, strings.NewReplacer("IPT", program, "CHAIN", masqChain(n.Name), "EXCEPT", except).Replace(damage))
				await(t, damage+" becomes visible", func() bool {
					problems, err := f.Problems(n)
					return err != nil || len(problems) > 0
				})
				ensure(t, f, n)
				wantSound(t, f, n)
				if got := rules(t, f); got != want {
					t.Fatalf("after %s (%s) and Ensure:\n%s\nwant:\n%s", damage, program, got, want)
				}
			}
		}
		t.Logf("%d damages in two families", len(damages))
	})
}

func TestExceptChanges(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		ensure(t, f, n)
		contents := []string{"", "0.0.0.0/0 ::/0", "10.0.0.0/8 192.168.0.0/16 fd00::/8", "0.0.0.0/1", "10.0.0.0/8 fd00::/8"}
		for _, content := range contents {
			n.Except = nil
			for _, p := range strings.Fields(content) {
				n.Except = append(n.Except, netip.MustParsePrefix(p))
			}
			wantSound(t, f, n) // pods with the former exceptions are sound
			if faults, err := f.faults(n, f.setFault); err != nil || len(faults) == 0 {
				t.Errorf("exceptions %q: faults before Ensure are %q, %v", content, faults, err)
			}
			ensure(t, f, n)
			wantSound(t, f, n)
			names, err := f.sets.names()
			if err != nil {
				t.Fatal(err)
			}
			for _, fam := range []family{ipv4, ipv6} {
				if got := exceptSetsOf(names, n.Name, fam); len(got) != 1 || got[0] != exceptSet(n.Name, fam, exceptions(n.Except, fam)) {
					t.Errorf("exceptions %q: sets %q", content, got)
				}
				wantMembers(t, f, exceptSet(n.Name, fam, exceptions(n.Except, fam)), exceptions(n.Except, fam))
			}
		}
		t.Logf("%d contents", len(contents))
	})
}

func wantMembers(t *testing.T, f *Firewall, set string, want []netip.Prefix) {
	t.Helper()
	h, err := f.sets.header(set)
	if err != nil || int(h.members) != len(want) {
		t.Errorf("ipset %s: %d members, %v; want %d", set, h.members, err, len(want))
	}
	for _, p := range want {
		if in, err := f.sets.contains(set, p); err != nil || !in {
			t.Errorf("ipset %s: contains %s is %t, %v", set, p, in, err)
		}
	}
}

func TestRemoveLeavesWhatWasThere(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		before := rules(t, f)
		other := n
		other.Name = strings.Repeat("a-name-of-100-chars.", 5)
		other.Except = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		ensure(t, f, n)
		onlyFirst := rules(t, f)
		ensure(t, f, other)
		if err := f.AddPod(n, podOf(pod4)); err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{other.Name, "never-installed", other.Name} {
			if err := f.Remove(n.StateDir, network); err != nil {
				t.Fatal(err)
			}
		}
		// The other family's guard goes with its last pod and comes with the next Ensure.
		if !strings.Contains(rules(t, f), "vnet-pods-4") || strings.Contains(rules(t, f), "vnet-pods-6") {
			t.Errorf("with an IPv4 pod left:\n%s", rules(t, f))
		}
		ensure(t, f, n)
		if got := rules(t, f); got != onlyFirst {
			t.Errorf("after Remove of the other network:\n%s\nwant:\n%s", got, onlyFirst)
		}
		if err := f.RemovePod(n.Name, podOf(pod4)); err != nil {
			t.Fatal(err)
		}
		if err := f.Remove(n.StateDir, n.Name); err != nil {
			t.Fatal(err)
		}
		if got := rules(t, f); got != before {
			t.Errorf("after Remove of everything:\n%s\nwant:\n%s", got, before)
		}
	})
}

func TestPods(t *testing.T) {
	useBackend(t, backendNFT)
	f := inNamespace(t)
	n := testNetwork(t, "pods")
	mapped := netip.AddrFrom16(pod4.As16())
	if err := f.AddPod(n, podOf(pod4)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("AddPod without sets: %v, want ENOENT", err)
	}
	if err := f.RemovePod(n.Name, podOf(pod4)); err != nil {
		t.Errorf("RemovePod without sets: %v", err)
	}
	if problems, err := f.Problems(n, podOf(pod4)); err != nil || len(problems) != 8 {
		t.Errorf("Problems without sets: %d %q, %v; want 8", len(problems), problems, err)
	}
	n.Pods = func() ([]netip.Addr, error) { return []netip.Addr{pod6}, nil }
	ensure(t, f, n)
	wantSound(t, f, n, pod6)
	for range 2 {
		for _, a := range []netip.Addr{pod4, mapped} {
			if err := f.AddPod(n, podOf(a)); err != nil {
				t.Error(err)
			}
			wantSound(t, f, n, a)
		}
	}
	for range 2 {
		if err := f.RemovePod(n.Name, podOf(mapped)); err != nil {
			t.Error(err)
		}
		if problems, err := f.Problems(n, podOf(pod4)); err != nil || len(problems) != 2 {
			t.Errorf("Problems of a removed pod: %q, %v; want 2", problems, err)
		}
	}
}

func TestBackendIsRecorded(t *testing.T) {
	plain := os.Getenv("PATH")
	for recorded, other := range map[string]string{backendNFT: backendLegacy, backendLegacy: backendNFT} {
		t.Run(recorded, func(t *testing.T) {
			f := inNamespace(t)
			n := testNetwork(t, "pods")
			t.Setenv("PATH", backendDir(t, recorded)+":"+plain)
			ensure(t, f, n)
			want := rules(t, f)
			t.Setenv("PATH", backendDir(t, other)+":"+plain)
			sh(t, "iptables"+backendPart(recorded)+" -w -t raw -F && ip6tables"+backendPart(recorded)+" -w -F FORWARD")
			await(t, "the flush becomes visible", func() bool {
				problems, err := f.Problems(n)
				return err != nil || len(problems) > 1
			})
			ensure(t, f, n)
			if err := f.Usable(n); err != nil {
				t.Errorf("Usable: %v", err)
			}
			t.Setenv("PATH", backendDir(t, recorded)+":"+plain)
			if got := rules(t, f); got != want {
				t.Errorf("healed with another PATH:\n%s\nwant:\n%s", got, want)
			}
			t.Setenv("PATH", backendDir(t, other)) // the recorded one is not installed any more
			if err := f.Usable(n); err == nil || !strings.Contains(err.Error(), recorded) || !errors.Is(err, exec.ErrNotFound) {
				t.Errorf("Usable without the recorded backend: %v", err)
			}
			t.Setenv("PATH", plain)
			if err := f.Remove(n.StateDir, n.Name); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(n.StateDir, backendFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the record after Remove: %v, want it gone", err)
			}
		})
	}
}

func TestUsableChangesNothing(t *testing.T) {
	useBackend(t, backendNFT)
	f := inNamespace(t)
	n := testNetwork(t, "pods")
	if err := f.Usable(n); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(n.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory after Usable: %v, want none", err)
	}
	if got := rules(t, f); got != "" {
		t.Errorf("after Usable there are:\n%s", got)
	}
	t.Setenv("PATH", "/nonexistent")
	if err := f.Usable(n); err == nil {
		t.Error("Usable without iptables on PATH: no error")
	}
}
