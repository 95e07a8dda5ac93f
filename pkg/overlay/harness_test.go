package overlay

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// player is a node of a test, with one pod.
type player struct {
	*testnet.NS
	uplink string
	node   Node
	pod    *testnet.NS
	pods   []netip.Addr
}

// world is two nodes a and b on one link and a third, c, behind a router that
// knows the nodes' addresses and no pod's.
type world struct {
	fabric *testnet.Fabric
	all    []*player
}

func (w world) a() *player { return w.all[0] }
func (w world) b() *player { return w.all[1] }
func (w world) c() *player { return w.all[2] }

// newWorld makes the nodes, all of which forward and filter by reverse path, with
// the uplink's MTU in their pods.
func newWorld(t testing.TB) world {
	t.Helper()
	w := world{fabric: testnet.New(t)}
	for i, name := range []string{"a", "b"} {
		n := w.fabric.AddNode(name)
		w.add(t, n.NS, i+1, n.IPv4, n.IPv6)
	}
	w.add(t, w.fabric.AddOutside(), 3, testnet.Outside4, testnet.Outside6)
	return w
}

func (w *world) add(t testing.TB, ns *testnet.NS, number int, addrs ...netip.Addr) {
	t.Helper()
	p := &player{NS: ns, uplink: testnet.Uplink, node: Node{
		Name: fmt.Sprintf("node-%c", 'a'+number-1), Addrs: addrs, PodCIDRs: prefixes(
			fmt.Sprintf("10.244.%d.0/24", number), fmt.Sprintf("fd00:10:244:%d::/64", number)),
	}}
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"} {
		must(t, ns.SetSysctl(s, "1"))
	}
	p.addPod(t, w.fabric.Nodes[0].NewPod().NS)
	w.all = append(w.all, p)
}

// addPod connects a namespace as the plugin would.
func (p *player) addPod(t testing.TB, pod *testnet.NS) {
	t.Helper()
	p.pod = pod
	p.sh(t, "ip link add vnetpod address aa:aa:aa:aa:aa:aa type veth peer name eth0 address 02:00:00:00:00:01 netns "+pod.Name+"; ip link set vnetpod addrgenmode none; ip link set vnetpod up")
	sh(t, pod, `ip link set eth0 addrgenmode none; ip link set eth0 up
		ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1; ip neigh add 169.254.1.1 lladdr aa:aa:aa:aa:aa:aa dev eth0 nud permanent
		ip -6 neigh add fe80::1234 lladdr aa:aa:aa:aa:aa:aa dev eth0 nud permanent`)
	for _, c := range p.node.PodCIDRs {
		a := nth(c, 10)
		p.pods = append(p.pods, a)
		sh(t, pod, fmt.Sprintf("ip addr add %s/%d dev eth0 %s", a, a.BitLen(), map[bool]string{true: "nodad"}[a.Is6()]))
		p.sh(t, fmt.Sprintf("ip route add %s dev vnetpod; ip neigh add %s lladdr 02:00:00:00:00:01 dev vnetpod nud permanent", a, a))
	}
	sh(t, pod, "ip -6 addr add fe80::1/64 dev eth0 nodad; ip -6 route add default via fe80::1234 dev eth0")
	// Until the kernel's workers have been there, packets to the pod are dropped.
	await(t, "the pod's link has a carrier", func() bool { return strings.Contains(p.sh(t, "ip link show vnetpod"), "state UP") })
	await(t, "the pod has its addresses", func() bool { return hasLocalRoutes(t, pod) })
}

// hasLocalRoutes tells whether every IPv6 address of the namespace is its own to the
// kernel, which makes their routes in its own time.
func hasLocalRoutes(t testing.TB, ns *testnet.NS) bool {
	t.Helper()
	local := sh(t, ns, "ip -6 route show table local") + "\n"
	for line := range strings.Lines(sh(t, ns, "ip -6 -o addr")) {
		fields := strings.Fields(line) // 2: eth0 inet6 fd00::1/64 …
		address, _, _ := strings.Cut(fields[3], "/")
		if !strings.Contains(local, "local "+address+" dev "+fields[1]+" ") {
			return false
		}
	}
	return true
}

// nth is the n-th address of a prefix.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// config is the cluster as p sees it.
func (w world) config(p *player) Config {
	c := Config{Self: p.node}
	for _, o := range w.all {
		if o != p {
			c.Others = append(c.Others, o.node)
		}
	}
	return c
}

// apply applies the configuration on p.
func (p *player) apply(t testing.TB, c Config) Report {
	t.Helper()
	r, err := p.try(c)
	must(t, err)
	return r
}

func (p *player) try(c Config) (r Report, err error) {
	err = p.Do(func() error {
		r, err = Apply(c)
		return err
	})
	return r, err
}

// applyAll applies it on all nodes, changed by the function if there is one.
func (w world) applyAll(t testing.TB, change func(*Config)) (reports []Report) {
	t.Helper()
	for _, p := range w.all {
		c := w.config(p)
		if change != nil {
			change(&c)
		}
		reports = append(reports, p.apply(t, c))
	}
	return reports
}

func (p *player) sh(t testing.TB, command string) string {
	t.Helper()
	return sh(t, p.NS, command)
}

// sh runs a command in a namespace that must succeed.
func sh(t testing.TB, ns *testnet.NS, command string) string {
	t.Helper()
	var out, stderr bytes.Buffer // ip warns there of namespaces that others delete meanwhile
	err := ns.Do(func() error {
		cmd := exec.Command("sh", "-ec", command)
		cmd.Stdout, cmd.Stderr = &out, &stderr
		return cmd.Run()
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, out.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(out.String())
}

// tables is what the node's tables hold in sorted lines, without indexes, counters,
// lifetimes and what the kernel learns by itself.
func (p *player) tables(t testing.TB) string {
	t.Helper()
	return p.sh(t, `(ip -d link; ip -d addr
		for f in 4 6; do ip -$f route show table all | grep -v multicast; ip -$f rule; ip -$f neigh show nud permanent; done
		bridge fdb) | sed 's/^[0-9]*: \(.*<\)/\1/; s/valid_lft.*//; s/ state [A-Z]*//; s/linkdown//; s/ *$//; s/^ *//; s/MULTICAST,UP,LOWER_UP/MULTICAST,UP/' | sort`)
}

// wantTables waits until the tables are as they were: the kernel finishes some
// things in its own time.
func (p *player) wantTables(t testing.TB, what, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if got = p.tables(t); got == want {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	t.Errorf("%s: not as before:\n%s", what, difference(want, got))
}

// difference tells what is in one of two texts only.
func difference(before, after string) string {
	seen := map[string]int{}
	for sign, text := range map[int]string{-1: before, 1: after} {
		for line := range strings.Lines(text) {
			seen[strings.TrimSpace(line)] += sign
		}
	}
	var lines []string
	for line, sign := range seen {
		if sign != 0 {
			lines = append(lines, fmt.Sprintf("%+d %s", sign, line))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// ours is the part of the tables that this package makes.
func (p *player) ours(t testing.TB) string {
	t.Helper()
	return p.sh(t, fmt.Sprintf(`(ip -o -d link show %[1]s 2>/dev/null | sed 's/^[0-9]*: //; s/ state.*qlen 1000//; s/ promiscuity.*vxlan/ vxlan/; s/ numtx.*//' || true
		ip -o addr show dev %[1]s 2>/dev/null | sed 's/^[0-9]*: //; s/ valid_lft.*//; s/\\ *$//' || true
		for f in 4 6; do ip -$f route show table all proto %[2]d; ip -$f rule | grep %[3]d || true; ip -$f neigh show nud permanent dev %[1]s 2>/dev/null || true; done
		bridge fdb show dev %[1]s 2>/dev/null | grep dst || true) | sort`, DeviceName, RouteProtocol, RouteTable))
}

// flows are probes of every kind from one player's pod or node to another's.
func flows(from, to *player) (list []testnet.Flow) {
	for _, proto := range []testnet.Proto{testnet.ICMP, testnet.TCP, testnet.UDP} {
		for i := range to.pods {
			list = append(list,
				testnet.Flow{Proto: proto, From: from.pod, To: to.pod, Dst: to.pods[i], Timeout: patience},
				testnet.Flow{Proto: proto, From: from.NS, To: to.pod, Dst: to.pods[i], Timeout: patience})
		}
		for _, a := range to.node.Addrs {
			list = append(list, testnet.Flow{Proto: proto, From: from.pod, To: to.NS, Dst: a, Timeout: patience})
		}
	}
	return list
}

// wantFlows probes in all directions between the given players and checks whom
// the other side sees.
func wantFlows(t testing.TB, players ...*player) {
	t.Helper()
	count := 0
	for _, from := range players {
		for _, to := range players {
			if from == to {
				continue
			}
			list := flows(from, to)
			replies, errs := testnet.TryAll(list)
			for i, f := range list {
				count++
				if errs[i] != nil {
					t.Errorf("%s → %s: %v", from.node.Name, to.node.Name, errs[i])
				} else if !from.has(f.From, replies[i].Peer) {
					t.Errorf("%s → %s: %s: seen as %s", from.node.Name, to.node.Name, f, replies[i].Peer)
				}
			}
		}
	}
	t.Logf("%d flows", count)
}

// has tells whether an address is the pod's or, of a node that has one of the
// family, the node's.
func (p *player) has(ns *testnet.NS, a netip.Addr) bool {
	if ns == p.pod {
		return slices.Contains(p.pods, a)
	}
	if own := p.node.addr(a.Is4()); own.IsValid() {
		return a == own
	}
	return slices.ContainsFunc(p.node.PodCIDRs, func(c netip.Prefix) bool { return tunnelAddr(c) == a })
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long to wait for what has to come: a busy machine takes its time.
const patience = time.Minute

// await polls until the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// wantHas fails for each of the parts that text lacks.
func wantHas(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s lacks %q:\n%s", what, p, text)
		}
	}
}
