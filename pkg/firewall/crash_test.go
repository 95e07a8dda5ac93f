package firewall

import (
	"math/rand/v2"
	"os"
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

// killedRules is how many rules the groups have whose installation is killed:
// with each set of theirs there is a step more.
func killedRules() int {
	if os.Getenv("VNET_SOAK") != "" {
		return 30
	}
	return 1
}

// killedSteps is which steps are killed: every one in the long form, else each fifth
// from one of the first five on.
func killedSteps(t *testing.T) (first, stride int) {
	stride = 5
	if os.Getenv("VNET_SOAK") != "" {
		stride = 1
	}
	first = 1 + rand.IntN(stride)
	t.Logf("killed: step %d and each %d behind it", first, stride)
	return first, stride
}

func TestKilledAtAnyStep(t *testing.T) {
	first, stride := killedSteps(t)
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		for _, kind := range []string{"plain", "judged", "foreign"} {
			if n.Foreign = kind == "foreign"; kind != "plain" {
				n, _ = judged(n, 1, killedRules())
			}
			installs, removals := killInstallations(t, f, n, first, stride), killRemovals(t, f, n, first, stride)
			if installs < 9/stride || removals < 6/stride {
				t.Errorf("only %d steps of an installation and %d of a removal were interrupted", installs, removals)
			}
			t.Logf("%s: %d kills of an installation, %d of a removal", kind, installs, removals)
		}
	})
}

// leave lets the pods of a judged network go, for Remove to find none.
func leave(t *testing.T, f *Firewall, n Network) {
	t.Helper()
	if n.Judging == nil {
		return
	}
	p, err := n.Judging.Load()
	must(t, err)
	for _, pod := range p.Pods {
		must(t, f.RemovePod(n.Name, pod))
	}
}

// killInstallations kills an installation before each of its steps, or some, and wants
// a removal to leave nothing of it and another installation to complete it.
func killInstallations(t *testing.T, f *Firewall, n Network, first, stride int) (kills int) {
	clean := rules(t, f)
	ensure(t, f, n)
	want := rules(t, f)
	remove := func() {
		leave(t, f, n)
		must(t, f.Remove(n.StateDir, n.Name))
	}
	remove()
	for step := first; helperFor(n).diesAt(t, step); step += stride {
		kills++
		remove()
		if got := rules(t, f); got != clean {
			t.Fatalf("installation killed at step %d, then Remove:\n%s\nwant:\n%s", step, got, clean)
		}
		helperFor(n).diesAt(t, step)
		ensure(t, f, n)
		wantSound(t, f, n)
		if got := rules(t, f); got != want {
			t.Fatalf("installation killed at step %d, then Ensure:\n%s\nwant:\n%s", step, got, want)
		}
		remove()
	}
	remove()
	return kills
}

// killRemovals kills a removal before each of its steps, or some, and wants another
// one to leave nothing.
func killRemovals(t *testing.T, f *Firewall, n Network, first, stride int) (kills int) {
	clean := rules(t, f)
	removal := helperFor(n)
	removal.Remove = true
	for step := first; ; step += stride {
		ensure(t, f, n)
		leave(t, f, n)
		died := removal.diesAt(t, step)
		must(t, f.Remove(n.StateDir, n.Name))
		if got := rules(t, f); got != clean {
			t.Fatalf("removal killed at step %d, then Remove:\n%s\nwant:\n%s", step, got, clean)
		}
		if !died {
			return kills
		}
		kills++
	}
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
