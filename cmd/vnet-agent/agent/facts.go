package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/overlay"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// facts is what a pass has found out so far.
type facts struct {
	self     kube.Node
	others   []kube.Node
	config   Config
	invalid  error // what is wrong with the configuration, in whose place config is the last good one
	uplink   link.Uplink
	subnets  []netip.Prefix // that the node's podCIDRs are cut from
	wrote    []kube.Document
	routed   overlay.Report
	learned  bool // the pods of other nodes are not those of the pass before
	conflist []byte
	conf     *netconf.Conf
	rules    *policy.Rules
	enforced bool // the rules of this configuration are in force
}

// ipvsDevice holds the services' addresses where kube-proxy is in mode ipvs, whose
// traffic to pods on other nodes passes no FORWARD chain.
const ipvsDevice = "kube-ipvs0"

// identify finds out who this node is, whether it can be served, and how.
func (p *pass) identify(context.Context) error {
	found := false
	for _, n := range p.Cluster.Nodes() {
		if n.Name == p.Node {
			p.self, found = n, true
		} else {
			p.others = append(p.others, n)
		}
	}
	p.tellFaults()
	switch {
	case !found:
		return fmt.Errorf("node %s is not in the cluster", p.Node)
	case len(p.self.Addresses) == 0:
		return fmt.Errorf("node %s has no InternalIP yet", p.Node)
	case len(p.self.PodCIDRs) == 0:
		return fmt.Errorf("node %s has no podCIDR yet: the controller manager gives it one with --allocate-node-cidrs", p.Node)
	}
	if err := p.judgeable(); err != nil {
		return err
	}
	return p.configured()
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
	if _, err := net.InterfaceByName(ipvsDevice); err != nil {
		return nil
	}
	err := fmt.Errorf("kube-proxy is in mode ipvs (there is %s), which brings packets to pods past the rules of security groups: set its mode to iptables or nftables", ipvsDevice)
	return p.fault("UnsupportedKubeProxy", errors.Join(err, p.withdraw()))
}

func (p *pass) documentsDir() string { return filepath.Join(p.Paths.Data, "documents") }

// currentDocuments is where the plugins look for them.
func (p *pass) currentDocuments() string { return filepath.Join(p.documentsDir(), "current") }

func (p *pass) defaultsDir() string { return filepath.Join(p.Paths.Data, "namespaces") }

// offered tells whether the runtime has a configuration from us.
func (p *pass) offered() bool {
	_, err := os.Stat(filepath.Join(p.Paths.Conflist, conflistName))
	return err == nil
}
