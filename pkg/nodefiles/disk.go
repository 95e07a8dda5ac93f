package nodefiles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/flock"
)

// The modes of what is made here: others read it, runtimes and people.
const (
	folderMode fs.FileMode = 0o755
	fileMode   fs.FileMode = 0o644
)

// disk makes all changes, one step at a time.
type disk struct {
	before func(step, path string) error // asked before each; an error stands for the step's. Nil but in tests
}

func (d disk) step(name, path string, do func() error) error {
	if d.before != nil {
		if err := d.before(name, path); err != nil {
			return err
		}
	}
	return do()
}

// temporary is what a file is called until it is whole. No runtime loads it (libcni
// goes by the endings .conf, .conflist and .json), and no namespace has such a name.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

// put makes the file hold what from has, by renaming: a binary may be running.
func (d disk) put(path string, from io.Reader, mode fs.FileMode) error {
	next := temporary(path)
	err := d.write(next, from, mode)
	if err == nil {
		err = d.step("rename", path, func() error { return os.Rename(next, path) })
	}
	if err != nil {
		_ = d.remove(next) // gives a full disk its space back
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// write makes a file that nobody reads yet. Meanwhile no process is forked: until
// it executes something it would hold the file open for writing, too, and a
// binary that somebody has open so cannot be executed (ETXTBSY).
func (d disk) write(path string, from io.Reader, mode fs.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var file *os.File
	err := d.step("create", path, func() (err error) {
		file, err = os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
		return err
	})
	if err != nil {
		return err
	}
	err = d.step("write", path, func() error {
		_, err := io.Copy(file, from)
		return errors.Join(err, file.Chmod(mode)) // whatever the umask
	})
	return errors.Join(err, file.Close())
}

// update is put for a small file: it changes nothing if the file is as it should be.
func (d disk) update(path string, content []byte) (changed bool, err error) {
	same, err := holds(path, content)
	if err != nil {
		return false, err
	}
	if same {
		return false, d.remove(temporary(path)) // of somebody who was killed
	}
	return true, d.put(path, bytes.NewReader(content), fileMode)
}

// holds reports whether a file exists and has the content.
func holds(path string, content []byte) (bool, error) {
	now, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return err == nil && bytes.Equal(now, content), nil
}

// remove removes a file; one that does not exist is no step and no error.
func (d disk) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.step("remove", path, func() error { return os.RemoveAll(path) })
}

// open makes the folder and keeps other agents out until done is called: while
// one is replaced by the next, both may be writing.
func (d disk) open(dir string) (done func(), err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		err = d.step("mkdir", dir, func() error { return os.MkdirAll(dir, folderMode) })
		if err != nil {
			return nil, fmt.Errorf("make the folder %s: %w", dir, err)
		}
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock the folder: %w", err)
	}
	if err := flock.Wait(folder, unix.LOCK_EX); err != nil {
		folder.Close()
		return nil, err
	}
	return func() { folder.Close() }, nil // which unlocks it
}

// RemoveAll removes a folder of this package, as at the end of an agent's
// installation. That it is gone already is no error.
func RemoveAll(dir string) error { return disk{}.removeAll(dir) }

// removeAll takes the generation away first, so that nobody reads a part of it.
func (d disk) removeAll(dir string) error {
	if err := errors.Join(d.remove(filepath.Join(dir, current)), d.remove(dir)); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
