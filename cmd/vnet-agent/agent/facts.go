package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/overlay"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// facts is what a pass has found out so far.
type facts struct {
	config   Config
	self     kube.Node
	others   []kube.Node
	uplink   link.Uplink
	routed   overlay.Report
	conflist []byte
	conf     *netconf.Conf
	rules    *policy.Rules
}

// invalidConfiguration is the reason of the Event that says so.
const invalidConfiguration = "InvalidConfiguration"

// ipvsDevice holds the services' addresses where kube-proxy is in mode ipvs, whose
// traffic to pods on other nodes passes no FORWARD chain.
const ipvsDevice = "kube-ipvs0"

// identify finds out who this node is, and whether it can be served.
func (p *pass) identify() error {
	if err := p.configured(); err != nil {
		return err
	}
	found := false
	for _, n := range p.Cluster.Nodes() {
		if n.Name == p.Node {
			p.self, found = n, true
		} else {
			p.others = append(p.others, n)
		}
	}
	switch {
	case !found:
		return fmt.Errorf("node %s is not in the cluster", p.Node)
	case len(p.self.Addresses) == 0:
		return fmt.Errorf("node %s has no InternalIP yet", p.Node)
	case len(p.self.PodCIDRs) == 0:
		return fmt.Errorf("node %s has no podCIDR yet: the controller manager gives it one with --allocate-node-cidrs", p.Node)
	}
	p.tellFaults()
	if err := p.judgeable(); err != nil {
		return err
	}
	var err error
	p.uplink, err = p.findUplink()
	return err
}

// configured reads the configuration. What cannot be used does not replace what is
// in use: a slip of the pen must not take the network from a whole cluster.
func (p *pass) configured() error {
	c, err := ReadConfig(p.Paths.Config)
	switch {
	case err == nil:
		p.good, p.config = &c, c
		p.untell(kube.NodeRef(p.Node, invalidConfiguration))
		return nil
	case p.good == nil:
		p.tellNode(invalidConfiguration, err.Error())
		return err
	}
	p.tellNode(invalidConfiguration, err.Error())
	p.errs = append(p.errs, err)
	p.config = *p.good
	return nil
}

// tellFaults tells of what nobody can use in the objects of nodes.
func (p *pass) tellFaults() {
	var faults []string
	for _, n := range append([]kube.Node{p.self}, p.others...) {
		for _, f := range n.Faults {
			faults = append(faults, fmt.Sprintf("node %s: %s", n.Name, f))
		}
	}
	p.tellAll("InvalidNode", faults)
}

// judgeable refuses a node whose traffic to pods goes past the rules: what is denied
// must not come in by the back door.
func (p *pass) judgeable() error {
	const reason = "UnsupportedKubeProxy"
	if _, err := net.InterfaceByName(ipvsDevice); err != nil {
		p.untell(kube.NodeRef(p.Node, reason))
		return nil
	}
	err := fmt.Errorf("kube-proxy is in mode ipvs (there is %s), which brings packets to pods past the rules of security groups: set its mode to iptables or nftables", ipvsDevice)
	p.tellNode(reason, err.Error())
	return errors.Join(err, p.withdraw())
}

// findUplink is the interface with the node's address, unless the user says
// otherwise: the default route may lead to another network.
func (p *pass) findUplink() (link.Uplink, error) {
	name := p.config.Uplink
	if name == "" {
		var err error
		if name, err = interfaceOf(p.self.Addresses); err != nil {
			return link.Uplink{}, err
		}
	}
	up, err := p.node.Host.FindUplink(name, p.self.PodCIDRs)
	if err != nil {
		return link.Uplink{}, fmt.Errorf("find the uplink of node %s: %w", p.Node, err)
	}
	return up, nil
}

func interfaceOf(addrs []netip.Addr) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list the node's interfaces: %w", err)
	}
	for _, l := range links {
		has, err := l.Addrs()
		if err != nil {
			continue // it went meanwhile
		}
		for _, h := range has {
			prefix, err := netip.ParsePrefix(h.String())
			if err == nil && slices.Contains(addrs, prefix.Addr().WithZone("")) {
				return l.Name, nil
			}
		}
	}
	return "", fmt.Errorf("no interface of this node has an address of the Node object: %v; set \"uplink\"", addrs)
}

// connected are the prefixes that the uplink is in.
func (p *pass) connected() []netip.Prefix {
	var out []netip.Prefix
	for _, prefix := range p.uplink.Prefixes {
		if !prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, prefix.Masked())
		}
	}
	return out
}

func (p *pass) documentsDir() string { return filepath.Join(p.Paths.Data, "documents") }

// currentDocuments is where the plugins look for them.
func (p *pass) currentDocuments() string { return filepath.Join(p.documentsDir(), "current") }

func (p *pass) defaultsDir() string { return filepath.Join(p.Paths.Data, "namespaces") }

// conflistName comes before what a cluster's installer may have left: a runtime
// takes the first by name.
const conflistName = "05-vnet.conflist"

func (p *pass) offered() bool {
	_, err := os.Stat(filepath.Join(p.Paths.Conflist, conflistName))
	return err == nil
}
