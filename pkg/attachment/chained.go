package attachment

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// chained ends the name under which everything of vnet-nsg in a network is kept,
// beside what a main plugin of ours keeps under the network's own. "+" is in no
// network's name (CNI spec, "Configuration format").
const chained = "+nsg"

// Chained is the name under which the pods of a network are kept that vnet-nsg judges
// behind another main plugin.
func Chained(network string) string { return network + chained }

// IsChained reports whether a name is one of those that Chained makes.
func IsChained(network string) bool { return strings.HasSuffix(network, chained) }

// lostContainer is the container of what nobody has a record of any more, whose
// interface is the address.
const lostContainer = "unknown"

// IsLost reports whether the key stands for a judged address whose record was lost:
// which container has it, and whether that lives, nobody but its runtime knows.
func IsLost(k ipam.Key) bool {
	_, err := netip.ParseAddr(k.IfName) // a container may be called like that
	return k.ContainerID == lostContainer && err == nil
}

// LostRecord is what there is to go by where a record cannot be read.
func LostRecord(network string, k ipam.Key) Record {
	if IsChained(network) {
		return Record{Foreign: true, Judged: true, Lost: true}
	}
	return Record{HostVeth: link.HostName(network, k.ContainerID, k.IfName), Lost: true}
}

// End is the node's end of a pair that another main plugin made.
type End struct {
	PodName string `json:"podName"` // the other end, in the pod
	Name    string `json:"name"`
	Index   int    `json:"index"`
	Device  string `json:"device"` // as link.End has it
}

// EndOf takes what a record keeps of an end.
func EndOf(e link.End) End {
	return End{PodName: e.PodName, Name: e.Name, Index: e.Index, Device: e.Device}
}

// rebuildChained returns the addresses that the kernel still judges, each as an
// attachment of its own: they stay judged until somebody comes who knows whose they are.
func rebuildChained(stateDir, network string) ([]ipam.Lease, error) {
	fw, err := firewall.Open()
	if err != nil {
		return nil, err
	}
	defer fw.Close()
	addrs, err := fw.Members(network)
	if err != nil {
		return nil, fmt.Errorf("read the judged pods of network %s from its ipsets: %w", network, err)
	}
	groups, err := openGroups(stateDir, network)
	if err != nil {
		return nil, err
	}
	defer groups.close()
	var leases []ipam.Lease
	for _, a := range addrs {
		k := ipam.Key{ContainerID: lostContainer, IfName: a.String()}
		r := LostRecord(network, k)
		if err := groups.recall(&r, []netip.Addr{a}); err != nil {
			return nil, err
		}
		record, err := r.Encode()
		if err != nil {
			return nil, err
		}
		leases = append(leases, ipam.Lease{Key: k, Addresses: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, Attachment: record})
	}
	return leases, nil
}

// Claimed is an attachment that Claim has recorded.
type Claimed struct {
	Lease  ipam.Lease // as it was written
	Record Record     // that is in it
	Known  bool       // it was recorded before
	// Recalled are those of its addresses that were judged by a record which was lost:
	// whether it had them then, nobody knows.
	Recalled []netip.Addr
}

// Claim records the attachment of a pod that another main plugin attached. Whoever has
// one of its addresses by an older record has it no more: the main plugin gave it to
// this one. An address that the attachment itself had and has no more is not judged
// any more. An attachment that was known before keeps its groups in the record: Choose
// takes it to others. Once the pod is judged, Settle has to follow.
func (n *Node) Claim(stateDir, network string, l ipam.Lease, r Record) (c Claimed, err error) {
	err = n.Firewall.Alone(stateDir, func() error {
		r.Fresh = Addrs(l)
		store := Store(stateDir, network)
		before, found, err := store.Get(l.Key)
		if err != nil {
			return cnierr.OfStore(err)
		}
		if c.Known = found; found {
			if err := n.succeed(network, before, l, &r); err != nil {
				return err
			}
		}
		if c.Recalled, err = n.dispossessAll(stateDir, network, l); err != nil {
			return err
		}
		if l.Attachment, err = r.Encode(); err != nil {
			return cnierr.Wrap(cnierr.Store, err)
		}
		c.Lease, c.Record = l, r
		return cnierr.OfStore(store.Record(l))
	})
	return c, OfFirewall(err)
}

// succeed takes over from the attachment's earlier record: the groups that it has, which
// addresses are not fresh, and out of the sets what it has no more.
func (n *Node) succeed(network string, before, l ipam.Lease, r *Record) error {
	old, ours, err := Of(before)
	if err != nil || !ours {
		old = LostRecord(network, before.Key)
	}
	if ours && err == nil {
		r.Group, r.Next, r.ASGs, r.Lost = old.Group, old.Next, old.ASGs, old.Lost
	}
	if samePairs(old.Ends, r.Ends) { // else the main plugin has attached it anew
		r.Fresh = slices.DeleteFunc(Addrs(l), func(a netip.Addr) bool {
			return slices.Contains(Addrs(before), a) && !slices.Contains(old.Fresh, a)
		})
	}
	if !slices.Equal(old.Ends, r.Ends) {
		if err := n.Firewall.Displace(old.FilterPod(Addrs(before)...)); err != nil {
			return OfFirewall(err)
		}
	}
	gone := slices.DeleteFunc(Addrs(before), func(a netip.Addr) bool { return slices.Contains(Addrs(l), a) })
	return n.leave(network, old, gone)
}

// samePairs reports whether the links are the same, whatever became of their names and
// the bridge that they are in.
func samePairs(a, b []End) bool {
	return slices.EqualFunc(a, b, func(a, b End) bool { return a.Index == b.Index && a.PodName == b.PodName })
}

// Settle ends what Claim began. An attachment that went meanwhile leaves nothing; it is an
// error with the code TryAgain.
func (n *Node) Settle(stateDir, network string, c Claimed, rules *policy.Rules) error {
	if err := n.forgetBefore(c, rules); err != nil {
		return err
	}
	return OfFirewall(n.Firewall.Alone(stateDir, func() error { return n.settle(stateDir, network, c.Lease) }))
}

// forgetBefore ends the flows that began before the pod was judged: somebody may have sent
// to an address since the main plugin connected it. What it was judged for all along
// keeps its flows. Where that record was lost, the rules decide anew: whether flows are
// the pod's own nobody knows, but those that the rules deny are not.
func (n *Node) forgetBefore(c Claimed, rules *policy.Rules) error {
	if len(c.Record.Fresh) == 0 {
		return nil
	}
	unjudged := slices.DeleteFunc(slices.Clone(c.Record.Fresh), func(a netip.Addr) bool { return slices.Contains(c.Recalled, a) })
	if err := n.Firewall.ForgetFlows(unjudged...); err != nil {
		return OfFirewall(err)
	}
	if len(c.Recalled) == 0 {
		return nil
	}
	policies, err := rules.Judging().Load()
	if err != nil {
		return cnierr.Wrap(cnierr.Documents, err)
	}
	return OfFirewall(n.Firewall.ForgetDenied(policies, c.Recalled...))
}

// settle records that no address is fresh any more. It runs alone, and so finds whether a
// DEL has come and gone meanwhile, which took the pod out of fewer sets than it is in.
func (n *Node) settle(stateDir, network string, claimed ipam.Lease) error {
	store := Store(stateDir, network)
	l, found, err := store.Get(claimed.Key)
	if err != nil {
		return cnierr.OfStore(err)
	}
	if !found {
		if err := n.Leave(stateDir, network, claimed); err != nil {
			return err
		}
		return cnierr.Errorf(cnierr.TryAgain, "container %s, interface %s, was detached while it was being attached", claimed.ContainerID, claimed.IfName)
	}
	r, ours, err := Of(l)
	if err != nil || !ours || len(r.Fresh) == 0 {
		return cnierr.Wrap(cnierr.Store, err)
	}
	r.Fresh = nil
	if l.Attachment, err = r.Encode(); err != nil {
		return cnierr.Wrap(cnierr.Store, err)
	}
	return cnierr.OfStore(store.Record(l))
}

// dispossessAll takes the addresses of l from every older attachment, of whichever
// network that vnet-nsg judges, and returns those that a record had which was lost.
func (n *Node) dispossessAll(stateDir, own string, l ipam.Lease) (recalled []netip.Addr, err error) {
	networks, err := ipam.Networks(stateDir)
	if err != nil {
		return nil, cnierr.OfStore(err)
	}
	if !slices.Contains(networks, own) { // its store may have been lost
		networks = append(networks, own)
	}
	for _, network := range networks {
		if !IsChained(network) {
			continue
		}
		for _, a := range Addrs(l) {
			old, found, err := Store(stateDir, network).Holder(a)
			if err != nil {
				return nil, cnierr.OfStore(err)
			}
			if !found || network == own && old.Key == l.Key {
				continue
			}
			if IsLost(old.Key) {
				recalled = append(recalled, a)
			}
			if err := n.dispossess(Store(stateDir, network), network, old, l); err != nil {
				return nil, err
			}
		}
	}
	return recalled, nil
}

// dispossess takes the addresses of l from an older attachment, and lets it go if no
// address is left that works beyond a link.
func (n *Node) dispossess(store *ipam.Store, network string, old, l ipam.Lease) error {
	record, ours, err := Of(old)
	if err != nil || !ours {
		record = LostRecord(network, old.Key)
	}
	lost := slices.DeleteFunc(Addrs(old), func(a netip.Addr) bool { return !slices.Contains(Addrs(l), a) })
	if err := n.leave(network, record, lost); err != nil {
		return err
	}
	old.Addresses = slices.DeleteFunc(old.Addresses, func(p netip.Prefix) bool { return slices.Contains(lost, p.Addr()) })
	if !slices.ContainsFunc(old.Addresses, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() }) {
		if err := n.leave(network, record, Addrs(old)); err != nil {
			return err
		}
		_, _, err := store.Release(old.Key)
		return cnierr.OfStore(err)
	}
	return cnierr.OfStore(store.Record(old))
}

// families reports which families the addresses are of.
func families(addrs []netip.Addr) (ipv4, ipv6 bool) {
	for _, a := range addrs {
		ipv4, ipv6 = ipv4 || a.Is4(), ipv6 || a.Is6()
	}
	return ipv4, ipv6
}

func (n *Node) leave(network string, r Record, addrs []netip.Addr) error {
	return OfFirewall(n.Firewall.RemovePod(network, r.FilterPod(addrs...)))
}

// removeForeign ends the judgement of a pod that another main plugin attached and will
// only now detach. Until then its processes may run: its links are taken down first.
// An address that somebody else has by now is left alone.
func (n *Node) removeForeign(stateDir, network string, k ipam.Key, r Record, addrs []netip.Addr, release func() error) error {
	for _, e := range r.Ends {
		n.at("sever")
		if err := n.Host.Sever(e.Index); err != nil {
			return cnierr.Wrap(cnierr.Kernel, err)
		}
	}
	return OfFirewall(n.Firewall.Leaving(stateDir, func() error {
		if err := r.refresh(stateDir, network, k); err != nil {
			return err
		}
		own, err := unlessHeld(stateDir, network, k, addrs)
		if err != nil {
			return err
		}
		n.at("forget")
		if err := n.Firewall.ForgetFlows(own...); err != nil {
			return err
		}
		if err := n.Firewall.RemovePod(network, r.FilterPod(own...)); err != nil {
			return err
		}
		return release()
	}))
}

// Leave takes the addresses of a lease out of all sets of the network.
func (n *Node) Leave(stateDir, network string, l ipam.Lease) error {
	own, err := unlessHeld(stateDir, network, l.Key, Addrs(l))
	if err != nil {
		return err
	}
	return n.leave(network, LostRecord(network, l.Key), own)
}

// unlessHeld leaves out the addresses that another attachment has by now.
func unlessHeld(stateDir, network string, k ipam.Key, addrs []netip.Addr) (own []netip.Addr, err error) {
	for _, a := range addrs {
		holder, held, err := Store(stateDir, network).Holder(a)
		if err != nil {
			return nil, cnierr.OfStore(err)
		}
		if !held || holder.Key == k {
			own = append(own, a)
		}
	}
	return own, nil
}

// endProblems compares the pairs of a pod that another main plugin attached with its
// record, and tells whether its packets are seen.
func (n *Node) endProblems(s *link.Sandbox, l ipam.Lease, r Record) ([]string, error) {
	var problems []string
	for _, want := range r.Ends {
		e, err := n.Host.EndOf(s, want.PodName)
		for _, a := range e.LinkLocal {
			if !slices.Contains(Addrs(l), a) {
				problems = append(problems, fmt.Sprintf("interface %s of the pod has the address %s, which nobody judges", want.PodName, a))
			}
		}
		if err == nil {
			err = e.Filtered(families(Addrs(l)))
		}
		switch {
		case errors.Is(err, link.ErrUnfiltered):
			problems = append(problems, err.Error())
		case err != nil:
			return nil, cnierr.Wrap(cnierr.Kernel, err)
		case EndOf(e) != want:
			problems = append(problems, fmt.Sprintf("interface %s of the pod leads through %s, link %d of %s, instead of %s, link %d of %s",
				want.PodName, e.Name, e.Index, e.Device, want.Name, want.Index, want.Device))
		}
	}
	return problems, nil
}
