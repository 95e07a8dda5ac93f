package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openLocked opens the file at path and locks it. Whoever replaces the file
// holds its lock meanwhile, so a lock that was waited for may be one on a file
// that is gone: then the new file is taken.
func openLocked(path string, flags, how int, deadline time.Time) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(f, how, deadline); err != nil {
			return nil, err // lock closed the file
		}
		same, err := isAt(f, path)
		if err != nil || same {
			return f, err
		}
		f.Close()
	}
}

// isAt reports whether path still leads to f. An error closes f.
func isAt(f *os.File, path string) (bool, error) {
	var held, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &held); err != nil {
		f.Close()
		return false, fmt.Errorf("looking at the open file %s: %w", path, err)
	}
	if err := unix.Stat(path, &named); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		f.Close()
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return held.Dev == named.Dev && held.Ino == named.Ino, nil
}

// lock takes a flock(2) on f, LOCK_SH or LOCK_EX, until the deadline. Waiting
// happens in the kernel: a poll would cost its interval under contention. On
// an error f is closed, possibly later, since a wait cannot be called off.
func lock(f *os.File, how int, deadline time.Time) error {
	err := flock(f, how|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	done := make(chan error, 1)
	go func() { done <- flock(f, how) }()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			f.Close()
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		return nil
	case <-timer.C:
		go closeAfter(f, done)
		return fmt.Errorf("%w: %s", ErrLocked, f.Name())
	}
}

// closeAfter closes f when a wait that nobody wants any more has ended.
func closeAfter(f *os.File, done <-chan error) {
	if err := <-done; err == nil {
		_ = flock(f, unix.LOCK_UN)
	}
	f.Close()
}

// flock calls flock(2), again when a signal interrupts it.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// bootClock returns the time since the boot, suspended time included.
func bootClock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // cannot fail on a kernel that CNI runs on
	}
	return time.Duration(ts.Nano())
}

// BootIDVariable names, in the environment, the file with the name of this boot.
// A node that is itself a container (systemd-nspawn, LXD) may have another one
// mounted over the kernel's; what runs in a container on such a node sees the
// kernel's own and would take the node's leases for another boot's.
const BootIDVariable = "VNET_BOOT_ID"

// readBootID returns the random name of this boot: the kernel's, or what stands in
// the file that the environment names.
func readBootID() (string, error) {
	id, err := os.ReadFile(cmp.Or(os.Getenv(BootIDVariable), "/proc/sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(id)), err
}
