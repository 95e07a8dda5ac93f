package collect

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

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
			f.add(mounted(root, unescaped(fields[pointField]), inode))
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("list the mounts: %w", err)
	}
	return nil
}

// mounted is the path of a namespace that is mounted at a point below root. It may be at
// that point in this process's view, too, where it has come since that was looked at:
// init's root may be closed even to root.
func mounted(root, point string, inode uint64) string {
	var st unix.Stat_t
	if unix.Stat(point, &st) == nil && st.Ino == inode {
		return point
	}
	return root + point
}

// unescaped undoes what the kernel does to a mount point's name.
func unescaped(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// Holder returns the path of the namespace that has the other end of a host veth,
// or nothing when none in sight has it or there is no such veth.
func (n *Node) Holder(hostVeth string) (string, error) {
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
