package testcluster

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// Place is where packets can be sent from.
type Place interface {
	// Title is what a person calls it.
	Title() string
	// Shell runs a script of the POSIX shell there and returns what it printed.
	Shell(script string) (string, error)
}

// Title implements Place.
func (p *Pod) Title() string { return p.Name }

// Shell implements Place.
func (p *Pod) Shell(script string) (string, error) { return p.Exec("sh", "-c", script) }

// Exec runs a command in the pod.
func (p *Pod) Exec(cmd ...string) (string, error) {
	return p.Namespace.Kubectl(append([]string{"-n", p.Namespace.Name, "exec", p.Name, "--"}, cmd...)...)
}

// outside is the client beyond the nodes.
type outside struct{ *Cluster }

// Outside is a client that is no node and no pod. For somebody else's cluster it is
// the machine that the test runs on.
func (c *Cluster) Outside() Place { return outside{c} }

func (outside) Title() string { return "outside" }

func (o outside) Shell(script string) (string, error) {
	if o.Own() {
		return o.Script("outside", "sh", "-c", script)
	}
	return o.run("", "sh", "-c", script)
}

// OutsideAddr is the address that the client outside has towards a node.
func (c *Cluster) OutsideAddr(tb testing.TB, node netip.Addr) netip.Addr {
	tb.Helper()
	out, err := c.Outside().Shell("ip -o route get " + node.String())
	if err != nil {
		tb.Fatal(err)
	}
	words := strings.Fields(out)
	for i, w := range words {
		if w == "src" && i+1 < len(words) {
			if a, err := netip.ParseAddr(words[i+1]); err == nil {
				return a
			}
		}
	}
	tb.Fatalf("the route from outside to %s has no source: %s", node, out)
	return netip.Addr{}
}

// nodeShell is a node itself.
type nodeShell struct {
	*Cluster
	node string
}

// On is the node itself, with all its namespaces.
func (c *Cluster) On(node string) Place { return nodeShell{c, node} }

func (n nodeShell) Title() string { return "node " + n.node }

func (n nodeShell) Shell(script string) (string, error) {
	out, err := n.NodeExec(n.node, "sh", "-c", script)
	if err != nil {
		err = fmt.Errorf("on node %s: %w", n.node, err)
	}
	return out, err
}

// within is a pod's network seen from its node, with the node's programs.
type within struct {
	nodeShell
	addr netip.Addr
}

// Within is the network of the pod on a node that has the address. It needs no API
// server, as Pod does.
func (c *Cluster) Within(node string, addr netip.Addr) Place { return within{nodeShell{c, node}, addr} }

func (w within) Title() string { return "pod " + w.addr.String() }

func (w within) Shell(script string) (string, error) {
	return w.nodeShell.Shell(fmt.Sprintf(`for n in /run/netns/*; do
	if nsenter --net=$n ip -o addr show 2>/dev/null | grep -q ' %s/'; then exec nsenter --net=$n sh -c %s; fi
done; echo 'no network namespace has the address' >&2; exit 1`, w.addr, quoted(script)))
}
