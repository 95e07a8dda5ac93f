package testnet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// repoRoot is the folder that holds bin and .cache: the nearest one above the
// test with a .git or the module's go.mod.
var repoRoot = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
	}
	return dir
})

func binDir() string   { return fromEnv("VNET_BIN", "bin") }
func peersDir() string { return fromEnv("VNET_PEERS", ".cache/peers") }
func cniPath() string  { return binDir() + ":" + peersDir() }

func fromEnv(key, fallback string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return filepath.Join(repoRoot(), fallback)
}

// Bin returns the path of a program of the project in VNET_BIN, or fails.
func Bin(t testing.TB, name string) string { t.Helper(); return program(t, binDir(), name) }

// Peer returns the path of an upstream program in VNET_PEERS, or fails.
func Peer(t testing.TB, name string) string { t.Helper(); return program(t, peersDir(), name) }

func program(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run `make build peers` first (%v)", path, err)
	}
	return path
}

// Command prepares a program to be run on the node with Start or Run. Its
// environment is the node's PATH and env, nothing else.
func (n *Node) Command(env map[string]string, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + n.pathEnv}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	return cmd
}

// Start starts cmd in the node's network namespace and a private mount
// namespace with the node's own /sys, /var/lib and /run/xtables.lock.
func (n *Node) Start(cmd *exec.Cmd) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return fmt.Errorf("enter node %s: %w", n.Name, err)
		}
		return cmd.Start()
	})
}

// Run is Start and Wait.
func (n *Node) Run(cmd *exec.Cmd) error {
	if err := n.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Shell runs a program found on the node's PATH and returns what it printed on
// both outputs; for iptables, ipset and their like in tests.
func (n *Node) Shell(name string, args ...string) (string, error) {
	cmd := n.Command(nil, "/usr/bin/env", append([]string{name}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Run(cmd); err != nil {
		return out.String(), fmt.Errorf("%s %q: %w: %s", name, args, err, out.Bytes())
	}
	return out.String(), nil
}

// enter moves the calling thread to the node. The mounts are copies: they go
// with the last program that runs in them.
func (n *Node) enter() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := netns.Set(n.handle); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount the namespace's /sys: %w", err)
	}
	if err := bind(n.varLib(), "/var/lib"); err != nil {
		return err
	}
	return bind(n.XtablesLock(), xtablesLock)
}

const xtablesLock = "/run/xtables.lock"

func bind(from, to string) error {
	err := unix.Mount(from, to, "", unix.MS_BIND, "")
	if errors.Is(err, os.ErrNotExist) && to == xtablesLock {
		// Every iptables makes this file and leaves it.
		f, err := os.OpenFile(to, os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		f.Close()
		return bind(from, to)
	}
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// Output is what a plugin that was called directly gave back.
type Output struct {
	Stdout, Stderr []byte
	Code           int          // exit code; -1 when killed by a signal
	Err            *types.Error // the error object on stdout, nil if the plugin succeeded
}

// Exec runs the plugin, a name in VNET_BIN or VNET_PEERS or a path, with
// exactly env and stdin, as a runtime would. See Pod.Env.
func (n *Node) Exec(plugin string, env map[string]string, stdin []byte) Output {
	n.t.Helper()
	cmd := n.Command(env, findPlugin(n.t, plugin))
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	err := n.Run(cmd)
	if cmd.ProcessState == nil {
		n.t.Fatalf("run %s on %s: %v", plugin, n.Name, err)
	}
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}
	if err != nil {
		out.Err = &types.Error{}
		if json.Unmarshal(out.Stdout, out.Err) != nil || out.Err.Msg == "" {
			out.Err = &types.Error{Msg: fmt.Sprintf("no error object on stdout %q, stderr %q: %v", out.Stdout, out.Stderr, err)}
		}
	}
	return out
}

// Result decodes the result on stdout.
func (o Output) Result() (*types100.Result, error) { return decodeResult(o.Stdout) }

func decodeResult(raw []byte) (*types100.Result, error) {
	r, err := create.CreateFromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("decode result %q: %w", raw, err)
	}
	return types100.NewResultFromResult(r)
}

func findPlugin(t testing.TB, name string) string {
	t.Helper()
	if filepath.IsAbs(name) {
		return name
	}
	if path := filepath.Join(peersDir(), name); fileExists(path) {
		return path
	}
	return Bin(t, name)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
