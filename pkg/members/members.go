// Package members keeps the file that tells a node which pods other nodes have and
// in which groups they are: <stateDir>/NAME.members. An agent writes it, whole and
// by renaming; whoever makes rules reads it.
//
// A file that cannot be read is an error that names it, never an empty list: rules
// that are made without the pods of other nodes would lack members of application
// security groups that a rule denies. So long as nobody has to make rules nobody
// reads the file, and the sets keep what they hold; an ADD that has to make them
// fails until the agent has written the file again, or somebody has removed it.
//
// It must not know sets, leases or how an agent learns of pods.
package members

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// suffix ends the file's name, behind the network's.
const suffix = ".members"

// Member is a pod of another node.
type Member struct {
	Addrs []netip.Addr `json:"addrs"`
	Group string       `json:"group,omitempty"` // key of the security group of its interface, as pkg/policy has it; "": none
	ASGs  []string     `json:"asgs,omitempty"`  // its application security groups, in lower case
}

func path(stateDir, network string) string { return filepath.Join(stateDir, network+suffix) }

// Read returns the members; none where there is no file. Other errors name the file.
func Read(stateDir, network string) ([]Member, error) {
	data, err := os.ReadFile(path(stateDir, network))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the pods of other nodes: %w", err)
	}
	var list []Member
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read the pods of other nodes: %s: %w", path(stateDir, network), err)
	}
	if i := slices.IndexFunc(list, func(m Member) bool { return len(usable(m.Addrs)) != len(m.Addrs) }); i >= 0 {
		return nil, fmt.Errorf("read the pods of other nodes: %s: no pod can have all of the addresses %v", path(stateDir, network), list[i].Addrs)
	}
	return list, nil
}

// Write replaces the members, unless they are the same in whatever order. What is
// not a pod's is left out: addresses that no pod can have, and those of another
// member before.
func Write(stateDir, network string, list []Member) (changed bool, err error) {
	data, err := json.Marshal(canonical(list))
	if err != nil {
		return false, err
	}
	file := path(stateDir, network)
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return false, fmt.Errorf("make the state directory: %w", err)
	}
	err = os.WriteFile(file+".new", data, 0o600)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		_ = os.Remove(file + ".new") // gives a full disk its space back
		return false, fmt.Errorf("write the pods of other nodes: %w", err)
	}
	return true, nil
}

// Forget removes the file, of a network that is gone.
func Forget(stateDir, network string) error {
	for _, file := range []string{path(stateDir, network), path(stateDir, network) + ".new"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget the pods of other nodes: %w", err)
		}
	}
	return nil
}

// canonical gives equal lists the same bytes.
func canonical(list []Member) []Member {
	taken := map[netip.Addr]bool{}
	out := []Member{}
	for _, m := range list {
		c := Member{Group: strings.ToLower(m.Group)}
		for _, a := range usable(m.Addrs) {
			if !taken[a] {
				taken[a] = true
				c.Addrs = append(c.Addrs, a)
			}
		}
		for _, asg := range m.ASGs {
			c.ASGs = append(c.ASGs, strings.ToLower(asg))
		}
		slices.SortFunc(c.Addrs, netip.Addr.Compare)
		slices.Sort(c.ASGs)
		c.ASGs = slices.Compact(c.ASGs)
		if len(c.Addrs) > 0 {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return a.Addrs[0].Compare(b.Addrs[0]) })
	return out
}

// usable are the addresses that a pod can have, IPv4 as such: a set takes no other.
func usable(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.IsGlobalUnicast() && a.Zone() == "" {
			out = append(out, a)
		}
	}
	return out
}
