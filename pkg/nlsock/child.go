package nlsock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Apart gives a socket that nothing was sent from yet a port id that no socket of
// another namespace has, which DoFromChild needs. Each namespace has its own port ids,
// first of all the process's pid, and an echo about a device of another namespace goes
// to the socket of that number there: somebody else's, or this process's own.
func (c *Conn) Apart() {
	const abovePids = 1 << 30 // PID_MAX_LIMIT of linux/threads.h is 1 << 22
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: abovePids | uint32(os.Getpid())}
	c.apart = unix.Bind(c.fd, to) == nil // else a socket of this process is apart here already
}

// DoFromChild makes the request from a child process and returns as soon as the
// kernel has told what it did (NLM_F_ECHO), or refused to: the child alone waits for
// what it does afterwards. Without an echo, which a kernel does not know for every
// request, it returns with the acknowledgement, as Do does.
//
// It is for a process that ends soon and has something else to do until then. The
// child then still waits in the kernel and becomes the init process's, which has to
// collect it as it does every container's shim or monitor. The kernel finishes the
// request whatever becomes of either process. The child keeps no file open but the
// socket: who waits for the end of this process's output does not wait for it. On a
// socket that is not Apart it is Do.
func (c *Conn) DoFromChild(r Request) error {
	if !c.apart {
		return c.Do(r)
	}
	ch, err := c.sendFromChild(c.serialise(r, unix.NLM_F_ACK|unix.NLM_F_ECHO))
	if err != nil {
		return c.Do(r) // there is no room for another process, or none is allowed
	}
	defer ch.close()
	for {
		if err := ch.await(c.fd); err != nil {
			return fmt.Errorf("%s: %w", r.What, err)
		}
		messages, err := c.receive()
		if err != nil {
			return fmt.Errorf("%s: %w", r.What, err)
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != c.seq:
			case m.Header.Type != unix.NLMSG_ERROR:
				return nil // the echo
			default:
				_, _ = ch.wait() // an acknowledgement is the last thing that it waits for
				return r.failure(ackError(m))
			}
		}
	}
}

// child is a process that sends one message.
type child struct {
	pid   int
	pidfd int32 // -1: of a kernel before 5.2
}

func (ch child) close() {
	if ch.pidfd >= 0 {
		unix.Close(int(ch.pidfd))
	}
}

// await waits until the socket has an answer. That the child ends without one is an
// error: its own, or that it was killed.
func (ch child) await(socket int) error {
	const forever, now = -1, 0
	answer, end := unix.PollFd{Fd: int32(socket), Events: unix.POLLIN}, unix.PollFd{Fd: ch.pidfd, Events: unix.POLLIN}
	if ready, err := poll(forever, answer, end); err != nil || ready[0] {
		return err
	}
	// The answer may have come between the looks at the one and at the other.
	if ready, err := poll(now, answer); err != nil || ready[0] {
		return err
	}
	status, err := ch.wait()
	switch {
	case err != nil:
		return fmt.Errorf("wait for the child process: %w", err)
	case status.ExitStatus() > 0:
		return fmt.Errorf("send to the kernel: %w", syscall.Errno(status.ExitStatus()))
	}
	return fmt.Errorf("the child process ended before the kernel answered (wait status %#x)", uint32(status))
}

// poll tells which of the files are ready.
func poll(timeout int, fds ...unix.PollFd) ([]bool, error) {
	for {
		_, err := unix.Poll(fds, timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		ready := make([]bool, len(fds))
		for i, fd := range fds {
			ready[i] = fd.Revents != 0
		}
		if err != nil {
			err = fmt.Errorf("wait for an answer: %w", err)
		}
		return ready, err
	}
}

// wait collects the child once it has ended. It is one that tells nobody of its end
// (__WALL).
func (ch child) wait() (status unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(ch.pid, &status, unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

// sendFromChild starts the child.
func (c *Conn) sendFromChild(message []byte) (child, error) {
	to := unix.RawSockaddrNetlink{Family: unix.AF_NETLINK}
	ch := child{pidfd: -1}
	pid, errno := forkAndSend(c.fd, message, &to, &ch.pidfd)
	if errno != 0 {
		return ch, errno
	}
	ch.pid = int(pid)
	return ch, nil
}

// forkAndSend returns in the parent only. The child has one of the parent's threads
// and a copy of its memory, in which others may have held locks: it makes system
// calls and nothing else, without growing its stack, and with signals blocked, whose
// handlers Go could not run there.
//
//go:noinline
//go:nosplit
//go:norace
func forkAndSend(fd int, message []byte, to *unix.RawSockaddrNetlink, pidfd *int32) (pid uintptr, errno syscall.Errno) {
	before := blockSignals()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PIDFD, 0, uintptr(unsafe.Pointer(pidfd)), 0, 0, 0)
	if errno != 0 || pid != 0 {
		restoreSignals(before)
		return pid, errno
	}
	for i := range 3 { // by hand: before Linux 5.9 there is no close_range
		if i != fd {
			_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(i), 0, 0)
		}
	}
	if fd > 0 {
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, uintptr(fd-1), 0)
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, uintptr(fd+1), uintptr(^uint32(0)), 0)
	_, _, errno = syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(message))), uintptr(len(message)), 0,
		uintptr(unsafe.Pointer(to)), unix.SizeofSockaddrNetlink)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}
