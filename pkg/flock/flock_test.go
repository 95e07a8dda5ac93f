package flock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func take(t *testing.T, path string, how int, patience time.Duration) (*os.File, error) {
	t.Helper()
	f := open(t, path)
	err := Take(f, how, patience)
	if err == nil {
		t.Cleanup(func() { f.Close() })
	}
	return f, err
}

func TestTake(t *testing.T) {
	const patience = time.Minute
	rows := []struct {
		held, wanted int
		free         bool
	}{
		{unix.LOCK_SH, unix.LOCK_SH, true},
		{unix.LOCK_SH, unix.LOCK_EX, false},
		{unix.LOCK_EX, unix.LOCK_SH, false},
		{unix.LOCK_EX, unix.LOCK_EX, false},
	}
	for _, row := range rows {
		path := filepath.Join(t.TempDir(), "lock")
		holder, err := take(t, path, row.held, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = take(t, path, row.wanted, 0)
		if row.free != (err == nil) || !row.free && !errors.Is(err, ErrHeld) {
			t.Errorf("%d while %d is held: %v", row.wanted, row.held, err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := take(t, path, row.wanted, patience)
			got <- err
		}()
		Release(holder)
		if err := <-got; err != nil {
			t.Errorf("%d when %d is over: %v", row.wanted, row.held, err)
		}
	}
	t.Logf("%d pairs of locks", len(rows))
}

// A wait that was given up does not hold the lock when its turn comes.
func TestGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder, err := take(t, path, unix.LOCK_EX, 0)
	if err != nil {
		t.Fatal(err)
	}
	const waits = 10
	for range waits {
		if _, err := take(t, path, unix.LOCK_EX, time.Millisecond); !errors.Is(err, ErrHeld) {
			t.Fatalf("while it is held: %v", err)
		}
	}
	holder.Close()
	if _, err := take(t, path, unix.LOCK_EX, time.Minute); err != nil {
		t.Error(err)
	}
	t.Logf("%d waits given up", waits)
}

// A file that cannot be locked is an error of its own, and closed.
func TestNotToBeLocked(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "lock"))
	f.Close() // and its descriptor is -1
	if err := Take(f, unix.LOCK_EX, time.Minute); !errors.Is(err, unix.EBADF) {
		t.Errorf("a closed file: %v", err)
	}
}
