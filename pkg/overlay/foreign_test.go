package overlay

import (
	"net/netip"
	"strings"
	"testing"
)

// What others have on the node stays as it is, while we come, change and go, and a
// route of theirs to a pod CIDR is named.
func TestForeignState(t *testing.T) {
	t.Parallel()
	rows := []struct {
		what, setup string
		skipped     []string // parts of one reason each
	}{
		{"routes", `ip route add 10.244.3.0/24 via 10.241.255.254 proto static metric 50; ip -6 route add blackhole fd00:10:244:3::/64 proto bird`,
			[]string{"node node-c: route 10.244.3.0/24 via 10.244.3.0 dev vxvnet src 10.241.0.1 onlink: another program's route is there, route 10.244.3.0/24 via 10.241.255.254 dev eth0 proto 4 metric 50",
				"node node-c: route fd00:10:244:3::/64 via fe80::746e:cbff:fe00:710a dev vxvnet src fd00:10:241::1 onlink: another program's route is there, route fd00:10:244:3::/64"}},
		{"a direct route", "ip route add 10.244.2.0/24 via 10.241.0.9 proto bgp", []string{"node node-b: route 10.244.2.0/24 via 10.241.0.2 dev eth0: another program's route is there, route 10.244.2.0/24 via 10.241.0.9 dev eth0 proto 186 metric 0"}},
		{"a route in our table", "ip route add 203.0.113.10 via 10.241.255.254 proto static table 7677", []string{"node node-c: route 203.0.113.10/32"}},
		{"routes elsewhere", `ip route add 10.244.3.0/25 via 10.241.255.254; ip route add 10.244.0.0/16 dev eth0 proto bgp; ip route add 10.244.3.0/24 dev eth0 table 99
			ip route add 192.0.2.0/24 dev eth0 table 7677; ip route add 198.51.100.0/24 dev eth0 proto 86 table 99`, nil},
		{"rules", "ip rule add from 10.244.1.0/24 lookup 7677 pref 7677 proto static; ip rule add from 10.244.1.0/24 lookup 99 pref 7676; ip -6 rule add from fd00:10:244:1::/64 lookup 99", nil},
		{"another tunnel", `ip link add other0 type vxlan id 1 dstport 8472 local 10.241.0.1; ip link set other0 addrgenmode none; ip link set other0 up; ip addr add 10.250.0.1/32 dev other0
			bridge fdb add 76:6e:cb:00:71:0a dev other0 dst 203.0.113.10; ip neigh add 10.244.3.0 lladdr 76:6e:cb:00:71:0a dev other0 nud permanent`, nil},
		{"neighbours and addresses", "ip neigh add 10.244.3.0 lladdr 76:6e:cb:00:71:0a dev eth0 nud permanent; ip addr add 10.250.0.1/32 dev eth0; bridge fdb add 02:00:00:00:00:99 dev eth0", nil},
	}
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.a()
			p.sh(t, row.setup)
			bare := p.settled(t)
			for range 2 {
				r := p.apply(t, w.config(p))
				if len(r.Skipped) != len(row.skipped) {
					t.Errorf("skipped %q", r.Skipped)
				}
				wantHas(t, "skipped", strings.Join(r.Skipped, "\n"), row.skipped...)
			}
			after := "\n" + p.tables(t) + "\n"
			for line := range strings.Lines(bare) {
				if !strings.Contains(after, "\n"+strings.TrimSpace(line)+"\n") {
					t.Errorf("gone: %s", line)
				}
			}
			c := w.config(p)
			c.Others, c.Encapsulation = c.Others[:1], Always
			p.apply(t, c)
			must(t, p.Do(Remove))
			p.wantTables(t, "after Remove", bare)
		})
	}
	t.Logf("%d kinds of state", len(rows))
}

// A foreign route that comes later takes the place of ours, and gives it back.
func TestForeignRouteComesAndGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	p.apply(t, w.config(p))
	whole := p.settled(t)
	p.sh(t, "ip route add 10.244.2.0/24 via 10.241.0.9 proto static metric 50")
	r := p.apply(t, w.config(p))
	if len(r.Skipped) != 1 || r.Removed != 1 {
		t.Errorf("%+v", r)
	}
	p.sh(t, "ip route del 10.244.2.0/24 proto static")
	if r := p.apply(t, w.config(p)); len(r.Skipped) != 0 || r.Added != 1 {
		t.Errorf("%+v", r)
	}
	p.wantTables(t, "after it is gone", whole)
}

// A link of another kind with the device's name is somebody else's: it stays, and
// the nodes that need no device are reached.
func TestForeignLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	p.sh(t, "ip link add vxvnet type veth peer name other0; ip link set vxvnet addrgenmode none; ip link set vxvnet up; ip addr add 10.250.0.1/32 dev vxvnet; ip neigh add 10.244.3.0 lladdr 02:00:00:00:00:99 dev vxvnet nud permanent")
	bare := p.settled(t)
	for range 2 {
		r, err := p.try(w.config(p))
		if err == nil || !strings.Contains(err.Error(), "a link vxvnet of kind veth, which is not ours: 1 nodes") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v, %v", r, err)
		}
	}
	wantHas(t, "routes", p.ours(t), "10.244.2.0/24 via 10.241.0.2 dev eth0")
	must(t, p.Do(Remove))
	p.wantTables(t, "after Remove", bare)
}

// What the kernel refuses for one node is told, and done for the others.
func TestErrorsOfOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	must(t, p.SetSysctl("ipv6/conf/default/disable_ipv6", "1")) // and so on the device
	r, err := p.try(w.config(p))
	if err == nil {
		t.Fatalf("%+v", r)
	}
	wantHas(t, "error", err.Error(),
		"node node-c: add route fd00:10:244:3::/64 via fe80::746e:cbff:fe00:710a dev vxvnet", "node node-a: add address fd00:10:244:1::1 dev vxvnet: ")
	wantHas(t, "routes", p.ours(t), "10.244.3.0/24 via 10.244.3.0 dev vxvnet", "10.244.2.0/24 via 10.241.0.2", "fd00:10:244:2::/64 via fd00:10:241::2 dev eth0")

	// A device that cannot be made is told once.
	p = w.b()
	p.sh(t, "ip link add other0 type vxlan id 7677 dstport 4789 local 10.241.0.2; ip link set other0 up")
	r, err = p.try(w.config(p))
	if err == nil || strings.Contains(err.Error(), "\n") || r.Added != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	wantHas(t, "error", err.Error(), "add device vxvnet id 7677 dstport 4789 local 10.241.0.2")
	wantHas(t, "routes", p.ours(t), "10.244.1.0/24 via 10.241.0.1 dev eth0")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	rows := []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Encapsulation = "sometimes" }, `encapsulation "sometimes" is none of auto, never and always`},
		{func(c *Config) { c.VNI = 1 << 24 }, "VXLAN network identifier 16777216 is above 16777215"},
		{func(c *Config) { c.Self.Addrs = nil }, "this node (node-a) has no address"},
		{func(c *Config) { c.Self.Addrs = []netip.Addr{{}} }, "this node (node-a) has no address"},
		{func(c *Config) { c.Self.Addrs = addrs("10.241.7.7") }, "no link of this node (node-a) has its address [10.241.7.7]"},
		{func(c *Config) { c.Uplink = "eth9" }, "look up the uplink eth9: Link not found"},
		{func(c *Config) { c.Uplink = DeviceName }, "uplink vxvnet is the VXLAN device itself"},
	}
	for _, row := range rows {
		c := w.config(p)
		row.change(&c)
		r, err := p.try(c)
		if err == nil || err.Error() != row.want {
			t.Errorf("%+v, %v; want %s", r, err, row.want)
		}
	}
	if left := p.ours(t); left != "" {
		t.Error(left)
	}
	t.Logf("%d configurations", len(rows))
}

// An uplink that is named need not have the node's address.
func TestNamedUplink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.a()
	p.sh(t, "ip addr del 10.241.0.1/16 dev eth0; ip addr add 10.241.0.1/32 dev lo; ip addr add 10.241.8.1/16 dev eth0; ip route replace default via 10.241.255.254; ip link set lo mtu 60000")
	if r := p.apply(t, w.config(p)); r.UplinkMTU != 60000 {
		t.Errorf("by address: %+v", r)
	}
	c := w.config(p)
	c.Uplink = "eth0"
	if r := p.apply(t, c); r.UplinkMTU != 1500 || r.MTU != 1450 {
		t.Errorf("by name: %+v", r)
	}
	wantHas(t, "routes", p.ours(t), "10.244.2.0/24 via 10.241.0.2 dev eth0")
}
