package testnet

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Node is a namespace that plays a machine of the cluster, with folders of its
// own for configuration, state and the runtime's cache.
type Node struct {
	*NS
	IPv4, IPv6 netip.Addr

	t       testing.TB
	dir     string
	backend string
	mtu     int
	pathEnv string

	mu       sync.Mutex
	networks []string
}

// StateDir is the folder to configure as the plugins' stateDir.
func (n *Node) StateDir() string { return filepath.Join(n.dir, "state") }

// ConfDir is the folder of the node's conflists, NETCONFPATH.
func (n *Node) ConfDir() string { return filepath.Join(n.dir, "net.d") }

// CacheDir is what programs on the node see as /var/lib/cni: the cache of
// libcni and the leases of host-local.
func (n *Node) CacheDir() string { return filepath.Join(n.varLib(), "cni") }

// XtablesLock is what programs on the node see as /run/xtables.lock.
func (n *Node) XtablesLock() string { return filepath.Join(n.dir, "xtables.lock") }

func (n *Node) varLib() string { return filepath.Join(n.dir, "var-lib") }

func (n *Node) makeDirs() error {
	for _, dir := range []string{n.StateDir(), n.ConfDir(), n.CacheDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(n.XtablesLock(), nil, 0o600); err != nil {
		return err
	}
	if n.backend == "" {
		return nil
	}
	return n.linkBackend()
}

// linkBackend puts the chosen iptables first on the node's PATH.
func (n *Node) linkBackend() error {
	bin := filepath.Join(n.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	multi, err := exec.LookPath("xtables-" + n.backend + "-multi")
	if err != nil {
		return fmt.Errorf("iptables backend %q: %w", n.backend, err)
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(multi, filepath.Join(bin, family+suffix)); err != nil {
				return err
			}
		}
	}
	n.pathEnv = bin + ":" + n.pathEnv
	return nil
}

// Write writes a conflist to the node's configuration folder. conf is JSON as
// string or []byte, or a value to encode. The network written first is the one
// that Add and the other verbs use when none is named.
func (n *Node) Write(network string, conf any) {
	n.t.Helper()
	raw, err := encode(conf)
	must(n.t, "encode the conflist "+network, err)
	must(n.t, "write the conflist "+network,
		os.WriteFile(filepath.Join(n.ConfDir(), network+".conflist"), raw, 0o644))
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, known := range n.networks {
		if known == network {
			return
		}
	}
	n.networks = append(n.networks, network)
}

func encode(conf any) ([]byte, error) {
	switch c := conf.(type) {
	case string:
		return []byte(c), nil
	case []byte:
		return c, nil
	}
	return json.MarshalIndent(conf, "", "  ")
}

// Networks returns the names of the conflists that were written.
func (n *Node) Networks() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.networks...)
}

// Pod is a network namespace that a runtime would make for a pod.
type Pod struct {
	*NS
	Node *Node
}

// NewPod makes the namespace of a pod on the node; no verb is called.
func (n *Node) NewPod() *Pod {
	n.t.Helper()
	return &Pod{NS: newNS(n.t, "pod"), Node: n}
}

// ContainerID is the id that cnitool gives the pod: a hash of its path.
func (p *Pod) ContainerID() string {
	sum := sha512.Sum512([]byte(p.Path))
	return fmt.Sprintf("cnitool-%x", sum[:10])
}

// Env is the environment of a direct call of a plugin for the pod's eth0, to be
// changed at will and handed to Node.Exec.
func (p *Pod) Env(verb string) map[string]string {
	return map[string]string{
		"CNI_COMMAND":     verb,
		"CNI_CONTAINERID": p.ContainerID(),
		"CNI_NETNS":       p.Path,
		"CNI_IFNAME":      "eth0",
		"CNI_PATH":        cniPath(),
	}
}
