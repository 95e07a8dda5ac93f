package testnet

import (
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Patience bounds the wait for what has to happen. It is no measure of anything: on a
// busy machine a process, or a worker of the kernel, may not run for seconds.
const Patience = 30 * time.Second

// poll is how soon to look again.
const poll = time.Millisecond

// awaitReady waits until the kernel has made an interface of ours, which has its IPv6
// address and a link-local one, ready to send and to receive.
func (ns *NS) awaitReady(iface string) error {
	if err := ns.awaitCarrier(iface); err != nil {
		return err
	}
	l, err := ns.NL.LinkByName(iface)
	if err != nil {
		return err
	}
	const own = 2
	for deadline := time.Now().Add(Patience); ; time.Sleep(poll) {
		local, err := ns.localRoutes6(l.Attrs().Index)
		if err != nil || len(local) >= own {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s in %s stays without IPv6", iface, ns.Name)
		}
	}
}

// awaitCarrier waits until the kernel has taken note of a pair's carrier, which
// it does in a work queue (linkwatch): until then it drops what is sent.
func (ns *NS) awaitCarrier(iface string) error {
	for deadline := time.Now().Add(Patience); ; time.Sleep(poll) {
		l, err := ns.NL.LinkByName(iface)
		if err != nil || l.Attrs().OperState == netlink.OperUp {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s in %s stays without carrier", iface, ns.Name)
		}
	}
}

// localRoutes6 lists the IPv6 addresses that are in use, which they are when a worker
// of the kernel's has added their routes (addrconf_dad_work); of all interfaces if the
// index is 0.
func (ns *NS) localRoutes6(index int) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, LinkIndex: index}
	mask := netlink.RT_FILTER_TABLE | netlink.RT_FILTER_TYPE
	if index != 0 {
		mask |= netlink.RT_FILTER_OIF
	}
	return Whole(func() ([]netlink.Route, error) { return ns.NL.RouteListFiltered(unix.AF_INET6, filter, mask) })
}

// Settle waits until the links and addresses that somebody has just made in the
// namespaces are ready: what is sent before may be lost. A main plugin of other make
// does not always wait itself.
func Settle(t testing.TB, all ...*NS) {
	t.Helper()
	for _, ns := range all {
		must(t, "wait for the links of "+ns.Name, ns.settle())
	}
}

// settle waits until the kernel's workers have done what they do by themselves after
// somebody's change: noted carriers, and finished IPv6 addresses. A state that was taken
// before would differ from the next one. What does not come is left to be seen there.
func (ns *NS) settle() error {
	for deadline := time.Now().Add(Patience); ; time.Sleep(poll) {
		settled, err := ns.settled()
		if err != nil || settled || time.Now().After(deadline) {
			return err
		}
	}
}

func (ns *NS) settled() (bool, error) {
	links, err := Whole(ns.NL.LinkList)
	if err != nil {
		return false, fmt.Errorf("list links of %s: %w", ns.Name, err)
	}
	running := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		if a.RawFlags&unix.IFF_UP == 0 || a.RawFlags&unix.IFF_LOWER_UP == 0 {
			continue // its addresses wait as well
		}
		if a.OperState != netlink.OperUp && a.OperState != netlink.OperUnknown {
			return false, nil
		}
		running[a.Index] = true
	}
	addrs, err := Whole(func() ([]netlink.Addr, error) { return ns.NL.AddrList(nil, unix.AF_INET6) })
	if err != nil {
		return false, fmt.Errorf("list IPv6 addresses of %s: %w", ns.Name, err)
	}
	routes, err := ns.localRoutes6(0)
	if err != nil {
		return false, fmt.Errorf("list local routes of %s: %w", ns.Name, err)
	}
	type use struct {
		index int
		addr  string
	}
	inUse := map[use]bool{}
	for _, r := range routes {
		if r.Dst != nil {
			inUse[use{r.LinkIndex, r.Dst.IP.String()}] = true
		}
	}
	for _, a := range addrs {
		if running[a.LinkIndex] && a.Flags&unix.IFA_F_DADFAILED == 0 && !inUse[use{a.LinkIndex, a.IP.String()}] {
			return false, nil
		}
	}
	return true, nil
}
