package overlay

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// settled gives tables that do not change any more: a link gets its multicast
// groups when it has a carrier, and an IPv6 address its route, both in the kernel's
// own time.
func (p *player) settled(t testing.TB) string {
	t.Helper()
	before := ""
	await(t, "tables that stay as they are", func() bool {
		now := p.tables(t)
		same := now == before
		before = now
		return same && hasLocalRoutes(t, p.NS)
	})
	return before
}

// Whatever somebody does to what is ours, the next Apply undoes it, and nothing
// else is touched.
func TestRepair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.applyAll(t, nil)
	p := w.a()
	whole := p.settled(t)
	const mac = "76:6e:cb:00:71:0a" // node-c's
	vxlan := func(options string) string {
		return "ip link del vxvnet; ip link add vxvnet address 76:6e:0a:f1:00:01 mtu 1450 type vxlan " + options
	}
	damages := []string{
		"ip route del 10.244.2.0/24; ip -6 route del fd00:10:244:2::/64",
		"ip route del 10.244.3.0/24; ip -6 route del fd00:10:244:3::/64",
		"ip route flush table 7677; ip -6 route flush table 7677",
		"ip route replace 10.244.2.0/24 via 10.241.0.2 dev eth0 proto 86 mtu 1300",
		"ip route replace 10.244.2.0/24 via 10.241.255.254 dev eth0 proto 86; ip -6 route replace fd00:10:244:2::/64 via fd00:10:241::ffff proto 86",
		"ip route replace 10.244.3.0/24 via 10.241.0.2 dev eth0 proto 86; ip -6 route replace fd00:10:244:3::/64 via fd00:10:241::2 proto 86",
		"ip route append 10.244.2.0/24 via 10.241.255.254 proto 86; ip -6 route append fd00:10:244:2::/64 via fd00:10:241::ffff proto 86",
		"ip route prepend 10.244.2.0/24 via 10.241.255.254 proto 86; ip route prepend 10.244.2.0/24 via 10.241.0.9 proto 86",
		"ip route del 10.244.2.0/24; ip route add 10.244.2.0/24 proto 86 nexthop via 10.241.0.2 nexthop via 10.241.0.9",
		"ip route add 10.244.2.0/24 via 10.241.0.2 proto 86 metric 7; ip -6 route add fd00:10:244:2::/64 via fd00:10:241::2 metric 7 proto 86",
		"ip route del 10.244.2.0/24; ip route add 10.244.2.0/24 via 10.241.0.2 proto 86 metric 7",
		"ip route add 10.244.9.0/24 via 10.241.0.9 proto 86; ip route add blackhole 10.244.8.0/24 proto 86; ip -6 route add fd00:10:244:9::/64 via fd00:10:241::2 proto 86",
		"ip route add 192.0.2.7 dev vxvnet table 7677 proto 86",
		"ip rule del pref 7677; ip -6 rule del pref 7677",
		"ip rule add from 10.99.0.0/16 lookup 7677 pref 7677 proto 86; ip rule add from 10.98.0.0/16 lookup 99 pref 50 proto 86",
		"ip neigh del 10.244.3.0 dev vxvnet",
		"ip neigh replace 10.244.3.0 lladdr 02:00:00:00:00:99 dev vxvnet nud permanent",
		"ip neigh replace 10.244.3.0 lladdr 76:6e:cb:00:71:0a dev vxvnet nud reachable",
		"ip neigh add 10.244.9.0 lladdr 02:00:00:00:00:99 dev vxvnet nud permanent; ip neigh add fe80::99 lladdr 02:00:00:00:00:99 dev vxvnet nud permanent",
		"ip neigh flush dev vxvnet nud permanent",
		"bridge fdb del " + mac + " dev vxvnet",
		"bridge fdb replace " + mac + " dev vxvnet dst 10.241.0.2",
		"bridge fdb del " + mac + " dev vxvnet; bridge fdb add " + mac + " dev vxvnet dst 203.0.113.10 port 99",
		"bridge fdb del " + mac + " dev vxvnet; bridge fdb add " + mac + " dev vxvnet dst 203.0.113.10 dynamic",
		"bridge fdb add 02:00:00:00:00:99 dev vxvnet dst 10.241.0.2; bridge fdb append 00:00:00:00:00:00 dev vxvnet dst 10.241.0.2",
		"ip link set vxvnet down",
		"ip link set vxvnet mtu 1300",
		"ip link set vxvnet mtu 1270", // takes IPv6 from it
		"ip link set vxvnet address 02:00:00:00:00:99",
		"ip addr del 10.244.1.0/32 dev vxvnet",
		"ip addr flush dev vxvnet",
		"ip addr add 10.244.77.0/32 dev vxvnet; ip -6 addr add fd00:10:244:77::1/128 dev vxvnet nodad",
		"ip link del vxvnet",
		vxlan("id 7678 local 10.241.0.1 dstport 4789 nolearning"),
		vxlan("id 7677 local 10.241.0.1 dstport 4790 nolearning"),
		vxlan("id 7677 local 10.241.0.9 dstport 4789 nolearning"),
		vxlan("id 7677 local 10.241.0.1 dstport 4789"),
		vxlan("id 7677 local 10.241.0.1 dstport 4789 nolearning dev eth0"),
		vxlan("id 7677 local fd00:10:241::1 dstport 4789 nolearning"),
		"ip link add br9 type bridge; ip link set vxvnet master br9; ip link del br9; ip link set vxvnet down",
	}
	for _, d := range damages {
		p.sh(t, d)
		if p.tables(t) == whole {
			t.Errorf("%s: does no damage", d)
		}
		r := p.apply(t, w.config(p))
		if r.Added+r.Removed == 0 || len(r.Skipped) != 0 {
			t.Errorf("%s: %+v", d, r)
		}
		p.wantTables(t, d, whole)
	}
	wantFlows(t, w.all...)
	t.Logf("%d kinds of damage", len(damages))
}

// monitor collects what the kernel reports of changes.
type monitor struct {
	mu  sync.Mutex
	out strings.Builder
}

func (m *monitor) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.Write(b)
}

func (m *monitor) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.String()
}

// The kernel reports no change for an Apply that finds everything right.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	p.apply(t, w.config(p))
	whole := p.settled(t)
	var m monitor
	cmd := exec.Command("ip", "monitor", "link", "address", "route", "neigh", "rule")
	cmd.Stdout = &m
	must(t, p.Do(cmd.Start))
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	// The mark is of our protocol, so that the monitor proves to see such changes.
	mark := func(n int) {
		dst := fmt.Sprintf("192.0.2.%d", n)
		await(t, "the monitor reports "+dst, func() bool {
			p.sh(t, "ip route replace "+dst+" dev lo table 99 proto 86; ip route del "+dst+" table 99")
			return strings.Contains(m.String(), dst)
		})
	}
	mark(1)
	const rounds = 3
	for range rounds {
		if r := p.apply(t, w.config(p)); r.Added != 0 || r.Removed != 0 {
			t.Errorf("%+v", r)
		}
	}
	mark(2)
	for line := range strings.Lines(m.String()) {
		if strings.Contains(line, "192.0.2.") {
			continue
		}
		for _, ours := range []string{DeviceName, "7677", "proto 86", "10.244."} {
			if strings.Contains(line, ours) {
				t.Errorf("reported: %s", line)
			}
		}
	}
	p.wantTables(t, "after nothing", whole)
	t.Logf("%d rounds", rounds)
}

// After a change of the cluster everything is as if it had always been so.
func TestChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	rows := []struct {
		what, before string
		change       func(*Config)
	}{
		{"a node goes", "", func(c *Config) { c.Others = c.Others[:1] }},
		{"it comes back", "", func(*Config) {}},
		{"another pod CIDR", "", func(c *Config) { c.Others[1].PodCIDRs = prefixes("10.244.33.0/24", "fd00:10:244:33::/64") }},
		{"another address", "", func(c *Config) { c.Others[1].Addrs = addrs("203.0.113.33", "2001:db8:113::33") }},
		{"a direct node moves behind a router", "", func(c *Config) { c.Others[0].Addrs = addrs("203.0.113.34", "2001:db8:113::34") }},
		{"two nodes change places", "", func(c *Config) {
			c.Others[0].PodCIDRs, c.Others[1].PodCIDRs = c.Others[1].PodCIDRs, c.Others[0].PodCIDRs
		}},
		{"and back", "", func(*Config) {}},
		{"everything through the tunnel", "", func(c *Config) { c.Encapsulation = Always }},
		{"nothing through the tunnel", "", func(c *Config) { c.Encapsulation = Never }},
		{"another identifier", "", func(c *Config) { c.VNI = 99 }},
		{"another port", "", func(c *Config) { c.Port = 8472 }},
		{"pods of one family", "", func(c *Config) { c.Others[1].PodCIDRs = c.Others[1].PodCIDRs[:1] }},
		{"own pods of one family", "", func(c *Config) { c.Self.PodCIDRs = c.Self.PodCIDRs[:1] }},
		{"another pod CIDR of our own", "", func(c *Config) { c.Self.PodCIDRs = prefixes("10.244.41.0/24", "fd00:10:244:41::/64") }},
		{"no pod CIDR of our own", "", func(c *Config) { c.Self.PodCIDRs = nil }},
		{"a larger uplink", "ip link set eth0 mtu 9000", func(*Config) {}},
		{"a smaller uplink", "ip link set eth0 mtu 1400", func(*Config) {}},
		{"another address of our own", "ip addr add 10.241.0.77/16 dev eth0", func(c *Config) { c.Self.Addrs[0] = addrs("10.241.0.77")[0] }},
		{"without IPv4 addresses", "", func(c *Config) {
			for _, n := range []*Node{&c.Self, &c.Others[0], &c.Others[1]} {
				n.Addrs = n.Addrs[1:]
			}
		}},
		{"alone", "", func(c *Config) { c.Others = nil }},
		{"back among others", "", func(*Config) {}},
	}
	bare := p.settled(t)
	for _, row := range rows {
		if row.before != "" {
			p.sh(t, row.before)
		}
		c := w.config(p)
		c.Self.Addrs = append(addrs(), c.Self.Addrs...)
		row.change(&c)
		r := p.apply(t, c)
		changed := p.ours(t)
		must(t, p.Do(Remove))
		if left := p.ours(t); left != "" {
			t.Errorf("%s: left by Remove:\n%s", row.what, left)
		}
		fresh := p.apply(t, c)
		if anew := p.ours(t); anew != changed {
			t.Errorf("%s:\n%s", row.what, difference(anew, changed))
		}
		if r.MTU != fresh.MTU || fmt.Sprint(r.Skipped) != fmt.Sprint(fresh.Skipped) || fresh.Removed != 0 {
			t.Errorf("%s: %+v, anew %+v", row.what, r, fresh)
		}
	}
	p.sh(t, "ip link set eth0 mtu 1500; ip addr del 10.241.0.77/16 dev eth0")
	must(t, p.Do(Remove))
	must(t, p.Do(Remove))
	p.wantTables(t, "after Remove", bare)
	t.Logf("%d changes", len(rows))
}

// Pods keep talking while their nodes' ways change.
func TestWayChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, e := range []Encapsulation{Auto, Always, Auto} {
		w.applyAll(t, func(c *Config) { c.Encapsulation = e })
		wantFlows(t, w.all...)
	}
	for _, p := range w.all { // the tunnel follows the uplink's MTU
		p.sh(t, "ip link set eth0 mtu 1400")
		if r := p.apply(t, w.config(p)); r.MTU != 1350 || r.UplinkMTU != 1400 || r.Added != 1 {
			t.Errorf("%+v", r)
		}
	}
	f := testnet.Flow{Proto: testnet.ICMP, From: w.a().pod, To: w.c().pod, Dst: w.c().pods[0], Size: 1350 - 28, DF: true, Timeout: patience}
	if _, err := f.Try(); err != nil {
		t.Error(err)
	}
}
