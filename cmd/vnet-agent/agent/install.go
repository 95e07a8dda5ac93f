package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
	"github.com/vnet-cni/vnet-cni/pkg/overlay"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// What the image brings. Of the reference plugins that a cluster needs as well,
// those that are there stay.
var (
	ownBinaries     = []string{"vnet", "vnet-ipam", "vnetctl"}
	missingBinaries = []string{"portmap", "loopback"}
)

func (p *pass) installPlugins(context.Context) error {
	changed, err := nodefiles.Binaries(p.Paths.Source, p.Paths.Binaries, ownBinaries, missingBinaries)
	if len(changed) > 0 {
		p.Log.Info("installed plugins", "folder", p.Paths.Binaries, "binaries", changed)
	}
	return err
}

// reachNodes brings packets to the pods of other nodes. In mode vnet the nodes'
// own subnet does that.
func (p *pass) reachNodes(context.Context) error {
	if p.config.Mode == ModeVNet {
		return overlay.Remove()
	}
	c := overlay.Config{
		Self: overlayNode(p.self.Name, p.self.Addresses, p.self.PodCIDRs), Uplink: p.uplink.Name,
		Encapsulation: p.config.Encapsulation, VNI: p.config.VXLAN.VNI, Port: p.config.VXLAN.Port,
	}
	for _, n := range p.others {
		c.Others = append(c.Others, overlayNode(n.Name, n.Addresses, n.PodCIDRs))
	}
	var err error
	p.routed, err = overlay.Apply(c)
	p.stats.drift("routes", p.routed.Added+p.routed.Removed)
	p.tellAll("NodeUnreachable", p.routed.Skipped)
	return err
}

func overlayNode(name string, addrs []netip.Addr, cidrs []netip.Prefix) overlay.Node {
	return overlay.Node{Name: name, Addrs: addrs, PodCIDRs: cidrs}
}

// configure renders the conflist.
func (p *pass) configure(context.Context) error {
	subnets, err := p.config.subnetsOf(p.self.PodCIDRs, p.connected())
	if err != nil {
		p.tellNode(invalidPodCIDR, err.Error())
		return err
	}
	p.untell(kube.NodeRef(p.Node, invalidPodCIDR))
	s := site{
		pools: p.self.PodCIDRs, subnets: subnets, uplink: p.uplink.Name, mtu: p.mtu(), stateDir: p.Paths.State,
		documents: p.currentDocuments(), defaults: p.defaultsDir(), cluster: p.podCIDRs(), space: p.space(subnets),
	}
	if p.conflist, p.conf, err = p.config.render(s); err != nil {
		p.tellNode(invalidConfiguration, err.Error())
	}
	return err
}

// invalidPodCIDR is the reason of the Event that says so.
const invalidPodCIDR = "InvalidPodCIDR"

// mtu of pods: what the user says, else what the way to the other nodes leaves, else
// the uplink's.
func (p *pass) mtu() int {
	if p.config.MTU != 0 || p.routed.MTU == p.routed.UplinkMTU {
		return p.config.MTU
	}
	return p.routed.MTU
}

func (p *pass) podCIDRs() []netip.Prefix {
	list := slices.Clone(p.self.PodCIDRs)
	for _, n := range p.others {
		list = append(list, n.PodCIDRs...)
	}
	return list
}

// space is the virtual network: what the configuration or the documents say it is,
// and always the cluster's nodes and pods.
func (p *pass) space(subnets []netip.Prefix) []netip.Prefix {
	c := policy.Config{VirtualNetwork: p.config.NSG.VirtualNetwork, Pools: subnets, Uplink: p.connected()}
	nodes := addressesOf(p.self.Addresses)
	for _, n := range p.others {
		nodes = append(nodes, addressesOf(n.Addresses)...)
	}
	return merged(c.Space(p.documents.networks), nodes, p.podCIDRs())
}

func addressesOf(addrs []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// offer writes the conflist, which makes the kubelet call the node ready.
func (p *pass) offer() error {
	changed, err := nodefiles.WriteConflist(p.Paths.Conflist, conflistName, p.conflist)
	if changed {
		p.Log.Info("offered the node to the runtime", "file", conflistName)
	}
	return err
}

// withdraw takes the conflist away. Pods that run go on.
func (p *pass) withdraw() error {
	if err := nodefiles.RemoveConflist(p.Paths.Conflist, conflistName); err != nil {
		return fmt.Errorf("take the node away from the runtime: %w", err)
	}
	return nil
}
