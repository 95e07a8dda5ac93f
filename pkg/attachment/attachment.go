// Package attachment knows what one pod's attachment to a network consists of
// once it is made: how it is recorded in its lease, whether it is whole, and in
// which order it is taken down.
//
// It must not know the network configuration or how an attachment is made: the
// record says all that is needed afterwards, so that a configuration may change
// or go while pods live.
package attachment

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/jsonwrite"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// Record is what a lease carries of its attachment.
type Record struct {
	HostVeth string       `json:"hostVeth"`
	Sandbox  string       `json:"sandbox"`       // path of the pod's network namespace
	Pod      string       `json:"pod,omitempty"` // namespace/name in Kubernetes, where the runtime tells
	PodMAC   string       `json:"podMAC"`
	Uplink   string       `json:"uplink,omitempty"` // where the node answers for the addresses; "": nowhere
	Routes   []link.Route `json:"routes,omitempty"` // extra routes of the pod

	Masquerade bool           `json:"masquerade,omitempty"`
	Except     []netip.Prefix `json:"except,omitempty"`

	Judged bool     `json:"judged,omitempty"` // the network's security groups decide about its traffic
	Group  string   `json:"group,omitempty"`  // key of the group of its interface, or ""
	Next   string   `json:"next,omitempty"`   // key of the group that Choose is about to give it, or ""
	ASGs   []string `json:"asgs,omitempty"`   // in lower case
	Lost   bool     `json:"lost,omitempty"`   // it may be in sets of other groups: the store was lost, or Choose is under way

	// Foreign is of a pod that another main plugin attached. Its links and addresses are
	// that plugin's: here it is judged, and nothing else.
	Foreign bool  `json:"foreign,omitempty"`
	Ends    []End `json:"ends,omitempty"` // of such a pod: the pairs that its packets come through
	// Fresh are those of its addresses that flows may be tracked of which began before it
	// was judged.
	Fresh []netip.Addr `json:"fresh,omitempty"`

	Delegate *Delegate `json:"delegate,omitempty"` // nil: the address is from our own store
	DNS      types.DNS `json:"dns,omitzero"`       // what a foreign IPAM plugin answered
}

// Encode returns the record as a lease keeps it.
func (r Record) Encode() (json.RawMessage, error) {
	var o jsonwrite.Object
	o.String("hostVeth", r.HostVeth)
	o.String("sandbox", r.Sandbox)
	o.String("pod", r.Pod)
	o.String("podMAC", r.PodMAC)
	o.String("uplink", r.Uplink)
	err := seldom(&o, "routes", r.Routes, len(r.Routes) > 0)
	o.Bool("masquerade", r.Masquerade)
	o.Strings("except", texts(r.Except))
	o.Bool("judged", r.Judged)
	o.String("group", r.Group)
	o.String("next", r.Next)
	o.Strings("asgs", r.ASGs)
	o.Bool("lost", r.Lost)
	o.Bool("foreign", r.Foreign)
	err = errors.Join(err, seldom(&o, "ends", r.Ends, len(r.Ends) > 0))
	o.Strings("fresh", texts(r.Fresh))
	err = errors.Join(err, seldom(&o, "delegate", r.Delegate, r.Delegate != nil),
		seldom(&o, "dns", r.DNS, !r.DNS.IsEmpty()))
	if err != nil {
		return nil, fmt.Errorf("encode the record of %s: %w", r.HostVeth, err)
	}
	return o.JSON(), nil
}

// seldom adds a member that most records lack.
func seldom(o *jsonwrite.Object, key string, value any, there bool) error {
	if !there {
		return nil
	}
	b, err := json.Marshal(value)
	o.Raw(key, b)
	return err
}

func texts[T fmt.Stringer](values []T) (list []string) {
	for _, v := range values {
		list = append(list, v.String())
	}
	return list
}

// Of returns the record in a lease. A lease of vnet-ipam under another main
// plugin has none: ours is then false.
func Of(l ipam.Lease) (r Record, ours bool, err error) {
	if len(l.Attachment) == 0 {
		return Record{}, false, nil
	}
	if err := json.Unmarshal(l.Attachment, &r); err != nil {
		return Record{}, false, fmt.Errorf("decode the record in the lease of %s: %w", l.ContainerID, err)
	}
	return r, r.HostVeth != "" || r.Foreign, nil
}

// Addrs returns a lease's addresses without their subnets' lengths.
func Addrs(l ipam.Lease) []netip.Addr {
	var list []netip.Addr
	for _, p := range l.Addresses {
		list = append(list, p.Addr())
	}
	return list
}

// Node is the node's side of every attachment: its links and its firewall.
type Node struct {
	Host     *link.Host
	Firewall *firewall.Firewall
	// Brief says that this process ends after a Remove: it need not wait for the
	// memory of the link that the kernel has taken down (link.Host.PartWithVeth).
	Brief bool

	step func(name string) // called before each step of a change; tests interrupt there
}

func (n *Node) at(step string) {
	if n.step != nil {
		n.step(step)
	}
}

// OpenNode opens both in the caller's network namespace.
func OpenNode() (*Node, error) {
	host, err := link.OpenHost()
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Kernel, err)
	}
	fw, err := firewall.Open()
	if err != nil {
		host.Close()
		return nil, OfFirewall(err)
	}
	return &Node{Host: host, Firewall: fw}, nil
}

// Close releases the node's sockets.
func (n *Node) Close() {
	n.Host.Close()
	n.Firewall.Close()
}

// Remove takes an attachment down, in the order in which a living pod is at no
// moment reachable unfiltered: link, proxy entry, flows, sets. What is gone already
// is success. Then it calls release, which lets the lease go: that has to outlive
// all of it, as it is how the rest is found when this process dies half-way.
//
// The links of another main plugin's pod stay, but down: a pod that still lives
// reaches nobody from then on.
func (n *Node) Remove(stateDir, network string, k ipam.Key, r Record, addrs []netip.Addr, release func() error) error {
	if r.Foreign {
		return n.removeForeign(stateDir, network, k, r, addrs, release)
	}
	deleteVeth := n.Host.DeleteVeth
	if n.Brief {
		deleteVeth = n.Host.PartWithVeth
	}
	if err := deleteVeth(r.HostVeth); err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	return OfFirewall(n.Firewall.Leaving(stateDir, func() error {
		if err := r.refresh(stateDir, network, k); err != nil {
			return err
		}
		for _, a := range addrs {
			if err := n.Forget(network, r, a); err != nil {
				return err
			}
		}
		return release()
	}))
}

// refresh reads the groups again, which Choose may have changed since the record
// was read.
func (r *Record) refresh(stateDir, network string, k ipam.Key) error {
	if !r.Judged {
		return nil
	}
	l, found, err := Store(stateDir, network).Get(k)
	if err != nil {
		return cnierr.OfStore(err)
	}
	if now, ours, err := Of(l); found && ours && err == nil {
		r.Group, r.ASGs, r.Lost = now.Group, now.ASGs, now.Lost
	}
	return nil
}

// Forget takes an address whose link is gone off the record's uplink, the routes and
// the packet filter, unless the node routes it to another link: then it is another
// pod's, and this attachment got no further than to lease it.
func (n *Node) Forget(network string, r Record, a netip.Addr) error {
	use, err := n.Host.AddressUse(a)
	if err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	if use.Local || use.Routed {
		return nil
	}
	if err := n.RemoveProxy(r.Uplink, []netip.Addr{a}); err != nil {
		return err
	}
	if err := n.Firewall.ForgetFlows(a); err != nil {
		return OfFirewall(err)
	}
	if err := forgetRoutes(a); err != nil {
		return cnierr.Wrap(cnierr.Kernel, err)
	}
	return OfFirewall(n.Firewall.RemovePod(network, r.FilterPod(a)))
}

// RemoveProxy ends the node's answers for the addresses on the uplink; "" is none.
func (n *Node) RemoveProxy(uplink string, addrs []netip.Addr) error {
	if uplink == "" {
		return nil
	}
	l, found, err := n.Host.Link(uplink)
	if err == nil && found { // else the kernel dropped the entries with the link
		err = n.Host.RemoveProxy(l.Index, addrs)
	}
	return cnierr.Wrap(cnierr.Kernel, err)
}

// Store returns the lease store of a network of attachments.
func Store(dir, network string) *ipam.Store {
	return ipam.New(ipam.Options{
		Dir: dir, Network: network,
		Rebuild: func() ([]ipam.Lease, error) { return Rebuild(dir, network) },
	})
}

// StoreOfAny is Store for a network that may be another main plugin's, of whose leases the
// kernel shows nothing: in the place of a damaged store no empty one is made.
func StoreOfAny(dir, network string) *ipam.Store {
	return ipam.New(ipam.Options{
		Dir: dir, Network: network,
		Rebuild:  func() ([]ipam.Lease, error) { return Rebuild(dir, network) },
		Doubtful: !IsChained(network) && !policy.Exists(dir, network),
	})
}

// Problems returns what is wrong with an attachment, in words for people: in the
// kernel's view of both ends, and in the firewall. It changes nothing.
func (n *Node) Problems(stateDir, network string, l ipam.Lease, r Record) ([]string, error) {
	sandbox, err := link.OpenSandbox(r.Sandbox)
	if errors.Is(err, link.ErrSandbox) {
		return []string{err.Error()}, nil
	}
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Kernel, err)
	}
	defer sandbox.Close()
	problems, err := n.linkProblems(sandbox, l, r)
	if err != nil {
		return nil, err
	}
	rules := r.Rules(network, stateDir, Addrs(l))
	more, err := n.Firewall.Problems(rules, r.FilterPod(Addrs(l)...))
	if err != nil {
		return nil, OfFirewall(err)
	}
	problems = append(problems, more...)
	if !r.Judged {
		return problems, nil
	}
	more, _, err = RoutingProblems(stateDir, network, Addrs(l)...)
	return append(problems, more...), cnierr.Wrap(cnierr.Kernel, err)
}

func (n *Node) linkProblems(sandbox *link.Sandbox, l ipam.Lease, r Record) ([]string, error) {
	if r.Foreign {
		return n.endProblems(sandbox, l, r)
	}
	mac, err := net.ParseMAC(r.PodMAC)
	if err != nil {
		return nil, cnierr.Wrap(cnierr.Store, fmt.Errorf("record of %s: %w", r.HostVeth, err))
	}
	problems, err := link.Problems(n.Host, sandbox, link.Expectation{
		HostName: r.HostVeth, PodName: l.IfName, PodMAC: mac,
		Addrs: Addrs(l), Routes: r.Routes, Uplink: r.Uplink,
	})
	return problems, cnierr.Wrap(cnierr.Kernel, err)
}

// FilterPod is what the packet filter knows of the attachment and these of its
// addresses.
func (r Record) FilterPod(addrs ...netip.Addr) firewall.Pod {
	p := firewall.Pod{Addrs: addrs, Group: r.Group, Next: r.Next, ASGs: r.ASGs, Lost: r.Lost, Foreign: r.Foreign}
	for _, e := range r.Ends {
		p.Devices = append(p.Devices, e.Device)
	}
	return p
}

// Rules is what the firewall has to hold for the attachment's network. Without a
// state directory it is for comparing only.
func (r Record) Rules(network, stateDir string, addrs []netip.Addr) firewall.Network {
	n := firewall.Network{
		Name: network, StateDir: stateDir, Foreign: IsChained(network), Masquerade: r.Masquerade, Except: r.Except,
		Pods:     func() ([]netip.Addr, error) { return leased(stateDir, network) },
		NodePods: func() ([]netip.Addr, error) { return leasedOnNode(stateDir) },
	}
	n.IPv4, n.IPv6 = families(addrs)
	if r.Judged && policy.Exists(stateDir, network) { // the configuration may have left it meanwhile
		n.Judging = &firewall.Judging{Groups: firewall.GroupsOf(r.FilterPod()), Pods: Pods(stateDir, network), Load: func() (*firewall.Policies, error) {
			return inForce(stateDir, network)
		}}
	}
	return n
}

// inForce is what judges the pods of a network, for rules that have to be made
// anew where nobody has its configuration.
func inForce(stateDir, network string) (*firewall.Policies, error) {
	rules, err := policy.Reopen(stateDir, network, Pods(stateDir, network))
	if err != nil {
		return nil, err
	}
	return rules.Judging().Load()
}
