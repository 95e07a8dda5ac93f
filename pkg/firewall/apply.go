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
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// judge puts the network's policies in force, those of the pods that come
// meanwhile included: they took the rules that they found for good.
func (f *Firewall) judge(n Network, programs []*iptables) error {
	var counted []Count
	for range restoreTries {
		policies, more, err := f.judgeOnce(n, programs)
		if err != nil {
			return err
		}
		counted = append(counted, more...)
		served, err := policies.serve()
		if err != nil {
			return err
		}
		if served {
			return f.conclude(policies, counted)
		}
	}
	return fmt.Errorf("network %s: pods with new security groups came %d times while the rules were changed", n.Name, restoreTries)
}

// serve reports whether the policies have the groups of all pods of this moment, as
// far as they can be had.
func (p *Policies) serve() (bool, error) {
	pods, err := p.list()
	for _, pod := range pods {
		for _, key := range GroupsOf(pod) {
			given := p.Interfaces[key] != nil || pod.Dispensable(key) && slices.Contains(p.Unusable, key)
			if !given {
				return false, err
			}
		}
	}
	return true, err
}

func (p *Policies) list() ([]Pod, error) {
	if p.List == nil {
		return p.Pods, nil
	}
	return p.List()
}

func (f *Firewall) conclude(p *Policies, counted []Count) error {
	if err := f.flush(p); err != nil {
		return err
	}
	f.step("in force")
	if p.InForce == nil {
		return nil
	}
	return p.InForce(counted)
}

// judgeOnce installs the policies of the pods that there are: sets first, then per
// family all chains in one restore, so that a packet meets either the old rules or
// the new ones, and last the removal of what no rule uses any more. The kernel's
// rules are read while the new ones are made.
func (f *Firewall) judgeOnce(n Network, programs []*iptables) (*Policies, []Count, error) {
	var reading []*saving
	for _, p := range programs {
		s, err := p.startSave("mangle")
		if err != nil {
			return nil, nil, err
		}
		defer s.program.cancel()
		reading = append(reading, s)
	}
	policies, err := n.Judging.Load()
	if err != nil {
		return nil, nil, err
	}
	if err := distinct(policies); err != nil {
		return nil, nil, fmt.Errorf("network %s: %w", n.Name, err)
	}
	var counted []Count
	for i, p := range programs {
		more, err := f.judgeFamily(n, p, policies, reading[i])
		if err != nil {
			return nil, nil, fmt.Errorf("install the IPv%s security groups of network %s: %w", p.family.suffix(), n.Name, err)
		}
		counted = append(counted, more...)
	}
	return policies, counted, nil
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

func (f *Firewall) judgeFamily(n Network, p *iptables, policies *Policies, reading *saving) ([]Count, error) {
	j := judgementOf(n.Name, n.scope(), policies, p.family)
	f.step("create member sets")
	if err := f.makeMemberSets(n, policies, p.family); err != nil {
		return nil, err
	}
	f.step("create sets of rules")
	if err := f.makeSets(j.sets, p.family); err != nil {
		return nil, err
	}
	f.step("admit pods")
	if err := f.admitAll(n, policies, p.family); err != nil {
		return nil, err
	}
	counted, err := f.restoreJudgement(n, p, j, reading)
	if err != nil {
		return nil, err
	}
	f.step("sweep groups")
	return counted, f.sweepGroups(n.Name, policies, j.sets, p.family)
}

// makeMemberSets creates the sets that pods are members of.
func (f *Firewall) makeMemberSets(n Network, p *Policies, fam family) error {
	var requests []nlsock.Request
	for _, name := range append(n.scope().sharedSets(fam), memberSet(n.Name, fam), ownGroupSet(n.Name, fam)) {
		requests = append(requests, f.sets.creation(name, typeOf(name, fam), fam))
	}
	for key := range p.Interfaces {
		requests = append(requests, f.sets.creation(groupSet(n.Name, key, fam), hashIP, fam))
	}
	return f.sets.do(requests)
}

// makeSets creates the sets that rules match and fills them, unless they are of
// those that pods are members of. One that is there already may have been left
// half full by a process that was killed.
func (f *Firewall) makeSets(sets []*program.Set, fam family) error {
	var requests []nlsock.Request
	for _, s := range sets {
		switch s.Type {
		case program.NetSet:
			requests = append(requests, f.sets.creation(s.Name, hashNet, fam))
			requests = append(requests, f.sets.additions(s.Name, s.Prefixes)...)
		case program.PortSet:
			requests = append(requests, f.sets.creation(s.Name, ports, fam))
			requests = append(requests, f.sets.portAdditions(s.Name, s.Ports)...)
		case program.ASGSet:
			requests = append(requests, f.sets.creation(s.Name, hashIP, fam))
		case program.ASGList:
			for _, m := range s.Members {
				requests = append(requests, f.sets.creation(m, hashIP, fam))
			}
			requests = append(requests, f.sets.creation(s.Name, list, fam))
			requests = append(requests, f.sets.setAdditions(s.Name, s.Members)...)
		}
	}
	return f.sets.do(requests)
}

// admitAll makes the network's living pods members, as far as they are not.
func (f *Firewall) admitAll(n Network, p *Policies, fam family) error {
	unlock, err := lockMembers(n.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	pods, err := p.list()
	if err != nil {
		return err
	}
	members := map[string][]netip.Prefix{}
	var near []nlsock.Request
	for _, p := range pods {
		sets, asgs := p.membership(n.Name, fam)
		for _, a := range p.Addrs {
			if familyOf(a) != fam {
				continue
			}
			near = append(near, f.nearAdditions(p, a.Unmap())...)
			for _, s := range slices.Concat(sets, asgs) {
				members[s] = append(members[s], single(a.Unmap()))
			}
		}
	}
	var requests []nlsock.Request
	for _, set := range slices.Sorted(maps.Keys(members)) {
		requests = append(requests, f.sets.creation(set, hashIP, fam))
		requests = append(requests, f.sets.additions(set, members[set])...)
	}
	return f.sets.do(append(requests, near...))
}

// restoreJudgement replaces the network's part of the table, as far as it is not
// the same, and returns what the replaced rules had counted.
func (f *Firewall) restoreJudgement(n Network, p *iptables, j judgement, reading *saving) ([]Count, error) {
	now, err := reading.wait()
	if err != nil {
		return nil, err
	}
	for range restoreTries {
		same := j.unchanged(now, n, p.family)
		f.step("restore groups")
		if err = p.restore(renderJudgement(n.Name, p.family, j, same, now)); !refused(err) {
			return now.counts(n.Name, same), err
		}
		var failed error
		if now, failed = p.save(j.table.name); failed != nil {
			return nil, failed
		}
	}
	return nil, err
}

// unchanged names the programs that the kernel has already, whole: the way there
// carries the hash of what it leads to, and a listing tells of what it led to once.
func (j judgement) unchanged(now saved, n Network, f family) map[string]bool {
	rules := map[string]int{} // of each program in the kernel
	for _, r := range now.rules {
		rules[programOfChain(r.chain)]++
	}
	var hashes map[string]string
	if n.Judging.Listing != nil {
		hashes = now.hashes(n.scope(), n.Name)
	}
	same := map[string]bool{}
	for _, p := range j.programs {
		if p.rules == rules[p.name] && now.leadsTo(p) && n.Judging.Listing.vouchesFor(p, hashes, f) {
			same[p.name] = true
		}
	}
	return same
}

// leadsTo reports whether a rule leads to the program as it is.
func (s saved) leadsTo(p compiled) bool {
	for _, r := range s.rules {
		fields := strings.Fields(r.text)
		if hasOption(fields, "--comment", p.comment()) && (hasOption(fields, "-g", p.entry()) || hasOption(fields, "-j", p.entry())) {
			return true
		}
	}
	return false
}

// renderJudgement writes the input that turns the table as it is into one with
// the network's chains. The node-wide chains keep the way to other networks; what
// they lead nowhere is dropped. Programs that are the same stay.
func renderJudgement(network string, f family, j judgement, same map[string]bool, now saved) string {
	t := j.table
	for _, d := range []nsg.Direction{nsg.Outbound, nsg.Inbound} {
		s := j.scope.side(network, d)
		ways := append(now.otherNetworks(s), s.dispatch(network, f))
		slices.Sort(ways) // the same rules for the same networks
		t.chains = append(t.chains, chain{name: s.node, rules: append(ways, s.lastly(f))})
	}
	if j.scope == ownPods {
		strays := append(now.otherStrays(network), j.strays...)
		slices.Sort(strays)
		t.chains = append(t.chains, forwarding(f), chain{name: strayChain, rules: slices.Concat(strayExceptions(), strays)})
	}
	wanted := map[string]bool{}
	for _, p := range j.programs {
		for _, c := range p.chains {
			wanted[c.name] = true
		}
		if !same[p.name] {
			t.chains = append(t.chains, p.chains...)
		}
	}
	for _, name := range now.chains {
		if ofGroups(network, name) && !wanted[name] {
			t.removed = append(t.removed, name)
		}
	}
	return t.render(now.ownEntries(t))
}

// sweepGroups destroys the network's sets that no rule matches and no pod is a
// member of. Lists go first: they hold on to the sets in them.
func (f *Firewall) sweepGroups(network string, p *Policies, wanted []*program.Set, fam family) error {
	keep := map[string]bool{memberSet(network, fam): true, ownGroupSet(network, fam): true}
	for _, s := range wanted {
		keep[s.Name] = true
	}
	for _, key := range slices.AppendSeq(slices.Clone(p.Unusable), maps.Keys(p.Interfaces)) {
		keep[groupSet(network, key, fam)] = true
	}
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	for _, name := range judgingSetsOf(names, network, fam) {
		if keep[name] {
			continue
		}
		if err := f.sweepSet(name, strings.HasPrefix(name, asgSets(network))); err != nil {
			return err
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
