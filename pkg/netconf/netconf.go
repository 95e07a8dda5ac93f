// Package netconf turns what a runtime hands to the plugins vnet, vnet-ipam and
// vnet-nsg, the JSON document on stdin and the CNI_* variables, into checked Go values.
//
// It knows every key of the configuration, which values can be, and the code
// that the CNI specification gives to each fault. It is pure: it must not read
// a file, a link or the environment, and knows neither verbs nor leases.
package netconf

import (
	"encoding/json"
	"net"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/ipam"
)

// Mode says how the pods' addresses are reached from outside the node.
type Mode string

// The modes.
const (
	ModeVNet    Mode = "vnet"    // flat: the node answers for its pods' addresses on the uplink
	ModeOverlay Mode = "overlay" // nothing on the uplink: somebody else routes between the nodes
)

// Defaults of keys that may be absent.
const (
	DefaultStateDir = "/run/vnet"
	DefaultCooldown = 30 * time.Second
)

// IPAMType is the ipam.type that is served in the plugin's own process.
const IPAMType = "vnet-ipam"

// Plugin says whose configuration is read.
type Plugin int

// The plugins.
const (
	VNet     Plugin = iota // plugins/vnet: every key is its own or CNI's
	VNetIPAM               // ipam/vnet-ipam: the main plugin's keys are none of its business
	VNetNSG                // plugins/vnet-nsg: it has security groups, and addresses are the main plugin's
)

// Conf is a network configuration as one plugin sees it.
type Conf struct {
	CNIVersion string
	Name       string // at most 100 characters, safe as a file name
	Mode       Mode
	Uplink     string // "": the default route's interface
	MTU        int    // bytes; 0: the uplink's
	StateDir   string // absolute and clean
	Masquerade *Masquerade
	NSG        *NSG // nil: no filtering was asked for, or a lenient reader could not read it
	IPAM       IPAM
	DNS        types.DNS

	FixedIPs []netip.Addr     // runtimeConfig.ips: capability "ips", addresses or CIDRs
	FixedMAC net.HardwareAddr // runtimeConfig.mac: capability "mac"; nil: none asked for

	// What the pod's annotations ask for: name or resource id, as written. They
	// are read only where NSG is set: who writes a pod does not know its network.
	PodNSG  string
	PodASGs []string

	// PrevResult is the result so far, converted from whatever CNI version it
	// came in to the newest one; nil when absent. Its lists hold no nil, every
	// interface index is one of Interfaces, every address and route is set.
	PrevResult *types100.Result
	// PrevDocument is prevResult as it came, with what this package does not know, and
	// PrevVersion the CNI version that it is in.
	PrevDocument json.RawMessage
	PrevVersion  string

	// ValidAttachments is cni.dev/valid-attachments. Only with
	// HasValidAttachments does an empty list mean that no attachment is valid.
	ValidAttachments    []types.GCAttachment
	HasValidAttachments bool
}

// Masquerade asks for source NAT of what leaves the pods for other places than
// Except; a nil *Masquerade asks for none.
type Masquerade struct{ Except []netip.Prefix }

// IPAM is the object ipam. With a delegated type only Type is read.
type IPAM struct {
	Type     string
	Cooldown time.Duration // how long a released address rests before it is leased again
	Routes   []*types.Route
	Pools    []ipam.Pool
}

// Delegated tells whether another plugin than vnet-ipam leases the addresses.
func (c IPAM) Delegated() bool { return c.Type != IPAMType }

// ParseStrict reads the configuration for ADD, CHECK and STATUS: what cannot be
// understood is an error. Errors are *cnierr.Error: code 2 for a key that
// nobody knows, 6 for a document or value of the wrong form, 7 for a value that
// cannot be. Each names the key by its path, and the value.
func ParseStrict(p Plugin, stdin []byte) (*Conf, error) {
	return parse(&decoder{plugin: p}, stdin)
}

// ParseLenient reads the configuration for DEL and GC: a key that cannot be
// read is left at its default, or a configuration edited or rolled back would
// strand its pods. Errors, with the codes of ParseStrict, are left for what
// decides whose leases go: no JSON object, a bad name, a stateDir that is no
// absolute path, and a bad cni.dev/valid-attachments, for reading that as empty
// would release everybody.
func ParseLenient(p Plugin, stdin []byte) (*Conf, error) {
	return parse(&decoder{plugin: p, lenient: true}, stdin)
}

func parse(d *decoder, stdin []byte) (*Conf, error) {
	d.conf = Conf{
		Mode:     ModeVNet,
		StateDir: DefaultStateDir,
		IPAM:     IPAM{Type: IPAMType, Cooldown: DefaultCooldown},
	}
	if err := d.wellFormed("", stdin); err != nil {
		return nil, err
	}
	if err := d.object("", json.RawMessage(stdin), d.topLevel(), d.plugin == VNetIPAM); err != nil {
		return nil, err
	}
	if d.lenient {
		return &d.conf, nil
	}
	if err := d.checkTogether(); err != nil {
		return nil, err
	}
	return &d.conf, nil
}
