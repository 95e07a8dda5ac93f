package firewall

import (
	"os/exec"
	"sync"
	"testing"
)

func TestConcurrentProcesses(t *testing.T) {
	const processes = 16
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		ensure(t, f, n)
		want := rules(t, f)
		if err := f.Remove(n.StateDir, n.Name); err != nil {
			t.Fatal(err)
		}
		var running []*exec.Cmd
		for range processes {
			cmd := helperFor(n).command(t)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			running = append(running, cmd)
		}
		for _, cmd := range running {
			if err := cmd.Wait(); err != nil {
				t.Errorf("one of %d processes: %v", processes, err)
			}
		}
		wantSound(t, f, n)
		if got := rules(t, f); got != want {
			t.Errorf("after %d processes:\n%s\nwant:\n%s", processes, got, want)
		}
	})
}

func TestKilledAtAnyStep(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		clean := rules(t, f)
		ensure(t, f, n)
		want := rules(t, f)
		if err := f.Remove(n.StateDir, n.Name); err != nil {
			t.Fatal(err)
		}
		installs, removals := 0, 0
		for helperFor(n).diesAt(t, installs+1) {
			installs++
			if err := f.Remove(n.StateDir, n.Name); err != nil {
				t.Fatal(err)
			}
			if got := rules(t, f); got != clean {
				t.Fatalf("installation killed at step %d, then Remove:\n%s\nwant:\n%s", installs, got, clean)
			}
			helperFor(n).diesAt(t, installs)
			ensure(t, f, n)
			wantSound(t, f, n)
			if got := rules(t, f); got != want {
				t.Fatalf("installation killed at step %d, then Ensure:\n%s\nwant:\n%s", installs, got, want)
			}
			if err := f.Remove(n.StateDir, n.Name); err != nil {
				t.Fatal(err)
			}
		}
		removal := helperFor(n)
		removal.Remove = true
		for removal.diesAt(t, removals+1) {
			removals++
			if err := f.Remove(n.StateDir, n.Name); err != nil {
				t.Fatal(err)
			}
			if got := rules(t, f); got != clean {
				t.Fatalf("removal killed at step %d, then Remove:\n%s\nwant:\n%s", removals, got, clean)
			}
			ensure(t, f, n)
		}
		if installs < 10 || removals < 6 {
			t.Errorf("only %d steps of an installation and %d of a removal were interrupted", installs, removals)
		}
		t.Logf("%d kills of an installation, %d of a removal", installs, removals)
	})
}

// Somebody who knows no lock of ours flushes a chain just before a restore.
func TestChangeDuringInstallation(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		ensure(t, f, n)
		want := rules(t, f)
		sh(t, "iptables -w -F FORWARD")
		await(t, "the flush becomes visible", func() bool {
			problems, err := f.Problems(n)
			return err != nil || len(problems) > 0
		})
		var once sync.Once
		restores := 0
		f.step = func(name string) {
			if name == "restore" {
				restores++
				once.Do(func() { sh(t, "iptables -w -t raw -F PREROUTING") })
			}
		}
		ensure(t, f, n)
		if got := rules(t, f); got != want {
			t.Errorf("after a flush during Ensure:\n%s\nwant:\n%s", got, want)
		}
		if restores != 3 { // one in vain, one for each family
			t.Errorf("%d restores, want 3", restores)
		}
	})
}

// A pod comes while the last network is removed: it keeps the node's rules.
func TestPodDuringRemoval(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n.Masquerade, n.IPv6 = false, false
		ensure(t, f, n)
		want := rules(t, f)
		f.step = func(name string) {
			if name == "destroy vnet-pods-4" {
				if err := f.AddPod(n, podOf(pod4)); err != nil {
					t.Error(err)
				}
			}
		}
		if err := f.Remove(n.StateDir, n.Name); err != nil {
			t.Fatal(err)
		}
		wantSound(t, f, n, pod4)
		if got := rules(t, f); got != want {
			t.Errorf("after Remove with a new pod:\n%s\nwant:\n%s", got, want)
		}
	})
}
