package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// installation is a set of target folders for scripts/install.sh.
type installation struct {
	script, from, bin, ctl, conf string
}

const conflistName = "10-pods.conflist"

func newInstallation(t *testing.T) installation {
	t.Helper()
	dir := t.TempDir()
	return installation{
		script: filepath.Join(root(t), "scripts", "install.sh"),
		from:   filepath.Dir(testnet.Bin(t, "vnetctl")),
		bin:    filepath.Join(dir, "opt", "cni"), ctl: filepath.Join(dir, "local"), conf: filepath.Join(dir, "net.d"),
	}
}

// command is the script's command line for these folders.
func (i installation) command(args ...string) []string {
	return append([]string{i.script, "--from", i.from, "--bin-dir", i.bin, "--ctl-dir", i.ctl, "--conf-dir", i.conf}, args...)
}

// run runs the script on the machine and returns its output and exit status.
func (i installation) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	line := i.command(args...)
	return finished(t, exec.Command(line[0], line[1:]...), (*exec.Cmd).Run)
}

// on runs the script on a node.
func (i installation) on(t *testing.T, n *testnet.Node, args ...string) (string, int) {
	t.Helper()
	line := i.command(args...)
	return finished(t, n.Command(nil, line[0], line[1:]...), n.Run)
}

func finished(t *testing.T, cmd *exec.Cmd, run func(*exec.Cmd) error) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := run(cmd); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", cmd, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs the script and wants success.
func (i installation) must(t *testing.T, args ...string) string {
	t.Helper()
	out, code := i.run(t, args...)
	if code != 0 {
		t.Fatalf("install.sh %q: status %d: %s", args, code, out)
	}
	return out
}

// expectFiles wants exactly these files below the target folders.
func (i installation) expectFiles(t *testing.T, want ...string) {
	t.Helper()
	var have []string
	for _, dir := range []string{i.bin, i.ctl, i.conf} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			have = append(have, e.Name())
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the target folders hold %q, want %q", have, want)
	}
}

// conflist writes a configuration for a node, or for none.
func (i installation) conflist(t *testing.T, plugins ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), conflistName)
	if err := writeFile(path, `{"cniVersion": "1.0.0", "name": "pods", "plugins": [`+strings.Join(plugins, ",")+`]}`); err != nil {
		t.Fatal(err)
	}
	return path
}

const vnetPlugin = `{"type": "vnet", "ipam": {"type": "vnet-ipam", "pools": [{"subnet": "10.241.0.0/16", "ranges": ["10.241.4.0/24"]}]}}`

var allFiles = []string{conflistName, "vnet", "vnet-ipam", "vnet-nsg", "vnetctl"}

// TestInstallTwice installs, installs again, and finds every file as built.
func TestInstallTwice(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	file := i.conflist(t, vnetPlugin)
	if out := i.must(t, "--conflist", file); strings.Count(out, "is installed") != len(allFiles) {
		t.Errorf("the first run says %q", out)
	}
	if out := i.must(t, "--conflist", file); strings.Count(out, "is up to date") != len(allFiles) {
		t.Errorf("the second run says %q", out)
	}
	i.expectFiles(t, allFiles...)
	for _, path := range []string{filepath.Join(i.bin, "vnet"), filepath.Join(i.bin, "vnet-nsg"), filepath.Join(i.bin, "vnet-ipam"), filepath.Join(i.ctl, "vnetctl")} {
		if out, err := exec.Command(path, "--version").CombinedOutput(); err != nil {
			t.Errorf("%s --version: %v: %s", path, err, out)
		}
	}
	t.Logf("%d files, two runs", len(allFiles))
}

// TestInstallBesides wants to be told when a runtime goes on with another
// configuration than the one that was installed, and only then.
func TestInstallBesides(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	file := i.conflist(t, vnetPlugin)
	i.must(t, "--conflist", file)
	rows := []struct{ beside, told string }{
		{"20-bridge.conflist", ""},
		{"0-pods.conflist.bak", ""},
		{"10-pods.conf", "10-pods.conf:"},
		{"00.json", "00.json:"},
	}
	for _, row := range rows {
		if err := writeFile(filepath.Join(i.conf, row.beside), "{}"); err != nil {
			t.Fatal(err)
		}
		out := i.must(t, "--conflist", file)
		if told := strings.Contains(out, "note:"); told != (row.told != "") || !strings.Contains(out, row.told) {
			t.Errorf("beside %s as well: %q, want a note of %q", row.beside, out, row.told)
		}
	}
	t.Logf("%d configurations beside it", len(rows))
}

// TestInstallRefuses wants a clear message, the right status and no file.
func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*installation)
		plugin string
		args   []string
		status int
		says   string
	}{
		"a program is missing":         {change: func(i *installation) { i.from = t.TempDir() }, status: 1, says: "run `make build`"},
		"a chained plugin is missing":  {plugin: `{"type": "portmap"}`, status: 1, says: `"portmap"`},
		"the conflist is missing":      {args: []string{"--conflist", "/no/such.conflist"}, status: 1, says: "/no/such.conflist"},
		"the conflist's name":          {args: []string{"--conflist", "pods.json"}, status: 2, says: ".conflist"},
		"an unknown flag":              {args: []string{"--frobnicate"}, status: 2, says: "--frobnicate"},
		"a stray argument":             {args: []string{"pods"}, status: 2, says: `"pods"`},
		"a flag without value":         {args: []string{"--state-dir"}, status: 2, says: "--state-dir"},
		"--state-dir without --remove": {args: []string{"--state-dir", "/run/vnet"}, status: 2, says: "--remove"},
		"--force without --remove":     {args: []string{"--force"}, status: 2, says: "--remove"},
		"a target that is a file":      {change: func(i *installation) { i.ctl = i.script }, status: 1, says: "is not a folder"},
		"a read-only target":           {change: func(i *installation) { i.conf = "/proc/net.d" }, status: 1, says: "run this as root"},
	}
	for name, c := range cases {
		i := newInstallation(t)
		args := append([]string{"--conflist", i.conflist(t, vnetPlugin)}, c.args...)
		if c.plugin != "" {
			args = []string{"--conflist", i.conflist(t, vnetPlugin, c.plugin)}
		}
		clean := i
		if c.change != nil {
			c.change(&i)
		}
		out, status := i.run(t, args...)
		if status != c.status || !strings.Contains(out, c.says) {
			t.Errorf("%s: status %d and %q, want status %d and %q", name, status, out, c.status, c.says)
		}
		clean.expectFiles(t)
	}
	t.Logf("%d refusals", len(cases))
}

// TestInstallUnderUse replaces a plugin while it runs, and again and again while
// it is started: no start may fail, which it would on a half-written file.
func TestInstallUnderUse(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.must(t)
	plugin := filepath.Join(i.bin, "vnet")
	finish := startAndHold(t, plugin)
	if err := busy(plugin); err != nil {
		t.Fatalf("a running plugin: %v: the test would prove nothing", err)
	}
	builds := []string{otherBuild(t, i.from), i.from}
	const rounds = 6
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := range rounds {
			i := i
			i.from = builds[round%2]
			if out, code := i.run(t); code != 0 || !strings.Contains(out, "vnet is installed") {
				t.Errorf("round %d: status %d: %s", round, code, out)
			}
		}
	}()
	starts := 0
	for running := true; running; starts++ {
		select {
		case <-done:
			running = false
		default:
		}
		if out, err := exec.Command(plugin, "--version").CombinedOutput(); err != nil {
			t.Errorf("start while it is replaced: %v: %s", err, out)
		}
	}
	finish()
	t.Logf("replaced %d times under %d starts and one running process", rounds, starts)
}

// startAndHold starts a plugin that waits for its configuration. The returned
// function wants it to run still, hands the configuration over, a GC that names
// nothing and so does nothing, and wants success.
func startAndHold(t *testing.T, plugin string) (finish func()) {
	t.Helper()
	cmd := exec.Command(plugin)
	cmd.Env = []string{"CNI_COMMAND=GC", "CNI_PATH=/nowhere"}
	var out bytes.Buffer
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := busy(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)); err != nil {
			t.Errorf("the process that ought to run meanwhile: %v", err)
		}
		_, err := fmt.Fprint(stdin, `{"cniVersion": "1.1.0", "name": "pods", "type": "vnet"}`)
		if err := errors.Join(err, stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("the process that ran meanwhile: %v: %s", err, out.String())
		}
	}
}

// busy wants the kernel to refuse writing to a program because it runs.
func busy(program string) error {
	f, err := os.OpenFile(program, os.O_WRONLY, 0)
	if err == nil {
		return errors.Join(errors.New("could be written to"), f.Close())
	}
	if !errors.Is(err, unix.ETXTBSY) {
		return err
	}
	return nil
}

// otherBuild copies the programs with a byte more each, which ELF does not mind.
func otherBuild(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"vnet", "vnet-nsg", "vnet-ipam", "vnetctl"} {
		raw, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), append(raw, 0), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestInstallOrder wants the configuration to appear last and to go first.
func TestInstallOrder(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	file := i.conflist(t, vnetPlugin)
	came := i.traced(t, "rename,renameat,renameat2", "--conflist", file)
	if want := []string{"vnet", "vnet-nsg", "vnet-ipam", "vnetctl", conflistName}; !slices.Equal(came, want) {
		t.Errorf("the files appeared in the order %q, want %q", came, want)
	}
	went := i.traced(t, "rename,renameat,renameat2,unlink,unlinkat", "--remove", "--keep-state", "--conflist", file)
	if len(went) == 0 || !strings.HasPrefix(went[0], "."+conflistName) || !slices.Contains(went, "vnet") {
		t.Errorf("the files went in the order %q, want the configuration first", went)
	}
	i.expectFiles(t)
	t.Logf("%d steps of installing, %d of removing", len(came), len(went))
}

// traced runs the script under strace and returns the names that the calls were
// about in the target folders, the new one of a rename.
func (i installation) traced(t *testing.T, calls string, args ...string) []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	line := append([]string{"-f", "-qq", "-s", "4096", "-e", "trace=" + calls, "-e", "signal=none", "-o", log}, i.command(args...)...)
	if out, code := finished(t, exec.Command("strace", line...), (*exec.Cmd).Run); code != 0 {
		t.Fatalf("strace: status %d: %s", code, out)
	}
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for call := range strings.Lines(string(raw)) {
		quoted := strings.Split(call, `"`)
		if len(quoted) < 3 || !strings.Contains(call, "= 0") {
			continue
		}
		path := quoted[len(quoted)-2]
		trial := strings.HasPrefix(filepath.Base(path), ".install.sh.") // of whether the folder can be written to
		if slices.Contains([]string{i.bin, i.ctl, i.conf}, filepath.Dir(path)) && !trial {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// TestInstallRemove refuses to leave a pod without its plugin, and otherwise
// leaves neither files nor rules.
func TestInstallRemove(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 1, func(c config) { c.plugin["masquerade"] = map[string]any{} })
	node, i := nodes[0], newInstallation(t)
	plugin := strings.Replace(vnetPlugin, `"type": "vnet",`, `"type": "vnet", "stateDir": "`+node.StateDir()+`",`, 1)
	file := i.conflist(t, plugin)
	i.must(t, "--conflist", file)
	if out, code := i.on(t, node, "--remove"); code != 1 || !strings.Contains(out, conflistName) {
		t.Errorf("a configuration that stays: status %d: %s", code, out)
	}
	p := attach(t, node)
	if out, code := i.on(t, node, "--remove", "--conflist", conflistName); code != 1 || !strings.Contains(out, "--force") {
		t.Errorf("an attached pod: status %d: %s", code, out)
	}
	i.expectFiles(t, allFiles...)
	if err := node.Check(p.Pod); err != nil {
		t.Errorf("CHECK after the refusal: %v", err)
	}
	if err := node.Del(p.Pod); err != nil {
		t.Fatalf("DEL: %v", err)
	}
	foreign := []string{"not a network.db", ".foreign.db.1", "notes"}
	for _, name := range foreign {
		if err := writeFile(filepath.Join(node.StateDir(), name), "not ours"); err != nil {
			t.Fatal(err)
		}
	}
	i.removeBesides(t, node, file, foreign)
	for run := range 2 {
		if out, code := i.on(t, node, "--remove", "--conflist", conflistName); code != 0 {
			t.Errorf("removal %d: status %d: %s", run+1, code, out)
		}
	}
	i.expectFiles(t)
	expectNoRules(t, node)
	if _, err := os.Stat(node.StateDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory: %v, want it gone", err)
	}
}

// removeBesides removes an installation in whose state directory others have
// files, which must stay, then these, and installs it again.
func (i installation) removeBesides(t *testing.T, node *testnet.Node, file string, foreign []string) {
	t.Helper()
	out, code := i.on(t, node, "--remove", "--conflist", conflistName)
	if code != 0 || !strings.Contains(out, "it holds other files") {
		t.Errorf("removal besides other files: status %d: %s", code, out)
	}
	entries, err := os.ReadDir(node.StateDir())
	if err != nil || len(entries) != len(foreign) {
		t.Errorf("the state directory holds %v (%v), want %q", entries, err, foreign)
	}
	for _, name := range foreign {
		if err := os.Remove(filepath.Join(node.StateDir(), name)); err != nil {
			t.Error(err)
		}
	}
	i.must(t, "--conflist", file)
}

// expectNoRules wants neither a set nor a rule of ours on the node.
func expectNoRules(t *testing.T, n *testnet.Node) {
	t.Helper()
	for _, line := range [][]string{{"ipset", "list", "-n"}, {"iptables-save"}, {"ip6tables-save"}} {
		out, err := n.Shell(line[0], line[1:]...)
		if err != nil || strings.Contains(strings.ToLower(out), "vnet") {
			t.Errorf("%q: %v: %s", line, err, out)
		}
	}
}

// TestInstallRemoveForced removes the programs under a living pod and keeps
// what is needed to take it down later.
func TestInstallRemoveForced(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 1, nil)
	node, i := nodes[0], newInstallation(t)
	i.must(t)
	p := attach(t, node)
	const wrong = "/run/vnet-elsewhere"
	if out, code := i.on(t, node, "--remove", "--state-dir", wrong); code != 0 || !strings.Contains(out, wrong+" does not exist") {
		t.Errorf("a state directory that is not there: status %d: %s", code, out)
	}
	i.must(t)
	out, code := i.on(t, node, "--remove", "--force", "--state-dir", node.StateDir())
	if code != 0 || !strings.Contains(out, "is kept") {
		t.Errorf("--force: status %d: %s", code, out)
	}
	i.expectFiles(t)
	if err := node.Check(p.Pod); err != nil {
		t.Errorf("CHECK after the removal: %v", err)
	}
	if err := node.Del(p.Pod); err != nil {
		t.Errorf("DEL after the removal: %v", err)
	}
}

// TestInstallRemoveChained refuses to leave a pod of another main plugin without its
// judge, and otherwise leaves neither files nor rules.
func TestInstallRemoveChained(t *testing.T) {
	t.Parallel()
	c := newChain(t, "ptp", someDocuments(t).conf("some"))
	i := newInstallation(t)
	i.must(t)
	p := c.add()
	remove := []string{"--remove", "--state-dir", c.node.StateDir()}
	if out, code := i.on(t, c.node, remove...); code != 1 || !strings.Contains(out, "leases in") {
		t.Errorf("a judged pod: status %d: %s", code, out)
	}
	p.del()
	if out, code := i.on(t, c.node, remove...); code != 0 {
		t.Errorf("no pod: status %d: %s", code, out)
	}
	i.expectFiles(t)
	expectNoRules(t, c.node)
	if _, err := os.Stat(c.node.StateDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory: %v, want it gone", err)
	}
	t.Log("1 judged pod")
}
