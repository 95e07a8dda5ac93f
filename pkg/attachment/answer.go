package attachment

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// AnswerAgain makes the node answer again on the uplink for those pods of a network
// for which it ceased to: the kernel drops the proxy neighbours of a link that is set
// down (neigh_ifdown in net/core/neighbour.c). It returns their addresses.
func (n *Node) AnswerAgain(stateDir, network string) ([]netip.Addr, error) {
	leases, err := Store(stateDir, network).Leases()
	if err != nil {
		return nil, err
	}
	leases = slices.DeleteFunc(leases, func(l ipam.Lease) bool {
		r, ours, err := Of(l)
		return err != nil || !ours || r.Uplink == ""
	})
	if len(leases) == 0 {
		return nil, nil
	}
	links, err := n.Host.Attachments()
	if err != nil {
		return nil, err
	}
	var again []netip.Addr
	for _, l := range leases {
		r, _, _ := Of(l)
		silent := func(a link.Attachment) bool { return a.HostName == r.HostVeth && a.Uplink == "" }
		if !slices.ContainsFunc(links, silent) {
			continue
		}
		answered, err := n.answerFor(r, Addrs(l))
		if err != nil {
			return again, err
		}
		if answered {
			again = append(again, Addrs(l)...)
		}
	}
	return again, nil
}

// answerFor returns false where there is nobody to tell, or nothing to tell any more.
func (n *Node) answerFor(r Record, addrs []netip.Addr) (bool, error) {
	uplink, found, err := n.Host.Link(r.Uplink)
	if err != nil || !found || !uplink.Up {
		return false, err
	}
	if err := n.Host.AddProxy(uplink.Index, addrs); err != nil {
		return false, err
	}
	// A DEL removes the link, then the entries, and may have done both meanwhile.
	if _, there, err := n.Host.Link(r.HostVeth); err != nil || !there {
		return false, errors.Join(err, n.Host.RemoveProxy(uplink.Index, addrs))
	}
	return true, link.Announce(uplink, addrs)
}
