package firewall

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockFile     = "iptables.lock" // in the state directory
	lockDeadline = 60 * time.Second
	lockPoll     = 5 * time.Millisecond
)

// ErrLocked says that somebody else held the lock of installations, or that of
// the iptables programs (/run/xtables.lock), for all the time that this process
// was ready to wait. Trying again later may help.
var ErrLocked = errors.New("the lock is held by another process")

// lock takes the state directory's lock for installations and gives the
// function that releases it. The kernel releases it too when the process dies.
func lock(stateDir string, patience time.Duration) (unlock func(), err error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	path := filepath.Join(stateDir, lockFile)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the firewall's lock: %w", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(lockPoll) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			file.Close()
			return nil, fmt.Errorf("lock %s within %s: %w", path, patience, ErrLocked)
		}
	}
}
