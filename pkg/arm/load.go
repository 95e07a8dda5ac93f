package arm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// MaxFile is the size of the largest file that is read, in bytes. The service
// tags' download, the largest document that Azure has, is about 4 MB.
const MaxFile = 64 << 20

// Load reads files and folders. A file is read whatever it is called, but must
// be a regular one. Of a folder, its own *.json and *.jsonc are read in the
// order of their names, through symbolic links (Kubernetes mounts a ConfigMap
// as links into a hidden folder); hidden files, others, and folders in it are
// not looked at. What cannot be read is an error among the Findings.
//
// Templates among them have the defaults of their parameters, and placeholders for
// where they are deployed: LoadWith is told better.
func Load(paths []string) *Documents { return LoadWith(paths, Deployment{}) }

func (d *Documents) load(paths []string) {
	for _, path := range paths {
		from := resolved(path)
		files, folder, err := documents(from)
		if err != nil {
			d.unreadable(path, err)
		}
		if folder && err == nil && len(files) == 0 {
			d.Findings = append(d.Findings, nsg.Finding{
				Severity: nsg.Warning, Code: EmptyFolder, File: path, Message: "the folder has no *.json and no *.jsonc file",
			})
		}
		for _, f := range files {
			name := path
			if folder {
				name = filepath.Join(path, filepath.Base(f))
			}
			d.loadFile(name, f)
		}
	}
	d.settle()
	d.findPeers()
}

// resolved is where the path of a folder leads to at this moment: one that is a link
// may lead elsewhere before all of its files are read. Anything else is what it is.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil && isFolder(path) {
		return real
	}
	return path
}

// Files returns what Load would read of a path, and a folder itself: when none of
// these changed, Load has nothing new to say.
func Files(path string) ([]string, error) {
	files, folder, err := documents(path)
	if err != nil {
		return nil, fmt.Errorf("list the documents in %s: %w", path, err)
	}
	if folder {
		return append([]string{path}, files...), nil
	}
	return files, nil
}

// documents lists the files that a path stands for: itself, or the documents of a
// folder.
func documents(path string) (files []string, folder bool, err error) {
	if !isFolder(path) {
		return []string{path}, false, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, true, err
	}
	for _, e := range entries {
		if file := filepath.Join(path, e.Name()); isDocument(e.Name()) && !isFolder(file) {
			files = append(files, file)
		}
	}
	return files, true, nil
}

// isDocument goes by a file's name. Editors' backups (x.json~, x.json.bak,
// #x.json#) end in something else, and their swap files are hidden.
func isDocument(name string) bool {
	ending := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (strings.EqualFold(ending, ".json") || strings.EqualFold(ending, ".jsonc"))
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// loadFile reads a document that is known by a path from where it is.
func (d *Documents) loadFile(path, from string) {
	data, err := readFile(from)
	if err != nil {
		d.unreadable(path, err)
		return
	}
	d.read(path, data)
}

// readFile reads one byte beyond the limit at most: Read tells of the excess.
// Opening does not wait, or a pipe without a writer would hold up a plugin.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(file, MaxFile+1))
}

func (d *Documents) unreadable(path string, err error) {
	d.Findings = append(d.Findings, nsg.Finding{Severity: nsg.Error, Code: Unreadable, File: path, Message: err.Error()})
}
