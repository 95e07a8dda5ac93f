package firewall

import (
	"fmt"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Regroup takes a pod that is judged already from the sets of whatever groups it has to
// those of its own, which it joins first. At no moment it is in the set of those who
// must have a group and in no group's. The rules of its group have to be in place, and
// it must run within Alone.
func (f *Firewall) Regroup(network string, p Pod) error {
	if err := f.joinOwn(network, p); err != nil {
		return fmt.Errorf("network %s: %w", network, err)
	}
	f.step("leave the old groups")
	if err := f.leaveOthers(network, p); err != nil {
		return fmt.Errorf("network %s: %w", network, err)
	}
	return nil
}

// joinOwn creates sets where they are missing.
func (f *Firewall) joinOwn(network string, p Pod) error {
	var requests []nlsock.Request
	for _, a := range p.Addrs {
		a = a.Unmap()
		sets, asgs := p.membership(network, familyOf(a))
		slices.Reverse(sets) // its group's before that of those who must have one
		for _, set := range slices.Concat(asgs, sets) {
			requests = append(requests, f.sets.creation(set, hashIP, familyOf(a)), f.sets.addition(set, single(a)))
		}
	}
	return f.sets.do(requests)
}

func (f *Firewall) leaveOthers(network string, p Pod) error {
	for _, a := range p.Addrs {
		a = a.Unmap()
		fam := familyOf(a)
		every, err := f.membersOf(network, fam)
		if err != nil {
			return err
		}
		slices.Sort(every) // the set of those who must have a group before that of the group
		sets, asgs := p.membership(network, fam)
		var requests []nlsock.Request
		for _, set := range every {
			if !slices.Contains(sets, set) && !slices.Contains(asgs, set) {
				requests = append(requests, f.sets.removal(set, a))
			}
		}
		if err := f.sets.do(requests); err != nil {
			return err
		}
	}
	return nil
}
