package ipam

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/flock"
)

// suffix is what a store's file name has after the network's name.
const suffix = ".db"

// Why a file was not used. errUnwritten covers all of them.
var (
	errUnwritten = errors.New("the lease store has no leases of this boot")
	errOtherBoot = unwritten{errors.New("the lease store is of another boot")}
	errMissing   = unwritten{errors.New("the lease store does not exist")}
)

// unwritten is damage that a method may answer without the file.
type unwritten struct{ error }

func (u unwritten) Unwrap() []error { return []error{u.error, errUnwritten} }

// update runs fn in a write transaction. A file that is missing, damaged or of
// another boot is replaced first.
func (s *Store) update(fn func(*txn) error) error {
	deadline, err := s.begin()
	if err != nil {
		return err
	}
	for {
		f, err := openLocked(s.path, os.O_RDWR, unix.LOCK_EX, deadline)
		if errors.Is(err, os.ErrNotExist) {
			err = s.create()
		} else if err == nil {
			err = s.transact(f, true, fn)
			if !replaceable(err) {
				return err
			}
			err = s.replace(f, err, deadline)
		}
		if err != nil {
			return err
		}
	}
}

// updateExisting is update for a method that has nothing to do where there are
// no leases, and must not fail for want of space: what cannot be replaced is
// left, with an error that matches errUnwritten.
func (s *Store) updateExisting(fn func(*txn) error) error {
	deadline, err := s.begin()
	if err != nil {
		return err
	}
	for {
		f, err := openLocked(s.path, os.O_RDWR, unix.LOCK_EX, deadline)
		if errors.Is(err, os.ErrNotExist) {
			return errMissing
		}
		if err != nil {
			return err
		}
		cause := s.transact(f, true, fn)
		if errors.Is(cause, errOtherBoot) || !replaceable(cause) {
			return cause
		}
		err = s.replace(f, cause, deadline)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) {
			return unwritten{cause}
		}
		if err != nil {
			return err
		}
	}
}

// view runs fn in a read-only transaction. Without a usable file the error
// matches errUnwritten.
func (s *Store) view(fn func(*txn) error) error {
	deadline, err := s.begin()
	if err != nil {
		return err
	}
	f, err := openLocked(s.path, os.O_RDONLY, unix.LOCK_SH, deadline)
	if errors.Is(err, os.ErrNotExist) {
		return errMissing
	}
	if err != nil {
		return err
	}
	err = s.transact(f, false, fn)
	if d := (*damage)(nil); errors.As(err, &d) {
		return unwritten{err}
	}
	return err
}

// begin returns when a method has to give up waiting.
func (s *Store) begin() (time.Time, error) {
	return time.Now().Add(s.o.Timeout), checkNetwork(s.o.Network)
}

// replaceable reports whether an error of transact asks for a new file.
func replaceable(err error) bool {
	var d *damage
	return errors.As(err, &d) || errors.Is(err, errOtherBoot)
}

// transact runs fn on a locked file and closes it, unless the file has to be
// replaced: then it stays open, though perhaps not locked.
func (s *Store) transact(f *os.File, writable bool, fn func(*txn) error) error {
	err := guarded(func() error {
		pages, err := readPages(f)
		if err != nil {
			return err
		}
		t := &txn{store: s, file: f, pages: pages}
		if !writable {
			return t.onThisBoot(fn)
		}
		return t.inBolt(func() error { return t.onThisBoot(fn) })
	})
	if writable && replaceable(err) {
		return err
	}
	// A bbolt that panicked leaves a duplicate of the descriptor behind, so
	// closing f alone would not unlock it.
	flock.Release(f)
	f.Close()
	return err
}

// guarded turns the panics of bbolt, and the faults of reading a mapped file
// that is shorter than it says, into damage.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = damaged("reading it failed: %v", cause)
		}
	}()
	return fn()
}

// create makes the file, unless somebody else does so first.
func (s *Store) create() error {
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return fmt.Errorf("creating the state directory: %w", err)
	}
	leases, err := s.survivors(errMissing)
	if err != nil {
		return err
	}
	err = s.install(leases, s.path)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// replace puts a new file in the place of f, unless somebody else did so since
// transact unlocked it, and closes f. A killed process leaves the old file or
// the new one, and perhaps the new one under its first name, too.
func (s *Store) replace(f *os.File, cause error, deadline time.Time) error {
	if err := lock(f, unix.LOCK_EX, deadline); err != nil {
		return err
	}
	same, err := isAt(f, s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	defer flock.Release(f)
	if !same {
		return nil
	}
	leases, err := s.survivors(cause)
	if err != nil {
		return err
	}
	next := filepath.Join(s.o.Dir, "."+s.o.Network+suffix+".new")
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := s.install(leases, next); err != nil {
		return err
	}
	return os.Rename(next, s.path)
}

// install makes a complete file with the leases and gives it its name last,
// so that a killed process leaves nothing half done.
func (s *Store) install(leases []Lease, path string) error {
	f, err := tempFile(s.o.Dir, s.o.Network)
	if err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	defer f.Close()
	if err := s.fill(f, leases); err != nil {
		return fmt.Errorf("creating %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	open := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, open, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: open, New: path, Err: err}
	}
	return nil
}

// tempFile returns a file without a name.
func tempFile(dir, network string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return namedTempFile(dir, network)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open a temporary file in", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir, "."+network+suffix+".unnamed")), nil
}

// namedTempFile is tempFile where the file system cannot: the name that the
// file has for a moment may outlive a killed process.
func namedTempFile(dir, network string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "."+network+suffix+".*")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(f.Name(), 0o600); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fill writes an empty database, then the leases.
func (s *Store) fill(f *os.File, leases []Lease) error {
	boot, err := s.o.BootID()
	if err != nil {
		return fmt.Errorf("reading the boot id: %w", err)
	}
	if err := writeEmpty(f); err != nil {
		return err
	}
	if err := allocate(f, 0, initialSize); err != nil {
		return err
	}
	t := &txn{store: s, file: f, head: header{Boot: boot}, dirty: true}
	return t.inBolt(func() error { return t.fill(leases) })
}

// allocate reserves blocks for the part of the file from start up to end.
func allocate(f *os.File, start, end int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, start, end-start)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "reserve space for", Path: f.Name(), Err: err}
		}
		return nil
	}
}
