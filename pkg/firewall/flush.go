package firewall

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// flush deletes the tracked flows that groups whose rules changed deny by now. Only
// groups which ask for that with flushConnection have a say: all other changes
// are for new flows.
func (f *Firewall) flush(p *Policies) error {
	if len(p.Flush) == 0 {
		return nil
	}
	if none, err := noFlows(); none || err != nil {
		return err
	}
	if tells, err := f.sets.tellsFlows(); !tells || err != nil {
		return err
	}
	f.step("flush flows")
	local, err := localAddrs()
	if err != nil {
		return err
	}
	denied := deniedBy(p, p.Flush, local)
	for _, fam := range []family{ipv4, ipv6} {
		if err := deleteListedFlows(fam, denied); err != nil {
			return fmt.Errorf("delete the tracked flows that the new rules deny: %w", err)
		}
	}
	return nil
}

// ForgetDenied is ForgetFlows for those flows that the policies deny.
func (f *Firewall) ForgetDenied(p *Policies, addrs ...netip.Addr) error {
	if none, err := noFlows(); none || err != nil {
		return err
	}
	if tells, err := f.sets.tellsFlows(); !tells || err != nil {
		return err
	}
	local, err := localAddrs()
	if err != nil {
		return err
	}
	denied := deniedBy(p, append(slices.Collect(maps.Keys(p.Interfaces)), SubnetKey), local)
	for _, fam := range []family{ipv4, ipv6} {
		if err := deleteListedFlows(fam, allOf{flowsOf(addrs), denied}); err != nil {
			return fmt.Errorf("delete the tracked flows of %s that the rules deny: %w", addrs, err)
		}
	}
	return nil
}

// allOf picks what all of its filters pick.
type allOf []netlink.CustomConntrackFilter

func (all allOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return !slices.ContainsFunc(all, func(f netlink.CustomConntrackFilter) bool { return !f.MatchConntrackFlow(flow) })
}

// deniedFlows picks what some of the groups deny.
type deniedFlows struct {
	policies *Policies
	keys     []string // of those groups
	pods     map[netip.Addr]*Pod
	local    map[netip.Addr]bool // the node's own: what it opens is not judged
}

func deniedBy(p *Policies, keys []string, local map[netip.Addr]bool) deniedFlows {
	d := deniedFlows{policies: p, keys: keys, pods: map[netip.Addr]*Pod{}, local: local}
	for i := range p.Pods {
		for _, a := range p.Pods[i].Addrs {
			d.pods[a.Unmap()] = &p.Pods[i]
		}
	}
	return d
}

func localAddrs() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			local[p.Addr().Unmap()] = true
		}
	}
	return local, nil
}

// MatchConntrackFlow looks at a flow as rules saw its first packet: with the
// source of the original direction, and as destination the source of the reply,
// who really answers.
func (d deniedFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	from, okFrom := netip.AddrFromSlice(flow.Forward.SrcIP)
	to, okTo := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !okFrom || !okTo {
		return false
	}
	from, to = from.Unmap(), to.Unmap()
	if d.local[from] {
		return false
	}
	sender, receiver := d.pods[from], d.pods[to]
	here, there := sender != nil && !sender.Remote, receiver != nil && !receiver.Remote
	if here && there && d.policies.SameNodeFree {
		return false
	}
	f := nsg.Flow{Protocol: nsg.Protocol(flow.Forward.Protocol), LocalASGs: asgsOf(sender), RemoteASGs: asgsOf(receiver)}
	f.Local, f.LocalPort, f.Remote, f.RemotePort = from, flow.Forward.SrcPort, to, flow.Reverse.SrcPort
	if f.Protocol == unix.IPPROTO_ICMPV6 {
		f.Protocol = nsg.ICMP
	}
	if f.Protocol != nsg.TCP && f.Protocol != nsg.UDP {
		f.LocalPort, f.RemotePort = 0, 0 // of an echo: type, code and identifier
	}
	f.Direction = nsg.Outbound
	if here && d.denies(sender, f) {
		return true
	}
	if here && !there && !translated(flow) {
		return false // the receiver's node judges it
	}
	f.Direction = nsg.Inbound
	f.Local, f.LocalPort, f.LocalASGs, f.Remote, f.RemotePort, f.RemoteASGs = f.Remote, f.RemotePort, f.RemoteASGs, f.Local, f.LocalPort, f.LocalASGs
	return d.denies(receiver, f)
}

// translated tells whether the flow went to a service's address.
func translated(flow *netlink.ConntrackFlow) bool {
	return !flow.Forward.DstIP.Equal(flow.Reverse.SrcIP)
}

func asgsOf(p *Pod) []string {
	if p == nil {
		return nil
	}
	return p.ASGs
}

// denies asks those groups of the pod.
func (d deniedFlows) denies(p *Pod, f nsg.Flow) bool {
	if p == nil {
		return false
	}
	groups := map[string]*nsg.Policy{SubnetKey: d.policies.Subnet, p.Group: d.policies.Interfaces[p.Group]}
	for key, group := range groups {
		if group != nil && slices.Contains(d.keys, key) && group.First(f).Access == nsg.Deny {
			return true
		}
	}
	return false
}
