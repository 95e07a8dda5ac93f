package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// namespace is a network namespace that only this process holds: however it
// ends, the kernel takes the namespace and all links in it down.
type namespace struct {
	ns   netns.NsHandle
	path string // for other processes
	nl   *netlink.Handle
}

func newNamespace() (*namespace, error) {
	n := &namespace{}
	err := onThread(func() (err error) {
		if n.ns, err = netns.New(); err != nil { // moves the thread there, too
			return fmt.Errorf("make a network namespace: %w", err)
		}
		n.path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.ns))
		n.nl, err = netlink.NewHandle()
		return err
	})
	return n, err
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: whatever f does to the thread goes with it
		done <- f()
	}()
	return <-done
}

// do runs f on a thread in the namespace; programs that it starts are there too.
func (n *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.ns); err != nil {
			return fmt.Errorf("enter %s: %w", n.path, err)
		}
		return f()
	})
}

func (n *namespace) up(link string) (int, error) {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", link, err)
	}
	return l.Attrs().Index, n.nl.LinkSetUp(l)
}

func (n *namespace) addAddress(link int, prefix string) error {
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		return err
	}
	a.Flags = 0x02 // IFA_F_NODAD
	at := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: link}}
	if err := n.nl.AddrAdd(at, a); err != nil {
		return fmt.Errorf("add address %s: %w", prefix, err)
	}
	return nil
}

// The names and addresses of a world's node.
const (
	uplink   = "eth0"
	nodeAddr = "10.241.0.4/16"
	nodeIPv6 = "fd00:10:241::4/64"
	gwAddr   = "10.241.0.1"
	gwIPv6   = "fd00:10:241::1"
)

// world is a node on a fabric, with pods' namespaces that nothing is in yet.
// It lives as long as the process: to take it down would load the kernel while
// the next one is measured.
type world struct {
	node *namespace
	pods []*pod
	dir  string // state of the plugins
}

// pod is what a runtime knows of a pod.
type pod struct {
	*namespace
	id string // of the current attachment
}

// newWorld makes a node with so many pods, and its state under dir.
func newWorld(dir string, pods int) (*world, error) {
	w := &world{}
	var err error
	if w.dir, err = os.MkdirTemp(dir, "world-"); err != nil {
		return nil, err
	}
	fabric, err := newNamespace()
	if err != nil {
		return nil, err
	}
	if w.node, err = newNamespace(); err != nil {
		return nil, err
	}
	if err := w.connect(fabric); err != nil {
		return nil, fmt.Errorf("connect the node to the fabric: %w", err)
	}
	for range pods {
		ns, err := newNamespace()
		if err != nil {
			return nil, err
		}
		if _, err := ns.up("lo"); err != nil {
			return nil, err
		}
		w.pods = append(w.pods, &pod{namespace: ns})
	}
	return w, nil
}

// connect gives the fabric a bridge with the gateway's address, and the node an
// uplink to it.
func (w *world) connect(fabric *namespace) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "fabric"}}
	if err := fabric.nl.LinkAdd(bridge); err != nil {
		return err
	}
	port := netlink.LinkAttrs{Name: "node", MTU: 1500, MasterIndex: bridge.Attrs().Index}
	pair := &netlink.Veth{LinkAttrs: port, PeerName: uplink, PeerNamespace: netlink.NsFd(int(w.node.ns))}
	if err := fabric.nl.LinkAdd(pair); err != nil {
		return err
	}
	for ns, links := range map[*namespace]map[string][]string{
		fabric: {"fabric": {gwAddr + "/16", gwIPv6 + "/64"}, "node": nil},
		w.node: {"lo": nil, uplink: {nodeAddr, nodeIPv6}},
	} {
		for link, addresses := range links {
			if err := ns.configure(link, addresses); err != nil {
				return err
			}
		}
	}
	for _, gw := range []string{gwAddr, gwIPv6} {
		if err := w.node.nl.RouteAdd(&netlink.Route{Gw: net.ParseIP(gw)}); err != nil {
			return fmt.Errorf("add the default route via %s: %w", gw, err)
		}
	}
	return nil
}

func (n *namespace) configure(link string, addresses []string) error {
	index, err := n.up(link)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if err := n.addAddress(index, a); err != nil {
			return err
		}
	}
	return nil
}

func hostPrefix(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
