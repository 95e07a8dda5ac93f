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
)

// Remove takes away the network's chains, entries and sets, also those of an
// installation that never came to its end, and those of the node when no pod
// that needs them is left. Rules of others stay. It needs no configuration; what
// is not there is removed already. ErrLocked is as with Ensure. While the network has
// pods of other nodes, which SyncRemote takes out, its rules are needed for what enters
// here, and all of them stay.
func (f *Firewall) Remove(stateDir, network string) error {
	unlock, err := lock(stateDir, f.patience)
	if err != nil {
		return err
	}
	defer unlock()
	for _, fam := range []family{ipv6, ipv4} { // IPv4's rules are for pods of either
		if err := f.removeFamily(stateDir, network, fam); err != nil {
			return fmt.Errorf("remove the IPv%s rules of network %s: %w", fam.suffix(), network, err)
		}
	}
	return forgetBackend(f, stateDir)
}

// Present reports whether any set of the network is there, and with it possibly
// rules; for "", whether a set that all networks share is. A network without
// masquerade and security groups has none of its own.
func (f *Firewall) Present(network string) (bool, error) {
	names, err := f.sets.names()
	if err != nil {
		return false, err
	}
	for _, fam := range []family{ipv4, ipv6} {
		if network == "" && slices.Contains(names, fam.podSet()) ||
			network != "" && len(setsOf(names, network, fam))+len(judgingSetsOf(names, network, fam)) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// setsOf picks the network's own sets.
func setsOf(names []string, network string, fam family) []string {
	own := exceptSetsOf(names, network, fam)
	if set := masqSet(network, fam); slices.Contains(names, set) {
		own = append(own, set)
	}
	return own
}

func (f *Firewall) removeFamily(stateDir, network string, fam family) error {
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	if has, err := f.hasRemote(network, fam); err != nil || has {
		return err
	}
	n := Network{Name: network, StateDir: stateDir}
	if err := f.removeMasquerade(n, fam, setsOf(names, network, fam)); err != nil {
		return err
	}
	if gone, err := f.removeJudgement(n, fam, judgingSetsOf(names, network, fam), false); err != nil || !gone {
		return err
	}
	if needed, err := f.nodeNeeded(fam); err != nil || needed {
		return err
	}
	return f.removeNode(stateDir, fam, slices.Contains(names, fam.podSet()))
}

// removeMasquerade removes the network's rules, then the sets they matched.
func (f *Firewall) removeMasquerade(n Network, fam family, sets []string) error {
	own := masquerade(n, fam)
	p, err := programOf(n.StateDir, fam, own.name, own.chains[0].name, len(sets) > 0)
	if p == nil || err != nil {
		return err
	}
	if err := f.replaceRules(p, []table{own}, table.renderRemoval); err != nil {
		return err
	}
	return f.destroyAll(sets)
}

// programOf finds the program to remove a table's rules with; nil when there are
// none. Rules cannot exist without the sets that they match, which are
// destroyed last. Without sets there can only be empty chains, left by somebody
// who cleared everything, and only where a backend is recorded. A backend that is
// not installed or cannot list the table is no obstacle then.
func programOf(stateDir string, fam family, table, chain string, sets bool) (*iptables, error) {
	name, err := recordedBackend(stateDir)
	if err != nil || !sets && name == "" {
		return nil, err
	}
	programs, _, err := findBackend(stateDir, []family{fam})
	if err == nil && sets {
		return programs[0], nil
	}
	if err == nil {
		var there bool
		if there, err = programs[0].hasChain(table, chain); there {
			return programs[0], nil
		}
	}
	if sets || errors.Is(err, ErrLocked) {
		return nil, err
	}
	return nil, nil
}

// removeNode removes the rules and the set that all networks share. A pod
// that came meanwhile, relying on the rules, gets them back.
func (f *Firewall) removeNode(stateDir string, fam family, set bool) error {
	node := []table{guard(fam), acceptance(fam)}
	p, err := programOf(stateDir, fam, node[0].name, node[0].chains[0].name, set)
	if p == nil || err != nil {
		return err
	}
	if err := f.replaceRules(p, node, table.renderRemoval); err != nil {
		return err
	}
	f.step("destroy " + fam.podSet())
	f.awaitUnused(fam.podSet())
	needed, err := f.nodeNeeded(fam)
	if err != nil {
		return err
	}
	if needed {
		if err := f.sets.create(fam.podSet(), hashIP, fam); err != nil {
			return err
		}
		return f.replaceRules(p, node, table.render)
	}
	return f.destroyUnused(fam.podSet())
}

// awaitUnused waits until the kernel has let the removed rules go: only then
// does Ensure see that they are missing.
func (f *Firewall) awaitUnused(set string) {
	for range destroyPolls {
		if h, err := f.sets.header(set); err != nil || h.references == 0 {
			return
		}
		time.Sleep(destroyPoll)
	}
}

// nodeNeeded reports whether a pod is left that needs the node's rules of the
// family, one with an address of it, for IPv4 any pod, or a network whose
// judgement builds on them.
func (f *Firewall) nodeNeeded(fam family) (bool, error) {
	if _, err := f.sets.header(judgedSet(fam)); !noSuchSet(err) {
		return err == nil, err
	}
	held := []family{fam}
	if fam == ipv4 {
		held = []family{ipv4, ipv6}
	}
	for _, g := range held {
		h, err := f.sets.header(g.podSet())
		if err != nil && !noSuchSet(err) {
			return false, err
		}
		if h.members > 0 {
			return true, nil
		}
	}
	return false, nil
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
