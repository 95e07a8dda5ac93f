package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/flock"
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

// lock takes a lock on f until the deadline. On an error f is closed, possibly later.
func lock(f *os.File, how int, deadline time.Time) error {
	err := flock.Take(f, how, time.Until(deadline))
	if errors.Is(err, flock.ErrHeld) {
		return fmt.Errorf("%w: %s", ErrLocked, f.Name())
	}
	return err
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
