package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// Host is the node's side: a netlink socket in the node's namespace.
type Host struct{ conn *conn }

// OpenHost opens the socket in the caller's namespace.
func OpenHost() (*Host, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	c.Apart() // for PartWithVeth
	return &Host{conn: c}, nil
}

// Close releases the socket.
func (h *Host) Close() { h.conn.Close() }

// Veth describes a pair to make.
type Veth struct {
	HostName string
	PodName  string
	PodMAC   net.HardwareAddr
	MTU      int
}

// ErrNameTaken says that the pod has an interface of the wanted name already.
var ErrNameTaken = errors.New("interface name is taken in the pod")

// CreateVeth makes the pair with both ends in their final namespaces and both
// addresses set, but down: creating and moving would cost an RCU grace period,
// and udev rewrites an address that was not given at creation.
func (h *Host) CreateVeth(v Veth, s *Sandbox) error {
	err := h.conn.Do(vethMessage(v, s.fd))
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w: %s: %w", ErrNameTaken, v.PodName, err)
	}
	return err
}

// Link returns the named link of the node, or false.
func (h *Host) Link(name string) (Link, bool, error) { return h.conn.linkByName(name) }

// HostEnd is what the node needs for one pod.
type HostEnd struct {
	Name   string
	Alias  string
	PodMAC net.HardwareAddr
	Addrs  []netip.Addr
	IPv6   bool // some address is IPv6
}

// ConfigureHost silences the host end, brings it up and adds the pod's routes
// and permanent neighbours.
func (h *Host) ConfigureHost(e HostEnd) error {
	l, found, err := h.conn.linkByName(e.Name)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("configure link %s: %w", e.Name, unix.ENODEV)
	}
	if err := quietVeth(e.Name, e.IPv6); err != nil {
		return err
	}
	alias := nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(e.Alias))
	requests := []nlsock.Request{quietIPv4Message(e.Name, l.Index)}
	if e.IPv6 {
		requests = append(requests, noAutoAddressMessage(e.Name, l.Index))
	}
	requests = append(requests, upMessage(e.Name, l.Index, alias))
	for _, a := range e.Addrs {
		requests = append(requests, neighbourMessage(a, e.PodMAC, l.Index))
	}
	if err := h.conn.Do(requests...); err != nil {
		return err
	}
	for _, a := range e.Addrs {
		if err := h.routeTo(a, l); err != nil {
			return err
		}
	}
	return nil
}

// ErrAddressUsed says that the node routes an address to somebody else.
var ErrAddressUsed = errors.New("address is in use on this node")

// routeTo adds the node's route to a pod. One that is there already may be of an
// earlier ADD; somebody else's is never taken over.
func (h *Host) routeTo(a netip.Addr, own Link) error {
	err := h.conn.Do(routeMessage(hostRoute(a), own.Index, unix.NLM_F_EXCL))
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	use, err := h.AddressUse(a)
	if err != nil {
		return err
	}
	if use.By(own) {
		return fmt.Errorf("%w: %s, by another link than %s", ErrAddressUsed, a, own.Name)
	}
	return nil
}

// hostRoute is the node's route to one pod.
func hostRoute(a netip.Addr) Route {
	r := Route{Dst: netip.PrefixFrom(a, a.BitLen())}
	if a.Is4() {
		r.Scope = unix.RT_SCOPE_LINK
	}
	return r
}

// PodEnd is what the pod's namespace gets.
type PodEnd struct {
	Name   string
	MAC    net.HardwareAddr
	Addrs  []netip.Addr
	Routes []Route // besides the defaults; Via is ignored: everything goes to the node
	// Repair withdraws the routes that an earlier ADD of the same attachment
	// made before it makes them anew.
	Repair bool
}

// ConfigurePod brings the pod's end up with its addresses, the permanent
// neighbour for the gateway and the routes through it. A pod whose default route
// is another interface's keeps that one: ours, and whatever else has no
// metric of its own, comes after it with the interface's index as its metric.
func (s *Sandbox) ConfigurePod(e PodEnd) error {
	l, found, err := s.conn.linkByName(e.Name)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("configure link %s: %w", e.Name, unix.ENODEV)
	}
	err = s.conn.Do(podRequests(e, l.Index, 0)...)
	if errors.Is(err, unix.EACCES) {
		// The runtime has switched IPv6 off in the pod (ipv6_add_addr).
		if err := s.enableIPv6(e.Name); err != nil {
			return err
		}
		e.Repair = true
		err = s.conn.Do(podRequests(e, l.Index, 0)...)
	}
	if errors.Is(err, unix.EEXIST) {
		e.Repair = true
		err = s.conn.Do(podRequests(e, l.Index, l.Index)...)
	}
	return err
}

// podRequests makes the pod's end whole. metric is for the routes without one; 0
// is the kernel's default.
func podRequests(e PodEnd, index, metric int) []nlsock.Request {
	var requests []nlsock.Request
	if slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		requests = append(requests, noAutoAddressMessage(e.Name, index))
	}
	requests = append(requests, upMessage(e.Name, index))
	if slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		// The address that the kernel would have made itself, without the wait.
		requests = append(requests, addressMessage(netip.PrefixFrom(AddrOfMAC(e.MAC), 64), index, unix.RT_SCOPE_LINK))
	}
	for _, a := range e.Addrs {
		requests = append(requests, addressMessage(netip.PrefixFrom(a, a.BitLen()), index, unix.RT_SCOPE_UNIVERSE))
	}
	for _, gw := range gateways(e.Addrs) {
		requests = append(requests, neighbourMessage(gw, HostMAC, index))
	}
	return append(requests, routeRequests(e, index, metric)...)
}

// defaultMetricIPv6 is what the kernel gives to a route without one (IP6_RT_PRIO_USER).
const defaultMetricIPv6 = 1024

// routeRequests never replaces a route: the kernel would take one of another
// interface for the same destination.
func routeRequests(e PodEnd, index, metric int) []nlsock.Request {
	routes := PodRoutes(e.Addrs, e.Routes)
	var requests []nlsock.Request
	if e.Repair {
		for _, r := range slices.Backward(routes) {
			requests = append(requests, deleteRouteMessage(r, index))
		}
	}
	for _, r := range routes {
		if metric > 0 && r.Priority == 0 {
			r.Priority = metric
			if r.Dst.Addr().Is6() {
				r.Priority += defaultMetricIPv6
			}
		}
		requests = append(requests, routeMessage(r, index, unix.NLM_F_EXCL))
	}
	return requests
}

// gateways returns the next hop of each family that the addresses are of.
func gateways(addrs []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range addrs {
		if gw := Gateway(a); !slices.Contains(list, gw) {
			list = append(list, gw)
		}
	}
	return list
}

// PodRoutes lists what a pod with these addresses gets, for each of its families:
// the route to the gateway, the default and the extra routes, all through it.
func PodRoutes(addrs []netip.Addr, extra []Route) []Route {
	var routes []Route
	for _, gw := range gateways(addrs) {
		if gw.Is4() {
			routes = append(routes, Route{Dst: netip.PrefixFrom(gw, gw.BitLen()), Scope: unix.RT_SCOPE_LINK})
		}
		routes = append(routes, DefaultRoute(gw))
		for _, r := range extra {
			if r.Dst.Addr().Is4() == gw.Is4() {
				r.Via = gw
				routes = append(routes, r)
			}
		}
	}
	return routes
}

// DefaultRoute is a pod's default route in a's family.
func DefaultRoute(a netip.Addr) Route {
	zero := netip.IPv4Unspecified()
	if a.Is6() {
		zero = netip.IPv6Unspecified()
	}
	return Route{Dst: netip.PrefixFrom(zero, 0), Via: Gateway(a)}
}

func (s *Sandbox) enableIPv6(name string) error {
	return s.Do(func() error {
		for _, conf := range []string{"all", name} {
			if err := nodeSysctls.ensure("ipv6/conf/"+conf+"/disable_ipv6", "0"); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddrOfMAC is the link-local address, a modified EUI-64, that the kernel makes of a
// MAC of 6 bytes (RFC 4291 appendix A).
func AddrOfMAC(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: mac[0] ^ 0x02, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5],
	})
}

// DeleteVeth removes the pair; the kernel takes its addresses, routes and
// neighbours along. No such link is success. It returns when the kernel has
// waited out all readers (rcu_barrier in netdev_run_todo), some 16 ms.
func (h *Host) DeleteVeth(name string) error { return h.conn.Do(deleteLinkMessage(name)) }

// PartWithVeth is DeleteVeth for a process that ends soon (nlsock.Conn.DoFromChild):
// nothing of the pair is left when it returns but the kernel's memory of it, for which
// a child process waits.
func (h *Host) PartWithVeth(name string) error {
	l, found, err := h.conn.linkByName(name)
	if err != nil || !found {
		return err
	}
	// By its index, which no link after it gets: should this process be killed, the
	// child may be so late that there is another link of that name.
	if err := h.conn.DoFromChild(deleteIndexMessage(name, l.Index)); err != nil {
		return err
	}
	// The kernel tells of the host's end while it still takes down the pod's, but
	// answers nothing about links before it has done with both (rtnl_mutex).
	_, _, err = h.conn.linkByName(name)
	return err
}

// AddProxy makes the node answer for the addresses on the uplink.
func (h *Host) AddProxy(uplinkIndex int, addrs []netip.Addr) error {
	return h.conn.Do(proxyRequests(unix.RTM_NEWNEIGH, uplinkIndex, addrs)...)
}

// RemoveProxy undoes AddProxy; what is gone already is success.
func (h *Host) RemoveProxy(uplinkIndex int, addrs []netip.Addr) error {
	return h.conn.Do(proxyRequests(unix.RTM_DELNEIGH, uplinkIndex, addrs)...)
}

func proxyRequests(typ uint16, index int, addrs []netip.Addr) []nlsock.Request {
	var requests []nlsock.Request
	for _, a := range addrs {
		requests = append(requests, proxyMessage(typ, a, index))
	}
	return requests
}
