package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// tunnelComment marks the rules of the tunnel's guard: who replaces those of
// networks leaves them alone.
const tunnelComment = comment + "-tunnel"

const (
	peerSetStart   = "vnet-peers-"
	peerReferences = 8 // of the rules of tunnelGuard to their set
)

// peerSet names the set of the nodes' addresses by the tunnel's port, too: so its
// references tell that the rules are for this port.
func peerSet(port uint16, f family) string {
	return peerSetStart + strconv.Itoa(int(port)) + "-" + f.suffix()
}

// GuardTunnel lets nobody but nodes send to the tunnel's UDP port: what its packets
// carry comes out behind the guard against spoofed sources and behind security
// groups. nodes are the addresses that the ends of the tunnel have, this node's
// included. IPv4 is always guarded, IPv6 as soon as a node has an address of it.
//
// While the rules are there, it brings the set of the nodes up to date and starts no
// program; else it installs them under a lock in the state directory, with ErrLocked
// as with Ensure. It tells whether anything was changed.
//
// A packet with a node's address as its source must not come from anybody else: that
// is up to the network between the nodes.
func (f *Firewall) GuardTunnel(stateDir string, port uint16, nodes []netip.Addr) (changed bool, err error) {
	if port == 0 {
		return false, errors.New("guard the tunnel: it has no port")
	}
	var errs []error
	for _, fam := range []family{ipv4, ipv6} {
		one, err := f.guardFamily(stateDir, port, fam, peersOf(nodes, fam))
		changed = changed || one
		if err != nil {
			errs = append(errs, fmt.Errorf("guard the tunnel's port %d in IPv%s: %w", port, fam.suffix(), err))
		}
	}
	return changed, errors.Join(errs...)
}

// GuardsAnother tells whether the port of a tunnel is guarded that is not this one.
// GuardTunnel would end that guard: the tunnel there has to be gone by then.
func (f *Firewall) GuardsAnother(port uint16) (bool, error) {
	for _, fam := range []family{ipv4, ipv6} {
		sets, err := f.peerSets(fam)
		if err != nil {
			return false, fmt.Errorf("look which ports are guarded: %w", err)
		}
		if slices.ContainsFunc(sets, func(name string) bool { return name != peerSet(port, fam) }) {
			return true, nil
		}
	}
	return false, nil
}

// UnguardTunnel undoes GuardTunnel. Nothing there is success, and starts no program.
func (f *Firewall) UnguardTunnel(stateDir string) error {
	for _, fam := range []family{ipv6, ipv4} {
		if _, err := f.unguard(stateDir, fam); err != nil {
			return fmt.Errorf("end the guard of the tunnel in IPv%s: %w", fam.suffix(), err)
		}
	}
	return nil
}

// peersOf picks the addresses of a family, each once.
func peersOf(nodes []netip.Addr, fam family) []netip.Addr {
	var out []netip.Addr
	for _, a := range nodes {
		if a = a.Unmap().WithZone(""); a.IsValid() && familyOf(a) == fam {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// tunnelGuard is the rules. Before the packets of pods get the node's address, it
// drops what is not from node to node; on arrival also what is for an address that
// no tunnel has, for by then a pod's packet can have its node's address. Translated
// to a node is only what somebody leads there through a service, which can give it a
// node's address, too. Errors about the tunnel's packets are dropped if they are a pod's:
// its word on how large a packet may be would hold for all that goes to that node.
func tunnelGuard(port uint16, f family) table {
	number := strconv.Itoa(int(port))
	of := func(what string, matches ...string) string {
		for _, m := range matches {
			what += " -m " + m
		}
		return what + " -m comment --comment " + tunnelComment + " -j DROP"
	}
	drop := func(matches ...string) string { return of("-p udp -m udp --dport "+number, matches...) }
	peers := "--match-set " + peerSet(port, f)
	from, notFrom := "set "+peers+" src", "set ! "+peers+" src"
	to, notTo := "set "+peers+" dst", "set ! "+peers+" dst"
	const translated = "conntrack --ctstate DNAT"
	icmp := "icmp"
	if f == ipv6 {
		icmp = "ipv6-icmp"
	}
	lies := of("-i vnet+ -p "+icmp, "conntrack --ctstate RELATED --ctproto 17 --ctorigdstport "+number, notFrom)
	return table{name: "mangle", entries: []entries{
		{base: "FORWARD", first: true, mark: tunnelComment, rules: []string{drop(to, notFrom), drop(to, translated), lies}},
		{base: "INPUT", first: true, mark: tunnelComment, rules: []string{drop(notFrom), drop(notTo), drop(from, translated), lies}},
	}}
}

func (f *Firewall) guardFamily(stateDir string, port uint16, fam family, peers []netip.Addr) (changed bool, err error) {
	if fam == ipv6 && len(peers) == 0 {
		return f.unguard(stateDir, fam)
	}
	set := peerSet(port, fam)
	fault, err := f.setFault(wantedSet{name: set, references: peerReferences})
	if err != nil {
		return false, err
	}
	if fault == "" {
		return f.setPeers(set, peers)
	}
	unlock, err := lock(stateDir, f.patience)
	if err != nil {
		return false, err
	}
	defer unlock()
	return true, f.installGuard(stateDir, port, fam, peers)
}

// installGuard fills the set before rules match it, and takes away that of another
// port after them.
func (f *Firewall) installGuard(stateDir string, port uint16, fam family, peers []netip.Addr) error {
	programs, err := f.programsFor(stateDir, []family{fam})
	if err != nil {
		return err
	}
	set := peerSet(port, fam)
	f.step("create " + set)
	if err := f.sets.create(set, hashIP, fam); err != nil {
		return err
	}
	f.step("fill " + set)
	if _, err := f.setPeers(set, peers); err != nil {
		return err
	}
	if err := f.replaceRules(programs[0], []table{tunnelGuard(port, fam)}, table.render); err != nil {
		return err
	}
	sets, err := f.peerSets(fam)
	if err != nil {
		return err
	}
	return f.destroyAll(slices.DeleteFunc(sets, func(name string) bool { return name == set }))
}

// setPeers makes the set have these members and no others.
func (f *Firewall) setPeers(set string, peers []netip.Addr) (changed bool, err error) {
	have, err := f.sets.members(set)
	if err != nil {
		return false, err
	}
	var requests []nlsock.Request
	for _, a := range peers {
		if !have[a] {
			requests = append(requests, f.sets.addition(set, single(a)))
		}
		delete(have, a)
	}
	for a := range have {
		requests = append(requests, f.sets.removal(set, a))
	}
	return len(requests) > 0, f.sets.do(requests)
}

// peerSets lists the sets of the nodes' addresses, of whatever port.
func (f *Firewall) peerSets(fam family) ([]string, error) {
	names, err := f.sets.names()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, peerSetStart) || !strings.HasSuffix(name, "-"+fam.suffix())
	}), nil
}

// unguard removes the rules, then the sets they matched: without sets there are none.
func (f *Firewall) unguard(stateDir string, fam family) (changed bool, err error) {
	sets, err := f.peerSets(fam)
	if err != nil || len(sets) == 0 {
		return false, err
	}
	unlock, err := lock(stateDir, f.patience)
	if err != nil {
		return false, err
	}
	defer unlock()
	programs, _, err := findBackend(stateDir, []family{fam})
	if err != nil {
		return false, err
	}
	if err := f.replaceRules(programs[0], []table{tunnelGuard(0, fam)}, table.renderRemoval); err != nil { // whatever the port
		return true, err
	}
	if err := f.destroyAll(sets); err != nil {
		return true, err
	}
	return true, forgetBackend(f, stateDir)
}
