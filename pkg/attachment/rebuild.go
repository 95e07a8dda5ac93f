package attachment

import (
	"fmt"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Rebuild returns the leases that the kernel still shows of a network whose
// store was lost.
func Rebuild(stateDir, network string) ([]ipam.Lease, error) {
	host, err := link.OpenHost()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	found, err := host.Attachments()
	if err != nil {
		return nil, fmt.Errorf("read the pods of network %s from the node's links and routes: %w", network, err)
	}
	groups, err := openGroups(stateDir, network)
	if err != nil {
		return nil, err
	}
	defer groups.close()
	var leases []ipam.Lease
	for _, a := range found {
		if a.Network != network || len(a.Addrs) == 0 {
			continue
		}
		l, err := rebuilt(a, groups)
		if err != nil {
			return nil, err
		}
		leases = append(leases, l)
	}
	return leases, nil
}

func rebuilt(a link.Attachment, groups *groups) (ipam.Lease, error) {
	mac := a.PodMAC
	if mac == nil {
		mac = link.PodMAC(a.Network, a.ContainerID, a.IfName)
	}
	r := Record{HostVeth: a.HostName, Uplink: a.Uplink, PodMAC: mac.String(), Lost: true}
	if err := groups.recall(&r, a.Addrs); err != nil {
		return ipam.Lease{}, err
	}
	record, err := r.Encode()
	if err != nil {
		return ipam.Lease{}, err
	}
	l := ipam.Lease{Key: ipam.Key{ContainerID: a.ContainerID, IfName: a.IfName}, Attachment: record}
	for _, addr := range a.Addrs {
		l.Addresses = append(l.Addresses, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return l, nil
}

// groups finds out which security groups judge a pod that nobody has a record of:
// the kernel's sets still have its addresses, and the rules in force say whose
// sets there are.
type groups struct {
	firewall *firewall.Firewall
	network  string
	keys     []string
	asgs     []string
}

// openGroups returns nil for a network without security groups.
func openGroups(stateDir, network string) (*groups, error) {
	if !policy.Exists(stateDir, network) {
		return nil, nil
	}
	fw, err := firewall.Open()
	if err != nil {
		return nil, err
	}
	g := &groups{firewall: fw, network: network}
	if rules, err := policy.InForce(stateDir, network); err == nil { // else it is lost, too
		g.keys, g.asgs = rules.Used(), rules.ASGs()
	}
	return g, nil
}

func (g *groups) close() {
	if g != nil {
		g.firewall.Close()
	}
}

// recall adds the groups to the record. It stays marked as lost: a group that no
// rule names any more may still have a set with the pod in it.
func (g *groups) recall(r *Record, addrs []netip.Addr) error {
	if g == nil {
		return nil
	}
	pod, err := g.firewall.Recall(g.network, addrs, g.keys, g.asgs)
	if err != nil {
		return fmt.Errorf("find the security groups of %s: %w", r.HostVeth, err)
	}
	r.Judged, r.Group, r.ASGs = true, pod.Group, pod.ASGs
	return nil
}
