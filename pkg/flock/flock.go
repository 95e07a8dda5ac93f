// Package flock takes locks of flock(2), which the kernel releases when their holder
// dies. It knows nothing of what they protect.
package flock

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld says that somebody else held the lock for all the time that the caller was
// ready to wait.
var ErrHeld = errors.New("the lock is held by another process")

// Take locks an open file, as how says: LOCK_SH or LOCK_EX. Waiting happens in the kernel:
// who polls pays its interval under contention, and may find the lock taken each time. On
// an error f is closed, possibly later, since a wait cannot be called off.
func Take(f *os.File, how int, patience time.Duration) error {
	err := Wait(f, how|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return err
	}
	if patience <= 0 {
		f.Close()
		return fmt.Errorf("lock %s: %w", f.Name(), ErrHeld)
	}
	done := make(chan error, 1)
	go func() { done <- Wait(f, how) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			f.Close()
		}
		return err
	case <-timer.C:
		go closeAfter(f, done)
		return fmt.Errorf("lock %s within %s: %w", f.Name(), patience, ErrHeld)
	}
}

// closeAfter closes f when a wait that nobody wants any more has ended.
func closeAfter(f *os.File, done <-chan error) {
	if err := <-done; err == nil {
		Release(f)
	}
	f.Close()
}

// Wait calls flock(2), again when a signal interrupts it.
func Wait(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// Release ends a lock before its file is closed, which ends it too unless another
// process has the same open file.
func Release(f *os.File) { _ = Wait(f, unix.LOCK_UN) }
