package firewall

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// judgingSetsOf picks the sets that judge the network's pods, lists of sets before
// the sets that they may hold.
func judgingSetsOf(names []string, network string, fam family) []string {
	var out []string
	for _, start := range []string{contentSets(network), groupSets(network), asgSets(network)} {
		for _, name := range names {
			if strings.HasPrefix(name, start) && strings.HasSuffix(name, "-"+fam.suffix()) {
				out = append(out, name)
			}
		}
	}
	for _, name := range []string{memberSet(network, fam), ownGroupSet(network, fam)} {
		if slices.Contains(names, name) {
			out = append(out, name)
		}
	}
	return out
}

// EndJudging removes the security groups of a network that goes on without: what
// its pods send and receive passes from then on.
func (f *Firewall) EndJudging(stateDir, network string, pods func() ([]Pod, error)) error {
	unlock, err := lock(stateDir, f.patience)
	if err != nil {
		return err
	}
	defer unlock()
	living, err := pods()
	if err != nil {
		return err
	}
	for _, p := range living {
		for _, a := range p.Addrs { // or the node-wide chains would drop it for want of a network
			known := scopeOf(p.Foreign).judgedSet(familyOf(a))
			if p.Remote {
				known = farSet(familyOf(a))
			}
			if err := f.sets.remove(known, single(a.Unmap())); err != nil {
				return err
			}
		}
	}
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	for _, fam := range []family{ipv6, ipv4} {
		if _, err := f.removeJudgement(Network{Name: network, StateDir: stateDir}, fam, judgingSetsOf(names, network, fam), true); err != nil {
			return fmt.Errorf("remove the IPv%s security groups of network %s: %w", fam.suffix(), network, err)
		}
	}
	return nil
}

// removeJudgement removes what judges the network's pods: the rules, then the
// sets they matched, and what all networks share once no other one is judged. It
// gives up, with gone false, when a pod turns up that is judged, unless its network
// is one that goes on without: such a pod is dropped then, until the rules are
// installed again.
func (f *Firewall) removeJudgement(n Network, fam family, sets []string, without bool) (gone bool, err error) {
	p, err := programOf(n.StateDir, fam, "mangle", networkChains(n.Name)[0], len(sets) > 0)
	if err != nil {
		return false, err
	}
	if p != nil {
		if gone, err := f.removeJudgingRules(n, p, without); err != nil || !gone {
			return false, err
		}
	}
	return true, f.destroyJudgingSets(fam, sets)
}

func (f *Firewall) destroyJudgingSets(fam family, sets []string) error {
	for _, set := range sets {
		f.step("destroy " + set)
		if err := f.destroyOrLeave(set); err != nil {
			return err
		}
	}
	for _, s := range scopes {
		if err := f.destroyShared(s, fam); err != nil {
			return err
		}
	}
	return nil
}

// destroyShared destroys the sets of a scope that no network of it needs any more.
func (f *Firewall) destroyShared(s scope, fam family) error {
	if s == foreignPods { // to the set of their interfaces there may be no reference at all
		h, err := f.sets.header(foreignSet(fam))
		if err != nil && !noSuchSet(err) || h.references > 0 || h.members > 0 {
			return err
		}
	}
	for _, set := range s.sharedSets(fam) {
		f.step("destroy " + set)
		h, err := f.sets.header(set)
		if noSuchSet(err) {
			continue
		}
		// Who is left in a set beside that of the judged, without a rule, is of no network.
		if err != nil || h.references > 0 || h.members > 0 && set == s.judgedSet(fam) {
			return err
		}
		if err := f.destroyOrLeave(set); err != nil {
			return err
		}
	}
	return nil
}

// removeJudgingRules removes the way to the network's chains first, which leaves
// its pods to be dropped: one that relied on the rules until then shows as a member
// by now. Only without any goes the rest.
func (f *Firewall) removeJudgingRules(n Network, p *iptables, without bool) (gone bool, err error) {
	now, err := f.restoreWithout(p, func(now saved) (string, error) {
		for _, s := range now.scopes() {
			if err := f.sets.create(s.judgedSet(p.family), hashIP, p.family); err != nil { // the rules match it
				return "", err
			}
		}
		return renderJudgementRemoval(n.Name, p.family, now), nil
	})
	if err != nil {
		return false, err
	}
	if !without {
		h, err := f.sets.header(memberSet(n.Name, p.family))
		if err != nil && !noSuchSet(err) || h.members > 0 {
			return false, err
		}
	}
	for _, s := range now.scopes() {
		if now.leadsElsewhere(s, n.Name) {
			continue
		}
		_, err := f.restoreWithout(p, func(now saved) (string, error) { return renderScopeRemoval(s, p.family, now), nil })
		if err != nil {
			return false, err
		}
		for _, set := range s.sharedSets(p.family) {
			f.awaitUnused(set)
		}
	}
	return true, nil
}

// restoreWithout restores what render makes of the table as it is, and returns the
// table as it was.
func (f *Firewall) restoreWithout(p *iptables, render func(now saved) (string, error)) (saved, error) {
	var err error
	for range restoreTries {
		var now saved
		if now, err = p.save("mangle"); err != nil {
			return saved{}, err
		}
		f.step("remove groups")
		input, failed := render(now)
		if failed != nil {
			return saved{}, failed
		}
		if err = p.restore(input); !refused(err) {
			return now, err
		}
	}
	return saved{}, err
}

// scopes are those whose node-wide chains, some of them, are there.
func (s saved) scopes() []scope {
	var there []scope
	for _, of := range scopes {
		if slices.ContainsFunc(of.nodeChains(), func(chain string) bool { return slices.Contains(s.chains, chain) }) {
			there = append(there, of)
		}
	}
	return there
}

// leadsElsewhere reports whether pods of another network of the scope are judged.
func (s saved) leadsElsewhere(of scope, network string) bool {
	return len(s.otherNetworks(of.side(network, nsg.Inbound)))+len(s.otherNetworks(of.side(network, nsg.Outbound))) > 0
}

// renderScopeRemoval writes the input that removes the node-wide chains of a scope
// and the entries to them.
func renderScopeRemoval(s scope, fam family, now saved) string {
	t := table{name: "mangle", entries: s.entries(fam), removed: s.nodeChains()}
	for i := range t.entries {
		t.entries[i].rules = nil
	}
	return t.render(now.ownEntries(t))
}

// renderJudgementRemoval writes the input that removes the network's chains, and the
// way there, in whichever scope that is.
func renderJudgementRemoval(network string, fam family, now saved) string {
	t := table{name: "mangle"}
	for _, of := range now.scopes() {
		for _, d := range []nsg.Direction{nsg.Outbound, nsg.Inbound} {
			s := of.side(network, d)
			t.chains = append(t.chains, chain{name: s.node, rules: append(now.otherNetworks(s), s.lastly(fam))})
		}
		if of == ownPods {
			t.chains = append(t.chains, chain{name: strayChain, rules: slices.Concat(strayExceptions(), now.otherStrays(network))})
		}
	}
	t.removed = networkChains(network)
	for _, name := range now.chains {
		if ofGroups(network, name) {
			t.removed = append(t.removed, name)
		}
	}
	return t.render(nil)
}
