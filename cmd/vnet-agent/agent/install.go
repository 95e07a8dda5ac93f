package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
	"github.com/vnet-cni/vnet-cni/pkg/overlay"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// What the image brings. Of the reference plugins that a cluster needs as well,
// those that are there stay.
var (
	ownBinaries     = []string{"vnet", "vnet-nsg", "vnet-ipam", "vnetctl"}
	missingBinaries = []string{"portmap", "loopback"}
)

func (p *pass) installPlugins(context.Context) error {
	changed, err := nodefiles.Binaries(p.Paths.Source, p.Paths.Binaries, ownBinaries, missingBinaries)
	if len(changed) > 0 {
		p.Log.Info("installed plugins", "folder", p.Paths.Binaries, "binaries", changed)
	}
	p.brought("plugins", "all", len(changed), err)
	return err
}

// reachNodes brings packets to the pods of other nodes. In mode vnet the nodes'
// own subnet does that.
//
// While there can be a tunnel, nobody but nodes may send to its port.
func (p *pass) reachNodes(context.Context) error {
	if p.config.Mode == ModeVNet {
		return p.endTunnel(overlay.Remove)
	}
	if p.config.Encapsulation == overlay.Never {
		return p.endTunnel(p.routeNodes)
	}
	another, err := p.node.Firewall.GuardsAnother(p.config.VXLAN.Port)
	if err == nil && another {
		err = overlay.Remove() // its device cannot change the port
	}
	if err != nil {
		return err
	}
	nodes := slices.Clone(p.self.Addresses)
	for _, n := range p.others {
		nodes = append(nodes, n.Addresses...)
	}
	if _, err := p.node.Firewall.GuardTunnel(p.Paths.State, p.config.VXLAN.Port, nodes); err != nil {
		return err
	}
	return p.routeNodes()
}

// endTunnel takes the guard of the tunnel's port away once the tunnel is: as long as
// its device is there, whoever may send to the port comes in past all judgement.
func (p *pass) endTunnel(remove func() error) error {
	if err := remove(); err != nil {
		return err
	}
	return p.node.Firewall.UnguardTunnel(p.Paths.State)
}

func (p *pass) routeNodes() error {
	c := overlay.Config{
		Self: overlayNode(p.self.Name, p.self.Addresses, p.self.PodCIDRs), Uplink: p.uplink.Name,
		Encapsulation: p.config.Encapsulation, VNI: p.config.VXLAN.VNI, Port: p.config.VXLAN.Port,
	}
	for _, n := range p.others {
		if len(n.PodCIDRs) == 0 {
			continue // it has no pods yet
		}
		c.Others = append(c.Others, overlayNode(n.Name, n.Addresses, n.PodCIDRs))
	}
	var err error
	p.routed, err = overlay.Apply(c)
	p.brought("routes", fmt.Sprint(c), p.routed.Added+p.routed.Removed, err)
	p.tellAll("NodeUnreachable", p.routed.Skipped)
	return err
}

func overlayNode(name string, addrs []netip.Addr, cidrs []netip.Prefix) overlay.Node {
	return overlay.Node{Name: name, Addrs: addrs, PodCIDRs: cidrs}
}

// configure renders the conflist.
func (p *pass) configure(context.Context) error {
	s := site{
		pools: p.self.PodCIDRs, subnets: p.subnets, uplink: p.uplink.Name, mtu: p.mtu(), stateDir: p.Paths.State,
		documents: p.currentDocuments(), defaults: p.defaultsDir(), cluster: p.podCIDRs(),
		space: p.space(new(string)), tag: p.space(p.config.NSG.RouteTable),
	}
	var err error
	if p.conflist, p.conf, err = p.config.render(s); err != nil {
		return p.fault(invalidConfiguration, err)
	}
	return nil
}

// mtu of pods: what the user says, else what the way to the other nodes leaves, else
// the uplink's.
func (p *pass) mtu() int {
	switch {
	case p.config.MTU != 0 || p.config.Mode == ModeVNet:
		return p.config.MTU
	case p.routed.UplinkMTU == 0: // nobody could look: the tunnel is as it was
		return tunnelMTU()
	case p.routed.MTU == p.routed.UplinkMTU:
		return 0
	}
	return p.routed.MTU
}

// tunnelMTU is that of the tunnel's device; 0 without one.
func tunnelMTU() int {
	l, err := net.InterfaceByName(overlay.DeviceName)
	if err != nil {
		return 0
	}
	return l.MTU
}

func (p *pass) podCIDRs() []netip.Prefix {
	list := slices.Clone(p.self.PodCIDRs)
	for _, n := range p.others {
		list = append(list, n.PodCIDRs...)
	}
	return list
}

// space is the virtual network: what the configuration or the documents say it is,
// and always the cluster's nodes and pods. A route table adds to what the tag means, not
// to who knows the way back to a pod.
func (p *pass) space(routeTable *string) []netip.Prefix {
	c := policy.Config{VirtualNetwork: p.config.NSG.VirtualNetwork, RouteTable: routeTable, Pools: p.subnets, Uplink: connected(p.uplink)}
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

// conflistName comes before what a cluster's installer may have left: a runtime
// takes the first by name.
const conflistName = "05-vnet.conflist"

// offer writes the conflist, which makes the kubelet call the node ready.
func (p *pass) offer(context.Context) error {
	changed, err := nodefiles.WriteConflist(p.Paths.Conflist, conflistName, p.conflist)
	n := 0
	if changed {
		n = 1
		p.Log.Info("offered the node to the runtime", "file", conflistName)
	}
	p.brought("configuration", string(p.conflist), n, err)
	return err
}

// withdraw takes the conflist away. Pods that run go on.
func (p *pass) withdraw() error {
	if err := nodefiles.RemoveConflist(p.Paths.Conflist, conflistName); err != nil {
		return fmt.Errorf("take the node away from the runtime: %w", err)
	}
	return nil
}
