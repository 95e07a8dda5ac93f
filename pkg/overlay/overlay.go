// Package overlay leads packets to the pods of other nodes: a route for each pod
// CIDR, directly to a node on the same link, else through a VXLAN device.
//
// What is wanted is computed from the configuration as data (render), compared
// with what the kernel holds (plan), and only the difference is written. Nothing
// is exchanged between nodes: the address of a node's end of the tunnel and its
// hardware address follow from the node's address and pod CIDR. Ours is what
// carries RouteProtocol, and the device named DeviceName with all that is on it.
// When everything is right, a call costs the listings and one look-up for each
// address of another node.
//
// What goes through the tunnel one way has to come back by it: routers in between
// know no pod, and a strict rp_filter takes an address from no other link than the
// one that leads there. So a node talks to the pods behind the tunnel from its own
// address (the routes' preferred source, which a UDP server that listens on all
// addresses answers from, too), and what a pod sends to that address goes through
// the tunnel: a rule for packets from this node's pod CIDRs leads to a table of the
// other nodes' addresses. The tunnel's own packets come from the node's address and
// pass it by. One case is left: a strict rp_filter on the uplink drops what such a
// node itself, not a pod of it, sends to a port of this node that is translated to
// a pod (hostPort), for the pod's answer leaves by the tunnel.
//
// The device has the first address of the node's pod CIDR in IPv4 and the second
// in IPv6 (the first is the anycast address of the subnet's routers, RFC 4291
// section 2.6.1). It is what masquerading takes, and the source of nodes without an
// address of the pods' family. No pod can have it if the IPAM's pool has the pod
// CIDR as its subnet: it never leases the first four addresses of a subnet.
//
// It knows netlink. It must not know Kubernetes, CNI, leases or configuration
// formats, and needs no sysctl.
package overlay

import (
	"errors"
	"net/netip"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

const (
	// DeviceName is the VXLAN device. It must not begin as a host veth's does
	// (link.VethPrefix): the firewall's rules for pods match by that.
	DeviceName = "vxvnet"

	// RouteProtocol marks the routes and rules of this package.
	RouteProtocol = fib.ToNodes

	// RouteTable holds the routes to other nodes' own addresses for packets from
	// this node's pods, and is the priority of the rule that leads there.
	RouteTable = fib.TableOfNodes

	// DefaultVNI stands for a zero VNI in Config.
	DefaultVNI uint32 = 7677

	// DefaultPort stands for a zero Port in Config: VXLAN's own (RFC 7348).
	DefaultPort uint16 = 4789
)

// Encapsulation says which nodes are reached through VXLAN.
type Encapsulation string

// Auto, which "" stands for, takes VXLAN to the nodes that the kernel does not
// reach on the uplink's own link. A node that Never leaves without a way is skipped.
const (
	Auto   Encapsulation = "auto"
	Never  Encapsulation = "never"
	Always Encapsulation = "always"
)

// Node is a node of the cluster.
type Node struct {
	Name     string
	Addrs    []netip.Addr // at most one of each family
	PodCIDRs []netip.Prefix
}

// Config is the cluster as this node sees it.
type Config struct {
	Self   Node
	Others []Node
	// Uplink is the name of the link towards the other nodes; "": the one that
	// has Self's first address.
	Uplink        string
	Encapsulation Encapsulation
	VNI           uint32 // the same on all nodes; 0: DefaultVNI
	Port          uint16 // the same on all nodes; 0: DefaultPort
}

// Report is what Apply did.
type Report struct {
	// Added counts what was made or changed in the kernel, Removed what was taken
	// away: routes, rules, addresses, neighbours, forwarding entries, the device.
	Added, Removed int
	// Skipped names the nodes and pod CIDRs that are not reached, with the reason.
	Skipped []string
	// MTU is what pods may send, in bytes: the uplink's, less the encapsulation if
	// a node is reached through it or Encapsulation is Always.
	MTU       int
	UplinkMTU int
}

// Apply brings routes, device, forwarding entries and neighbours in the calling
// thread's network namespace to what c wants, and removes what is ours and not
// wanted any more. It changes nothing that is right, and nothing of others. What
// fails for one node does not keep the rest from being done: the error joins all
// failures, each with node, destination and next hop.
func Apply(c Config) (Report, error) {
	c, err := c.normalised()
	if err != nil {
		return Report{}, err
	}
	k, err := openKernel()
	if err != nil {
		return Report{}, err
	}
	defer k.close()
	if err := k.findLinks(c); err != nil {
		return Report{}, err
	}
	reach, err := k.reach(c)
	if err != nil {
		return Report{}, err
	}
	want := render(c, k.uplink, reach)
	have, err := k.observe(want)
	if err != nil {
		return Report{}, err
	}
	p := plan(want, have)
	r := Report{Skipped: append(want.skipped, p.skipped...), MTU: want.mtu, UplinkMTU: k.uplink.mtu}
	r.Added, r.Removed, err = k.execute(p.changes)
	return r, errors.Join(p.err, err)
}

// Remove takes everything of ours away from the calling thread's network
// namespace. Nothing there is success.
func Remove() error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.findDevice(); err != nil {
		return err
	}
	have, err := k.observe(desired{})
	if err != nil {
		return err
	}
	_, _, err = k.execute(plan(desired{}, have).changes)
	return err
}
