package firewall

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// The tests run this program again as a process that installs or removes
// rules, and that can be made to die at any step.
const helperVar = "VNET_FIREWALL_TEST_HELPER" // the JSON of a helper

type helper struct {
	Name, StateDir string
	Except         []netip.Prefix
	Judged         bool
	Foreign        bool
	Remove         bool
	Tunnel         bool // the tunnel's guard instead of a network's rules
	DieAt          int  // the step before which the process kills itself; 0: never
}

func helperFor(n Network) helper {
	return helper{Name: n.Name, StateDir: n.StateDir, Except: n.Except, Judged: n.Judging != nil, Foreign: n.Foreign}
}

func TestMain(m *testing.M) {
	if text := os.Getenv(helperVar); text != "" {
		os.Exit(runHelper(text))
	}
	os.Exit(m.Run())
}

func runHelper(text string) int {
	var h helper
	err := json.Unmarshal([]byte(text), &h)
	if err == nil {
		err = h.work()
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

func (h helper) work() error {
	f, err := Open()
	if err != nil {
		return err
	}
	defer f.Close()
	steps := 0
	f.step = func(string) {
		if steps++; steps == h.DieAt {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if h.Tunnel && h.Remove {
		return f.UnguardTunnel(h.StateDir)
	}
	if h.Tunnel {
		_, err := f.GuardTunnel(h.StateDir, tunnelPort, tunnelNodes())
		return err
	}
	if h.Remove {
		return f.Remove(h.StateDir, h.Name)
	}
	n := Network{Name: h.Name, StateDir: h.StateDir, IPv4: true, IPv6: true, Masquerade: true, Except: h.Except, Foreign: h.Foreign}
	if h.Judged {
		n, _ = judged(n, 1, killedRules())
	}
	return f.Ensure(n)
}

// command gives the helper as a process of the calling thread's namespace.
func (h helper) command(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVar+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// diesAt runs the helper and reports whether it was killed at its step.
func (h helper) diesAt(t *testing.T, step int) bool {
	t.Helper()
	h.DieAt = step
	err := h.command(t).Run()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	t.Fatalf("helper with a kill at step %d: %v", step, err)
	return false
}

// inNamespace gives the test an own network namespace, without a name, that
// ends with the test, and a handle on its firewall.
func inNamespace(t testing.TB) *Firewall {
	t.Helper()
	testhost.Enter(t)
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// useBackend puts programs of one backend first on PATH under their plain names.
func useBackend(t testing.TB, backend string) {
	t.Helper()
	t.Setenv("PATH", backendDir(t, backend)+":"+os.Getenv("PATH"))
}

func backendDir(t testing.TB, backend string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, end := range []string{"", "-restore", "-save"} {
			path, err := exec.LookPath(name + backendPart(backend) + end)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(dir, name+end)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func backendPart(backend string) string {
	if backend == backendNFT {
		return "-nft"
	}
	return "-legacy"
}

// sh runs a shell command that must succeed and gives its output.
func sh(t testing.TB, command string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command("sh", "-c", command)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, out, stderr.String())
	}
	return string(out)
}

// foreign installs rules of others in every chain that the package touches,
// some of which look like ours.
func foreign(t testing.TB) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		sh(t, strings.ReplaceAll(`set -e
			X -w -t raw -A PREROUTING -p udp --dport 53 -j CT --notrack
			X -w -N OTHER
			X -w -A OTHER -m comment --comment "not vnet-cni" -j RETURN
			X -w -A FORWARD -j OTHER
			X -w -A FORWARD -i vnet+ -p tcp --dport 25 -m comment --comment vnet-cni-like -j DROP
			X -w -t nat -A POSTROUTING -o docker0 -j MASQUERADE
			X -w -t nat -N VNET-MASQ-other`, "X", program))
	}
	sh(t, "ipset create vnet-podsy-4 hash:ip && ipset create other hash:net")
}

// rules gives all rules and user-defined chains of both families, and the
// names of all sets.
func rules(t testing.TB, f *Firewall) string {
	t.Helper()
	var out []string
	for _, program := range []string{"iptables", "ip6tables"} {
		table := ""
		for line := range strings.Lines(sh(t, program+"-save 2>&1")) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "*"):
				table = program + " " + line[1:]
			case strings.HasPrefix(line, "-A"), strings.HasPrefix(line, ":") && strings.Contains(line, " - "):
				out = append(out, table+" "+line)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { // tables come in any order
		return strings.Compare(strings.Join(strings.Fields(a)[:2], " "), strings.Join(strings.Fields(b)[:2], " "))
	})
	names, err := f.sets.names()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return strings.Join(append(out, names...), "\n")
}

// patience is how long to wait for what has to come: a busy machine takes its time.
const patience = time.Minute

// await polls until the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// podOf is a pod that no group but the subnet's judges.
func podOf(addrs ...netip.Addr) Pod { return Pod{Addrs: addrs} }

func ensure(t testing.TB, f *Firewall, n Network) {
	t.Helper()
	if err := f.Ensure(n); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
}

func wantSound(t testing.TB, f *Firewall, n Network, addrs ...netip.Addr) {
	t.Helper()
	problems, err := f.Problems(n, podOf(addrs...))
	if err != nil || len(problems) > 0 {
		t.Errorf("Problems(%s): %q, %v; want none", addrs, problems, err)
	}
}

// chainOf lists the rules of a chain.
func chainOf(t testing.TB, program, table, chain string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(sh(t, program+" -w -t "+table+" -S "+chain)) {
		if r, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "+chain+" "); ok {
			out = append(out, r)
		}
	}
	return out
}

// eachBackend runs the test with either backend, in namespaces of its own.
func eachBackend(t *testing.T, test func(t *testing.T, f *Firewall, n Network)) {
	for i, backend := range []string{backendNFT, backendLegacy} {
		t.Run(backend, func(t *testing.T) {
			useBackend(t, backend)
			f := inNamespace(t)
			test(t, f, testNetwork(t, "pods"+strconv.Itoa(i)))
		})
	}
}

func testNetwork(t testing.TB, name string) Network {
	return Network{
		Name: name, StateDir: filepath.Join(t.TempDir(), "state"), IPv4: true, IPv6: true, Masquerade: true,
		Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
	}
}
