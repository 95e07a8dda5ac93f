package overlay

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// onlyFamily takes the other family's addresses from the nodes; their pods keep both.
func onlyFamily(ipv4 bool) func(testing.TB, world) {
	return func(t testing.TB, w world) {
		for _, p := range w.all {
			p.sh(t, fmt.Sprintf("ip -%d addr flush dev %s scope global", map[bool]int{true: 6, false: 4}[ipv4], p.uplink))
			p.node.Addrs = slices.DeleteFunc(slices.Clone(p.node.Addrs), func(a netip.Addr) bool { return a.Is4() != ipv4 })
		}
	}
}

// bridged moves a node's addresses to a bridge over its interface.
func bridged(t testing.TB, w world) {
	for _, p := range w.all[:2] {
		p.sh(t, fmt.Sprintf(`ip link add br0 type bridge; ip addr flush dev eth0; ip -6 route flush dev eth0
			ip link set eth0 master br0; ip link set br0 up; ip addr add %s/16 dev br0; ip -6 addr add %s/64 dev br0 nodad
			ip route add default via %s; ip -6 route add default via %s`,
			p.node.Addrs[0], p.node.Addrs[1], testnet.Gateway4, testnet.Gateway6))
		p.uplink = "br0"
		await(t, "the bridge has the node's addresses", func() bool { return hasLocalRoutes(t, p.NS) })
	}
}

// Every pod and node talks to every other that it is to reach, with rp_filter
// strict everywhere, and a second Apply finds nothing to do.
func TestPackets(t *testing.T) {
	t.Parallel()
	rows := []struct {
		what          string
		prepare       func(testing.TB, world)
		encapsulation Encapsulation
		mtu           int
		device        string // the players with one
		reach         int    // players that reach each other
		routes        []string
	}{
		{"auto", nil, Auto, 1450, "abc", 3, []string{"10.244.2.0/24 via 10.241.0.2 dev eth0", "fd00:10:244:2::/64 via fd00:10:241::2 dev eth0",
			"10.244.3.0/24 via 10.244.3.0 dev vxvnet", "fd00:10:244:3::/64 via fe80::746e:cbff:fe00:710a dev vxvnet"}},
		{"always", nil, Always, 1450, "abc", 3, []string{"10.244.2.0/24 via 10.244.2.0 dev vxvnet", "dst 10.241.0.2", "dst 203.0.113.10"}},
		{"never", nil, Never, 1500, "", 2, []string{"10.244.2.0/24 via 10.241.0.2 dev eth0", "fd00:10:244:2::/64 via fd00:10:241::2 dev eth0"}},
		{"nodes with IPv4 only", onlyFamily(true), Auto, 1450, "abc", 3, []string{"10.244.2.0/24 via 10.241.0.2 dev eth0", "fd00:10:244:2::/64 via fe80::746e:aff:fef1:2 dev vxvnet"}},
		{"nodes with IPv6 only", onlyFamily(false), Auto, 1430, "abc", 3, []string{"10.244.2.0/24 via 10.244.2.0 dev vxvnet", "fd00:10:244:2::/64 via fd00:10:241::2 dev eth0", "dst 2001:db8:113::10"}},
		{"a bridge as uplink", bridged, "", 1450, "abc", 3, []string{"10.244.2.0/24 via 10.241.0.2 dev br0", "10.244.3.0/24 via 10.244.3.0 dev vxvnet"}},
	}
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if row.prepare != nil {
				row.prepare(t, w)
			}
			change := func(c *Config) { c.Encapsulation = row.encapsulation }
			for i, r := range w.applyAll(t, change) {
				if r.MTU != row.mtu || r.UplinkMTU != 1500 || (r.Added == 0) != (i >= row.reach) || r.Removed != 0 {
					t.Errorf("%s: %+v, want MTU %d", w.all[i].node.Name, r, row.mtu)
				}
				has := strings.Contains(w.all[i].sh(t, "ip -o link"), DeviceName)
				if has != strings.Contains(row.device, string(rune('a'+i))) {
					t.Errorf("%s has a device: %t", w.all[i].node.Name, has)
				}
				if wantSkipped := map[bool]int{true: 0, false: 2}[row.reach == 3 || i == 2]; i < 2 && len(r.Skipped) != wantSkipped {
					t.Errorf("%s: skipped %q", w.all[i].node.Name, r.Skipped)
				}
			}
			wantHas(t, "node-a", w.a().ours(t), row.routes...)
			wantFlows(t, w.all[:row.reach]...)
			for i, r := range w.applyAll(t, change) {
				if r.Added != 0 || r.Removed != 0 {
					t.Errorf("%s again: %+v", w.all[i].node.Name, r)
				}
			}
		})
	}
	t.Logf("%d worlds", len(rows))
}

// Two nodes on one link need no device, and pods get the uplink's whole MTU.
func TestDirectOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.all = w.all[:2]
	for _, r := range w.applyAll(t, nil) {
		if r.Added != 2 || r.MTU != 1500 || len(r.Skipped) != 0 {
			t.Errorf("%+v", r)
		}
	}
	if out := w.a().sh(t, "ip -o link; ip rule; ip -6 rule"); strings.Contains(out, DeviceName) || strings.Contains(out, "7677") {
		t.Error(out)
	}
	wantFlows(t, w.all...)
	for i, a := range w.b().pods {
		full := 1500 - headers(a)
		f := testnet.Flow{Proto: testnet.ICMP, From: w.a().pod, To: w.b().pod, Dst: w.b().pods[i], Size: full, DF: true, Timeout: patience}
		if _, err := f.Try(); err != nil {
			t.Errorf("a full packet: %v", err)
		}
	}
}

// headers is what an echo's payload is preceded by, in bytes.
func headers(a netip.Addr) int {
	if a.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// A packet of the reported MTU passes the tunnel whole, and a pod that has the
// uplink's MTU learns the path's.
func TestMTU(t *testing.T) {
	t.Parallel()
	for _, ipv4 := range []bool{true, false} {
		t.Run(family(ipv4)+" underlay", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			onlyFamily(ipv4)(t, w)
			mtu := w.applyAll(t, nil)[0].MTU
			from, to := w.a(), w.c()
			for i, a := range to.pods {
				probe := testnet.Flow{Proto: testnet.ICMP, From: from.pod, To: to.pod, Dst: to.pods[i], DF: true}
				for _, size := range []int{1400, mtu} {
					probe.Size, probe.Timeout = size-headers(a), patience
					if _, err := probe.Try(); err != nil {
						t.Errorf("%d bytes to %s: %v", size, a, err)
					}
				}
				// The first packet that is too large brings the error, as a pod with
				// the uplink's MTU gets it.
				probe.Size, probe.Timeout = mtu+1-headers(a), 100*time.Millisecond
				if _, err := probe.Try(); err == nil {
					t.Errorf("%d bytes to %s arrive", mtu+1, a)
				}
				await(t, "the pod knows the path's MTU", func() bool {
					return strings.Contains(sh(t, from.pod, "ip route get "+a.String()), fmt.Sprintf(" mtu %d", mtu))
				})
				transfer(t, from.pod, to.pod, a)
			}
			for _, a := range from.pods { // and where nobody has told the pod before
				transfer(t, to.pod, from.pod, a)
			}
			for _, p := range w.all {
				if out := p.sh(t, "cat /proc/net/snmp /proc/net/snmp6"); fragments(out) != 0 {
					t.Errorf("%s made fragments:\n%s", p.node.Name, out)
				}
			}
		})
	}
}

// fragments reads the number of fragments made from /proc/net/snmp and snmp6.
func fragments(text string) (n int) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "Ip6FragCreates" && fields[1] != "0" {
			n++
		}
		if len(fields) == 0 || fields[0] != "Ip:" {
			continue
		}
		if i := slices.Index(names, "FragCreates"); i > 0 && fields[i] != "0" {
			n++
		}
		names = fields
	}
	return n
}

// transfer sends a megabyte over TCP.
func transfer(t testing.TB, from, to *testnet.NS, a netip.Addr) {
	t.Helper()
	const size = 1 << 20
	var ln net.Listener
	must(t, to.Do(func() (err error) {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
		return err
	}))
	defer ln.Close()
	got := make(chan int64, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	var c net.Conn
	must(t, from.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", ln.Addr().String(), patience)
		return err
	}))
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write(make([]byte, size))
	c.Close()
	if err != nil {
		t.Fatalf("a megabyte to %s: %v", a, err)
	}
	if n := <-got; n != size {
		t.Errorf("%d bytes of %d reached %s", n, size, a)
	}
}
