package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// SystemNamespace is where the agent and the documents are.
const SystemNamespace = "vnet-system"

// Cluster is a cluster with its administrator's rights.
type Cluster struct {
	name     string // of cluster.sh's; "": somebody else's, by KUBECONFIG
	nodeExec string // command template for somebody else's cluster, with NODE in it
	settings Settings
	before   map[string][]string // snapshots of nodes without a network
}

// Settings are those of cluster.sh, whose header explains them; "" is its default.
type Settings struct {
	Nodes      string
	Containerd string
	Proxy      string
	Family     string
	Layout     string
	PodCIDRs   string
	Masks      string
}

func (s Settings) environment() []string {
	var env []string
	for _, v := range []struct{ name, value string }{
		{"NODES", s.Nodes}, {"CONTAINERD", s.Containerd}, {"PROXY_MODE", s.Proxy},
		{"FAMILY", s.Family}, {"LAYOUT", s.Layout}, {"POD_CIDRS", s.PodCIDRs},
		{"NODE_CIDR_MASKS", s.Masks},
	} {
		env = append(env, v.name+"="+v.value)
	}
	return env
}

// Existing is the cluster that runs already, network and all: that of KUBECONFIG, or
// else the one of cluster.sh that CLUSTER names. On the nodes of the former commands
// run by VNET_NODE_EXEC, for instance "docker exec NODE".
func Existing(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{nodeExec: os.Getenv("VNET_NODE_EXEC")}
	if os.Getenv("KUBECONFIG") == "" {
		c.name = os.Getenv("CLUSTER")
		if c.name == "" {
			out, err := c.Script("path")
			if err != nil {
				tb.Fatal(err)
			}
			c.name = strings.TrimPrefix(filepath.Base(strings.TrimSpace(out)), "vnet-cluster-")
		}
	}
	if _, err := c.Kubectl("get", "nodes"); err != nil {
		tb.Fatalf("no cluster to test: %v\nSet KUBECONFIG, or run `cluster.sh up` and set CLUSTER.", err)
	}
	return c
}

var started atomic.Int32

// Start brings up a cluster for one test, without a pod network. At the end it is
// taken down; what it looked like after a failure is in the folder of VNET_LOGS.
func Start(tb testing.TB, s Settings) *Cluster {
	tb.Helper()
	c := &Cluster{name: fmt.Sprintf("vt%d-%d", os.Getpid(), started.Add(1)), settings: s}
	tb.Cleanup(func() {
		if dir := os.Getenv("VNET_LOGS"); dir != "" && tb.Failed() {
			dir = filepath.Join(dir, strings.ReplaceAll(tb.Name(), "/", "_"))
			_, err := c.Script("logs", dir)
			tb.Logf("logs of the cluster are in %s (%v)", dir, err)
		}
		if _, err := c.Script("down"); err != nil {
			tb.Errorf("take the cluster down: %v", err)
		}
	})
	if err := buildAll(); err != nil {
		tb.Fatal(err)
	}
	began := time.Now()
	if out, err := c.Script("up"); err != nil {
		tb.Fatalf("bring a cluster up: %v\n%s", err, out)
	}
	tb.Logf("cluster %s %+v is up after %.1f s", c.name, s, time.Since(began).Seconds())
	return c
}

// Own tells whether the cluster is one of cluster.sh's.
func (c *Cluster) Own() bool { return c.name != "" }

// folder is integration/cluster.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// Root is the repository's folder.
func Root() string { return filepath.Dir(filepath.Dir(folder())) }

// longest is how long one command may take. `up` builds what is missing.
const longest = 20 * time.Minute

// Script runs cluster.sh with these arguments and returns what it printed.
func (c *Cluster) Script(args ...string) (string, error) { return c.run("", c.script(args...)...) }

func (c *Cluster) script(args ...string) []string {
	return append([]string{filepath.Join(folder(), "cluster.sh")}, args...)
}

// Kubectl runs kubectl as the cluster's administrator. An error has what it said.
func (c *Cluster) Kubectl(args ...string) (string, error) { return c.KubectlInput("", args...) }

// KubectlInput gives kubectl something to read.
func (c *Cluster) KubectlInput(stdin string, args ...string) (string, error) {
	if c.Own() {
		return c.run(stdin, c.script(append([]string{"kubectl"}, args...)...)...)
	}
	return c.run(stdin, append([]string{"kubectl"}, args...)...)
}

// Must runs kubectl and ends the test if it fails.
func (c *Cluster) Must(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := c.Kubectl(args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// NodeExec runs a command on a node, in all of its namespaces.
func (c *Cluster) NodeExec(node string, cmd ...string) (string, error) {
	if c.Own() {
		return c.Script(append([]string{"exec", node}, cmd...)...)
	}
	if !strings.Contains(c.nodeExec, "NODE") {
		return "", errors.New("set VNET_NODE_EXEC to a command that runs others on a node, with NODE for its name")
	}
	return c.run("", append(strings.Fields(strings.ReplaceAll(c.nodeExec, "NODE", node)), cmd...)...)
}

// run runs a command to its end and returns its standard output.
func (c *Cluster) run(stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = os.Environ()
	if c.Own() {
		cmd.Env = append(append(cmd.Env, "CLUSTER="+c.name), c.settings.environment()...)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // for who holds the pipes after its parent's end
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return stdout.String(), fmt.Errorf("%s: %w: %s", brief(argv), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// brief is a command in one line that a person can read.
func brief(argv []string) string {
	const shown = 160
	line := strings.ReplaceAll(filepath.Base(argv[0])+" "+strings.Join(argv[1:], " "), "\n", " ")
	if len(line) > shown {
		line = line[:shown] + "…"
	}
	return line
}

// Node is a node of the cluster.
type Node struct {
	Name     string
	Addrs    []netip.Addr
	PodCIDRs []netip.Prefix
	Ready    bool
}

// Addr is the node's address of a family; the zero Addr if it has none.
func (n Node) Addr(ipv6 bool) netip.Addr { return ofFamily(n.Addrs, ipv6) }

func ofFamily(addrs []netip.Addr, ipv6 bool) netip.Addr {
	for _, a := range addrs {
		if a.Is6() == ipv6 {
			return a
		}
	}
	return netip.Addr{}
}

// Nodes lists the nodes in the order of their names.
func (c *Cluster) Nodes(tb testing.TB) []Node {
	tb.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ PodCIDRs []netip.Prefix }
			Status   struct {
				Addresses  []struct{ Type, Address string }
				Conditions []struct{ Type, Status string }
			}
		}
	}
	c.JSON(tb, &list, "get", "nodes", "--sort-by=.metadata.name")
	var nodes []Node
	for _, item := range list.Items {
		n := Node{Name: item.Metadata.Name, PodCIDRs: item.Spec.PodCIDRs}
		for _, a := range item.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == "InternalIP" {
				n.Addrs = append(n.Addrs, addr)
			}
		}
		for _, cond := range item.Status.Conditions {
			n.Ready = n.Ready || cond.Type == "Ready" && cond.Status == "True"
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// Two are two nodes; a cluster with fewer cannot show anything here.
func (c *Cluster) Two(tb testing.TB) (a, b Node) {
	tb.Helper()
	nodes := c.Nodes(tb)
	if len(nodes) < 2 {
		tb.Fatalf("the cluster has %d nodes, not two", len(nodes))
	}
	return nodes[len(nodes)-2], nodes[len(nodes)-1]
}

// Families are those that pods have, false for IPv4 and true for IPv6.
func (c *Cluster) Families(tb testing.TB) []bool {
	tb.Helper()
	var families []bool
	for _, cidr := range c.Nodes(tb)[0].PodCIDRs {
		families = append(families, cidr.Addr().Is6())
	}
	return families
}
