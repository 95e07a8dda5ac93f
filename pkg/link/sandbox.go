package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Sandbox is a pod's network namespace with a netlink socket inside it.
type Sandbox struct {
	path string
	fd   int // of the namespace
	conn *conn
}

// ErrSandbox is in the chain of errors about a namespace file that is missing,
// is not a network namespace, or is the node's own.
var ErrSandbox = errors.New("unusable network namespace")

// OpenSandbox opens the namespace at path (CNI_NETNS). The calling goroutine is
// back in its own namespace afterwards.
func OpenSandbox(path string) (*Sandbox, error) {
	fd, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	c, err := nlsock.DialIn(unix.NETLINK_ROUTE, fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open a netlink socket in %s: %w", path, err)
	}
	return &Sandbox{path: path, fd: fd, conn: &conn{c}}, nil
}

// SandboxGone tells whether path surely leads to no network namespace any more.
// A namespace that cannot be looked at for another reason is not gone.
func SandboxGone(path string) bool {
	fd, err := openNamespace(path)
	if err == nil {
		unix.Close(fd)
	}
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotNamespace)
}

// errNotNamespace is a file that is there and is something else: what is left
// of a path in /run/netns once its mount is gone.
var errNotNamespace = errors.New("not a network namespace")

func openNamespace(path string) (int, error) {
	// O_NONBLOCK: opening a named pipe that somebody put there must not hang.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrSandbox, &fs.PathError{Op: "open", Path: path, Err: err})
	}
	if err := checkNamespace(fd, path); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func checkNamespace(fd int, path string) error {
	// ioctl_ns(2): NS_GET_NSTYPE answers with the CLONE_NEW* flag of the namespace.
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%w: %s is %w", ErrSandbox, path, errNotNamespace)
	}
	var pod, node unix.Stat_t
	if err := unix.Fstat(fd, &pod); err != nil {
		return fmt.Errorf("%w: stat %s: %w", ErrSandbox, path, err)
	}
	if err := unix.Stat("/proc/thread-self/ns/net", &node); err != nil {
		return fmt.Errorf("stat this thread's network namespace: %w", err)
	}
	if pod.Ino == node.Ino && pod.Dev == node.Dev {
		return fmt.Errorf("%w: %s is the node's own namespace, not a pod's", ErrSandbox, path)
	}
	return nil
}

// Do runs f on a thread that is in the namespace meanwhile: sockets that f opens
// and sysctls that it writes are the pod's.
func (s *Sandbox) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open this thread's network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", s.path, err)
	}
	failed := f()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked, so that Go ends it with the goroutine: no
		// other goroutine may run in the pod by accident.
		return errors.Join(failed, fmt.Errorf("leave network namespace %s: %w", s.path, err))
	}
	runtime.UnlockOSThread()
	return failed
}

// Close releases the namespace: an open file keeps it alive.
func (s *Sandbox) Close() {
	s.conn.Close()
	unix.Close(s.fd)
}
