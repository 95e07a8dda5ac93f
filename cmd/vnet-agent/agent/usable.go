package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/members"
	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
)

// configured finds the configuration of this pass. What cannot be used here does not
// replace what is in use: a slip of the pen must not take the network from a whole
// cluster.
func (p *pass) configured() error {
	c, err := ReadConfig(p.Paths.Config)
	if err != nil {
		err = p.fault(invalidConfiguration, err)
	}
	last := p.lastGood()
	if err == nil {
		err = p.use(c)
	}
	if err == nil {
		if last != nil && last.Network != c.Network {
			p.former = append(p.former, last.Network)
		}
		p.good = &c
		return nil
	}
	if last == nil || reflect.DeepEqual(c, *last) {
		return err
	}
	p.invalid = err
	return p.use(*last)
}

// The reasons of the Events that say so.
const (
	invalidConfiguration = "InvalidConfiguration"
	invalidPodCIDR       = "InvalidPodCIDR"
)

// use makes a configuration that of this pass if it can be: before anything is
// changed on the node.
func (p *pass) use(c Config) error {
	up, err := p.findUplink(c)
	if err != nil && c.Uplink != "" {
		return p.fault(invalidConfiguration, err)
	}
	if err != nil {
		return err
	}
	subnets, err := c.subnetsOf(p.self.PodCIDRs, connected(up))
	if err != nil {
		return p.fault(invalidPodCIDR, err)
	}
	if err := c.usableWith(p.self.PodCIDRs, subnets); err != nil {
		return p.fault(invalidConfiguration, err)
	}
	if err := p.keepsPods(c); err != nil {
		return p.fault(invalidConfiguration, err)
	}
	p.config, p.uplink, p.subnets = c, up, subnets
	return nil
}

// keepsPods refuses another name for the network while pods have addresses of the one
// with the old name: nobody would know them any more, and their addresses would be
// leased again. And another mode, in which nobody would bring packets to them.
func (p *pass) keepsPods(c Config) error {
	last := p.lastGood()
	if last == nil || last.Network == c.Network && last.Mode == c.Mode {
		return nil
	}
	leases, err := attachment.Store(p.Paths.State, last.Network).Leases()
	if err != nil || len(leases) == 0 {
		return err
	}
	if last.Network != c.Network {
		return fmt.Errorf("network: value %q: %d pods of this node are in network %q still: drain the node first", c.Network, len(leases), last.Network)
	}
	return fmt.Errorf("mode: value %q: %d pods of this node are in mode %q still: drain the node first", c.Mode, len(leases), last.Mode)
}

// leaveNetworks removes the rules of networks with former names, once those of today are
// in force: nobody brings them up to date any more, and they would go on judging what
// enters here for other nodes' pods. One that a pod has got into meanwhile waits.
func (p *pass) leaveNetworks(context.Context) error {
	p.former = slices.DeleteFunc(p.former, func(n string) bool { return n == p.config.Network })
	if len(p.former) == 0 || !p.enforced {
		return nil
	}
	all, err := collect.AllLeases(p.Paths.State)
	if err != nil {
		return err
	}
	keep, waiting := []string{p.config.Network}, []string(nil)
	for _, n := range all {
		if !slices.Contains(p.former, n.Network) {
			keep = append(keep, n.Network)
		} else if len(n.Leases) > 0 {
			waiting = append(waiting, n.Network)
		}
	}
	for _, network := range p.former {
		if _, err := p.node.SyncMembers(p.Paths.State, network, nil); err != nil {
			return err
		}
	}
	if _, err := collect.Remove(p.node, collect.Options{StateDir: p.Paths.State, Keep: keep}, nil); err != nil {
		return err
	}
	for _, network := range p.former {
		if err := members.Forget(p.Paths.State, network); err != nil {
			return err
		}
	}
	p.former = waiting
	return nil
}

// goodConfig is the copy of the last configuration that could be used, for an agent
// that is started while there is a worse one.
const goodConfig = "config.yaml"

func (p *pass) lastGood() *Config {
	if p.good != nil {
		return p.good
	}
	path := filepath.Join(p.Paths.Data, goodConfig)
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	c, err := ReadConfig(path)
	if err != nil {
		p.Log.Warn("the last good configuration cannot be used any more", "error", err)
		return nil
	}
	p.good = &c
	return p.good
}

func (p *pass) keepGood() error {
	if len(p.former) > 0 {
		return nil // another agent has to know it by the old one
	}
	data, err := yaml.Marshal(p.config)
	if err == nil {
		_, err = nodefiles.WriteConflist(p.Paths.Data, goodConfig, data)
	}
	if err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	return nil
}

// findUplink is the interface with the node's address, unless the user says
// otherwise: the default route may lead to another network.
func (p *pass) findUplink(c Config) (link.Uplink, error) {
	name := c.Uplink
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
func connected(up link.Uplink) []netip.Prefix {
	var out []netip.Prefix
	for _, prefix := range up.Prefixes {
		if !prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, prefix.Masked())
		}
	}
	return out
}
