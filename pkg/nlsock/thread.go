package nlsock

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A goroutine stays on its thread without runtime.LockOSThread, which starts another
// thread the first time, as long as it makes raw system calls from functions that do
// not look at their stack (go:nosplit) with signals blocked: Go moves goroutines when
// they look, when they make ordinary system calls, and by a signal.

// sigsetSize is the kernel's, in bytes.
const sigsetSize = 8

//go:nosplit
func blockSignals() (before uint64) {
	all := ^uint64(0)
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), sigsetSize, 0, 0)
	return before
}

//go:nosplit
func restoreSignals(before uint64) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, sigsetSize, 0, 0)
}

// socketIn opens a netlink socket in another namespace, from the one that home leads to.
func socketIn(namespace, home, protocol int) (int, error) {
	fd, entered, made, left := visit(uintptr(namespace), uintptr(home), uintptr(protocol))
	var err error
	switch {
	case entered != 0:
		return 0, fmt.Errorf("enter the network namespace: %w", entered)
	case made != 0:
		err = fmt.Errorf("open a netlink socket: %w", made)
	}
	if left != 0 {
		// The thread stays locked, so that Go ends it with the goroutine: no
		// other goroutine may run in the pod by accident.
		runtime.LockOSThread()
		err = errors.Join(err, fmt.Errorf("leave the network namespace: %w", left))
	}
	if err != nil && made == 0 {
		unix.Close(int(fd))
	}
	return int(fd), err
}

// visit opens the socket between entering and leaving, and gives the errors of all three.
//
//go:noinline
//go:nosplit
func visit(namespace, home, protocol uintptr) (fd uintptr, entered, made, left syscall.Errno) {
	before := blockSignals()
	_, _, entered = syscall.RawSyscall(unix.SYS_SETNS, namespace, unix.CLONE_NEWNET, 0)
	if entered == 0 {
		fd, _, made = syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		_, _, left = syscall.RawSyscall(unix.SYS_SETNS, home, unix.CLONE_NEWNET, 0)
	}
	restoreSignals(before)
	return fd, entered, made, left
}
