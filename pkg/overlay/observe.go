package overlay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// kernel is the network namespace that a call of Apply or Remove acts in: the one
// that its thread had when the sockets were opened.
type kernel struct {
	conn   *nlsock.Conn    // for listings and look-ups
	handle *netlink.Handle // for changes
	uplink uplink
	vxlan  int            // index of the device; 0: there is none
	links  map[string]int // indexes by the names that routes were told with
	// foreign says what has the device's name and is not ours; "": nothing.
	foreign string
	device  *device
	addrs   []nlsock.Address
}

func openKernel() (*kernel, error) {
	conn, err := nlsock.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &kernel{conn: conn, handle: handle, links: map[string]int{}}, nil
}

func (k *kernel) close() {
	k.handle.Close()
	k.conn.Close()
}

// findLinks finds uplink and device and lists the addresses.
func (k *kernel) findLinks(c Config) error {
	if err := k.findDevice(); err != nil {
		return err
	}
	l, err := k.findUplink(c)
	if err != nil {
		return err
	}
	a := l.Attrs()
	k.uplink = uplink{name: a.Name, index: a.Index, mtu: a.MTU,
		ethernet: len(a.HardwareAddr) == 6 && a.RawFlags&(unix.IFF_NOARP|unix.IFF_LOOPBACK) == 0}
	k.links[a.Name] = a.Index
	return nil
}

func (k *kernel) findUplink(c Config) (netlink.Link, error) {
	if c.Uplink != "" {
		l, err := k.handle.LinkByName(c.Uplink)
		if err != nil {
			return nil, fmt.Errorf("look up the uplink %s: %w", c.Uplink, err)
		}
		return l, nil
	}
	for _, own := range c.Self.Addrs {
		for _, a := range k.addrs {
			if a.Prefix.Addr() != own || a.Link == k.vxlan {
				continue
			}
			l, err := k.handle.LinkByIndex(a.Link)
			if err != nil {
				return nil, fmt.Errorf("look up the link that has %s: %w", own, err)
			}
			return l, nil
		}
	}
	return nil, fmt.Errorf("no link of this node (%s) has its address %v", c.Self.Name, c.Self.Addrs)
}

func (k *kernel) findDevice() error {
	err := each(k, nlsock.Request{What: "list addresses", Type: unix.RTM_GETADDR,
		Body: []nl.NetlinkRequestData{nl.NewIfAddrmsg(unix.AF_UNSPEC)}}, nlsock.ParseAddress, func(a nlsock.Address) {
		k.addrs = append(k.addrs, a)
	})
	if err != nil {
		return err
	}
	l, err := k.handle.LinkByName(DeviceName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", DeviceName, err)
	}
	v, ok := l.(*netlink.Vxlan)
	if !ok {
		k.foreign = fmt.Sprintf("a link %s of kind %s", DeviceName, l.Type())
		return nil
	}
	k.vxlan, k.device = v.Index, deviceOf(v)
	k.links[DeviceName] = v.Index
	return nil
}

func deviceOf(v *netlink.Vxlan) *device {
	d := &device{mtu: v.MTU, up: v.RawFlags&unix.IFF_UP != 0, tunnel: tunnel{
		vni: uint32(v.VxlanId), port: uint16(v.Port),
		odd: v.Learning || v.VtepDevIndex != 0 || v.FlowBased || v.Group != nil || v.MasterIndex != 0,
	}}
	copy(d.mac[:], v.HardwareAddr)
	if local, ok := netip.AddrFromSlice(v.SrcAddr); ok {
		d.local = local.Unmap()
	}
	return d
}

// reach looks up how the kernel reaches the other nodes' addresses.
func (k *kernel) reach(c Config) (map[netip.Addr]way, error) {
	ways := map[netip.Addr]way{}
	for _, n := range c.Others {
		for _, a := range n.Addrs {
			w, err := k.wayTo(a)
			if err != nil {
				return nil, err
			}
			ways[a] = w
		}
	}
	return ways, nil
}

func (k *kernel) wayTo(a netip.Addr) (way, error) {
	r, found, err := fib.Find(k.conn, a)
	switch {
	case err != nil || !found:
		return far, err
	case r.Kind == unix.RTN_LOCAL:
		return local, nil
	case r.Kind == unix.RTN_UNICAST && r.Link == k.uplink.index && !r.Via.IsValid():
		return onLink, nil
	}
	return far, nil
}

// observe lists what is ours, and the routes of others where ours are wanted.
func (k *kernel) observe(want desired) (observed, error) {
	o := observed{foreign: k.foreign, others: map[place]route{}}
	o.device = k.device
	wanted := map[place]bool{}
	for _, r := range want.routes {
		wanted[r.place()] = true
	}
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := k.routes(fam, &o, wanted); err != nil {
			return o, err
		}
	}
	rules, err := fib.Rules(k.conn)
	if err != nil {
		return o, err
	}
	for _, r := range rules {
		if r.Protocol == RouteProtocol {
			o.rules = append(o.rules, asRule(r))
		}
	}
	if k.device == nil {
		return o, nil
	}
	for _, a := range k.addrs {
		// A link-local address is none of ours, and no pod talks to it.
		if a.Link == k.vxlan && a.Scope == unix.RT_SCOPE_UNIVERSE && a.Prefix.IsSingleIP() {
			o.addrs = append(o.addrs, address{a.Prefix.Addr()})
		}
	}
	return o, k.neighbours(&o)
}

func (k *kernel) routes(fam uint8, o *observed, wanted map[place]bool) error {
	all, err := fib.Routes(k.conn, fam)
	if err != nil {
		return err
	}
	for _, entry := range all {
		r := asRoute(entry)
		ours := r.protocol == RouteProtocol && (r.table == unix.RT_TABLE_MAIN || r.table == RouteTable)
		if !ours && !wanted[r.place()] {
			continue
		}
		r.dev = k.linkName(entry.Link)
		if ours {
			o.routes = append(o.routes, r)
		} else if _, known := o.others[r.place()]; !known {
			o.others[r.place()] = r
		}
	}
	return nil
}

// linkName is the name of a route's link, and notes whose it is.
func (k *kernel) linkName(index int) (name string) {
	switch index {
	case 0:
		return ""
	case k.uplink.index:
		name = k.uplink.name
	case k.vxlan:
		name = DeviceName
	default:
		name = "#" + strconv.Itoa(index)
		if l, err := k.handle.LinkByIndex(index); err == nil {
			name = l.Attrs().Name
		}
	}
	k.links[name] = index
	return name
}

func (k *kernel) neighbours(o *observed) error {
	// The kernel filters by link: forwarding entries by the header's index,
	// neighbours by the attribute's (NETLINK_GET_STRICT_CHK).
	index := nl.NewRtAttr(unix.NDA_IFINDEX, nl.Uint32Attr(uint32(k.vxlan)))
	err := each(k, nlsock.Request{What: "list neighbours of " + DeviceName, Type: unix.RTM_GETNEIGH,
		Body: []nl.NetlinkRequestData{&netlink.Ndmsg{}, index}}, parseEntry, func(e entry) {
		if e.index == k.vxlan && e.permanent && e.addr.IsValid() {
			o.neighs = append(o.neighs, neighbour{e.addr, e.mac})
		}
	})
	if err != nil {
		return err
	}
	return each(k, nlsock.Request{What: "list forwarding entries of " + DeviceName, Type: unix.RTM_GETNEIGH,
		Body: []nl.NetlinkRequestData{&netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(k.vxlan)}}}, parseEntry, func(e entry) {
		if f := (forward{mac: e.mac, to: e.addr, odd: e.odd || !e.permanent}); e.index == k.vxlan && e.addr.IsValid() && !slices.Contains(o.fdb, f) {
			o.fdb = append(o.fdb, f)
		}
	})
}

// each calls f for every entry of a listing.
func each[T any](k *kernel, r nlsock.Request, parse func([]byte) (T, error), f func(T)) error {
	payloads, err := k.conn.Dump(r)
	if err != nil {
		return err
	}
	for _, data := range payloads {
		t, err := parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", r.What, err)
		}
		f(t)
	}
	return nil
}
