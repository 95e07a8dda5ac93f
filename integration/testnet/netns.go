package testnet

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

const (
	netnsDir   = "/run/netns"
	namePrefix = "vnettest-"
)

var (
	nsCount atomic.Uint64
	sweep   sync.Once
)

// NS is a named network namespace: a node, a pod, or a part of the fabric.
type NS struct {
	Name string          // unique on the machine
	Path string          // bind mount below /run/netns, as CNI_NETNS wants it
	NL   *netlink.Handle // sockets opened inside the namespace; safe for parallel use

	handle netns.NsHandle
	once   sync.Once
}

// newNS makes a namespace with lo up; its name ends in label. It is removed
// when the test ends, if Delete did not do so before.
func newNS(t testing.TB, label string) *NS {
	t.Helper()
	requireRoot(t)
	sweep.Do(func() { testhost.RemoveStale(namePrefix) })
	ns := &NS{Name: fmt.Sprintf("%s%d-%d-%s", namePrefix, os.Getpid(), nsCount.Add(1), label)}
	ns.Path = filepath.Join(netnsDir, ns.Name)
	if err := onThread(ns.create); err != nil {
		t.Fatalf("make network namespace %s: %v", ns.Name, err)
	}
	t.Cleanup(ns.Delete)
	if err := ns.open(); err != nil {
		t.Fatalf("open network namespace %s: %v", ns.Name, err)
	}
	return ns
}

func (ns *NS) create() (err error) {
	ns.handle, err = netns.NewNamed(ns.Name)
	return err
}

func (ns *NS) open() (err error) {
	ns.NL, err = netlink.NewHandleAt(ns.handle, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	lo, err := ns.NL.LinkByName("lo")
	if err != nil {
		return err
	}
	return ns.NL.LinkSetUp(lo)
}

// Delete removes the namespace's name and closes the handles on it; the kernel
// frees it with the last socket. A second call does nothing.
func (ns *NS) Delete() {
	ns.once.Do(func() {
		if ns.NL != nil {
			ns.NL.Close()
		}
		_ = ns.handle.Close()
		_ = netns.DeleteNamed(ns.Name)
	})
}

// Do runs f on a thread of its own inside the namespace. Sockets that f opens
// stay in the namespace after f returned; goroutines that f starts do not.
func (ns *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns.handle); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns.Name, err)
		}
		return f()
	})
}

// onThread runs f on a locked thread that dies with it, so that nothing f did
// to the thread's namespaces can leak into another goroutine. It dies in its own time,
// and outside of f's network namespace, which would else be in use until then.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back := home() // before f: this may be the process's first thread
		err := f()
		_ = netns.Set(back)
		done <- err
	}()
	return <-done
}

// home is the namespace in which the process was started.
var home = sync.OnceValue(func() netns.NsHandle {
	ns, err := netns.GetFromPid(os.Getpid())
	if err != nil {
		return netns.None()
	}
	return ns
})

// Sysctl reads /proc/sys/net/<key> inside the namespace, for instance
// "ipv6/conf/eth0/accept_ra".
func (ns *NS) Sysctl(key string) (value string, err error) {
	err = ns.Do(func() error {
		raw, err := os.ReadFile("/proc/sys/net/" + key)
		value = strings.TrimSpace(string(raw))
		return err
	})
	return value, err
}

// SetSysctl writes /proc/sys/net/<key> inside the namespace.
func (ns *NS) SetSysctl(key, value string) error {
	return ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644)
	})
}

// MAC returns the hardware address of an interface of the namespace.
func (ns *NS) MAC(iface string) (net.HardwareAddr, error) {
	l, err := ns.NL.LinkByName(iface)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", iface, ns.Name, err)
	}
	return l.Attrs().HardwareAddr, nil
}

// linkName gives the name of an interface index, or the index itself.
func (ns *NS) linkName(index int) string {
	if l, err := ns.NL.LinkByIndex(index); err == nil {
		return l.Attrs().Name
	}
	return "#" + strconv.Itoa(index)
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the integration tests make network namespaces: run them as root")
	}
}
