package attachment

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Rebuild returns the leases that the kernel still shows of a network whose
// store was lost.
func Rebuild(stateDir, network string) ([]ipam.Lease, error) {
	if IsChained(network) {
		return rebuildChained(stateDir, network)
	}
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

// OpenRules is policy.Open for the attachments of a network. Where the state was lost, what
// is in force with it, their store could be rebuilt without their groups only: then they
// are found again among those of the documents.
func OpenRules(stateDir, network string, c policy.Config) (*policy.Rules, error) {
	rules, err := policy.Open(stateDir, network, c, Pods(stateDir, network))
	if err != nil {
		return rules, err
	}
	if v := rules.Unrecorded(); v != nil {
		err = recallAll(stateDir, network, v)
	}
	return rules, err
}

// recallAll adds their groups to the records of the pods that the kernel still judges.
func recallAll(stateDir, network string, v *policy.View) error {
	fw, err := firewall.Open()
	if err != nil {
		return err
	}
	defer fw.Close()
	judged, err := fw.Members(network)
	if err != nil || len(judged) == 0 {
		return err
	}
	g := &groups{firewall: fw, network: network, keys: v.Keys(), asgs: v.ASGs()}
	return fw.Alone(stateDir, func() error {
		leases, err := Store(stateDir, network).Leases()
		if err != nil {
			return err
		}
		for _, l := range leases {
			isJudged := func(a netip.Addr) bool { return slices.Contains(judged, a) }
			r, ours, err := Of(l)
			if err != nil || !ours || !r.Lost || r.Group != "" || !slices.ContainsFunc(Addrs(l), isJudged) {
				continue
			}
			if err := g.recall(&r, Addrs(l)); err != nil {
				return err
			}
			if l.Attachment, err = r.Encode(); err != nil {
				return err
			}
			if err := Store(stateDir, network).Record(l); err != nil {
				return err
			}
		}
		return nil
	})
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
