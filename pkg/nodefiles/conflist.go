package nodefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteConflist makes the file name in dir, which it makes if need be, have the
// content. It reports whether it had another one.
func WriteConflist(dir, name string, content []byte) (changed bool, err error) {
	return disk{}.conflist(dir, name, content)
}

func (d disk) conflist(dir, name string, content []byte) (bool, error) {
	done, err := d.open(dir)
	if err != nil {
		return false, fmt.Errorf("conflist %s: %w", name, err)
	}
	defer done()
	changed, err := d.update(filepath.Join(dir, name), content)
	if err != nil {
		return false, fmt.Errorf("conflist %s: %w", name, err)
	}
	return changed, nil
}

// RemoveConflist removes the file name in dir. That it is gone already is no error.
func RemoveConflist(dir, name string) error { return disk{}.removeConflist(dir, name) }

func (d disk) removeConflist(dir, name string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	done, err := d.open(dir)
	if err != nil {
		return fmt.Errorf("remove conflist %s: %w", name, err)
	}
	defer done()
	path := filepath.Join(dir, name)
	if err := errors.Join(d.remove(path), d.remove(temporary(path))); err != nil {
		return fmt.Errorf("remove conflist %s: %w", name, err)
	}
	return nil
}
