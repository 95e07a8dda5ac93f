package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// restoreTries bounds how often rules are read and replaced again after
// somebody else changed the same chain in between.
const restoreTries = 5

// Rules of the nf_tables backend let go of their sets a moment after the
// commit that removed them, from a kernel worker. The wait for it, 2 s at least, is
// counted in looks: what did not run this process meanwhile, a host that runs other
// machines first, did not run the worker either.
const (
	destroyPolls = 400
	destroyPoll  = 5 * time.Millisecond
)

// need is how much of a network has to be installed.
type need uint8

const (
	nothing     need = iota
	doubt            // the rules seem whole, but somebody wants to be sure
	newPolicies      // the rules are whole, but not those of today
	everything       // rules or sets are missing
)

// needed tells how much has to be installed.
func (f *Firewall) needed(n Network) (need, error) {
	faults, err := f.faults(n, f.setFault)
	switch {
	case err != nil:
		return nothing, err
	case len(faults) > 0:
		return everything, nil
	case n.stale():
		return newPolicies, nil
	case n.Judging != nil && n.Judging.Anew:
		return doubt, nil
	}
	return nothing, nil
}

// install brings the network's sets and rules into the desired state from
// whatever state they are in. Whoever changes what is whole does it for all others
// of the network, and so looks again before being done.
func (f *Firewall) install(n Network, need need) error {
	patience := f.patience
	if need < everything && !n.Judging.Wait {
		patience = 0
	}
	done, err := lockChange(n, patience)
	if errors.Is(err, ErrLocked) && patience == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	unlock, err := lock(n.StateDir, f.patience)
	if err != nil {
		return err
	}
	defer unlock()
	for range restoreTries {
		need, err := f.needed(n)
		if err != nil || need == nothing {
			return err // perhaps another process did it while this one waited
		}
		if err := f.installLocked(n, need); err != nil || !n.stale() {
			return err
		}
	}
	return nil
}

func (n Network) stale() bool { return n.Judging != nil && n.Judging.Stale != nil && n.Judging.Stale() }

func (f *Firewall) installLocked(n Network, need need) error {
	n, err := n.withFamilies()
	if err != nil {
		return err
	}
	programs, err := f.programsFor(n.StateDir, n.families())
	if err != nil {
		return fmt.Errorf("install the rules of network %s: %w", n.Name, err)
	}
	if need == everything {
		for _, p := range programs {
			if err := f.installFamily(n, p); err != nil {
				return fmt.Errorf("install the IPv%s rules of network %s: %w", p.family.suffix(), n.Name, err)
			}
		}
	}
	if n.Judging == nil {
		return nil
	}
	return f.judgeUnlessWhole(n, need, programs)
}

// judgeUnlessWhole judges the network's pods, unless there was only doubt and a
// listing resolves it. Whatever is missing, a listing tells what was damaged.
func (f *Firewall) judgeUnlessWhole(n Network, need need, programs []*iptables) error {
	if n.Judging.Listing == nil {
		return f.judge(n, programs)
	}
	if need == doubt && n.Judging.Listing.of == "" {
		return f.judgeAndTell(n, programs)
	}
	whole, err := f.compare(n, programs)
	if err != nil || whole && need == doubt {
		return err
	}
	if err := f.judge(n, programs); err != nil || n.Judging.Listing.Once {
		return err
	}
	return f.remember(n, programs)
}

// programsFor finds the programs to install rules of the families with, and records
// their backend.
func (f *Firewall) programsFor(stateDir string, families []family) ([]*iptables, error) {
	programs, unrecorded, err := findBackend(stateDir, families)
	if err != nil {
		return nil, err
	}
	f.step("record")
	if unrecorded == "" {
		return programs, nil
	}
	return programs, recordBackend(stateDir, unrecorded)
}

// withFamilies adds the families of the pods that are there already: the network's
// configuration may have left one.
func (n Network) withFamilies() (Network, error) {
	if n.Judging == nil || n.Judging.Pods == nil {
		return n, nil
	}
	pods, err := n.Judging.Pods()
	if err != nil {
		return n, fmt.Errorf("list the pods of network %s: %w", n.Name, err)
	}
	for _, p := range pods {
		for _, a := range p.Addrs {
			n.IPv4, n.IPv6 = n.IPv4 || familyOf(a) == ipv4, n.IPv6 || familyOf(a) == ipv6
		}
	}
	return n, nil
}

func (f *Firewall) installFamily(n Network, p *iptables) error {
	if err := f.fillSets(n, p.family); err != nil || n.Foreign {
		return err // the rest is what judges them
	}
	if err := f.replaceRules(p, tables(n, p.family), table.render); err != nil {
		return err
	}
	f.step("sweep")
	return f.sweepExceptions(n, p.family)
}

// fillSets creates the sets and adds what belongs to them; they may have been
// created by a process that was killed before it filled them.
func (f *Firewall) fillSets(n Network, fam family) error {
	for _, want := range wantedSets(n, fam) {
		f.step("create " + want.name)
		if err := f.sets.create(want.name, want.typ, want.family); err != nil {
			return err
		}
		for _, p := range want.members {
			f.step("add to " + want.name)
			if err := f.sets.add(want.name, p); err != nil {
				return err
			}
		}
	}
	if n.Foreign {
		return nil // admitAll fills what there is to fill
	}
	return f.fillPods(n, fam)
}

// fillPods adds the living pods to the node's set and to the network's own.
func (f *Firewall) fillPods(n Network, fam family) error {
	unlock, err := lockMembers(n.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	ofNode := n.NodePods
	if ofNode == nil {
		ofNode = n.Pods
	}
	if err := f.fillWith(ofNode, fam, fam.podSet()); err != nil {
		return fmt.Errorf("the pods of the node: %w", err)
	}
	if !n.masquerades(fam) {
		return nil
	}
	if err := f.fillWith(n.Pods, fam, masqSet(n.Name, fam)); err != nil {
		return fmt.Errorf("the pods of the network: %w", err)
	}
	return nil
}

// fillWith adds the listed addresses of the family to the set.
func (f *Firewall) fillWith(list func() ([]netip.Addr, error), fam family, set string) error {
	if list == nil {
		return nil
	}
	addrs, err := list()
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, a := range addrs {
		if familyOf(a) != fam {
			continue
		}
		if err := f.sets.add(set, single(a.Unmap())); err != nil {
			return err
		}
	}
	return nil
}

// replaceRules lists our entries in the built-in chains and replaces them and
// our chains with what write makes of each table, in one restore. A list that
// is out of date makes the restore fail: then it is read again.
func (f *Firewall) replaceRules(p *iptables, tables []table, write func(table, [][]string) string) error {
	var err error
	for range restoreTries {
		var input strings.Builder
		for _, t := range tables {
			old, err := ownEntries(p, t)
			if err != nil {
				return err
			}
			input.WriteString(write(t, old))
		}
		f.step("restore")
		if err = p.restore(input.String()); !refused(err) {
			return err
		}
	}
	return err
}

// refused reports whether iptables-restore found fault with its input, as
// with the removal of a rule that is gone. Waiting for the lock in vain is
// another status, and no reason to wait again.
func refused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 1
}

// ownEntries lists our rules in the chains of others, for each of the table's
// entries.
func ownEntries(p *iptables, t table) ([][]string, error) {
	own := make([][]string, len(t.entries))
	for i, e := range t.entries {
		rules, err := p.chainRules(t.name, e.base)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if e.owns(r) {
				own[i] = append(own[i], r)
			}
		}
	}
	return own, nil
}

// sweepExceptions destroys the network's sets of exceptions with another
// content than the current.
func (f *Firewall) sweepExceptions(n Network, fam family) error {
	if !n.masquerades(fam) {
		return nil
	}
	current := exceptSet(n.Name, fam, exceptions(n.Except, fam))
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	for _, name := range exceptSetsOf(names, n.Name, fam) {
		if name == current {
			continue
		}
		if err := f.destroyUnused(name); err != nil {
			return err
		}
	}
	return nil
}

// exceptSetsOf picks the network's sets of exceptions.
func exceptSetsOf(names []string, network string, fam family) []string {
	var out []string
	for _, name := range names {
		if strings.HasPrefix(name, exceptSetPrefix(network)) && strings.HasSuffix(name, "-"+fam.suffix()) {
			out = append(out, name)
		}
	}
	return out
}

// destroyOrLeave is destroyUnused for a set that may stay: somebody else's rules
// may match it.
func (f *Firewall) destroyOrLeave(name string) error {
	err := f.destroyUnused(name)
	if errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY)) {
		return nil
	}
	return err
}

// destroyUnused destroys a set as soon as no rule uses it any more.
func (f *Firewall) destroyUnused(name string) error {
	return whileBusy(func() error { return f.sets.destroy(name) })
}

// whileBusy repeats what a set's use by rules forbids.
func whileBusy(attempt func() error) error {
	for polls := 0; ; polls++ {
		err := attempt()
		if !errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY)) || polls == destroyPolls {
			return err
		}
		time.Sleep(destroyPoll)
	}
}

// destroyAll destroys sets as soon as no rule uses them any more.
func (f *Firewall) destroyAll(sets []string) error {
	for _, set := range sets {
		f.step("destroy " + set)
		if err := f.destroyUnused(set); err != nil {
			return err
		}
	}
	return nil
}
