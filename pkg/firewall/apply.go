package firewall

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// judge puts the network's policies in force: sets first, then per family all
// chains in one restore, so that a packet meets either the old rules or the new
// ones, and last the removal of what no rule uses any more.
func (f *Firewall) judge(n Network, programs []*iptables) error {
	policies, err := n.Judging.Load()
	if err != nil {
		return err
	}
	if err := distinct(policies); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	var counted []Count
	for _, p := range programs {
		more, err := f.judgeFamily(n, p, policies)
		if err != nil {
			return fmt.Errorf("install the IPv%s security groups of network %s: %w", p.family.suffix(), n.Name, err)
		}
		counted = append(counted, more...)
	}
	if err := f.flush(policies); err != nil {
		return err
	}
	f.step("in force")
	if policies.InForce == nil {
		return nil
	}
	return policies.InForce(counted)
}

// distinct makes sure that no two groups share their chains.
func distinct(p *Policies) error {
	seen := map[string]string{}
	for _, key := range append(slices.Sorted(maps.Keys(p.Interfaces)), SubnetKey) {
		short := program.Hash(key)[:groupHash]
		if other, taken := seen[short]; taken {
			return fmt.Errorf("security groups %s and %s have the same hash: rename one", other, key)
		}
		seen[short] = key
	}
	return nil
}

func (f *Firewall) judgeFamily(n Network, p *iptables, policies *Policies) ([]Count, error) {
	j := judgementOf(n.Name, policies, p.family)
	if err := f.makeMemberSets(n.Name, policies, p.family); err != nil {
		return nil, err
	}
	for _, s := range j.sets {
		if err := f.makeSet(s, p.family); err != nil {
			return nil, err
		}
	}
	if err := f.admitAll(n, policies.Pods, p.family); err != nil {
		return nil, err
	}
	counted, err := f.restoreJudgement(n.Name, p, j.table)
	if err != nil {
		return nil, err
	}
	f.step("sweep groups")
	return counted, f.sweepGroups(n.Name, policies, j.sets, p.family)
}

// makeMemberSets creates the sets that pods are members of.
func (f *Firewall) makeMemberSets(network string, p *Policies, fam family) error {
	names := []string{judgedSet(fam), memberSet(network, fam), ownGroupSet(network, fam)}
	for key := range p.Interfaces {
		names = append(names, groupSet(network, key, fam))
	}
	for _, name := range names {
		f.step("create " + name)
		if err := f.sets.create(name, hashIP, fam); err != nil {
			return err
		}
	}
	return nil
}

// makeSet creates a set that rules match and fills it, unless it is one that pods
// are members of.
func (f *Firewall) makeSet(s *program.Set, fam family) error {
	f.step("create " + s.Name)
	switch s.Type {
	case program.NetSet:
		return errors.Join(f.sets.create(s.Name, hashNet, fam), f.sets.addAll(s.Name, s.Prefixes))
	case program.PortSet:
		return errors.Join(f.sets.create(s.Name, ports, fam), f.sets.addPorts(s.Name, s.Ports))
	case program.ASGList:
		for _, m := range s.Members {
			if err := f.sets.create(m, hashIP, fam); err != nil {
				return err
			}
		}
		return errors.Join(f.sets.create(s.Name, list, fam), f.sets.addSets(s.Name, s.Members))
	}
	return f.sets.create(s.Name, hashIP, fam)
}

// admitAll makes the network's living pods members, as far as they are not.
func (f *Firewall) admitAll(n Network, pods []Pod, fam family) error {
	f.step("admit pods")
	members := map[string][]netip.Prefix{}
	for _, p := range pods {
		sets, asgs := p.membership(n.Name, fam)
		for _, a := range p.Addrs {
			if familyOf(a) != fam {
				continue
			}
			for _, s := range slices.Concat(sets, asgs) {
				members[s] = append(members[s], single(a.Unmap()))
			}
		}
	}
	for _, set := range slices.Sorted(maps.Keys(members)) {
		if err := f.sets.create(set, hashIP, fam); err != nil {
			return err
		}
		if err := f.sets.addAll(set, members[set]); err != nil {
			return err
		}
	}
	return nil
}

// restoreJudgement replaces the network's part of the table and returns what its
// rules had counted.
func (f *Firewall) restoreJudgement(network string, p *iptables, t table) ([]Count, error) {
	var err error
	for range restoreTries {
		var now saved
		if now, err = p.save(t.name); err != nil {
			return nil, err
		}
		f.step("restore groups")
		if err = p.restore(renderJudgement(network, p.family, t, now)); !refused(err) {
			return now.counts(network), err
		}
	}
	return nil, err
}

// renderJudgement writes the input that turns the table as it is into one with
// the network's chains. The node-wide chains keep the way to other networks; what
// they lead nowhere is dropped.
func renderJudgement(network string, f family, t table, now saved) string {
	for _, d := range []nsg.Direction{nsg.Outbound, nsg.Inbound} {
		s := sideOf(network, d)
		ways := append(now.otherNetworks(s), s.dispatch(network, f))
		slices.Sort(ways) // the same rules for the same networks
		t.chains = append(t.chains, chain{name: s.node, rules: append(ways, rule("", "DROP"))})
	}
	var stale []chain
	for _, name := range now.chains {
		known := slices.ContainsFunc(t.chains, func(c chain) bool { return c.name == name })
		if ofGroups(network, name) && !known {
			stale = append(stale, chain{name: name})
		}
	}
	return withRemoved(t.render(now.ownEntries(t)), stale)
}

// withRemoved makes the input remove chains that nothing leads to any more.
func withRemoved(input string, stale []chain) string {
	var flush, remove strings.Builder
	for _, c := range stale {
		flush.WriteString(":" + c.name + " - [0:0]\n")
		remove.WriteString("-X " + c.name + "\n")
	}
	head, rest, _ := strings.Cut(input, "\n")
	return head + "\n" + flush.String() + strings.TrimSuffix(rest, "COMMIT\n") + remove.String() + "COMMIT\n"
}

// otherNetworks returns the rules of the side's node-wide chain that lead to the
// chains of other networks.
func (s saved) otherNetworks(of side) []string {
	var out []string
	for _, r := range s.in(of.node) {
		fields := strings.Fields(r)
		target := slices.Index(fields, "-g")
		if target < 0 || target+1 == len(fields) || fields[target+1] == of.network {
			continue
		}
		out = append(out, r)
	}
	return out
}

// ownEntries returns our rules in the chains of others, for each of the table's
// entries.
func (s saved) ownEntries(t table) [][]string {
	own := make([][]string, len(t.entries))
	for i, e := range t.entries {
		for _, r := range s.in(e.base) {
			if e.owns(r) {
				own[i] = append(own[i], r)
			}
		}
	}
	return own
}

// counts returns what the rules of the network's groups have counted, of each
// group, direction and rule once. The key of a group is as in the chain's name.
func (s saved) counts(network string) []Count {
	sums := map[Count]*Count{}
	var order []Count
	for _, r := range s.rules {
		id, ok := countOf(network, r)
		if !ok {
			continue
		}
		if sums[id] == nil {
			sums[id] = &Count{Group: id.Group, Direction: id.Direction, Rule: id.Rule}
			order = append(order, id)
		}
		sums[id].Packets += r.packets
		sums[id].Bytes += r.bytes
	}
	out := make([]Count, 0, len(order))
	for _, id := range order {
		out = append(out, *sums[id])
	}
	return out
}

// countOf tells which rule of a group a rule of the kernel is for.
func countOf(network string, r savedRule) (Count, bool) {
	rest, ok := strings.CutPrefix(r.chain, groupChains(network))
	if !ok || len(rest) < groupHash+2 {
		return Count{}, false
	}
	fields := strings.Fields(r.text)
	i := slices.Index(fields, "--comment")
	if i < 0 || i+1 == len(fields) {
		return Count{}, false
	}
	c := Count{Group: rest[:groupHash], Direction: nsg.Inbound, Rule: strings.Trim(fields[i+1], `"`)}
	if rest[groupHash+1] == 'O' {
		c.Direction = nsg.Outbound
	}
	return c, true
}

// CountedGroup is what stands in a Count for the group with the key.
func CountedGroup(key string) string { return program.Hash(key)[:groupHash] }

// sweepGroups destroys the network's sets that no rule matches and no pod is a
// member of. Lists go first: they hold on to the sets in them.
func (f *Firewall) sweepGroups(network string, p *Policies, wanted []*program.Set, fam family) error {
	keep := map[string]bool{}
	for _, s := range wanted {
		keep[s.Name] = true
	}
	for key := range p.Interfaces {
		keep[groupSet(network, key, fam)] = true
	}
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	for _, start := range []string{contentSets(network), groupSets(network), asgSets(network)} {
		for _, name := range names {
			if !strings.HasPrefix(name, start) || !strings.HasSuffix(name, "-"+fam.suffix()) || keep[name] {
				continue
			}
			if err := f.sweepSet(name, start == asgSets(network)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepSet destroys a set; one of an application security group only when it is
// empty, for its members may be asked for by later rules, and is left alone while
// a list holds it.
func (f *Firewall) sweepSet(name string, asg bool) error {
	if !asg {
		return f.destroyOrLeave(name)
	}
	h, err := f.sets.header(name)
	if err != nil || h.members > 0 || h.references > 0 {
		return unlessNoSuchSet(err)
	}
	if err := f.sets.destroy(name); err != nil && !errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY)) {
		return err
	}
	return nil
}

func unlessNoSuchSet(err error) error {
	if noSuchSet(err) {
		return nil
	}
	return err
}
