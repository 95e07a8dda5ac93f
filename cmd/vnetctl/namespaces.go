package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// node is the node's side of the attachments, and the network namespaces that
// can be seen from here.
type node struct {
	*attachment.Node
	scanned  *namespaces // nil until somebody asks
	patience time.Time   // until when dying links are waited for; zero until there is one
}

func openNode() (*node, error) {
	n, err := attachment.OpenNode()
	if err != nil {
		return nil, err
	}
	return &node{Node: n}, nil
}

// namespaces are the network namespaces that a thread lives in or that are
// mounted somewhere: any other one has nobody in it.
type namespaces struct {
	paths    []string
	seen     map[uint64]bool // their inodes
	complete bool            // nothing can hide from this process
}

// initialPIDs is the inode of the initial PID namespace (PROC_PID_INIT_INO of
// linux/proc_ns.h): a process in it sees every other process.
const initialPIDs = 0xEFFFFFFC

// seesAllProcesses is false in a container: what it does not see may well live.
func seesAllProcesses() bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/pid", &st) == nil && st.Ino == initialPIDs
}

// scan notes all mounts and threads as they are now.
func scan() (*namespaces, error) {
	found := &namespaces{seen: map[uint64]bool{}, complete: seesAllProcesses()}
	if err := found.addMounts("/proc/thread-self/mountinfo", ""); err != nil {
		return nil, err
	}
	if err := found.addMounts("/proc/1/mountinfo", "/proc/1/root"); err != nil {
		return nil, err
	}
	threads, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	for _, path := range threads {
		// A machine's init is in no pod, and may be closed even to root.
		if !found.complete || !strings.HasPrefix(path, "/proc/1/") {
			found.add(path)
		}
	}
	return found, nil
}

// add notes a namespace that is not known yet. A thread may end meanwhile.
func (f *namespaces) add(path string) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		f.complete = f.complete && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH))
		return
	}
	if !f.seen[st.Ino] {
		f.seen[st.Ino] = true
		f.paths = append(f.paths, path)
	}
}

// addMounts notes the mounted namespaces of a mount namespace whose files are
// below root: proc_pid_mountinfo(5).
func (f *namespaces) addMounts(mountinfo, root string) error {
	file, err := os.Open(mountinfo)
	if err != nil {
		return fmt.Errorf("list the mounts: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		const rootField, pointField = 3, 4
		fields := strings.Fields(lines.Text())
		var inode uint64
		if len(fields) <= pointField {
			continue
		}
		if _, err := fmt.Sscanf(fields[rootField], "net:[%d]", &inode); err == nil && !f.seen[inode] {
			f.add(root + unescaped(fields[pointField]))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("list the mounts: %w", err)
	}
	return nil
}

// unescaped undoes what the kernel does to a mount point's name.
func unescaped(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// holder returns the path of the namespace that has the other end of a host
// veth, or nothing when none in sight has it or there is no such veth.
func (n *node) holder(hostVeth string) (string, error) {
	host, err := netlink.LinkByName(hostVeth)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up link %s: %w", hostVeth, err)
	}
	if n.scanned == nil {
		if n.scanned, err = scan(); err != nil {
			return "", err
		}
	}
	if host.Attrs().NetNsID < 0 { // both ends are in this namespace
		return "/proc/thread-self/ns/net", nil
	}
	for _, path := range n.scanned.paths {
		if nsID(path) == host.Attrs().NetNsID {
			return path, nil
		}
	}
	return "", nil
}

// nsID returns the number by which this namespace knows the one at path, as a
// link's IFLA_LINK_NETNSID tells where its other end is: rtnetlink(7). It is -1
// where no link leads, and for a namespace that went away meanwhile.
func nsID(path string) int {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return -1
	}
	defer ns.Close()
	id, err := netlink.GetNetNsIdByFd(int(ns))
	if err != nil {
		return -1
	}
	return id
}

// A pod's life, as far as it can be told from here.
type life int

const (
	unknown life = iota
	living
	gone
)

// sandboxLife judges the path of a pod's namespace that a record has, and says
// why. Only what certainly is gone is: a path may be missing because this process
// has another view of the file system.
func sandboxLife(path string) (life, string) {
	sandbox, err := link.OpenSandbox(path)
	if err == nil {
		sandbox.Close()
		return living, "its network namespace " + path + " exists"
	}
	if !link.SandboxGone(path) {
		return unknown, err.Error()
	}
	if dir, blind := hidden(path); blind {
		return unknown, fmt.Sprintf("%s does not exist, and whether it should cannot be told without a view of %s", path, dir)
	}
	return gone, "its network namespace " + path + " is gone"
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
func (n *node) vethLife(name string) (life, string, error) {
	_, exists, err := n.Host.Link(name)
	if err != nil {
		return unknown, "", err
	}
	if !exists {
		return gone, "its host veth " + name + " is gone", nil
	}
	n.scanned = nil // somebody may have come since
	holder, err := n.holder(name)
	if err != nil {
		return unknown, "", err
	}
	if holder != "" {
		return living, "the other end of " + name + " is in " + holder, nil
	}
	if n.scanned != nil && n.scanned.complete {
		return gone, "nobody is at the other end of " + name, nil
	}
	went, err := n.awaitGone(name)
	if err != nil {
		return unknown, "", err
	}
	if !went {
		return unknown, "whether somebody uses the other end of " + name + " cannot be seen from here", nil
	}
	return gone, "its host veth " + name + " is gone", nil
}

// awaitGone gives the kernel time to take a link down with a namespace that has
// just ended, which it does in the background; all links of a run share that time.
func (n *node) awaitGone(name string) (bool, error) {
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

// podLife judges an attachment. Where the namespace's path is gone, the pod may
// still be there: somebody who is in it keeps it.
func (n *node) podLife(r attachment.Record) (life, string, error) {
	if r.Sandbox == "" { // rebuilt from the kernel
		return n.vethLife(r.HostVeth)
	}
	is, why := sandboxLife(r.Sandbox)
	if is != gone {
		return is, why, nil
	}
	is, more, err := n.vethLife(r.HostVeth)
	if err != nil || is == gone {
		return is, why, err
	}
	return is, why + ", but " + more, nil
}
