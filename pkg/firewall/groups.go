package firewall

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Pod is what the rules know of one attachment.
type Pod struct {
	Addrs []netip.Addr
	Group string   // key of the security group of its interface; "": none
	Next  string   // key of the group that it is about to get, whose rules are wanted; "": none
	ASGs  []string // its application security groups, in lower case
	Lost  bool     // it may be in sets of other groups than these
	// Foreign says that another main plugin attached the pod, to whatever interface: its
	// network is Foreign, too.
	Foreign bool
	// Devices are the node's interfaces that the packets of a foreign pod come through:
	// the bridge that its host end is in, else the host end.
	Devices []string
	// Remote says that the pod is another node's: it counts as a member of its groups
	// here, and what enters the cluster at this node and is for it is judged here, where
	// the sender's address is still the true one.
	Remote bool
}

// Judging is how the pods of a network are judged by security groups.
type Judging struct {
	// Groups are the keys of those groups whose rules have to be in place, besides
	// that of the subnet.
	Groups []string
	// Pods lists the living pods, those of other nodes too. It is asked when rules are
	// installed: they are for the families of all.
	Pods func() ([]Pod, error)
	// Stale tells whether the rules in the kernel, if any, are not those of today.
	// It is asked again under the lock. Nil: they are.
	Stale func() bool
	// Anew says that the rules are to be installed even if none seems to be missing:
	// what only a listing would show is repaired by that.
	Anew bool
	// Listing is kept up to date with what is installed. With it, Anew means to list
	// the rules, and to install them if they are not as it says. Nil: nobody keeps one.
	Listing *Listing
	// Mark is another one after each installation, by whomever. Nil: nobody else
	// installs rules of the network.
	Mark func() string
	// Wait says that a change which another process is making must be over. Else
	// an Ensure that finds the rules whole lets that process do it.
	Wait bool
	// Load gives the rules that have to be in force. It is asked under the lock,
	// when rules are installed.
	Load func() (*Policies, error)
}

// Policies is everything that judges a network's pods, and these pods.
type Policies struct {
	Subnet     *nsg.Policy            // nil: the subnet has no group
	Interfaces map[string]*nsg.Policy // by key, for each group that a pod has
	// Unusable are the keys of groups that cannot be had here, or not yet, and that only
	// pods of other nodes have, or pods are about to get. What enters here for such a pod
	// of another node is dropped.
	Unusable []string
	Pods     []Pod
	// List lists the pods again, for those that came and went meanwhile. Nil: Pods
	// are all.
	List func() ([]Pod, error)
	// Own are the addresses that this node leases. What is for one that no pod has
	// goes nowhere: the flow would be known, unjudged, to the pod that gets the
	// address next.
	Own nsg.AddressSet
	// SameNodeFree exempts the traffic between pods of this node, as in Azure,
	// where it never leaves the virtual machine.
	SameNodeFree bool
	// Flush lists the keys of groups, SubnetKey for the subnet's, that decide about
	// running flows anew.
	Flush []string
	// InForce is called, still under the lock, once all rules are in place, with
	// what the replaced ones had counted. Nil: nobody wants to know.
	InForce func(counted []Count) error
}

// Count is how many packets, and bytes, one rule of a group has decided about:
// the first packets of flows, those that are for a pod of another node and enter
// at this one included.
type Count struct {
	Group     string // as CountedGroup has it
	Direction nsg.Direction
	Rule      string // as program.Comment writes its full name
	Access    string // what it decided, as nsg.Access is written: the rule may do otherwise since
	Packets   uint64
	Bytes     uint64
}

// About is the count without its numbers.
func (c Count) About() Count {
	c.Packets, c.Bytes = 0, 0
	return c
}

// SubnetKey stands for the subnet's group where others have the key of theirs.
const SubnetKey = "/subnet"

// Longest hashes in names of chains and sets that need two.
const (
	networkHash = 8
	groupHash   = 7
)

// Names of what judges: node-wide chains lead to those of a network, these to
// the programs of groups.
const (
	outChain = "VNET-OUT" // what pods send
	inChain  = "VNET-IN"  // what pods receive

	forwardChain = "VNET-FORWARD"

	strayChain = "VNET-STRAY" // what is for an address that nobody has

	outInterfaces = "VNET-OIF-"
	inInterfaces  = "VNET-IIF-"
)

func networkID(network string) string { return program.Hash(network)[:networkHash] }

// groupChains is how the names of all chains of a network's groups begin. A dot
// stands in no other name of ours at this place.
func groupChains(network string) string { return "VNET-" + networkID(network) + "." }

func groupChain(network, key string, d nsg.Direction) string {
	letter := "I"
	if d == nsg.Outbound {
		letter = "O"
	}
	return groupChains(network) + program.Hash(key)[:groupHash] + "-" + letter
}

func judgedSet(f family) string { return "vnet-judged-" + f.suffix() }

// farSet holds the pods of other nodes, of all networks: what is for one of them and
// comes neither from a pod of this node nor from the node itself is judged here.
func farSet(f family) string { return "vnet-far-" + f.suffix() }

// entrySet is always empty.
func entrySet(f family) string { return "vnet-entry-" + f.suffix() }

// Beginnings of the names of sets that judged pods are members of.
const (
	memberSetStart   = "vnet-net-"
	ownGroupSetStart = "vnet-if-"
	groupSetStart    = "vnet-nsg-"
	asgSetStart      = "vnet-asg-"
)

func memberSet(network string, f family) string {
	return memberSetStart + tag(network) + "-" + f.suffix()
}

// ownGroupSet holds the pods with a group of their own, whichever it is.
func ownGroupSet(network string, f family) string {
	return ownGroupSetStart + tag(network) + "-" + f.suffix()
}

func groupSets(network string) string { return groupSetStart + networkID(network) + "-" }

func groupSet(network, key string, f family) string {
	return groupSets(network) + program.Hash(key) + "-" + f.suffix()
}

func asgSets(network string) string { return asgSetStart + networkID(network) + "-" }

func asgSet(network, asg string, f family) string {
	return asgSets(network) + program.Hash(strings.ToLower(asg)) + "-" + f.suffix()
}

func contentSets(network string) string { return "vnet-set-" + networkID(network) + "-" }

func contentSet(network, content string, f family) string {
	return contentSets(network) + program.Hash(content) + "-" + f.suffix()
}

// judgedSets lists the sets whose members the judged pods of the network are,
// with the references that tell whether its chains are in place.
func judgedSets(n Network, f family) []wantedSet {
	if n.Judging == nil {
		return nil
	}
	shared := []wantedSet{
		{name: judgedSet(f), typ: hashIP, family: f, references: 3},
		{name: entrySet(f), typ: hashIP, family: f, references: 2},
		{name: farSet(f), typ: hashIP, family: f, references: 2},
	}
	if n.Foreign {
		shared = []wantedSet{
			{name: foreignSet(f), typ: hashIP, family: f, references: foreignReferences},
			{name: nearSet(f), typ: hashNetIface, family: f},
		}
	}
	sets := append(shared,
		wantedSet{name: memberSet(n.Name, f), typ: hashIP, family: f, references: 2},
		wantedSet{name: ownGroupSet(n.Name, f), typ: hashIP, family: f, references: 2},
	)
	for _, key := range n.Judging.Groups {
		sets = append(sets, wantedSet{name: groupSet(n.Name, key, f), typ: hashIP, family: f, references: 2})
	}
	return sets
}

// membership names the sets that the pod's addresses of a family belong to.
// Those of its application security groups may have to be made: a rule that
// names them may come later. Only a pod of this node waits for a network to judge
// it, and may send.
func (p Pod) membership(network string, f family) (sets, asgs []string) {
	sets = []string{scopeOf(p.Foreign).judgedSet(f), memberSet(network, f)}
	if p.Remote {
		sets[0] = farSet(f)
	}
	if p.Group != "" {
		sets = append(sets, ownGroupSet(network, f), groupSet(network, p.Group, f))
	}
	for _, a := range p.ASGs {
		asgs = append(asgs, asgSet(network, a, f))
	}
	return sets, asgs
}

// Dispensable reports whether the pod, which has the group with the key or is about to
// get it, can do without its rules here: another node's pod, and one that stays in its
// old group then.
func (p Pod) Dispensable(key string) bool { return p.Remote || key != p.Group }

// GroupsOf returns the keys of the groups that any of the pods has or is about to
// get, each once.
func GroupsOf(pods ...Pod) []string {
	var keys []string
	for _, p := range pods {
		for _, key := range []string{p.Group, p.Next} {
			if key != "" {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Recall finds out from the sets which of the groups and application security
// groups the pod with these addresses has.
func (f *Firewall) Recall(network string, addrs []netip.Addr, groups, asgs []string) (Pod, error) {
	p := Pod{Addrs: addrs}
	for _, a := range addrs {
		a = a.Unmap()
		fam := familyOf(a)
		for _, key := range groups {
			in, err := f.sets.contains(groupSet(network, key, fam), single(a))
			if err != nil && !noSuchSet(err) {
				return Pod{}, err
			}
			if in {
				p.Group = key
			}
		}
		for _, asg := range asgs {
			in, err := f.sets.contains(asgSet(network, asg, fam), single(a))
			if err != nil && !noSuchSet(err) {
				return Pod{}, err
			}
			if in && !slices.Contains(p.ASGs, asg) {
				p.ASGs = append(p.ASGs, asg)
			}
		}
	}
	return p, nil
}

// Members lists the addresses that are judged as pods of the network, also those that
// nobody has a record of.
func (f *Firewall) Members(network string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, fam := range []family{ipv4, ipv6} {
		members, err := f.sets.members(memberSet(network, fam))
		if err != nil && !noSuchSet(err) {
			return nil, err
		}
		all = slices.AppendSeq(all, maps.Keys(members))
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}

// Judges reports whether one of the addresses is that of a pod of ours that security
// groups judge: of one that no other main plugin attached.
func (f *Firewall) Judges(addrs ...netip.Addr) (bool, error) {
	for _, a := range addrs {
		in, err := f.sets.contains(judgedSet(familyOf(a)), single(a.Unmap()))
		if err != nil && !noSuchSet(err) {
			return false, err
		}
		if in {
			return true, nil
		}
	}
	return false, nil
}
