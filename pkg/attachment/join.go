package attachment

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
)

// Join makes an attachment's pod a member of the sets of its network and then makes
// sure of the rules that match them. Sets that are missing, the first time or because
// somebody destroyed them, come with the rules. known says that the attachment was
// there before this ADD. An error has the code TryAgain while somebody else changes
// the pod's groups or the node's rules.
func (n *Node) Join(rules firewall.Network, k ipam.Key, r Record, addrs []netip.Addr, known bool) error {
	err := n.join(rules, k, r, addrs, known)
	for range 2 {
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		if err = n.Firewall.Ensure(rules); err != nil {
			break
		}
		err = n.join(rules, k, r, addrs, known)
	}
	if err == nil {
		err = n.Firewall.Ensure(rules)
	}
	return OfFirewall(err)
}

// join is AddPod. A pod that was there before may have been given other groups since
// its record was written: with both, nobody would know of these any more.
func (n *Node) join(rules firewall.Network, k ipam.Key, r Record, addrs []netip.Addr, known bool) error {
	pod := r.FilterPod(addrs...)
	if !known {
		return n.Firewall.AddPod(rules, pod)
	}
	return n.Firewall.Leaving(rules.StateDir, func() error {
		l, _, err := Store(rules.StateDir, rules.Name).Get(k)
		if err != nil {
			return cnierr.OfStore(err)
		}
		now, ours, err := Of(l)
		if ours && err == nil && (now.Lost && !r.Lost || now.Group != r.Group || !slices.Equal(now.ASGs, r.ASGs)) {
			return cnierr.Errorf(cnierr.TryAgain, "container %s, interface %s, is given other security groups in this moment", k.ContainerID, k.IfName)
		}
		return n.Firewall.AddPod(rules, pod)
	})
}
