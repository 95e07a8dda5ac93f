package attachment

import (
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/members"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// SyncMembers makes list the pods that other nodes have: it replaces the network's
// file of them and then makes its sets have them, adding before removing. Both happen
// while nobody puts listed pods into sets: whoever did so before had the old list and
// is corrected, whoever does so later has the new one. Repeating it repairs the sets.
// changed reports whether the list is another one; groups in it that nobody had before
// get their rules by the next Enforce.
func (n *Node) SyncMembers(stateDir, network string, list []members.Member) (changed bool, err error) {
	err = n.Firewall.Alone(stateDir, func() error {
		var err error
		if changed, err = members.Write(stateDir, network, list); err != nil {
			return err
		}
		n.at("sync the sets")
		if !policy.Exists(stateDir, network) { // there are no rules to be members for
			return nil
		}
		_, err = n.Firewall.SyncRemote(network, Pods(stateDir, network))
		return err
	})
	return changed, err
}

// Enforced is what Enforce has found and done.
type Enforced struct {
	Rules    *policy.Rules  // nil when there are none
	Pods     []firewall.Pod // that the rules were to have, those of other nodes included
	Changed  bool           // the documents, or what they mean here, were not the ones in force
	Repaired []string       // what was missing of rules, sets, members and routes, in words for people
	Unrouted []string       // why routes drop what is for an appliance
	Rejected string         // why today's documents are not in force but the last good ones; "": they are
}

// Enforce puts the documents of a network in force and repairs its rules, the
// memberships of its pods and their routes, also where it has no pod yet. want is the network as its
// pods are attached, its families included; what judges it is set here. With anew the
// rules are installed even if nothing seems to be missing, for damage that only a
// listing would show; without it no program is started and no lock taken when nothing
// is. Who gives the same seen each time, empty at first, has them listed instead, and
// installed if they are not as they were. Members that other nodes' pods are no longer are for SyncMembers to find.
//
// Broken documents are an error only where there are no good ones in force.
func (n *Node) Enforce(want firewall.Network, c policy.Config, anew bool, seen *firewall.Listing) (Enforced, error) {
	rules, err := OpenRules(want.StateDir, want.Name, c)
	if err != nil {
		return Enforced{}, err
	}
	list := Pods(want.StateDir, want.Name)
	pods, err := list()
	if err != nil {
		return Enforced{}, err
	}
	want.Judging = rules.Judging(pods...)
	want.Judging.Wait, want.Judging.Anew, want.Judging.Listing = true, anew, seen
	done := Enforced{Rules: rules, Pods: pods, Changed: want.Judging.Stale()}
	if done.Repaired, err = n.Firewall.Problems(want, pods...); err != nil {
		return done, err
	}
	if err := n.Firewall.Ensure(want); err != nil {
		return done, err
	}
	if seen != nil && len(done.Repaired) == 0 {
		done.Repaired = seen.Drift
	}
	if anew || len(done.Repaired) > 0 {
		if err := n.Firewall.Admit(want, list); err != nil {
			return done, err
		}
	}
	var rerouted []string
	rerouted, done.Unrouted, err = n.enforceRoutes(want.StateDir, rules.Routing(), pods, anew)
	if done.Repaired = append(done.Repaired, rerouted...); err != nil {
		return done, err
	}
	done.Rejected = policy.Rejected(want.StateDir, want.Name)
	return done, nil
}
