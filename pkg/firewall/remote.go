package firewall

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// SyncRemote makes the network's sets have the listed pods of other nodes, and nobody
// who is not listed: it adds pods of other nodes that are missing, creating sets where
// there are none, and then takes out of each set whoever does not belong to it. It
// starts no program. It returns how many members it added and removed.
//
// It must run within Alone, and so must whatever changes what list returns: then
// nobody puts pods into sets that are on the list no more. The rules of groups that
// nobody had before come with the next Ensure; until then what enters here for such
// a pod is dropped.
func (f *Firewall) SyncRemote(network string, list func() ([]Pod, error)) (changed int, err error) {
	names, err := f.sets.names()
	if err != nil {
		return 0, err
	}
	var have [2]memberships // before the list: a pod of this node has its lease before it is in a set
	fams := []family{ipv4, ipv6}
	for i, fam := range fams {
		if have[i], err = f.memberships(names, network, fam); err != nil {
			return 0, err
		}
	}
	pods, err := list()
	if err != nil {
		return 0, fmt.Errorf("list the pods of network %s: %w", network, err)
	}
	for i, fam := range fams {
		added, err := f.addRemote(network, have[i], pods, fam)
		if changed += added; err != nil {
			return changed, fmt.Errorf("add pods of other nodes to network %s: %w", network, err)
		}
	}
	// Again: a pod of this node may have got one of the addresses meanwhile. Whoever has
	// no lease by now had none when the sets were listed.
	if pods, err = list(); err != nil {
		return changed, fmt.Errorf("list the pods of network %s: %w", network, err)
	}
	for i, fam := range fams {
		removed, err := f.removeStale(names, network, have[i], pods, fam)
		if changed += removed; err != nil {
			return changed, fmt.Errorf("take pods of other nodes out of network %s: %w", network, err)
		}
	}
	return changed, nil
}

// memberships are the members of sets, by the sets' names.
type memberships map[string]map[netip.Addr]bool

func (m memberships) add(set string, a netip.Addr) {
	if m[set] == nil {
		m[set] = map[netip.Addr]bool{}
	}
	m[set][a] = true
}

// memberships lists who is in the sets of the network that pods are members of, and
// in that of other nodes' pods.
func (f *Firewall) memberships(names []string, network string, fam family) (memberships, error) {
	sets := memberSetsOf(names, network, fam)
	if slices.Contains(names, farSet(fam)) {
		sets = append(sets, farSet(fam))
	}
	m := memberships{}
	for _, set := range sets {
		list, err := f.sets.members(set)
		if err != nil {
			return nil, err
		}
		m[set] = list
	}
	return m, nil
}

// membershipsOf are the sets that the pods' addresses of a family belong to, and for
// which addresses that is not all.
func membershipsOf(network string, pods []Pod, fam family) (m memberships, lost map[netip.Addr]bool) {
	m, lost = memberships{}, map[netip.Addr]bool{}
	setsOf := setsOfPods(network, fam)
	for _, p := range pods {
		for _, a := range p.Addrs {
			if familyOf(a) != fam {
				continue
			}
			for _, set := range setsOf(p) {
				m.add(set, a.Unmap())
			}
			if p.Lost {
				lost[a.Unmap()] = true
			}
		}
	}
	return m, lost
}

// setsOfPods returns a function that names all sets of a pod. Thousands share the few
// groups whose hashes it takes to name them.
func setsOfPods(network string, fam family) func(Pod) []string {
	known := map[string][]string{}
	return func(p Pod) []string {
		like := fmt.Sprint(p.Remote, p.Group, p.ASGs)
		if known[like] == nil {
			sets, asgs := p.membership(network, fam)
			known[like] = slices.Concat(sets, asgs)
		}
		return known[like]
	}
}

// addRemote adds the pods of other nodes to the sets that lack them, first to the one
// by which AddPod finds out that an address was another node's.
func (f *Firewall) addRemote(network string, have memberships, pods []Pod, fam family) (added int, err error) {
	var first, rest []nlsock.Request
	setsOf := setsOfPods(network, fam)
	for _, p := range pods {
		if !p.Remote {
			continue
		}
		for _, a := range p.Addrs {
			if a = a.Unmap(); familyOf(a) != fam {
				continue
			}
			for _, set := range setsOf(p) {
				if have[set][a] {
					continue
				}
				to := &rest
				if set == farSet(fam) {
					to = &first
				}
				if have[set] == nil {
					*to = append(*to, f.sets.creation(set, hashIP, fam))
				}
				have.add(set, a)
				*to = append(*to, f.sets.addition(set, single(a)))
				added++
			}
		}
	}
	return added, f.sets.do(append(first, rest...))
}

// removeStale takes out whoever is in a set and should not be.
func (f *Firewall) removeStale(names []string, network string, have memberships, pods []Pod, fam family) (removed int, err error) {
	want, lost := membershipsOf(network, pods, fam)
	far := farSet(fam)
	var requests []nlsock.Request
	for _, set := range slices.Sorted(maps.Keys(have)) { // as in leaveOthers
		for a := range have[set] {
			if set != far && !want[set][a] && !lost[a] {
				requests = append(requests, f.sets.removal(set, a))
			}
		}
	}
	var last []nlsock.Request
	var others map[netip.Addr]bool
	for a := range have[far] {
		if want[far][a] {
			continue
		}
		if others == nil {
			if others, err = f.membersOfOthers(names, network, fam); err != nil {
				return 0, err
			}
		}
		if !others[a] {
			last = append(last, f.sets.removal(far, a))
		}
	}
	requests = append(requests, last...)
	return len(requests), f.sets.do(requests)
}

// membersOfOthers are the pods of the node's other networks.
func (f *Firewall) membersOfOthers(names []string, network string, fam family) (map[netip.Addr]bool, error) {
	all := map[netip.Addr]bool{}
	for _, name := range names {
		if !strings.HasPrefix(name, memberSetStart) || !strings.HasSuffix(name, "-"+fam.suffix()) || name == memberSet(network, fam) {
			continue
		}
		members, err := f.sets.members(name)
		if err != nil {
			return nil, err
		}
		for a := range members {
			all[a] = true
		}
	}
	return all, nil
}

// evict takes an address that a pod of this node has got out of what it was in as
// another node's: with both, the old owner's groups would judge the new one.
func (f *Firewall) evict(a netip.Addr) error {
	fam := familyOf(a)
	in, err := f.sets.contains(farSet(fam), single(a))
	if err != nil || !in {
		return unlessNoSuchSet(err)
	}
	names, err := f.sets.names()
	if err != nil {
		return err
	}
	var requests []nlsock.Request
	for _, start := range []string{memberSetStart, ownGroupSetStart, groupSetStart, asgSetStart} { // of whichever network
		for _, name := range names {
			if strings.HasPrefix(name, start) && strings.HasSuffix(name, "-"+fam.suffix()) {
				requests = append(requests, f.sets.removal(name, a))
			}
		}
	}
	return f.sets.do(append(requests, f.sets.removal(farSet(fam), a)))
}

// hasRemote reports whether the network has pods of other nodes.
func (f *Firewall) hasRemote(network string, fam family) (bool, error) {
	members, err := f.sets.members(memberSet(network, fam))
	if err != nil || len(members) == 0 {
		return false, unlessNoSuchSet(err)
	}
	far, err := f.sets.members(farSet(fam))
	for a := range far {
		if members[a] {
			return true, nil
		}
	}
	return false, unlessNoSuchSet(err)
}

// missingRemote describes the sets that lack members when some of the pods are other
// nodes'. There can be many of these: it counts instead of asking for each.
func (f *Firewall) missingRemote(n Network, pods []Pod) ([]string, error) {
	if n.Judging == nil || !slices.ContainsFunc(pods, func(p Pod) bool { return p.Remote }) {
		return nil, nil
	}
	headers, err := f.sets.list("list the ipsets", "", flagListHeader)
	if err != nil {
		return nil, err
	}
	want := map[string]uint32{}
	for _, fam := range []family{ipv4, ipv6} {
		setsOf := setsOfPods(n.Name, fam)
		for _, p := range pods {
			for _, a := range p.Addrs {
				if familyOf(a) != fam {
					continue
				}
				for _, set := range setsOf(p) {
					want[set]++
				}
			}
		}
	}
	for _, h := range headers {
		if h.members >= want[h.name] {
			delete(want, h.name)
		}
	}
	var missing []string
	for _, set := range slices.Sorted(maps.Keys(want)) {
		missing = append(missing, fmt.Sprintf("ipset %s lacks some of %d members", set, want[set]))
	}
	return missing, nil
}

// members lists who is in a set of addresses; unix.ENOENT when there is no such set.
func (s *sets) members(name string) (map[netip.Addr]bool, error) {
	all := map[netip.Addr]bool{}
	err := s.entries(name, func(entry []byte) {
		if a, ok := parseMember(entry); ok {
			all[a] = true
		}
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// entries calls visit with the attributes of each entry of a set.
func (s *sets) entries(name string, visit func(entry []byte)) error {
	messages, err := s.conn.Dump(s.request("list the members of ipset "+name, nl.IPSET_CMD_LIST, name))
	if err != nil {
		return s.named(err)
	}
	for _, m := range messages {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		for typ, entries := range nlsock.Attributes(m[nl.SizeofNfgenmsg:]) {
			if typ != nl.IPSET_ATTR_ADT {
				continue
			}
			for _, entry := range nlsock.Attributes(entries) {
				visit(entry)
			}
		}
	}
	return nil
}

// parseMember reads the address of an entry.
func parseMember(entry []byte) (netip.Addr, bool) {
	for typ, ip := range nlsock.Attributes(entry) {
		if typ != nl.IPSET_ATTR_IP {
			continue
		}
		for _, value := range nlsock.Attributes(ip) {
			return netip.AddrFromSlice(value)
		}
	}
	return netip.Addr{}, false
}
