package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	vnetlink "github.com/vnet-cni/vnet-cni/pkg/link"
)

// network writes a network of the node's first pools and returns it.
func network(n *testnet.Node, name string, masquerade bool) config {
	c := vnetConfig(n, 0)
	c.network = name
	if masquerade {
		c.plugin["masquerade"] = map[string]any{"except": []string{"10.0.0.0/8"}}
	}
	c.write(n)
	return c
}

func storeOf(n *testnet.Node, network string) *ipam.Store {
	return ipam.New(ipam.Options{Dir: n.StateDir(), Network: network})
}

func mustDel(t *testing.T, p pod, at testnet.Attach) {
	t.Helper()
	if err := p.Node.Del(p.Pod, at); err != nil {
		t.Fatalf("DEL: %v", err)
	}
}

func expectHealthyAt(t *testing.T, p pod, at testnet.Attach, when string) {
	t.Helper()
	if err := p.Node.Check(p.Pod, at); err != nil {
		t.Errorf("CHECK %s: %v", when, err)
	}
}

// TestAddressOfAnotherNetwork kills an ADD that had leased only, and that an
// address which another network's pod has: neither a DEL nor a second ADD may
// take anything from that pod.
func TestAddressOfAnotherNetwork(t *testing.T) {
	t.Parallel()
	f := testnet.New(t)
	n, other := f.AddNode("n1"), f.AddNode("n2")
	one, two := testnet.Attach{Network: "one"}, testnet.Attach{Network: "two"}
	for _, at := range []testnet.Attach{one, two} {
		network(n, at.Network, true)
		warmUp(t, n, at)
	}
	p, q := attach(t, n, one), pod{Pod: n.NewPod()}
	flows := expectAll(t, toNode(p, other))
	before := testnet.Snapshot(n)
	intact := func(when string) {
		t.Helper()
		expectNothingLeft(t, before, n)
		expectHealthyAt(t, p, one, when)
		flows += expectAll(t, toNode(p, other))
	}

	leaseOnly(t, q.Pod, two.Network, p.addrs())
	mustDel(t, q, two)
	intact("after the DEL of an ADD killed early")

	leaseOnly(t, q.Pod, two.Network, p.addrs())
	q = attachTo(t, q.Pod, two)
	if q.v4 == p.v4 || q.v6 == p.v6 {
		t.Errorf("both pods have an address of %v and %v", p.addrs(), q.addrs())
	}
	expectHealthyAt(t, p, one, "after the repeated ADD")
	expectHealthyAt(t, q, two, "of the repeated ADD")
	flows += expectAll(t, append(append(toNode(p, other), toNode(q, other)...), everyProto(p, q, 0)...))
	mustDel(t, q, two)
	intact("after its DEL")
	t.Logf("%d flows", flows)
}

// leaseOnly does what an ADD had done that was killed after its lease.
func leaseOnly(t *testing.T, p *testnet.Pod, network string, addrs []netip.Addr) {
	t.Helper()
	host := vnetlink.HostName(network, p.ContainerID(), "eth0")
	record, err := attachment.Record{
		HostVeth: host, Sandbox: p.Path, PodMAC: "02:00:00:00:00:01", Uplink: testnet.Uplink, Masquerade: true,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r := ipam.Request{Key: ipam.Key{ContainerID: p.ContainerID(), IfName: "eth0"}, Fixed: addrs, Attachment: record}
	for subnet, span := range map[string]string{"10.241.0.0/16": "10.241.4.0/24", "fd00:10:241::/64": "fd00:10:241::400/120"} {
		pool, err := ipam.ParsePool(subnet, []string{span})
		if err != nil {
			t.Fatal(err)
		}
		r.Pools = append(r.Pools, pool)
	}
	_, created, err := storeOf(p.Node, network).Acquire(r)
	if err != nil || !created {
		t.Fatalf("lease %v in %s: created %t, %v", addrs, network, created, err)
	}
}

// TestStatusOfUplinkThatIsDown: where ADD cannot announce an address, STATUS says so.
func TestStatusOfUplinkThatIsDown(t *testing.T) {
	t.Parallel()
	n := testnet.New(t).AddNode("n1")
	conf, p := network(n, "pods", false), n.NewPod()
	call := func(verb, mode string) testnet.Output {
		return n.Exec("vnet", p.Env(verb), conf.stdin(t, map[string]any{"mode": mode, "uplink": testnet.Uplink}))
	}
	uplink := link(t, n.NS, testnet.Uplink)
	for _, step := range []struct {
		set  func(netlink.Link) error
		mode string
		down bool
	}{{nil, "vnet", false}, {n.NL.LinkSetDown, "vnet", true}, {nil, "overlay", false}, {n.NL.LinkSetUp, "vnet", false}} {
		if step.set != nil {
			if err := step.set(uplink); err != nil {
				t.Fatal(err)
			}
		}
		status, add := call("STATUS", step.mode), call("ADD", step.mode)
		if (add.Err != nil) != step.down {
			t.Errorf("ADD, mode %s, uplink down: %t: %+v", step.mode, step.down, add.Err)
		}
		if (status.Err != nil) != step.down || step.down && (status.Err.Code != 50 || !strings.Contains(status.Err.Error(), "uplink "+testnet.Uplink)) {
			t.Errorf("STATUS, mode %s, uplink down: %t: %+v", step.mode, step.down, status.Err)
		}
		if out := call("DEL", step.mode); out.Err != nil {
			t.Errorf("DEL, mode %s: %+v", step.mode, out.Err)
		}
	}
	t.Log("4 states of the uplink")
}

// TestUplinkChange repeats an ADD after the configuration gave something up.
func TestUplinkChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change          func(plugin map[string]any)
		section, prefix string // the lines of a snapshot that have to go
	}{
		"to overlay":    {func(plugin map[string]any) { plugin["mode"] = "overlay" }, "proxy neighbour", ""},
		"no masquerade": {func(plugin map[string]any) { delete(plugin, "masquerade") }, "ipset", "add vnet-masq-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := testnet.New(t).AddNode("n1")
			conf := network(n, "pods", true)
			warmUp(t, n)
			before := testnet.Snapshot(n)
			p := attach(t, n)
			had := linesWith(testnet.Snapshot(n)[c.section], c.prefix)
			if had != 2 {
				t.Fatalf("%d entries for two addresses", had)
			}
			c.change(conf.plugin)
			conf.write(n)
			again := attachTo(t, p.Pod)
			if again.v4 != p.v4 || again.v6 != p.v6 {
				t.Errorf("the repeated ADD gave %v, the first %v", again.addrs(), p.addrs())
			}
			if has := linesWith(testnet.Snapshot(n)[c.section], c.prefix); has != 0 {
				t.Errorf("%d entries are left after the repeated ADD", has)
			}
			leave(t, again, before, testnet.Attach{})
			t.Logf("%d entries before the change", had)
		})
	}
}

func linesWith(lines []string, prefix string) (n int) {
	for _, line := range lines {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// TestForeignIPAM repeats an ADD over host-local, whose answer is in no
// configuration, and takes host-local's lease away. No uplink is configured.
func TestForeignIPAM(t *testing.T) {
	t.Parallel()
	f := testnet.New(t)
	n, other := f.AddNode("n1"), f.AddNode("n2")
	c := vnetConfig(n, 0)
	delete(c.plugin, "uplink")
	resolv, leases := filepath.Join(t.TempDir(), "resolv"), filepath.Join(n.CacheDir(), "host-local")
	if err := writeFile(resolv, "nameserver 192.0.2.53\nsearch example.org\n"); err != nil {
		t.Fatal(err)
	}
	foreign := hostLocal()
	foreign["resolvConf"], foreign["dataDir"] = resolv, leases
	c.plugin["ipam"] = foreign
	behind(n, c)
	warmUp(t, n)
	before := testnet.Snapshot(n)
	p := attach(t, n)
	flows := expectAll(t, toNode(p, other))
	if len(p.result.DNS.Nameservers) != 1 || len(p.result.Routes) < 3 {
		t.Fatalf("the first ADD answered %v", p.result)
	}
	if err := p.NL.LinkDel(link(t, p.NS, "eth0")); err != nil {
		t.Fatal(err)
	}
	again := attachTo(t, p.Pod)
	if !reflect.DeepEqual(again.result.Routes, p.result.Routes) || !reflect.DeepEqual(again.result.DNS, p.result.DNS) {
		t.Errorf("the repeated ADD answered %v %+v, the first %v %+v", again.result.Routes, again.result.DNS, p.result.Routes, p.result.DNS)
	}
	expectHealthyAt(t, again, testnet.Attach{}, "after the repeated ADD")
	flows += expectAll(t, toNode(again, other))
	for _, a := range p.addrs() {
		if err := os.Remove(filepath.Join(leases, c.network, a.String())); err != nil {
			t.Fatal(err)
		}
	}
	if n.Check(p.Pod) == nil {
		t.Error("CHECK passes although host-local lost its lease")
	}
	mustDel(t, p, testnet.Attach{})
	expectNothingLeft(t, before, n)
	t.Logf("%d flows, %d routes", flows, len(again.result.Routes))
}

// TestSecondAttachment attaches a pod twice to one network with routes.
func TestSecondAttachment(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 2, func(c config) { c.ipam["routes"] = []any{map[string]any{"dst": "192.0.2.0/24"}} })
	n, first, second := nodes[0], testnet.Attach{IfName: "eth0"}, testnet.Attach{IfName: "net1"}
	warmUp(t, n)
	before := testnet.Snapshot(n)
	p := attach(t, n, first)
	q := attachTo(t, p.Pod, second)
	for _, dst := range []netip.Addr{testnet.Outside4, testnet.Outside6} {
		routes, err := p.NL.RouteGet(dst.AsSlice())
		if err != nil || len(routes) != 1 || routes[0].LinkIndex != link(t, p.NS, "eth0").Attrs().Index {
			t.Errorf("the pod routes %s over %v, %v; want eth0", dst, routes, err)
		}
	}
	flows := expectAll(t, toNode(p, nodes[1]))
	expectHealthyAt(t, p, first, "of eth0")
	expectHealthyAt(t, q, second, "of net1")
	mustDel(t, q, second)
	expectHealthyAt(t, p, first, "of eth0 without net1")
	mustDel(t, p, first)
	expectNothingLeft(t, before, n)
	t.Logf("%d flows of a pod with two interfaces", flows)
}

// TestRebuildKeepsMAC loses the store under a pod with a MAC of its own choice.
func TestRebuildKeepsMAC(t *testing.T) {
	t.Parallel()
	const mac = "02:11:22:33:44:55"
	n := testnet.New(t).AddNode("n1")
	c := network(n, "pods", true)
	warmUp(t, n)
	before := testnet.Snapshot(n)
	ways := []testnet.Attach{{Args: "IgnoreUnknown=1;MAC=" + mac}, {Caps: map[string]any{"mac": mac}}, {}}
	for _, at := range ways {
		p := attach(t, n, at)
		if got, err := p.MAC("eth0"); err != nil || (got.String() == mac) != (at.Args != "" || at.Caps != nil) {
			t.Fatalf("%+v: the pod's MAC is %s, %v", at, got, err)
		}
		if err := os.Remove(filepath.Join(n.StateDir(), c.network+".db")); err != nil {
			t.Fatal(err)
		}
		expectHealthyAt(t, p, at, fmt.Sprintf("without a store, %+v", at))
		warmUp(t, n) // writes a new store with what the kernel shows
		expectRecordedMAC(t, p, c.network)
		mustDel(t, p, at)
		expectNothingLeft(t, before, n)
	}
	t.Logf("%d stores lost", len(ways))
}

// expectRecordedMAC looks into the lease: CHECK prefers the result's MAC.
func expectRecordedMAC(t *testing.T, p pod, network string) {
	t.Helper()
	lease, found, err := storeOf(p.Node, network).Get(ipam.Key{ContainerID: p.ContainerID(), IfName: "eth0"})
	if err != nil || !found {
		t.Fatalf("lease of %s: found %t, %v", p.Name, found, err)
	}
	record, ours, err := attachment.Of(lease)
	if mac := link(t, p.NS, "eth0").Attrs().HardwareAddr.String(); err != nil || !ours || record.PodMAC != mac {
		t.Errorf("the rebuilt record has the MAC %q, %v; the pod has %s", record.PodMAC, err, mac)
	}
}

// TestManyRoutes gives a pod more routes than one netlink message holds.
func TestManyRoutes(t *testing.T) {
	t.Parallel()
	const many = 400
	var routes []any
	for i := range many {
		routes = append(routes, map[string]any{"dst": fmt.Sprintf("198.18.%d.%d/32", i/256, i%256)})
	}
	_, nodes := cluster(t, 1, func(c config) { c.ipam["routes"] = routes })
	warmUp(t, nodes[0])
	before := testnet.Snapshot(nodes[0])
	p := attach(t, nodes[0])
	got := linesWith(testnet.SnapshotPod(p.Pod)["pod route"], "198.18.")
	if got != many {
		t.Errorf("the pod has %d of the routes, want %d", got, many)
	}
	leave(t, p, before, testnet.Attach{})
	t.Logf("%d routes", got)
}

// TestRulesComeBackForAll loses everything of the packet filter: one ADD brings
// back what the other networks' pods need too.
func TestRulesComeBackForAll(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		n := testnet.New(t).AddNode("n1", testnet.WithIptables(backend))
		var pods []pod
		for i, name := range []string{"a", "b"} {
			c := vnetConfig(n, i)
			c.network = name
			c.write(n)
			pods = append(pods, attach(t, n, testnet.Attach{Network: name}))
		}
		loseFilter(t, n)
		pods = append(pods, attach(t, n, testnet.Attach{Network: "a"}))
		flows := 0
		for _, p := range pods {
			for _, a := range p.addrs() {
				if len(setsWith(t, n, a)) == 0 {
					t.Errorf("no set has %s as a member", a)
				}
			}
			flows += expectAll(t, toNode(p, n))
		}
		arrives(t, pods[1], asPod(n), pods[0].v4, n.IPv4, false) // the guard is back
		t.Logf("%d flows of %d pods", flows, len(pods))
	})
}

// loseFilter flushes the tables of the node's backend and destroys all sets. The
// kernel lets go of a set a moment after the last rule that matched it.
func loseFilter(t *testing.T, n *testnet.Node) {
	t.Helper()
	const flush = `for p in iptables ip6tables; do for t in raw filter nat; do "$p" -t "$t" -F; "$p" -t "$t" -X; done; done`
	_, err := n.Shell("sh", "-ec", flush)
	if err != nil {
		t.Fatal(err)
	}
	if !eventually(testnet.Patience, func() bool { _, err = n.Shell("ipset", "destroy"); return err == nil }) {
		t.Fatal(err)
	}
}

// TestGuardOfIPv6OnlyNode lets a pod without IPv4 forge IPv4.
func TestGuardOfIPv6OnlyNode(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		_, nodes := cluster(t, 1, func(c config) { c.pools(pool6(4)) }, testnet.WithIptables(backend))
		n, forged := nodes[0], netip.MustParseAddr("10.7.7.7")
		p := attach(t, n)
		for _, conf := range []string{"all", hostVeth(t, p)} {
			if err := n.SetSysctl("ipv4/conf/"+conf+"/rp_filter", "0"); err != nil {
				t.Fatal(err)
			}
		}
		giveIPv4(t, p, forged)
		arrives(t, p, asPod(n), forged, n.IPv4, false)
		if _, err := n.Shell("iptables", "-t", "raw", "-F"); err != nil {
			t.Fatal(err)
		}
		arrives(t, p, asPod(n), forged, n.IPv4, true) // else the probe proved nothing
		t.Log("1 packet stopped, 1 passed without the guard")
	})
}

// giveIPv4 gives the pod an address, and a way to the node, which answers no ARP.
func giveIPv4(t *testing.T, p pod, a netip.Addr) {
	t.Helper()
	err := errors.Join(p.NL.AddrAdd(link(t, p.NS, "eth0"), mustAddr(t, a.String()+"/32")),
		p.NL.RouteAdd(hostRoute(t, p.NS, "eth0", p.Node.IPv4.String())),
		p.NL.NeighSet(neighbour(t, p.NS, "eth0", p.Node.IPv4.String(), vnetlink.HostMAC.String())))
	if err != nil {
		t.Fatal(err)
	}
}

// TestExceptionsChange gives the node one more subnet between two pods.
func TestExceptionsChange(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 1, func(c config) { c.plugin["masquerade"] = map[string]any{} })
	n := nodes[0]
	first := attach(t, n)
	if err := n.NL.AddrAdd(link(t, n.NS, testnet.Uplink), mustAddr(t, "10.99.0.1/24")); err != nil {
		t.Fatal(err)
	}
	pods := []pod{first, attach(t, n)}
	for i, p := range pods {
		expectHealthyAt(t, p, testnet.Attach{}, fmt.Sprintf("of pod %d", i+1))
	}
	t.Logf("%d pods, %d flows", len(pods), expectAll(t, everyProto(pods[0], pods[1], 0)))
}

// TestBlackholedAddress leaves alone what an operator routes nowhere.
func TestBlackholedAddress(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 2, nil)
	n := nodes[0]
	p, q := attach(t, n), attach(t, n)
	if q.v4 != p.v4.Next() || q.v6 != p.v6.Next() {
		t.Fatalf("addresses are not given in turn: %v, then %v", p.addrs(), q.addrs())
	}
	for _, a := range q.addrs() {
		if err := n.NL.RouteAdd(&netlink.Route{Dst: hostNet(a.Next().String()), Type: unix.RTN_BLACKHOLE}); err != nil {
			t.Fatalf("blackhole %s: %v", a.Next(), err)
		}
	}
	before := testnet.Snapshot(n)
	r := attach(t, n)
	if r.v4 == q.v4.Next() || r.v6 == q.v6.Next() {
		t.Errorf("a blackholed address is among %v", r.addrs())
	}
	flows := expectAll(t, toNode(r, nodes[1]))
	leave(t, r, before, testnet.Attach{})
	t.Logf("%d flows", flows)
}

// TestForeignIPAMTaken has host-local answer with an address of the node itself: the
// pod does not get it, and nothing of it is left, not even in a set.
func TestForeignIPAMTaken(t *testing.T) {
	t.Parallel()
	n := testnet.New(t).AddNode("n1")
	c := vnetConfig(n, 0)
	foreign := hostLocal()
	c.plugin["ipam"] = foreign
	c.write(n)
	warmUp(t, n)
	before := testnet.Snapshot(n)
	taken := n.IPv4.String()
	foreign["ranges"] = []any{[]any{map[string]any{"subnet": "10.241.0.0/16", "rangeStart": taken, "rangeEnd": taken, "gateway": "10.241.255.254"}}}
	c.write(n)
	p := podWithoutDAD(t, n)
	if _, err := n.Add(p); err == nil || !strings.Contains(err.Error(), "host-local") || !strings.Contains(err.Error(), taken+",") {
		t.Errorf("ADD: %v", err)
	}
	if err := n.Del(p); err != nil {
		t.Errorf("DEL: %v", err)
	}
	for _, line := range testnet.Diff(before, testnet.Snapshot(n)) {
		t.Errorf("left: %s", line)
	}
	t.Log("1 address")
}
