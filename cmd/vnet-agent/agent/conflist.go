package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// The CNI versions of the conflist. An older libcni takes cniVersion 1.1.0 and
// then fails, a newer one reads cniVersions.
const cniVersion = "1.0.0"

var cniVersions = []string{"1.0.0", "1.1.0"}

// capabilityAnnotations makes containerd hand a pod's annotations to the plugin.
const capabilityAnnotations = "io.kubernetes.cri.pod-annotations"

// site is what the conflist of a node depends on besides the configuration.
type site struct {
	pools     []netip.Prefix // podCIDRs of this node
	subnets   []netip.Prefix // that they are cut from; those themselves in mode overlay
	uplink    string
	mtu       int // 0: the uplink's
	stateDir  string
	documents string         // folder
	defaults  string         // folder
	cluster   []netip.Prefix // podCIDRs of all nodes
	space     []netip.Prefix // virtual network: all nodes and pods, and what the documents say
	tag       []netip.Prefix // what VirtualNetwork stands for: the space, and what the subnet's route table adds
}

type conflist struct {
	CNIVersion  string   `json:"cniVersion"`
	CNIVersions []string `json:"cniVersions"`
	Name        string   `json:"name"`
	Plugins     []any    `json:"plugins"`
}

type vnetPlugin struct {
	Type         string          `json:"type"`
	Mode         string          `json:"mode"`
	Uplink       string          `json:"uplink,omitempty"`
	MTU          int             `json:"mtu,omitempty"`
	StateDir     string          `json:"stateDir"`
	Capabilities map[string]bool `json:"capabilities"`
	Masquerade   *masquerade     `json:"masquerade,omitempty"`
	IPAM         ipamConf        `json:"ipam"`
	NSG          *nsgConf        `json:"nsg,omitempty"`
}

type masquerade struct {
	Except []netip.Prefix `json:"except"`
}

type ipamConf struct {
	Type     string     `json:"type"`
	Cooldown string     `json:"cooldown"`
	Pools    []poolConf `json:"pools"`
}

type poolConf struct {
	Subnet netip.Prefix   `json:"subnet"`
	Ranges []netip.Prefix `json:"ranges,omitempty"`
}

type nsgConf struct {
	Documents      []string        `json:"documents"`
	Namespaces     string          `json:"namespaces"`
	Subnet         string          `json:"subnet,omitempty"`
	VirtualNetwork []netip.Prefix  `json:"virtualNetwork"`
	RouteTable     *string         `json:"routeTable,omitempty"`
	SameNode       string          `json:"sameNode,omitempty"`
	Allowed        json.RawMessage `json:"allowed,omitempty"`
}

type portmapPlugin struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
}

// render writes the conflist, and returns what the plugin makes of it: a value
// that the plugin refuses is refused here, before any pod meets it.
func (c Config) render(s site) ([]byte, *netconf.Conf, error) {
	main := c.plugin(s)
	list := conflist{CNIVersion: cniVersion, CNIVersions: cniVersions, Name: c.Network, Plugins: []any{
		main, portmapPlugin{Type: "portmap", Capabilities: map[string]bool{"portMappings": true}},
	}}
	conf, err := c.parsed(main)
	if err != nil {
		return nil, nil, err
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("write the conflist of network %s: %w", c.Network, err)
	}
	return append(data, '\n'), conf, nil
}

func (c Config) plugin(s site) vnetPlugin {
	p := vnetPlugin{
		Type: "vnet", Mode: c.Mode, Uplink: s.uplink, MTU: s.mtu, StateDir: s.stateDir,
		Capabilities: map[string]bool{capabilityAnnotations: true},
		IPAM:         ipamConf{Type: "vnet-ipam", Cooldown: c.Cooldown},
	}
	for i, pool := range s.pools {
		entry := poolConf{Subnet: s.subnets[i]}
		if c.Mode == ModeVNet {
			entry.Ranges = []netip.Prefix{pool}
		}
		p.IPAM.Pools = append(p.IPAM.Pools, entry)
	}
	if c.masquerades() {
		p.Masquerade = &masquerade{Except: merged(c.seePods(s), c.MasqueradeExcept)}
	}
	if !c.NSG.Disabled {
		p.NSG = &nsgConf{
			Documents: []string{s.documents}, Namespaces: s.defaults, Subnet: c.NSG.Subnet,
			VirtualNetwork: s.tag, RouteTable: c.NSG.RouteTable, SameNode: c.NSG.SameNode, Allowed: c.NSG.Allowed,
		}
	}
	return p
}

// seePods are the destinations that know the way back to a pod. In an overlay
// these are pods only: what is beside a node has no route to them.
func (c Config) seePods(s site) []netip.Prefix {
	if c.Mode == ModeOverlay {
		return s.cluster
	}
	return s.space
}

// parsed reads the plugin's configuration as the plugin does, with what libcni
// adds to it.
func (c Config) parsed(p vnetPlugin) (*netconf.Conf, error) {
	data, err := json.Marshal(struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
		vnetPlugin
	}{cniVersion, c.Network, p})
	if err != nil {
		return nil, fmt.Errorf("write the configuration of network %s: %w", c.Network, err)
	}
	conf, err := netconf.ParseStrict(netconf.VNet, data)
	if err != nil {
		return nil, fmt.Errorf("the configuration of network %s: %w", c.Network, err)
	}
	return conf, nil
}

// merged are the prefixes of all lists in one order, none inside another: what
// means the same is written the same.
func merged(lists ...[]netip.Prefix) []netip.Prefix {
	return nsg.NewAddressSet(slices.Concat(lists...)...).Prefixes()
}

// subnetsOf finds for each pool the subnet that it is cut from.
func (c Config) subnetsOf(pools, connected []netip.Prefix) ([]netip.Prefix, error) {
	if c.Mode == ModeOverlay {
		return pools, nil
	}
	candidates := c.Subnets
	if len(candidates) == 0 {
		candidates = connected
	}
	var subnets []netip.Prefix
	for _, pool := range pools {
		i := slices.IndexFunc(candidates, func(s netip.Prefix) bool { return s.Bits() <= pool.Bits() && s.Contains(pool.Addr()) })
		if i < 0 {
			return nil, fmt.Errorf("podCIDR %s is in none of the subnets %v: in mode %q it is cut from the nodes' own subnet", pool, candidates, ModeVNet)
		}
		subnets = append(subnets, candidates[i].Masked())
	}
	return subnets, nil
}
