package agent

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/nodefiles"
)

// configured finds the configuration of this pass. What cannot be used here does not
// replace what is in use: a slip of the pen must not take the network from a whole
// cluster.
func (p *pass) configured() error {
	c, err := ReadConfig(p.Paths.Config)
	if err != nil {
		err = p.fault(invalidConfiguration, err)
	} else if err = p.use(c); err == nil {
		p.good = &c
		return nil
	}
	last := p.lastGood()
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
	if err := p.keepsNetwork(c); err != nil {
		return p.fault(invalidConfiguration, err)
	}
	p.config, p.uplink, p.subnets = c, up, subnets
	return nil
}

// keepsNetwork refuses another name for the network while pods have addresses of the
// one with the old name: nobody would know them any more, and their addresses would be
// leased again.
func (p *pass) keepsNetwork(c Config) error {
	last := p.lastGood()
	if last == nil || last.Network == c.Network {
		return nil
	}
	leases, err := attachment.Store(p.Paths.State, last.Network).Leases()
	if err != nil || len(leases) == 0 {
		return err
	}
	return fmt.Errorf("network: value %q: %d pods of this node are in network %q still: drain the node first", c.Network, len(leases), last.Network)
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
