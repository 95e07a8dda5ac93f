package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/vnet-cni/vnet-cni/pkg/overlay"
)

// Modes of the network, as the plugin has them.
const (
	ModeOverlay = "overlay"
	ModeVNet    = "vnet"
)

// Config is what the user decides: the file config.yaml of the agent's ConfigMap.
// Keys that are the plugin's own are handed to its configuration as they are and
// checked there.
type Config struct {
	// Mode is "overlay" (each node's podCIDR is its pool, and the agent brings
	// packets from node to node) or "vnet" (the node's podCIDR is cut from the
	// subnet that the nodes are in).
	Mode string `json:"mode,omitempty"`
	// Network names the network of the pods. Another name is another network.
	Network string `json:"network,omitempty"`
	// Uplink is the nodes' interface towards each other; "": the one with the
	// node's address.
	Uplink string `json:"uplink,omitempty"`
	// MTU of pods in bytes; 0: the uplink's, less what the encapsulation takes.
	MTU int `json:"mtu,omitempty"`
	// Subnets are those of the VNet that podCIDRs are cut from, in mode vnet. None:
	// those that the uplink is in.
	Subnets cidrs `json:"subnets,omitempty"`
	// Encapsulation tells when packets to other nodes go through VXLAN.
	Encapsulation overlay.Encapsulation `json:"encapsulation,omitempty"`
	VXLAN         VXLAN                 `json:"vxlan,omitzero"`
	// Masquerade gives what leaves for other places the node's address; absent:
	// yes in mode overlay, no in mode vnet.
	Masquerade *bool `json:"masquerade,omitempty"`
	// MasqueradeExcept are further destinations that see the pod's own address.
	MasqueradeExcept cidrs `json:"masqueradeExcept,omitempty"`
	// Cooldown is how long a released address rests.
	Cooldown string `json:"cooldown,omitempty"`
	NSG      NSG    `json:"nsg,omitzero"`
}

// VXLAN is how packets are encapsulated.
type VXLAN struct {
	VNI  uint32 `json:"vni,omitempty"`
	Port uint16 `json:"port,omitempty"` // UDP
}

// NSG is how security groups apply to the cluster's pods. Its keys are those of
// "nsg" in the plugin's configuration.
type NSG struct {
	Disabled       bool            `json:"disabled,omitempty"`
	Subnet         string          `json:"subnet,omitempty"`
	VirtualNetwork cidrs           `json:"virtualNetwork,omitempty"`
	RouteTable     *string         `json:"routeTable,omitempty"`
	SameNode       string          `json:"sameNode,omitempty"`
	Allowed        json.RawMessage `json:"allowed,omitempty"` // as it is written: empty is not absent, which allows everything
}

// What holds where the user says nothing.
const (
	defaultNetwork = "pods"
	defaultVNI     = 7677
	defaultPort    = 4789 // IANA's for VXLAN (RFC 7348, section 8)

	// The agents of other nodes have to hear of a pod's end before its address
	// serves another pod.
	defaultCooldown = "2m0s"
)

// ReadConfig reads the file, which may be absent: then all is default.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return Config{}, fmt.Errorf("read the agent's configuration: %w", err)
	}
	c, err := parseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("agent's configuration %s: %w", path, err)
	}
	return c, nil
}

// parseConfig refuses keys that it does not know: a misspelt one would go
// unnoticed.
func parseConfig(data []byte) (Config, error) {
	c := Config{
		Mode: ModeOverlay, Network: defaultNetwork, Encapsulation: overlay.Auto,
		VXLAN: VXLAN{VNI: defaultVNI, Port: defaultPort}, Cooldown: defaultCooldown,
	}
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, inWords(err, data)
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	pods := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 0, 0}), 24)}
	return c, c.usableWith(pods, pods)
}

// usableWith tells what the plugin refuses of a configuration on a node with these
// pools, whatever else the node is like.
func (c Config) usableWith(pools, subnets []netip.Prefix) error {
	_, _, err := c.render(site{
		pools: pools, subnets: subnets, cluster: pools, space: pools, tag: pools, uplink: "eth0", mtu: c.MTU,
		stateDir: "/run/vnet", documents: "/var/lib/vnet/documents", defaults: "/var/lib/vnet/namespaces",
	})
	return err
}

// maxVNI is the largest network identifier that VXLAN has room for (RFC 7348,
// section 5: 24 bits).
const maxVNI = 1<<24 - 1

// check looks at what is the agent's own.
func (c Config) check() error {
	if c.Mode != ModeOverlay && c.Mode != ModeVNet {
		return fmt.Errorf("mode: value %q is neither %q nor %q", c.Mode, ModeOverlay, ModeVNet)
	}
	switch c.Encapsulation {
	case overlay.Auto, overlay.Never, overlay.Always:
	default:
		return fmt.Errorf("encapsulation: value %q is none of %q, %q and %q", c.Encapsulation, overlay.Auto, overlay.Never, overlay.Always)
	}
	if c.VXLAN.VNI == 0 || c.VXLAN.VNI > maxVNI {
		return fmt.Errorf("vxlan.vni: value %d is not in 1 to %d", c.VXLAN.VNI, maxVNI)
	}
	if c.VXLAN.Port == 0 {
		return fmt.Errorf("vxlan.port: value 0 is not in 1 to 65535")
	}
	if _, err := time.ParseDuration(c.Cooldown); err != nil {
		return fmt.Errorf("cooldown: value %q: %w", c.Cooldown, err)
	}
	for i, s := range c.Subnets {
		if c.Mode != ModeVNet {
			return fmt.Errorf("subnets: only mode %q has them", ModeVNet)
		}
		if s != s.Masked() {
			return fmt.Errorf("subnets[%d]: value %q has host bits set", i, s)
		}
	}
	return nil
}

func (c Config) masquerades() bool {
	if c.Masquerade == nil {
		return c.Mode == ModeOverlay
	}
	return *c.Masquerade
}
