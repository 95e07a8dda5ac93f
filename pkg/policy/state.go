package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// The files of a network in the state directory.
const (
	stateSuffix    = ".nsg"          // what is in force
	rejectedSuffix = ".nsg-rejected" // documents that were not taken, and why
)

// format is raised when a file of an older version of this program cannot be read.
const format = 1

// making is raised when other rules, sets or routes are made of the same documents than
// before, or of some that were not taken: after an upgrade the next verb puts its own in
// force.
const making = 2

// index is the first line of the state file: what a verb has to know when nothing
// changed. The second line is the contents.
type index struct {
	Format int      `json:"format"`
	Making int      `json:"making,omitempty"` // of what is in force
	Config Config   `json:"config"`
	Stamps []stamp  `json:"stamps"`
	Subnet string   `json:"subnet,omitempty"` // key of the subnet's group
	Used   []string `json:"used,omitempty"`   // keys of the groups of interfaces that are in force

	RouteTable string         `json:"routeTable,omitempty"` // id or name of the one that Routes are from
	Routes     []routes.Route `json:"routes,omitempty"`     // what pods' packets take beside the node's own

	Groups []groupName `json:"groups"`
}

// isOf reports whether this version made what is in force, of documents with the stamps.
func (i index) isOf(c Config, seen []stamp) bool {
	return i.Making == making && i.Config.equal(c) && slices.Equal(i.Stamps, seen)
}

// groupName is how a group can be called.
type groupName struct {
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
	File string `json:"file,omitempty"`
}

// contents is everything else: the documents' groups, what their tags mean, what
// rules that were replaced had counted, and the routes for questions about them.
type contents struct {
	Groups         []nsg.Definition          `json:"groups"`
	VirtualNetwork []netip.Prefix            `json:"virtualNetwork"`
	Services       map[string][]netip.Prefix `json:"services,omitempty"`
	Counted        []firewall.Count          `json:"counted,omitempty"`

	// Effective are the routes of the pods' subnet, and RouteWarnings what is odd about
	// its table. Earlier versions wrote none, and there is never a subnet without.
	Effective     nexthop.Routes `json:"effective,omitempty"`
	RouteWarnings []nsg.Finding  `json:"routeWarnings,omitempty"`

	made map[string]*nsg.Policy // by key, as they were asked for
}

func statePath(stateDir, network string) string {
	return filepath.Join(stateDir, network+stateSuffix)
}

// Exists reports whether security groups are in force in the network.
func Exists(stateDir, network string) bool {
	_, err := os.Lstat(statePath(stateDir, network))
	return err == nil
}

// readIndex reads the first line. A file that is not there, or that nobody can
// make sense of, is as good as none: then the documents are read.
func readIndex(stateDir, network string) (i index, found bool) {
	file, err := os.Open(statePath(stateDir, network))
	if err != nil {
		return index{}, false
	}
	defer file.Close()
	line, err := firstLine(file)
	if err != nil || json.Unmarshal(line, &i) != nil || i.Format != format {
		return index{}, false
	}
	return i, true
}

// firstLine reads up to the first newline, in pieces: the rest may be large.
func firstLine(r io.Reader) ([]byte, error) {
	var line []byte
	part := make([]byte, 8<<10)
	for {
		n, err := r.Read(part)
		if at := bytes.IndexByte(part[:n], '\n'); at >= 0 {
			return append(line, part[:at]...), nil
		}
		line = append(line, part[:n]...)
		if err != nil {
			return nil, err
		}
	}
}

// readState reads the whole file.
func readState(stateDir, network string) (index, *contents, error) {
	data, err := os.ReadFile(statePath(stateDir, network))
	if err != nil {
		return index{}, nil, fmt.Errorf("read the rules in force of network %s: %w", network, err)
	}
	var i index
	c := &contents{}
	first, second, _ := bytes.Cut(data, []byte("\n"))
	if err := errors.Join(json.Unmarshal(first, &i), json.Unmarshal(second, c)); err != nil {
		return index{}, nil, fmt.Errorf("read the rules in force of network %s: %w", network, err)
	}
	return i, c, nil
}

// writeState replaces the file by renaming, so that no reader finds half of it.
func writeState(stateDir, network string, i index, c *contents) error {
	first, err := json.Marshal(i)
	if err != nil {
		return err
	}
	second, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return writeFile(statePath(stateDir, network), slices.Concat(first, []byte("\n"), second, []byte("\n")))
}

func writeFile(path string, data []byte) error {
	err := os.WriteFile(path+".new", data, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new") // gives a full disk its space back
		return fmt.Errorf("write the rules in force: %w", err)
	}
	return nil
}

// rejection is what is remembered of documents that were not taken.
type rejection struct {
	Config Config  `json:"config"`
	Making int     `json:"making,omitempty"` // of who did not take them
	Stamps []stamp `json:"stamps"`
	Reason string  `json:"reason"`
	ByPods bool    `json:"byPods,omitempty"` // it may be over when a pod goes
}

func (r rejection) equal(o rejection) bool {
	return r.isOf(o.Config, o.Stamps) && r.Making == o.Making && r.Reason == o.Reason && r.ByPods == o.ByPods
}

// isOf reports whether the documents with the stamps were not taken.
func (r rejection) isOf(c Config, seen []stamp) bool {
	return r.Config.equal(c) && slices.Equal(r.Stamps, seen)
}

func readRejection(stateDir, network string) (r rejection, found bool) {
	data, err := os.ReadFile(filepath.Join(stateDir, network+rejectedSuffix))
	return r, err == nil && json.Unmarshal(data, &r) == nil
}

// Rejected returns why the documents of today are not in force in the network;
// "" when they are.
func Rejected(stateDir, network string) string {
	r, _ := readRejection(stateDir, network)
	return r.Reason
}

// Networks lists the networks of the state directory whose pods are judged.
func Networks(stateDir string) ([]string, error) {
	entries, err := os.ReadDir(stateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for networks with security groups: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), stateSuffix); ok && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	return names, nil
}

// Forget removes what is known of a network whose rules are gone.
func Forget(stateDir, network string) error {
	for _, suffix := range []string{stateSuffix, stateSuffix + ".new", rejectedSuffix} {
		if err := os.Remove(filepath.Join(stateDir, network+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget the rules of network %s: %w", network, err)
		}
	}
	return nil
}
