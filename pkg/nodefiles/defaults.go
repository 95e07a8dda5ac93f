package nodefiles

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/netconf"
)

// WriteDefaults makes dir hold one file for each namespace, which it is called
// like, with the default as JSON, and no other file. A namespace without a default
// has a file, too: it tells that the namespace is known. It returns how many files
// it wrote or removed, and goes on with the others where one fails.
func WriteDefaults(dir string, namespaces map[string]netconf.Default) (changed int, err error) {
	return disk{}.defaults(dir, namespaces)
}

func (d disk) defaults(dir string, namespaces map[string]netconf.Default) (changed int, err error) {
	done, err := d.open(dir)
	if err != nil {
		return 0, fmt.Errorf("defaults of namespaces: %w", err)
	}
	defer done()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("defaults of namespaces: %w", err)
	}
	var errs []error
	count := func(did bool, err error) {
		if err != nil {
			errs = append(errs, err)
		} else if did {
			changed++
		}
	}
	for _, e := range entries { // first: it makes room
		if _, wanted := namespaces[e.Name()]; !wanted {
			count(true, d.remove(filepath.Join(dir, e.Name())))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		count(d.one(dir, name, namespaces[name]))
	}
	if err := errors.Join(errs...); err != nil {
		return changed, fmt.Errorf("defaults of namespaces: %w", err)
	}
	return changed, nil
}

// one writes the default of one namespace. Kubernetes' names are labels of the
// DNS; anything else does not come from it and could lead out of the folder.
func (d disk) one(dir, namespace string, def netconf.Default) (bool, error) {
	if FileName(namespace) != namespace {
		return false, fmt.Errorf("namespace %q: not a name of a namespace", namespace)
	}
	content, err := json.Marshal(def)
	if err != nil {
		return false, fmt.Errorf("namespace %s: %w", namespace, err)
	}
	return d.update(filepath.Join(dir, namespace), append(content, '\n'))
}
