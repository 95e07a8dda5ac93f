package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// measureFloor puts ADD beside its two parts that no plugin can do without, a
// process and the kernel's work, and DEL beside the deletion of a veth pair, to the
// end of which it does not wait.
func measureFloor(b *bench) ([]row, error) {
	w, err := newWorld(b.dir, 3)
	if err != nil {
		return nil, err
	}
	ours, err := b.oursIn(w)
	if err != nil {
		return nil, err
	}
	empty, err := emptyProgram(b.disk)
	if err != nil {
		return nil, err
	}
	bare, err := newBare(w.node, w.pods[1].namespace)
	if err != nil {
		return nil, err
	}
	add, del := verbs("vnet", ours, w.pods[0])
	start, _ := verbs("empty program", plugin{path: empty}, w.pods[2])
	link := &trial{name: "bare requests", run: func() (time.Duration, error) { return stopwatch(bare.add) }}
	unlink := &trial{name: "bare deletion", run: bare.delete}
	err = w.node.do(func() error {
		return inTurn(b.ctx, b.roundsOf(1), []*trial{add, start, link}, []*trial{del, unlink})
	})
	if err != nil {
		return nil, err
	}
	return []row{
		versus("add-floor-exec", add, start, 0),
		versus("add-floor-kernel", add, link, 0),
		versus("del-floor-kernel", del, unlink, 0),
	}, nil
}

// emptyProgram builds the smallest Go program, as the plugins are built.
func emptyProgram(dir string) (string, error) {
	source, program := filepath.Join(dir, "empty.go"), filepath.Join(dir, "empty")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, source)
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the empty program: %w: %s", err, out)
	}
	return program, nil
}

// bare does the kernel's part of an ADD and nothing else: no process, no lease,
// no sysctl, no packet filter.
type bare struct {
	node, pod *namespace
	uplink    int
	host      int // the host veth's index
}

func newBare(node, pod *namespace) (*bare, error) {
	l, err := node.nl.LinkByName(uplink)
	if err != nil {
		return nil, fmt.Errorf("find the node's uplink: %w", err)
	}
	return &bare{node: node, pod: pod, uplink: l.Attrs().Index}, nil
}

var (
	bareAddr    = netip.AddrFrom4([4]byte{10, 241, 200, 1})
	bareGateway = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	bareHostMAC = net.HardwareAddr{0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa}
	barePodMAC  = net.HardwareAddr{0x02, 1, 2, 3, 4, 5}
)

func (b *bare) add() error {
	for _, step := range []func() error{b.addPair, b.configurePod, b.configureHost} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bare) addPair() error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "bare0", MTU: 1500, HardwareAddr: bareHostMAC},
		PeerName:  "eth0", PeerHardwareAddr: barePodMAC, PeerMTU: 1500, PeerNamespace: netlink.NsFd(int(b.pod.ns)),
	}
	if err := b.node.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("add the veth pair: %w", err)
	}
	b.host = pair.Attrs().Index
	return nil
}

func (b *bare) configurePod() error {
	eth0, err := b.pod.nl.LinkByName("eth0")
	if err != nil {
		return err
	}
	index := eth0.Attrs().Index
	if err := b.pod.nl.LinkSetUp(eth0); err != nil {
		return err
	}
	if err := b.pod.nl.AddrAdd(eth0, &netlink.Addr{IPNet: hostPrefix(bareAddr)}); err != nil {
		return err
	}
	if err := b.pod.nl.NeighAdd(permanent(index, bareGateway, bareHostMAC)); err != nil {
		return err
	}
	toGateway := &netlink.Route{LinkIndex: index, Dst: hostPrefix(bareGateway), Scope: unix.RT_SCOPE_LINK}
	if err := b.pod.nl.RouteAdd(toGateway); err != nil {
		return err
	}
	return b.pod.nl.RouteAdd(&netlink.Route{LinkIndex: index, Gw: bareGateway.AsSlice()})
}

func (b *bare) configureHost() error {
	veth := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: b.host}}
	if err := b.node.nl.LinkSetUp(veth); err != nil {
		return err
	}
	if err := b.node.nl.NeighAdd(permanent(b.host, bareAddr, barePodMAC)); err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: b.host, Dst: hostPrefix(bareAddr), Scope: unix.RT_SCOPE_LINK}
	if err := b.node.nl.RouteAdd(route); err != nil {
		return err
	}
	return b.node.nl.NeighAdd(b.proxy())
}

func permanent(link int, addr netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: link, IP: addr.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
}

func (b *bare) proxy() *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: b.uplink, IP: bareAddr.AsSlice(), Flags: netlink.NTF_PROXY, Family: unix.AF_INET}
}

// delete times the deletion of the pair alone.
func (b *bare) delete() (time.Duration, error) {
	took, err := stopwatch(func() error {
		return b.node.nl.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: b.host}})
	})
	if err != nil {
		return 0, fmt.Errorf("delete the veth pair: %w", err)
	}
	return took, b.node.nl.NeighDel(b.proxy())
}
