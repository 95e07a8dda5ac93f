package nodefiles

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
)

// manifestName is the file that tells which binaries of a folder are ours. Runtimes
// look for plugins by name, so that it disturbs nobody.
const manifestName = ".vnet-cni"

// manifest has what is known of each binary that was put into a folder.
type manifest map[string]entry

// entry is one binary. While it is being replaced it has the hashes of both and no
// stamps.
type entry struct {
	Hashes []string `json:"sha256"`
	Source stamp    `json:"source,omitzero"` // the two files, as they were when
	Target stamp    `json:"target,omitzero"` // they were found to be the same
}

// stamp tells whether a file is still the one that was read.
type stamp struct {
	Device  uint64      `json:"device"`
	Inode   uint64      `json:"inode"`
	Size    int64       `json:"size"`
	Mode    fs.FileMode `json:"mode"`
	Changed int64       `json:"changed"` // of the inode: also where somebody set back the time of writing
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	s := stamp{Size: info.Size(), Mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Device, s.Inode, s.Changed = sys.Dev, sys.Ino, sys.Ctim.Nano()
	}
	return s, nil
}

// readManifest reads what was noted of a folder. A manifest that nobody can make
// sense of is as good as none: then nothing in the folder is known to be ours.
func readManifest(dir string) (manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the list of our binaries: %w", err)
	}
	m := manifest{}
	if json.Unmarshal(data, &m) != nil || m == nil {
		m = manifest{}
	}
	return m, nil
}

// note makes the manifest have this of a binary; without hashes, that it is not ours.
func (d disk) note(dir string, m manifest, name string, e entry) error {
	if reflect.DeepEqual(m[name], e) {
		return nil
	}
	m[name] = e
	if len(e.Hashes) == 0 {
		delete(m, name)
	}
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the list of our binaries: %w", err)
	}
	_, err = d.update(filepath.Join(dir, manifestName), append(content, '\n'))
	return err
}

func hashOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
