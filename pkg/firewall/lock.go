package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/flock"
)

const (
	lockFile     = "iptables.lock" // in the state directory
	membersFile  = "members.lock"  // and beside it
	changeSuffix = ".nsg-lock"     // and, behind its name, for each network with security groups
	lockDeadline = 60 * time.Second
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
	return lockAs(filepath.Join(stateDir, lockFile), unix.LOCK_EX, patience)
}

// lockChange is held by whoever changes the judgement of a network, before the
// lock of installations, which all networks share.
func lockChange(n Network, patience time.Duration) (unlock func(), err error) {
	if n.Judging == nil {
		return func() {}, nil
	}
	if err := os.MkdirAll(n.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	return lockAs(filepath.Join(n.StateDir, n.Name+changeSuffix), unix.LOCK_EX, patience)
}

// lockMembers keeps pods from leaving while their list is made into members of
// sets: one that left in between would stay a member for ever.
func lockMembers(stateDir string) (unlock func(), err error) {
	return lockAs(filepath.Join(stateDir, membersFile), unix.LOCK_EX, lockDeadline)
}

// Alone runs do, in which pods may join and leave sets and the list of the living
// may change, while nobody else puts listed pods into sets or takes one out with
// Leaving. It must not call what does so itself: Ensure, Admit, Leaving or Alone.
func (f *Firewall) Alone(stateDir string, do func() error) error {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	unlock, err := lockMembers(stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// Settled waits until nobody is changing the judgement of the network: whoever does
// so afterwards listed its pods afterwards.
func (f *Firewall) Settled(n Network) error {
	unlock, err := lockChange(n, f.patience)
	if err != nil {
		return err
	}
	unlock()
	return nil
}

// Leaving runs do, which takes a pod out of the sets and then off the list of the
// living, while nobody puts listed pods into sets. Without the lock's file nobody
// ever did.
func (f *Firewall) Leaving(stateDir string, do func() error) error {
	path := filepath.Join(stateDir, membersFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return do()
	}
	unlock, err := lockAs(path, unix.LOCK_SH, lockDeadline)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

func lockAs(path string, how int, patience time.Duration) (unlock func(), err error) {
	flags := os.O_RDONLY
	if how == unix.LOCK_EX {
		flags |= os.O_CREATE
	}
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the firewall's lock: %w", err)
	}
	err = flock.Take(file, how, patience)
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("lock %s within %s: %w", path, patience, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}
