package nodefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// programMode is a binary's.
const programMode fs.FileMode = 0o755

// Binaries makes those of the folder to the same as in the folder from: always
// whatever is there, and ifMissing only where nothing is there or what this
// function had put there. It notes in the file .vnet-cni of the folder what it
// puts there, for RemoveBinaries. changed are those that it wrote; where one fails
// it goes on with the others. What it compared once it compares again only when
// one of the two files changed.
func Binaries(from, to string, always, ifMissing []string) (changed []string, err error) {
	return disk{}.binaries(from, to, always, ifMissing)
}

func (d disk) binaries(from, to string, always, ifMissing []string) (changed []string, err error) {
	done, err := d.open(to)
	if err != nil {
		return nil, fmt.Errorf("binaries: %w", err)
	}
	defer done()
	m, err := readManifest(to)
	if err != nil {
		return nil, fmt.Errorf("binaries: %w", err)
	}
	var errs []error
	for _, name := range slices.Concat(always, ifMissing) {
		did, err := d.binary(from, to, name, slices.Contains(always, name), m)
		if err != nil {
			errs = append(errs, err)
		} else if did {
			changed = append(changed, name)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return changed, fmt.Errorf("binaries: %w", err)
	}
	return changed, nil
}

// binary puts one in place. The manifest has it before and, of what was there, the
// hash until afterwards: what it does not tell of is somebody else's.
func (d disk) binary(from, to, name string, always bool, m manifest) (changed bool, err error) {
	source, target := filepath.Join(from, name), filepath.Join(to, name)
	shipped, err := stampOf(source)
	if err != nil {
		return false, err
	}
	there, err := stampOf(target)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, err
	}
	was, known := m[name]
	if known && was.Source == shipped && was.Target == there {
		return false, nil
	}
	if !missing && !known && !always {
		return false, nil // somebody else's
	}
	want, err := hashOf(source)
	if err != nil {
		return false, err
	}
	have, err := hashOf(target)
	if err != nil && !missing {
		return false, err
	}
	if !missing && !always && !slices.Contains(was.Hashes, have) {
		return false, d.note(to, m, name, entry{}) // now it is somebody else's
	}
	if have != want || there.Mode != programMode {
		if err := d.install(source, to, name, m, want); err != nil {
			return false, err
		}
		changed = true
	}
	if there, err = stampOf(target); err != nil {
		return changed, err
	}
	err = d.note(to, m, name, entry{[]string{want}, shipped, there})
	if !changed && slices.Equal(was.Hashes, []string{want}) {
		err = nil // the stamps only spare reading, as on a full disk they do not
	}
	return changed, err
}

func (d disk) install(source, to, name string, m manifest, hash string) error {
	if err := d.note(to, m, name, entry{Hashes: append(slices.Clone(m[name].Hashes), hash)}); err != nil {
		return err
	}
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	return d.put(filepath.Join(to, name), file, programMode)
}

// RemoveBinaries removes from the folder what Binaries put there and nobody
// replaced since, and returns the names. That there is nothing is no error.
func RemoveBinaries(to string) (removed []string, err error) { return disk{}.removeBinaries(to) }

func (d disk) removeBinaries(to string) (removed []string, err error) {
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	done, err := d.open(to)
	if err != nil {
		return nil, fmt.Errorf("remove binaries: %w", err)
	}
	defer done()
	m, err := readManifest(to)
	if err != nil {
		return nil, fmt.Errorf("remove binaries: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		target := filepath.Join(to, name)
		have, err := hashOf(target)
		if err == nil && slices.Contains(m[name].Hashes, have) {
			if err = d.remove(target); err == nil {
				removed = append(removed, name)
			}
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = d.remove(temporary(target))
		}
		if err != nil {
			return removed, fmt.Errorf("remove binary %s: %w", name, err)
		}
	}
	manifest := filepath.Join(to, manifestName) // last: it leads to the rest
	if err := errors.Join(d.remove(temporary(manifest)), d.remove(manifest)); err != nil {
		return removed, fmt.Errorf("remove binaries: %w", err)
	}
	return removed, nil
}
