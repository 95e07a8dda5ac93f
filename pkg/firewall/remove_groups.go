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
			if err := f.sets.remove(judgedSet(familyOf(a)), single(a.Unmap())); err != nil {
				return err
			}
		}
	}
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	for _, fam := range []family{ipv6, ipv4} {
		if err := f.removeJudgement(Network{Name: network, StateDir: stateDir}, fam, judgingSetsOf(names, network, fam)); err != nil {
			return fmt.Errorf("remove the IPv%s security groups of network %s: %w", fam.suffix(), network, err)
		}
	}
	return nil
}

// removeJudgement removes what judges the network's pods: the rules, then the
// sets they matched, and what all networks share once no other one is judged.
func (f *Firewall) removeJudgement(n Network, fam family, sets []string) error {
	p, err := programOf(n.StateDir, fam, "mangle", sideOf(n.Name, nsg.Inbound).network, len(sets) > 0)
	if err != nil {
		return err
	}
	if p != nil {
		if err := f.removeJudgingRules(n, p); err != nil {
			return err
		}
	}
	for _, set := range sets {
		f.step("destroy " + set)
		if err := f.destroyOrLeave(set); err != nil {
			return err
		}
	}
	// The set of the judged goes last: it tells that the others are needed.
	for _, set := range []string{entrySet(fam), judgedSet(fam)} {
		f.step("destroy " + set)
		h, err := f.sets.header(set)
		if noSuchSet(err) {
			continue
		}
		if err != nil || h.members+h.references > 0 {
			return err
		}
		if err := f.destroyOrLeave(set); err != nil {
			return err
		}
	}
	return nil
}

func (f *Firewall) removeJudgingRules(n Network, p *iptables) error {
	var err error
	for range restoreTries {
		var now saved
		if now, err = p.save("mangle"); err != nil {
			return err
		}
		f.step("remove groups")
		if err = p.restore(renderJudgementRemoval(n.Name, p.family, now)); !refused(err) {
			if err == nil && !now.leadsElsewhere(n.Name) {
				f.awaitUnused(judgedSet(p.family))
			}
			return err
		}
	}
	return err
}

// leadsElsewhere reports whether pods of another network are judged.
func (s saved) leadsElsewhere(network string) bool {
	return len(s.otherNetworks(sideOf(network, nsg.Inbound)))+len(s.otherNetworks(sideOf(network, nsg.Outbound))) > 0
}

// renderJudgementRemoval writes the input that removes the network's chains, and
// without any other network also the node-wide ones and the entries to them.
func renderJudgementRemoval(network string, fam family, now saved) string {
	t := table{name: "mangle"}
	in, out := sideOf(network, nsg.Inbound), sideOf(network, nsg.Outbound)
	stale := []chain{}
	if !now.leadsElsewhere(network) {
		t.entries = judgedEntries(fam)
		for i := range t.entries {
			t.entries[i].rules = nil
		}
		stale = append(stale, chain{name: forwardChain}, chain{name: out.node}, chain{name: in.node}, chain{name: strayChain})
	} else {
		for _, s := range []side{out, in} {
			t.chains = append(t.chains, chain{name: s.node, rules: append(now.otherNetworks(s), s.lastly(fam))})
		}
		t.chains = append(t.chains, chain{name: strayChain, rules: slices.Concat(strayExceptions(), now.otherStrays(network))})
	}
	for _, name := range networkChains(network) {
		stale = append(stale, chain{name: name})
	}
	for _, name := range now.chains {
		if ofGroups(network, name) {
			stale = append(stale, chain{name: name})
		}
	}
	return withRemoved(t.render(now.ownEntries(t)), stale)
}
