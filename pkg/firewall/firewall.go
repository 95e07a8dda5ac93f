// Package firewall keeps the node's packet filter rules for pods: the guard
// against spoofed sources, the acceptance of pods in spite of a DROP policy
// and the masquerading of a network's traffic to the outside.
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

// Ensure makes the network's rules and sets complete. When they are, it sends
// one request, with masquerade three, for each family and starts no program;
// else it installs them under a lock in the state directory. The node's IPv4
// rules belong to every network.
//
// When a lock is not to be had in time, errors.Is(err, ErrLocked) holds.
//
// A network that no longer masquerades keeps its old rules until Remove, but
// AddPod makes no pod subject to them any more.
func (f *Firewall) Ensure(n Network) error {
	faults, err := f.faults(n, f.setFault)
	if err != nil || len(faults) == 0 {
		return err
	}
	return f.install(n)
}

// AddPod makes the address a pod's: it may send, is accepted and, with
// masquerade, masqueraded. Repeating it is harmless. Without the set, which
// Ensure creates, errors.Is(err, unix.ENOENT) holds.
func (f *Firewall) AddPod(n Network, a netip.Addr) error {
	a = a.Unmap()
	for _, set := range podSets(n, familyOf(a)) {
		if err := f.sets.add(set, single(a)); err != nil {
			return fmt.Errorf("network %s: %w", n.Name, err)
		}
	}
	return nil
}

// RemovePod undoes AddPod whatever the network's configuration is by now. An
// address or a set that is not there is success, and so is a kernel without ipset.
func (f *Firewall) RemovePod(network string, a netip.Addr) error {
	a = a.Unmap()
	var errs []error
	for _, set := range podSets(Network{Name: network, Masquerade: true}, familyOf(a)) {
		if err := f.sets.remove(set, single(a)); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", network, err))
		}
	}
	return errors.Join(errs...)
}

// Problems tells what is missing for the network and for its pod or pods with
// the addresses: rules, sets or membership. Without addresses it is about the
// network only. It changes nothing and starts no program.
//
// It takes any set of exceptions that rules of the network use for the right
// one: a network's exceptions change while its pods live.
func (f *Firewall) Problems(n Network, addrs []netip.Addr) ([]string, error) {
	problems, err := f.faults(n, func(want wantedSet) (string, error) {
		if want.typ == hashNet {
			return f.exceptFault(n, want)
		}
		return f.setFault(want)
	})
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		missing, err := f.missing(n, a.Unmap())
		if err != nil {
			return nil, err
		}
		problems = append(problems, missing...)
	}
	return problems, nil
}

// missing describes the sets that a pod's address should be in and is not.
func (f *Firewall) missing(n Network, a netip.Addr) ([]string, error) {
	var missing []string
	for _, set := range podSets(n, familyOf(a)) {
		in, err := f.sets.contains(set, single(a))
		switch {
		case err != nil && !errors.Is(err, unix.ENOENT):
			return nil, err
		case !in:
			missing = append(missing, fmt.Sprintf("%s is not in ipset %s", a, set))
		}
	}
	return missing, nil
}

// podSets names the sets that a pod's address of the family belongs to.
func podSets(n Network, f family) []string {
	if n.Masquerade {
		return []string{f.podSet(), masqSet(n.Name, f)}
	}
	return []string{f.podSet()}
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
