package firewall

import (
	"fmt"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Join puts a pod that is judged already into the sets of its groups, which it creates
// where they are missing; the pod stays in all others. It must run within Alone, and
// Ensure has to follow, as with AddPod.
func (f *Firewall) Join(network string, p Pod) error {
	var requests []nlsock.Request
	for _, a := range p.Addrs {
		a = a.Unmap()
		sets, asgs := p.membership(network, familyOf(a))
		slices.Reverse(sets) // its group's before that of those who must have one
		for _, set := range slices.Concat(asgs, sets) {
			requests = append(requests, f.sets.creation(set, hashIP, familyOf(a)), f.sets.addition(set, single(a)))
		}
	}
	if err := f.sets.do(requests); err != nil {
		return fmt.Errorf("network %s: %w", network, err)
	}
	return nil
}

// LeaveOthers takes a pod out of the sets of all groups that are not its own. It must
// run within Alone.
func (f *Firewall) LeaveOthers(network string, p Pod) error {
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
			return fmt.Errorf("network %s: %w", network, err)
		}
	}
	return nil
}
