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
			known := judgedSet(familyOf(a))
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
	p, err := programOf(n.StateDir, fam, "mangle", sideOf(n.Name, nsg.Inbound).network, len(sets) > 0)
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
	// The set of the judged goes last: it tells that the others are needed.
	for _, set := range []string{farSet(fam), entrySet(fam), judgedSet(fam)} {
		f.step("destroy " + set)
		h, err := f.sets.header(set)
		if noSuchSet(err) {
			continue
		}
		// Who is left in the set of other nodes' pods without a rule is of no network.
		if err != nil || h.references > 0 || h.members > 0 && set != farSet(fam) {
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
	if err := f.sets.create(judgedSet(p.family), hashIP, p.family); err != nil { // the rules match it
		return false, err
	}
	now, err := f.restoreWithout(n.Name, p, false)
	if err != nil {
		return false, err
	}
	if !without {
		h, err := f.sets.header(memberSet(n.Name, p.family))
		if err != nil && !noSuchSet(err) || h.members > 0 {
			return false, err
		}
	}
	if now.leadsElsewhere(n.Name) {
		return true, nil
	}
	if _, err := f.restoreWithout(n.Name, p, true); err != nil {
		return false, err
	}
	for _, set := range []string{farSet(p.family), judgedSet(p.family)} {
		f.awaitUnused(set)
	}
	return true, nil
}

// restoreWithout removes the network's chains, and with node those that no network
// needs any more. It returns the table as it was.
func (f *Firewall) restoreWithout(network string, p *iptables, node bool) (saved, error) {
	var err error
	for range restoreTries {
		var now saved
		if now, err = p.save("mangle"); err != nil {
			return saved{}, err
		}
		f.step("remove groups")
		if err = p.restore(renderJudgementRemoval(network, p.family, now, node)); !refused(err) {
			return now, err
		}
	}
	return saved{}, err
}

// leadsElsewhere reports whether pods of another network are judged.
func (s saved) leadsElsewhere(network string) bool {
	return len(s.otherNetworks(sideOf(network, nsg.Inbound)))+len(s.otherNetworks(sideOf(network, nsg.Outbound))) > 0
}

// renderJudgementRemoval writes the input that removes the network's chains; with
// node instead the node-wide ones and the entries to them.
func renderJudgementRemoval(network string, fam family, now saved, node bool) string {
	t := table{name: "mangle"}
	in, out := sideOf(network, nsg.Inbound), sideOf(network, nsg.Outbound)
	if node {
		t.entries = judgedEntries(fam)
		for i := range t.entries {
			t.entries[i].rules = nil
		}
		t.removed = []string{forwardChain, out.node, in.node, strayChain}
		return t.render(now.ownEntries(t))
	}
	for _, s := range []side{out, in} {
		t.chains = append(t.chains, chain{name: s.node, rules: append(now.otherNetworks(s), s.lastly(fam))})
	}
	t.chains = append(t.chains, chain{name: strayChain, rules: slices.Concat(strayExceptions(), now.otherStrays(network))})
	t.removed = networkChains(network)
	for _, name := range now.chains {
		if ofGroups(network, name) {
			t.removed = append(t.removed, name)
		}
	}
	return t.render(nil)
}
