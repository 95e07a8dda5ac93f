package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// noSubsystem is a number that no kernel registers a subsystem of netfilter under.
const noSubsystem = 0x7f

// A kernel without ipset: whatever removes finds nothing to do, whatever needs
// sets says what is missing.
func TestKernelWithoutIPSet(t *testing.T) {
	useBackend(t, backendNFT)
	f := inNamespace(t)
	n := testNetwork(t, "pods")
	f.sets.ipset = noSubsystem
	removals := map[string]error{
		"RemovePod": f.RemovePod(n.Name, podOf(pod4)),
		"Remove":    f.Remove(n.StateDir, n.Name),
		"destroy":   f.sets.destroy("vnet-pods-4"),
	}
	for name, err := range removals {
		if err != nil {
			t.Errorf("%s: %v, want success", name, err)
		}
	}
	wantPresent(t, f, n.Name, false)
	_, problems := f.Problems(n, podOf(pod4))
	needs := map[string]error{
		"Ensure": f.Ensure(n), "AddPod": f.AddPod(n, podOf(pod4)), "Usable": f.Usable(n), "Problems": problems,
		"create": f.sets.create("vnet-pods-4", hashIP, ipv4),
	}
	for name, err := range needs {
		if !errors.Is(err, errNoIPSet) || errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "the kernel has no ipset (module ip_set)") {
			t.Errorf("%s: %v, want %v", name, err, errNoIPSet)
		}
	}
	t.Logf("%d removals, %d needs", len(removals), len(needs))
}

// An EINVAL of ipset's own is no sign of its absence.
func TestInvalidRequestToIPSet(t *testing.T) {
	f := inNamespace(t)
	if err := f.sets.named(unix.EINVAL); !errors.Is(err, unix.EINVAL) || errors.Is(err, errNoIPSet) {
		t.Errorf("EINVAL from a kernel with ipset: %v", err)
	}
}

// A kernel that tracks flows and cannot be asked about them.
func TestForgetFlowsWithoutAnswers(t *testing.T) {
	f := inNamespace(t)
	trackAll(t)
	before := tracked(t)
	f.sets.conntrack = noSubsystem
	for _, a := range []netip.Addr{owner4, owner6} {
		must(t, f.ForgetFlows(a))
	}
	if got := tracked(t); !slices.Equal(got, before) {
		t.Errorf("tracked after it:\n%q\nwant\n%q", got, before)
	}
	t.Logf("%d flows", len(before))
}

// Who waits in vain for either lock can tell.
func TestLocked(t *testing.T) {
	useBackend(t, backendNFT)
	f := inNamespace(t)
	n := testNetwork(t, "pods")
	f.patience = 20 * time.Millisecond
	unlock, err := lock(n.StateDir, f.patience)
	must(t, err)
	info, err := os.Stat(n.StateDir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory's mode is %o, want 700", info.Mode().Perm())
	}
	wantLocked(t, "Ensure", f.Ensure(n))
	wantLocked(t, "Remove", f.Remove(n.StateDir, n.Name))
	unlock()
	for _, program := range []string{"iptables", "iptables-restore"} {
		withProgram(t, program, `case "$*" in *--version) echo "iptables v1.8.9 (nf_tables)"; exit;; esac; echo held >&2; exit 4`, func() {
			wantLocked(t, "Ensure with a held "+program, f.Ensure(n))
		})
	}
	ensure(t, f, n)
	withProgram(t, "iptables", `case "$*" in *--version) echo "iptables v1.8.9 (nf_tables)"; exit;; esac; exit 3`, func() {
		sh(t, "iptables-nft -w -t raw -F")
		await(t, "the flush becomes visible", func() bool {
			problems, err := f.Problems(n)
			return err != nil || len(problems) > 0
		})
		if err := f.Ensure(n); err == nil || errors.Is(err, ErrLocked) {
			t.Errorf("Ensure with another failure of iptables: %v", err)
		}
	})
}

// A process that the machine did not run for longer than any wait for the kernel's
// worker gives that worker time all the same: it did not run either.
func TestBusySetAfterAPause(t *testing.T) {
	const pause, busy = 2*time.Second + 100*time.Millisecond, 20
	attempts := 0
	err := whileBusy(func() error {
		switch attempts++; {
		case attempts == 1:
			time.Sleep(pause)
			fallthrough
		case attempts <= busy:
			return fmt.Errorf("destroy: %w", nl.IPSetError(nl.IPSET_ERR_BUSY))
		}
		return nil
	})
	if err != nil {
		t.Errorf("after %d attempts: %v", attempts, err)
	}
	t.Logf("%d attempts", attempts)
}

func wantLocked(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrLocked) {
		t.Errorf("%s: %v, want %v", what, err, ErrLocked)
	}
}

// withProgram calls do with a shell script in place of the program.
func withProgram(t *testing.T, name, script string, do func()) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	path := os.Getenv("PATH")
	t.Setenv("PATH", dir+":"+path)
	do()
	t.Setenv("PATH", path)
}

func TestBackend(t *testing.T) {
	dir := t.TempDir()
	for _, backend := range []string{backendNFT, backendLegacy} {
		useBackend(t, backend)
		if got, recorded, err := Backend(dir); got != backend || recorded || err != nil {
			t.Errorf("Backend with %s first on PATH: %q, %t, %v", backend, got, recorded, err)
		}
	}
	must(t, recordBackend(dir, backendNFT))
	if got, recorded, err := Backend(dir); got != backendNFT || !recorded || err != nil {
		t.Errorf("Backend with a record: %q, %t, %v", got, recorded, err)
	}
	t.Setenv("PATH", "/nonexistent")
	if got, _, err := Backend(t.TempDir()); got != "" || err == nil {
		t.Errorf("Backend without iptables: %q, %v", got, err)
	}
	t.Log("4 cases")
}
