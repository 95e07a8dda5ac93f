package policy

import (
	"fmt"
	"os"
	"syscall"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

// stamp tells whether a file is still the one that was read.
type stamp struct {
	Path    string `json:"path"`
	Inode   uint64 `json:"inode"`
	Size    int64  `json:"size"`
	Written int64  `json:"written"` // nanoseconds
	Changed int64  `json:"changed"` // of the inode: also where somebody set back the time of writing
}

// stamps looks at the documents and the folders that they are in, without reading
// them.
func stamps(paths []string) ([]stamp, error) {
	var out []stamp
	for _, path := range paths {
		files, err := arm.Files(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			s, err := stampOf(f)
			if err != nil {
				return nil, fmt.Errorf("look at document %s: %w", f, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	s := stamp{Path: path, Size: info.Size(), Written: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Inode, s.Changed = sys.Ino, sys.Ctim.Nano()
	}
	return s, nil
}
