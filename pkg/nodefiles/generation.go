package nodefiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// current is the symbolic link to the generation that counts.
const current = "current"

// WriteGeneration makes dir/current a folder that has exactly these files, by
// name, and reports whether it was another one. The names are those that FileName
// makes. All files change at once: current is a symbolic link, and what it points
// to never changes. The generation before stays until the next call, for whoever
// is just reading it.
func WriteGeneration(dir string, files map[string][]byte) (changed bool, err error) {
	return disk{}.generation(dir, files)
}

func (d disk) generation(dir string, files map[string][]byte) (changed bool, err error) {
	done, err := d.open(dir)
	if err != nil {
		return false, fmt.Errorf("documents: %w", err)
	}
	defer done()
	named := make(map[string][]byte, len(files))
	for name, content := range files {
		named[FileName(name)] = content
	}
	if len(named) != len(files) {
		return false, fmt.Errorf("documents: two of %q are the same file", slices.Sorted(maps.Keys(files)))
	}
	now, err := os.Readlink(filepath.Join(dir, current))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("documents: %w", err)
	}
	if err := d.sweep(dir, now); err != nil {
		return false, fmt.Errorf("documents: remove old generations: %w", err)
	}
	if now != "" && has(filepath.Join(dir, now), named) {
		return false, nil
	}
	if err := d.generate(dir, named); err != nil {
		return false, fmt.Errorf("documents: %w", err)
	}
	return true, nil
}

// sweep removes all generations but the one that counts, also parts of some that
// was never finished.
func (d disk) sweep(dir, keep string) error {
	ours := regexp.MustCompile(`^[0-9a-f]{16}-[0-9]+$`)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if ours.MatchString(e.Name()) && e.Name() != keep {
			err = errors.Join(err, d.remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, d.remove(temporary(filepath.Join(dir, current))))
}

// has reports whether a folder has exactly these files.
func has(dir string, files map[string][]byte) bool {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(files) {
		return false
	}
	for name, content := range files {
		if same, err := holds(filepath.Join(dir, name), content); err != nil || !same {
			return false
		}
	}
	return true
}

// generate makes a generation and lets it count. Its name begins with a hash, so
// that people can compare nodes.
func (d disk) generate(dir string, files map[string][]byte) (err error) {
	var made string
	err = d.step("mkdir", dir, func() (err error) {
		made, err = os.MkdirTemp(dir, sum(files)+"-")
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.remove(made) // gives a full disk its space back
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := d.write(filepath.Join(made, name), bytes.NewReader(files[name]), fileMode); err != nil {
			return err
		}
	}
	if err := d.step("chmod", made, func() error { return os.Chmod(made, folderMode) }); err != nil {
		return err
	}
	link := filepath.Join(dir, current)
	next := temporary(link)
	if err := d.step("symlink", next, func() error { return os.Symlink(filepath.Base(made), next) }); err != nil {
		return err
	}
	return d.step("rename", link, func() error { return os.Rename(next, link) })
}

// sum is a hash of names and contents.
func sum(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
