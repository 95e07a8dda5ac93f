package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

// execute makes the changes one by one, goes on after one that failed, and counts
// those that did not.
func (k *kernel) execute(changes []change) (made, gone int, err error) {
	var failed []error
	noDevice := false
	for _, c := range changes {
		if noDevice && c.verb != remove && onDevice(c.what) {
			continue // it would only say so once more
		}
		if err := k.do(c); err != nil {
			failed = append(failed, c.failure(err))
			_, isDevice := c.what.(device)
			noDevice = noDevice || isDevice && c.verb == add
			continue
		}
		if c.verb == remove {
			gone++
		} else {
			made++
		}
	}
	return made, gone, errors.Join(failed...)
}

// onDevice tells whether a thing needs the device.
func onDevice(t thing) bool {
	r, isRoute := t.(route)
	return !isRoute || r.dev == DeviceName
}

func (c change) failure(err error) error {
	if c.node == "" {
		return fmt.Errorf("%s: %w", c, err)
	}
	return fmt.Errorf("node %s: %s: %w", c.node, c, err)
}

// do makes one change; removing what is gone already is success.
func (k *kernel) do(c change) error {
	var err error
	switch t := c.what.(type) {
	case device:
		err = k.doDevice(c.verb, t)
	case address:
		err = k.doAddress(c.verb, t)
	case forward:
		err = k.doNeighbour(c.verb, &netlink.Neigh{
			Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, IP: t.to.AsSlice(), HardwareAddr: t.mac[:],
		})
	case neighbour:
		err = k.doNeighbour(c.verb, &netlink.Neigh{Family: int(fib.FamilyOf(t.addr)), IP: t.addr.AsSlice(), HardwareAddr: t.mac[:]})
	case rule:
		err = k.doRule(c.verb, t)
	case route:
		err = k.doRoute(c.verb, t)
	}
	if c.verb == remove && slices.ContainsFunc(
		[]syscall.Errno{unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.EADDRNOTAVAIL},
		func(e syscall.Errno) bool { return errors.Is(err, e) }) {
		return nil
	}
	return err
}

func (k *kernel) doDevice(v verb, d device) error {
	link := &netlink.Vxlan{
		LinkAttrs: netlink.NewLinkAttrs(), VxlanId: int(d.vni), Port: int(d.port), SrcAddr: d.local.AsSlice(),
	}
	link.Name, link.Index, link.MTU, link.HardwareAddr = DeviceName, k.vxlan, d.mtu, d.mac[:]
	switch v {
	case remove:
		return k.handle.LinkDel(link)
	case add:
		return k.create(link)
	}
	if err := k.handle.LinkSetMTU(link, d.mtu); err != nil {
		return err
	}
	return k.handle.LinkSetUp(link)
}

// create makes the device and brings it up without an address of the kernel's
// making, which would be announced in the tunnel.
func (k *kernel) create(link *netlink.Vxlan) error {
	link.Index = 0
	if err := k.handle.LinkAdd(link); err != nil {
		return err
	}
	l, err := k.handle.LinkByName(DeviceName)
	if err != nil {
		return err
	}
	k.vxlan = l.Attrs().Index
	k.links[DeviceName] = k.vxlan
	const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h
	if err := k.handle.LinkSetIP6AddrGenMode(l, addrGenModeNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("set its address generation mode: %w", err)
	}
	return k.handle.LinkSetUp(l)
}

func (k *kernel) doAddress(v verb, t address) error {
	a := &netlink.Addr{
		IPNet: ipNet(netip.PrefixFrom(t.addr, t.addr.BitLen())), LinkIndex: k.vxlan,
		// Nobody else can have it, so it need not wait for duplicate detection.
		Flags: unix.IFA_F_NODAD | unix.IFA_F_PERMANENT,
	}
	if v == remove {
		return k.handle.AddrDel(nil, a)
	}
	return k.handle.AddrReplace(nil, a)
}

func (k *kernel) doNeighbour(v verb, n *netlink.Neigh) error {
	n.LinkIndex, n.State = k.vxlan, netlink.NUD_PERMANENT
	if v == remove {
		return k.handle.NeighDel(n)
	}
	return k.handle.NeighSet(n)
}

func (k *kernel) doRule(v verb, t rule) error {
	r := netlink.NewRule()
	r.Src, r.Table, r.Priority, r.Protocol = ipNet(t.from), int(t.table), int(t.priority), RouteProtocol
	if v == remove {
		return k.handle.RuleDel(r)
	}
	return k.handle.RuleAdd(r)
}

// doRoute never replaces what the listing did not show to be ours: RouteAdd fails
// where something is.
func (k *kernel) doRoute(v verb, t route) error {
	r := &netlink.Route{
		Dst: ipNet(t.dst), Table: int(t.table), Protocol: RouteProtocol, Priority: int(t.metric), LinkIndex: k.links[t.dev],
	}
	if t.via.IsValid() {
		r.Gw = t.via.AsSlice()
	}
	if t.src.IsValid() {
		r.Src = t.src.AsSlice()
	}
	if t.onlink {
		r.Flags = unix.RTNH_F_ONLINK
	}
	switch v {
	case remove:
		r.Scope = unix.RT_SCOPE_NOWHERE // whatever scope it has (fib_table_delete)
		return k.handle.RouteDel(r)
	case replace:
		return k.handle.RouteReplace(r)
	}
	return k.handle.RouteAdd(r)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
