package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Remove takes away the network's chains, entries and sets, and those of the
// node when no pod of any network is left in a family's set of pods. Rules of
// others stay. It needs no configuration; what is not there is removed already.
func (f *Firewall) Remove(stateDir, network string) error {
	unlock, err := lock(stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	for _, fam := range []family{ipv4, ipv6} {
		if err := f.removeFamily(stateDir, network, fam); err != nil {
			return fmt.Errorf("remove the IPv%s rules of network %s: %w", fam.suffix(), network, err)
		}
	}
	return forgetBackend(f, stateDir)
}

// removeFamily goes by the sets: rules cannot exist without the sets that
// they match, and sets are destroyed last.
func (f *Firewall) removeFamily(stateDir, network string, fam family) error {
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	n := Network{Name: network, StateDir: stateDir, Masquerade: true}
	own := exceptSetsOf(names, network, fam)
	if set := masqSet(network, fam); slices.Contains(names, set) {
		own = append(own, set)
	}
	if len(own) > 0 {
		if err := f.removeMasquerade(n, fam, own); err != nil {
			return err
		}
	}
	if empty, err := f.nodeSetEmpty(fam); err != nil || !empty {
		return err
	}
	return f.removeNode(stateDir, fam)
}

// removeMasquerade removes the network's rules, then the sets they matched.
func (f *Firewall) removeMasquerade(n Network, fam family, sets []string) error {
	programs, _, err := findBackend(n.StateDir, []family{fam})
	if err != nil {
		return err
	}
	if err := f.replaceRules(programs[0], []table{masquerade(n, fam)}, table.renderRemoval); err != nil {
		return err
	}
	for _, set := range sets {
		f.step("destroy " + set)
		if err := f.destroyUnused(set); err != nil {
			return err
		}
	}
	return nil
}

// removeNode removes the rules and the set that all networks share. A pod
// that came meanwhile, relying on the rules, gets them back.
func (f *Firewall) removeNode(stateDir string, fam family) error {
	programs, _, err := findBackend(stateDir, []family{fam})
	if err != nil {
		return err
	}
	node := []table{guard(fam), acceptance(fam)}
	if err := f.replaceRules(programs[0], node, table.renderRemoval); err != nil {
		return err
	}
	f.step("destroy " + fam.podSet())
	f.awaitUnused(fam.podSet())
	if h, err := f.sets.header(fam.podSet()); err == nil && h.members > 0 {
		return f.replaceRules(programs[0], node, table.render)
	}
	return f.destroyUnused(fam.podSet())
}

// awaitUnused waits until the kernel has let the removed rules go: only then
// does Ensure see that they are missing.
func (f *Firewall) awaitUnused(set string) {
	for deadline := time.Now().Add(destroyWait); time.Now().Before(deadline); time.Sleep(destroyPoll) {
		if h, err := f.sets.header(set); err != nil || h.references == 0 {
			return
		}
	}
}

// nodeSetEmpty reports whether the family's set of pods is there without members.
func (f *Firewall) nodeSetEmpty(fam family) (bool, error) {
	h, err := f.sets.header(fam.podSet())
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && h.members == 0, err
}

// forgetBackend lets the node's next rules choose their backend anew once
// nothing of the old ones is left.
func forgetBackend(f *Firewall, stateDir string) error {
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "vnet-") {
			return nil
		}
	}
	err = os.Remove(filepath.Join(stateDir, backendFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the recorded iptables backend: %w", err)
	}
	return nil
}
