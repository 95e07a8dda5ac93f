package collect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// Node is the node's side of the attachments, and the network namespaces that
// can be seen from here.
type Node struct {
	*attachment.Node
	scanned  *namespaces // nil until somebody asks
	patience time.Time   // until when dying links are waited for; zero until there is one
}

// OpenNode opens it in the caller's network namespace.
func OpenNode() (*Node, error) {
	n, err := attachment.OpenNode()
	if err != nil {
		return nil, err
	}
	return &Node{Node: n}, nil
}

// Life is a pod's life, as far as it can be told from here.
type Life int

// What a Life can be. Unknown may well be living.
const (
	Unknown Life = iota
	Living
	Gone
)

// sandboxLife judges the path of a pod's namespace that a record has, and says
// why. Only what certainly is gone is: a path may be missing because this process
// has another view of the file system.
func sandboxLife(path string) (Life, string) {
	sandbox, err := link.OpenSandbox(path)
	if err == nil {
		sandbox.Close()
		return Living, "its network namespace " + path + " exists"
	}
	if !link.SandboxGone(path) {
		return Unknown, err.Error()
	}
	if dir, blind := hidden(path); blind {
		return Unknown, fmt.Sprintf("%s does not exist, and whether it should cannot be told without a view of %s", path, dir)
	}
	return Gone, "its network namespace " + path + " is gone"
}

// hidden reports whether a missing path may be due to this process's view.
func hidden(path string) (string, bool) {
	if strings.HasPrefix(path, "/proc/") {
		return "all processes", !seesAllProcesses()
	}
	dir := filepath.Dir(path)
	_, err := os.Stat(dir)
	return dir, err != nil
}

// vethLife judges a host veth. The kernel removes it with the pod's namespace, so
// one that exists has a namespace at its other end: dead only if nobody is in it.
func (n *Node) vethLife(name string) (Life, string, error) {
	_, exists, err := n.Host.Link(name)
	if err != nil {
		return Unknown, "", err
	}
	if !exists {
		return Gone, "its host veth " + name + " is gone", nil
	}
	n.scanned = nil // somebody may have come since
	holder, err := n.Holder(name)
	if err != nil {
		return Unknown, "", err
	}
	if holder != "" {
		return Living, "the other end of " + name + " is in " + holder, nil
	}
	if n.scanned != nil && n.scanned.complete {
		return Gone, "nobody is at the other end of " + name, nil
	}
	went, err := n.awaitGone(name)
	if err != nil {
		return Unknown, "", err
	}
	if !went {
		return Unknown, "whether somebody uses the other end of " + name + " cannot be seen from here", nil
	}
	return Gone, "its host veth " + name + " is gone", nil
}

// awaitGone gives the kernel time to take a link down with a namespace that has
// just ended, which it does in the background; all links of a run share that time.
func (n *Node) awaitGone(name string) (bool, error) {
	if n.patience.IsZero() {
		n.patience = time.Now().Add(time.Second)
	}
	for ; ; time.Sleep(5 * time.Millisecond) {
		_, exists, err := n.Host.Link(name)
		if err != nil || !exists || time.Now().After(n.patience) {
			return !exists, err
		}
	}
}

// Life judges an attachment, and says why. Where the namespace's path is gone, the
// pod may still be there: somebody who is in it keeps it.
func (n *Node) Life(r attachment.Record) (Life, string, error) {
	if r.Sandbox == "" && r.Foreign {
		return Unknown, "its record was lost, and only its runtime knows whether it lives", nil
	}
	if r.Sandbox == "" { // rebuilt from the kernel
		return n.vethLife(r.HostVeth)
	}
	is, why := sandboxLife(r.Sandbox)
	if is != Gone {
		return is, why, nil
	}
	is, more, err := n.vethLife(r.HostVeth)
	if err != nil || is == Gone {
		return is, why, err
	}
	return is, why + ", but " + more, nil
}
