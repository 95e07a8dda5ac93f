package testcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Modes of the network, the folders of conf/kubernetes.
const (
	Overlay = "overlay"
	VNet    = "vnet"
)

const agentSelector = "app.kubernetes.io/name=vnet-agent"

// buildAll builds what clusters run, before the first of them gathers its images.
var buildAll = sync.OnceValue(func() error {
	out, err := exec.Command(filepath.Join(folder(), "build.sh"), "kubernetes", "plugins", "images", "containerd", "coredns", "e2e", "agent").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build what the clusters run: %w: %s", err, out)
	}
	return nil
})

// Install applies the manifests of a mode and waits until all nodes and agents are
// Ready. It returns how long the nodes took.
func (c *Cluster) Install(tb testing.TB, mode string) time.Duration {
	tb.Helper()
	ok := false
	defer func() {
		if !ok { // the test ends here, before any namespace of its own
			c.Dump(tb, SystemNamespace)
		}
	}()
	c.before = map[string][]string{}
	for _, node := range c.names() {
		var err error
		if c.before[node], err = c.Snapshot(node); err != nil {
			tb.Fatal(err)
		}
	}
	began := time.Now()
	c.Must(tb, "apply", "-k", filepath.Join(Root(), "conf/kubernetes", mode))
	c.AwaitNodes(tb, 2*time.Minute, true, c.names()...)
	took := time.Since(began)
	c.AwaitAgents(tb)
	ok = true
	return took
}

// Before is what a node was like before Install: a Snapshot.
func (c *Cluster) Before(node string) []string { return c.before[node] }

// Remove applies the manifests that take the network off the nodes and waits until the
// agents say that they have.
func (c *Cluster) Remove(tb testing.TB) {
	tb.Helper()
	c.Must(tb, "apply", "-k", filepath.Join(Root(), "conf/kubernetes/remove"))
	c.AwaitAgents(tb)
}

// AwaitAgents waits until the DaemonSet is as its latest template says, and Ready.
func (c *Cluster) AwaitAgents(tb testing.TB) {
	tb.Helper()
	c.Must(tb, "-n", SystemNamespace, "rollout", "status", "daemonset/vnet-agent", "--timeout=120s")
}

// Configure gives the agents another configuration, and starts them again: the kubelet
// takes up to a minute to bring them a changed file.
func (c *Cluster) Configure(tb testing.TB, config string) {
	tb.Helper()
	c.Apply(tb, Object{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]string{"config.yaml": config},
		"metadata": Object{"name": "vnet-agent", "namespace": SystemNamespace},
	})
	c.Must(tb, "-n", SystemNamespace, "rollout", "restart", "daemonset/vnet-agent")
	c.AwaitAgents(tb)
}

// Arguments gives the agents other arguments.
func (c *Cluster) Arguments(tb testing.TB, args ...string) {
	tb.Helper()
	patch, err := json.Marshal([]any{Object{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args}})
	if err != nil {
		tb.Fatal(err)
	}
	c.Must(tb, "-n", SystemNamespace, "patch", "daemonset/vnet-agent", "--type=json", "-p", string(patch))
	c.AwaitAgents(tb)
}

// agentPod is the name of a node's agent pod.
func (c *Cluster) agentPod(node string) (string, error) {
	out, err := c.Kubectl("-n", SystemNamespace, "get", "pods", "-l", agentSelector, "--field-selector", "spec.nodeName="+node,
		"-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return "", err
	}
	pods := strings.Fields(out)
	if len(pods) != 1 {
		return "", fmt.Errorf("node %s has the agent's pods %v, not one", node, pods)
	}
	return pods[0], nil
}

// Vnetctl runs vnetctl on a node, in the agent's container.
func (c *Cluster) Vnetctl(node string, args ...string) (string, error) {
	pod, err := c.agentPod(node)
	if err != nil {
		return "", err
	}
	return c.Kubectl(append([]string{"-n", SystemNamespace, "exec", pod, "-c", "agent", "--", "vnetctl"}, args...)...)
}

// AgentLog is what a node's agent has said, since it was started last.
func (c *Cluster) AgentLog(node string) (string, error) {
	pod, err := c.agentPod(node)
	if err != nil {
		return "", err
	}
	return c.Kubectl("-n", SystemNamespace, "logs", pod)
}

// Kill kills a node's agent, if it runs, as the kernel does.
func (c *Cluster) Kill(node string) error {
	_, err := c.NodeExec(node, "sh", "-c", "p=$(pidof vnet-agent) || exit 0; kill -9 $p")
	return err
}

// AgentMemory is the resident memory of a node's agent, in bytes.
func (c *Cluster) AgentMemory(node string) (int, error) {
	out, err := c.NodeExec(node, "sh", "-c", "cat /proc/$(pidof vnet-agent)/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.Atoi(f[1])
			return kib << 10, err
		}
	}
	return 0, errors.New("the status of the agent's process has no VmRSS")
}

// Ask asks a node's agent over HTTP, from outside.
func (c *Cluster) Ask(node Node, path string) (string, error) {
	out, err := c.Outside().Shell(fmt.Sprintf("curl -g -s -S -m 5 --fail-with-body http://%s%s", hostPort(node.Addrs[0].String(), 9469), path))
	if err != nil {
		err = fmt.Errorf("%w: %s", err, tail(out))
	}
	return out, err
}

// Metric is the sum of a metric's values whose labels have all the texts in them.
func (c *Cluster) Metric(node Node, name string, labels ...string) (sum float64, found bool, err error) {
	out, err := c.Ask(node, "/metrics")
	if err != nil {
		return 0, false, err
	}
next:
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(line, l) {
				continue next
			}
		}
		f := strings.Fields(line)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err != nil {
			return 0, false, fmt.Errorf("read metric %q: %w", line, err)
		}
		sum, found = sum+v, true
	}
	return sum, found, nil
}
