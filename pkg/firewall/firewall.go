// Package firewall keeps the node's packet filter rules for pods: the guard
// against spoofed sources, the judgement by network security groups, the
// acceptance of pods in spite of a DROP policy, the masquerading of a
// network's traffic to the outside, and the guard of the tunnel between nodes.
//
// Pods that other main plugins attached are foreign: they are judged, known by their
// addresses alone, and nothing else is done to them.
//
// Rules are static and speak of sets; pods come and go as members of these
// sets. Whether the rules are in place is told by the sets' reference counts,
// so that a verb which finds them there sends a few netlink requests and
// starts no program.
//
// It knows iptables and ipset in the current network namespace. It must not
// know the lease store, the configuration format or the CNI protocol.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Network is what the rules need to know of a network.
type Network struct {
	Name     string
	StateDir string // holds the lock of installations and the recorded backend

	IPv4, IPv6 bool // families of the network's pools

	Masquerade bool           // traffic of its pods to the outside gets the node's address
	Except     []netip.Prefix // both families; never masqueraded to

	// Foreign says that the pods are another main plugin's: they are judged, and nothing
	// else is done to their packets. A network's name is for one of the two kinds.
	Foreign bool

	Judging *Judging // by security groups; nil: whatever its pods send and receive passes

	// Pods lists the addresses of the network's living pods, NodePods those of
	// all networks of the node. They are asked when rules are installed, so that
	// sets which somebody destroyed are full again before a rule relies on them:
	// the network's own sets with Pods, those that all networks share with
	// NodePods. Without NodePods, Pods is asked for both; both may be nil.
	Pods     func() ([]netip.Addr, error)
	NodePods func() ([]netip.Addr, error)
}

// Firewall is a handle on the packet filter of one network namespace.
type Firewall struct {
	sets     *sets
	step     func(name string) // called before each step of a change; tests interrupt there
	patience time.Duration     // with whoever holds the lock of installations
}

// Open opens a handle on the current network namespace, which costs one
// socket. Ensure, Usable and Remove start programs in the namespace of the
// calling thread: it must be the same one whenever they are called.
func Open() (*Firewall, error) {
	s, err := openSets()
	if err != nil {
		return nil, err
	}
	return &Firewall{sets: s, step: func(string) {}, patience: lockDeadline}, nil
}

// Close releases the handle's socket.
func (f *Firewall) Close() { f.sets.close() }

// Ensure makes the network's rules and sets complete. When they are, it sends a
// request for each set whose references tell of rules, and starts no program; else
// it installs them under a lock in the state directory. The node's IPv4 rules
// belong to every network.
//
// When a lock is not to be had in time, errors.Is(err, ErrLocked) holds.
//
// A network that no longer masquerades keeps its old rules until Remove, but
// AddPod makes no pod subject to them any more.
func (f *Firewall) Ensure(n Network) error {
	if n.Judging != nil && n.Judging.Listing != nil {
		n.Judging.Listing.Drift = nil
	}
	need, err := f.needed(n)
	if err != nil || need == nothing {
		return err
	}
	return f.install(n, need)
}

// AddPod makes the addresses a pod's: it may send, is accepted, judged with the
// network's judging and masqueraded with its masquerade. Repeating it is harmless.
// Without the sets, which Ensure creates, errors.Is(err, unix.ENOENT) holds. An address
// that was another node's pod's until now is nobody else's any more.
//
// Ensure has to follow, also where it came before: only then is it sure that
// nobody took the rules of the pod's group away before it was known as a member.
func (f *Firewall) AddPod(n Network, p Pod) error {
	for _, a := range p.Addrs {
		a = a.Unmap()
		fam := familyOf(a)
		sets, asgs := podSets(n, p, fam)
		if n.Judging != nil && !p.Remote {
			if err := f.evict(a); err != nil {
				return fmt.Errorf("network %s: %w", n.Name, err)
			}
		}
		for _, set := range asgs {
			if err := f.sets.create(set, hashIP, fam); err != nil {
				return fmt.Errorf("network %s: %w", n.Name, err)
			}
		}
		// What lets packets pass comes last: at no moment is a pod judged by less
		// than all of its groups.
		slices.Reverse(sets)
		for _, set := range slices.Concat(asgs, sets) {
			if err := f.sets.add(set, single(a)); err != nil {
				return fmt.Errorf("network %s: %w", n.Name, err)
			}
		}
		if err := f.sets.do(f.nearAdditions(p, a)); err != nil {
			return fmt.Errorf("network %s: %w", n.Name, err)
		}
	}
	return nil
}

// Admit is AddPod for all pods that are listed, for sets that somebody emptied, and
// SyncRemote for those of other nodes. A pod whose sets are not there has just come:
// its own ADD makes them.
func (f *Firewall) Admit(n Network, list func() ([]Pod, error)) error {
	return f.Alone(n.StateDir, func() error {
		pods, err := list()
		if err != nil {
			return err
		}
		for _, p := range pods {
			if p.Remote {
				continue
			}
			if err := f.AddPod(n, p); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		if n.Judging == nil {
			return nil
		}
		_, err = f.SyncRemote(n.Name, list)
		return err
	})
}

// RemovePod undoes AddPod whatever the network's configuration is by now. An
// address or a set that is not there is success, and so is a kernel without ipset.
func (f *Firewall) RemovePod(network string, p Pod) error {
	var errs []error
	for _, a := range p.Addrs {
		a = a.Unmap()
		sets, asgs := podSets(Network{Name: network, Masquerade: true, Judging: &Judging{}}, p, familyOf(a))
		if p.Lost {
			every, err := f.membersOf(network, familyOf(a))
			errs, asgs = append(errs, err), every
		}
		for _, set := range slices.Concat(sets, asgs) {
			if err := f.sets.remove(set, single(a)); err != nil {
				errs = append(errs, fmt.Errorf("network %s: %w", network, err))
			}
		}
		if err := f.removeNear(p, a); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", network, err))
		}
	}
	return errors.Join(errs...)
}

// membersOf names all sets that a judged pod of the network can be a member of.
func (f *Firewall) membersOf(network string, fam family) ([]string, error) {
	names, err := f.sets.names()
	if err != nil {
		return nil, err
	}
	return memberSetsOf(names, network, fam), nil
}

// memberSetsOf picks the sets of the network that pods are members of.
func memberSetsOf(names []string, network string, fam family) []string {
	return slices.DeleteFunc(judgingSetsOf(names, network, fam), func(name string) bool {
		return strings.HasPrefix(name, contentSets(network))
	})
}

// Problems tells what is missing for the network and for the pods: rules, sets or
// membership. Without pods it is about the network only. It changes nothing and
// starts no program.
//
// Of pods of other nodes it says which sets have fewer members than they and the other
// pods given; SyncRemote repairs more.
//
// It takes any set of exceptions that rules of the network use for the right
// one: a network's exceptions change while its pods live.
func (f *Firewall) Problems(n Network, pods ...Pod) ([]string, error) {
	problems, err := f.faults(n, func(want wantedSet) (string, error) {
		if want.typ == hashNet {
			return f.exceptFault(n, want)
		}
		return f.setFault(want)
	})
	if err != nil {
		return nil, err
	}
	if n.Judging != nil {
		emptied, err := f.emptied(n.Name)
		if err != nil {
			return nil, err
		}
		problems = append(problems, emptied...)
	}
	missing, err := f.missingRemote(n, pods)
	if err != nil {
		return nil, err
	}
	problems = append(problems, missing...)
	for _, p := range pods {
		if p.Remote {
			continue
		}
		for _, a := range p.Addrs {
			missing, err := f.missing(n, p, a.Unmap())
			if err != nil {
				return nil, err
			}
			problems = append(problems, missing...)
		}
	}
	return problems, nil
}

// emptied describes the network's sets of what rules speak of that somebody
// emptied: none is made without members.
func (f *Firewall) emptied(network string) ([]string, error) {
	headers, err := f.sets.list("list the ipsets", "", flagListHeader)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, h := range headers {
		if strings.HasPrefix(h.name, contentSets(network)) && h.members == 0 {
			problems = append(problems, fmt.Sprintf("ipset %s is empty", h.name))
		}
	}
	return problems, nil
}

// missing describes the sets that a pod's address should be in and is not.
func (f *Firewall) missing(n Network, p Pod, a netip.Addr) ([]string, error) {
	var missing []string
	sets, asgs := podSets(n, p, familyOf(a))
	for _, set := range slices.Concat(sets, asgs) {
		in, err := f.sets.contains(set, single(a))
		switch {
		case err != nil && !errors.Is(err, unix.ENOENT):
			return nil, err
		case !in:
			missing = append(missing, fmt.Sprintf("%s is not in ipset %s", a, set))
		}
	}
	for _, d := range p.Devices {
		in, err := f.near(a, d)
		if err != nil {
			return nil, err
		}
		if !in {
			missing = append(missing, fmt.Sprintf("%s on %s is not in ipset %s", a, d, nearSet(familyOf(a))))
		}
	}
	return missing, nil
}

// podSets names the sets that a pod's address of the family belongs to, and apart
// from them those of its application security groups.
func podSets(n Network, p Pod, f family) (sets, asgs []string) {
	if p.Remote || p.Foreign {
		return p.membership(n.Name, f)
	}
	sets = []string{f.podSet()}
	if n.Masquerade {
		sets = append(sets, masqSet(n.Name, f))
	}
	if n.Judging != nil {
		judged, groups := p.membership(n.Name, f)
		return append(sets, judged...), groups
	}
	return sets, nil
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// faults describes every set with a fault.
func (f *Firewall) faults(n Network, faultOf func(wantedSet) (string, error)) ([]string, error) {
	var faults []string
	for _, fam := range n.families() {
		for _, want := range wantedSets(n, fam) {
			fault, err := faultOf(want)
			if err != nil {
				return nil, err
			}
			if fault != "" {
				faults = append(faults, fault)
			}
		}
	}
	return faults, nil
}

// exceptFault is setFault for a set of exceptions, in whose place another one of
// the network will do.
func (f *Firewall) exceptFault(n Network, want wantedSet) (string, error) {
	fault, err := f.setFault(want)
	if err != nil || fault == "" {
		return "", err
	}
	names, err := f.sets.names()
	if err != nil {
		return "", err
	}
	for _, name := range exceptSetsOf(names, n.Name, want.family) {
		if name == want.name {
			continue
		}
		h, err := f.sets.header(name)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return "", err
		}
		if h.references >= want.references {
			return "", nil
		}
	}
	return fault, nil
}

// setFault compares one set with what it should be. More references than
// expected are no fault: the node's owner may use the set in rules of his own.
func (f *Firewall) setFault(want wantedSet) (string, error) {
	is, err := f.sets.header(want.name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Sprintf("ipset %s does not exist", want.name), nil
	case err != nil:
		return "", err
	case is.references < want.references:
		return fmt.Sprintf("ipset %s is used by %d rules instead of %d", want.name, is.references, want.references), nil
	case int(is.members) < len(want.members):
		return fmt.Sprintf("ipset %s has %d members instead of %d", want.name, is.members, len(want.members)), nil
	}
	return "", nil
}
