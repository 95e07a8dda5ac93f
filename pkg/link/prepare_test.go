package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

func value(t testing.TB, key string) string {
	t.Helper()
	v, err := nodeSysctls.read(key)
	must(t, err)
	return v
}

// set writes values as an administrator had them before.
func set(t testing.TB, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		must(t, nodeSysctls.write(pairs[i], pairs[i+1]))
	}
}

// accept_ra goes to 2 where it was 1, and nowhere else.
func TestPrepareNodeSysctls(t *testing.T) {
	inNode(t)
	uplinks(t, "up0", "up1", "up2", "vnetpod")
	set(t, "ipv6/conf/up0/accept_ra", "1", "ipv6/conf/up1/accept_ra", "0", "ipv6/conf/up2/accept_ra", "2", "ipv6/conf/vnetpod/accept_ra", "1",
		"ipv6/conf/all/accept_ra", "1", "ipv6/conf/default/accept_ra", "1", "ipv4/conf/all/send_redirects", "1",
		"ipv4/ip_forward", "0", "ipv6/conf/all/forwarding", "0")
	must(t, PrepareNode("up0", true, true))
	rows := [][2]string{
		{"ipv4/ip_forward", "1"}, {"ipv4/conf/all/send_redirects", "0"}, {"ipv4/neigh/up0/proxy_delay", "0"},
		{"ipv6/conf/all/forwarding", "1"}, {"ipv6/conf/up0/proxy_ndp", "1"}, {"ipv6/neigh/up0/proxy_delay", "0"},
		{"ipv6/conf/up0/accept_ra", "2"}, {"ipv6/conf/up1/accept_ra", "0"}, {"ipv6/conf/up2/accept_ra", "2"},
		{"ipv6/conf/vnetpod/accept_ra", "1"}, {"ipv6/conf/all/accept_ra", "1"}, {"ipv6/conf/default/accept_ra", "1"},
		{"ipv6/conf/up1/proxy_ndp", "0"}, {"ipv4/neigh/up1/proxy_delay", "80"}, {"ipv4/conf/all/proxy_arp", "0"}, {"ipv4/conf/up0/proxy_arp", "0"},
	}
	for _, row := range rows {
		if got := value(t, row[0]); got != row[1] {
			t.Errorf("%s=%s, want %s", row[0], got, row[1])
		}
	}
	t.Logf("%d sysctls", len(rows))
}

// Families that were not asked for, and an uplink that there is none of, are left alone.
func TestPrepareNodeOnlyWhatIsAsked(t *testing.T) {
	rows := []struct {
		uplink     string
		ipv4, ipv6 bool
		want       string // ip_forward, forwarding, proxy_ndp, both delays
	}{
		{"up0", false, false, "0 0 0 80 80"},
		{"up0", true, false, "1 0 0 0 80"},
		{"up0", false, true, "0 1 1 80 0"},
		{"", true, true, "1 1 0 80 80"},
	}
	for _, row := range rows {
		t.Run(row.want, func(t *testing.T) {
			inNode(t)
			uplinks(t, "up0")
			set(t, "ipv4/ip_forward", "0", "ipv6/conf/all/forwarding", "0")
			must(t, PrepareNode(row.uplink, row.ipv4, row.ipv6))
			var got []string
			for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/up0/proxy_ndp", "ipv4/neigh/up0/proxy_delay", "ipv6/neigh/up0/proxy_delay"} {
				got = append(got, value(t, key))
			}
			if strings.Join(got, " ") != row.want {
				t.Errorf("%v: %s, want %s", row, got, row.want)
			}
		})
	}
	inNode(t)
	if err := PrepareNode("missing", true, true); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a missing uplink: %v", err)
	}
	t.Logf("%d requests", len(rows))
}

// A node whose sysctls are right is not written to: its /proc/sys may be read-only.
func TestPrepareNodeWritesOnce(t *testing.T) {
	inNode(t)
	uplinks(t, "up0")
	set(t, "ipv4/ip_forward", "0")
	must(t, PrepareNode("up0", true, true))
	readOnly(t, t.TempDir(), func(Sysctls) {
		if err := PrepareNode("up0", true, true); err != nil {
			t.Errorf("second call: %v", err)
		}
	})
	t.Log("1 call that writes, 1 that must not")
}

// Where /proc/sys is read-only, another mount of it does, as in a container.
func TestPrepareNodeThroughAnotherMount(t *testing.T) {
	inNode(t)
	uplinks(t, "up0")
	set(t, "ipv4/ip_forward", "0", "ipv6/conf/all/forwarding", "0")
	keys := []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/up0/proxy_ndp"}
	readOnly(t, t.TempDir(), func(elsewhere Sysctls) {
		if err := PrepareNode("up0", true, true); !errors.Is(err, unix.EROFS) {
			t.Errorf("the usual place: %v", err)
		}
		if err := elsewhere.PrepareNode("up0", true, true); err != nil {
			t.Errorf("the other mount: %v", err)
		}
	})
	for _, key := range keys {
		if got := value(t, key); got != "1" {
			t.Errorf("%s=%s", key, got)
		}
	}
	t.Logf("%d sysctls", len(keys))
}

// readOnly calls f where /proc/sys is read-only, with the folder that shows what is
// under net and can be written to.
func readOnly(t *testing.T, folder string, f func(elsewhere Sysctls)) {
	t.Helper()
	home := namespaceOfThread(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread with its mounts ends with the goroutine
		err := mountReadOnly(home, folder)
		if err == nil {
			f(Sysctls(folder))
		}
		done <- err
	}()
	must(t, <-done)
}

func namespaceOfThread(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func mountReadOnly(home *os.File, folder string) error {
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	for _, m := range []struct {
		source, target string
		flags          uintptr
	}{
		{"none", "/", unix.MS_REC | unix.MS_PRIVATE},
		{string(nodeSysctls), folder, unix.MS_BIND},
		{"/proc/sys", "/proc/sys", unix.MS_BIND},
		{"none", "/proc/sys", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
	} {
		if err := unix.Mount(m.source, m.target, "", m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := nodeSysctls.write("ipv4/ip_forward", "1"); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("the mount is not read-only: %w", err)
	}
	return nil
}

// The default route that a router advertised lives through the switch to
// forwarding: accept_ra has to go to 2 before it. The plain switch shows that
// this kernel drops it otherwise.
func TestPrepareNodeKeepsAdvertisedRoutes(t *testing.T) {
	for name, prepare := range map[string]func() error{
		"prepared":     func() error { return PrepareNode("up0", true, true) },
		"plain switch": func() error { return nodeSysctls.write("ipv6/conf/all/forwarding", "1") },
	} {
		t.Run(name, func(t *testing.T) {
			learnt := learnRoute(t)
			must(t, prepare())
			kept := strings.Contains(learnt(), "via fe80::99 dev up0")
			if want := name == "prepared"; kept != want {
				t.Errorf("the default route is kept: %v, want %v", kept, want)
			}
			if value(t, "ipv6/conf/all/forwarding") != "1" {
				t.Error("no forwarding")
			}
		})
	}
	t.Log("2 advertised routes")
}

// learnRoute makes a node that has its default route from a router, and gives a
// function that shows it.
func learnRoute(t *testing.T) func() string {
	t.Helper()
	inNode(t)
	lan := uplinks(t, "up0")
	set(t, "ipv6/conf/up0/accept_ra", "1", "ipv6/conf/up0/router_solicitations", "0", "ipv6/conf/all/forwarding", "0")
	learnt := func() string { return testhost.Sh(t, "ip -6 route show default proto ra") }
	lan.sh(t, "ip -6 addr add fe80::99/64 dev far-up0 nodad")
	await(t, "advertised default route", func() bool {
		lan.in(t, func() { advertise(t, "far-up0") })
		return learnt() != ""
	})
	return learnt
}

// advertise sends a router advertisement (RFC 4861 section 4.2) with a lifetime
// of half an hour from the interface.
func advertise(t testing.TB, name string) {
	t.Helper()
	iface, err := net.InterfaceByName(name)
	must(t, err)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255))
	source := unix.SockaddrInet6{ZoneId: uint32(iface.Index), Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 0x99}}
	must(t, unix.Bind(fd, &source))
	packet := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	to := unix.SockaddrInet6{ZoneId: uint32(iface.Index), Addr: [16]byte{0: 0xff, 1: 0x02, 15: 1}}
	must(t, unix.Sendto(fd, packet, 0, &to))
}
