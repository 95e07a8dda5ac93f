package link

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// namespace is a network namespace of a test. It has no name: it ends with the
// last descriptor, however the test ends.
type namespace struct{ handle netns.NsHandle }

// path is where OpenSandbox finds it.
func (n namespace) path() string { return fmt.Sprintf("/proc/self/fd/%d", int(n.handle)) }

// inNode puts the test's goroutine and thread into a new namespace that plays
// the node, and brings them back when the test ends.
func inNode(t testing.TB) namespace {
	t.Helper()
	testhost.Enter(t)
	node, err := netns.Get()
	must(t, err)
	t.Cleanup(func() { node.Close() })
	testhost.Sh(t, "ip link set lo up")
	return namespace{node}
}

// anotherNamespace makes one beside the current, such as a pod's.
func anotherNamespace(t testing.TB) namespace {
	t.Helper()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	other, err := netns.New()
	must(t, err)
	t.Cleanup(func() { other.Close() })
	must(t, netns.Set(here))
	return namespace{other}
}

// in runs f with the test's thread in the namespace.
func (n namespace) in(t testing.TB, f func()) {
	t.Helper()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	must(t, netns.Set(n.handle))
	defer func() { must(t, netns.Set(here)) }()
	f()
}

// sh runs a command in the namespace that must succeed.
func (n namespace) sh(t testing.TB, command string) (out string) {
	t.Helper()
	n.in(t, func() { out = testhost.Sh(t, command) })
	return out
}

func openHost(t testing.TB) *Host {
	t.Helper()
	h, err := OpenHost()
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func openSandbox(t testing.TB, n namespace) *Sandbox {
	t.Helper()
	s, err := OpenSandbox(n.path())
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// testPod is a pod of a test, of network pods, on a node that forwards for it.
type testPod struct {
	ns      namespace
	sandbox *Sandbox
	veth    Veth
	id      string
	addrs   []netip.Addr
	routes  []Route
}

func newPod(t testing.TB, id string, addrs ...string) testPod {
	t.Helper()
	p := testPod{ns: anotherNamespace(t), id: id}
	p.sandbox = openSandbox(t, p.ns)
	p.veth = Veth{HostName: HostName("pods", id, "eth0"), PodName: "eth0", PodMAC: PodMAC("pods", id, "eth0"), MTU: 1430}
	for _, a := range addrs {
		p.addrs = append(p.addrs, netip.MustParseAddr(a))
	}
	must(t, PrepareNode("", slices.ContainsFunc(p.addrs, netip.Addr.Is4), slices.ContainsFunc(p.addrs, netip.Addr.Is6)))
	return p
}

func (p testPod) podEnd(repair bool) PodEnd {
	return PodEnd{Name: p.veth.PodName, MAC: p.veth.PodMAC, Addrs: p.addrs, Routes: p.routes, Repair: repair}
}

func (p testPod) hostEnd() HostEnd {
	return HostEnd{
		Name: p.veth.HostName, Alias: Alias("pods", p.id, p.veth.PodName), PodMAC: p.veth.PodMAC, Addrs: p.addrs,
		IPv6: slices.ContainsFunc(p.addrs, netip.Addr.Is6),
	}
}

func (p testPod) expectation(uplink string) Expectation {
	return Expectation{
		HostName: p.veth.HostName, PodName: p.veth.PodName, PodMAC: p.veth.PodMAC,
		Addrs: p.addrs, Routes: p.routes, Uplink: uplink,
	}
}

// attach makes the whole pair.
func (p testPod) attach(t testing.TB, h *Host) {
	t.Helper()
	must(t, h.CreateVeth(p.veth, p.sandbox))
	must(t, p.sandbox.ConfigurePod(p.podEnd(false)))
	must(t, h.ConfigureHost(p.hostEnd()))
}

// settle waits for what the kernel does in its own time after attach: it notices
// the carrier, and adds the local routes then, also those of the node's uplinks.
func (p testPod) settle(t testing.TB) {
	t.Helper()
	await(t, "carrier of both ends", func() bool {
		pod := p.ns.state(t)
		for _, a := range p.addrs {
			if a.Is6() && (!strings.Contains(pod, "local "+a.String()+" dev") || !strings.Contains(pod, "local fe80")) {
				return false
			}
		}
		both := pod + testhost.Sh(t, "ip link show "+p.veth.HostName+"; ip route; ip -6 route")
		return !strings.Contains(both, "linkdown") && !strings.Contains(both, "NO-CARRIER") && hasLocalRoutes(t)
	})
}

// hasLocalRoutes tells whether every IPv6 address of the current namespace is its own
// to the kernel.
func hasLocalRoutes(t testing.TB) bool {
	t.Helper()
	local := testhost.Sh(t, "ip -6 route show table local") + "\n"
	for line := range strings.Lines(testhost.Sh(t, "ip -6 -o addr")) {
		fields := strings.Fields(line) // 2: up0 inet6 fe80::1/64 …
		address, _, _ := strings.Cut(fields[3], "/")
		if !strings.Contains(local, "local "+address+" dev "+fields[1]+" ") {
			return false
		}
	}
	return true
}

// state is everything that the namespace's tables hold, without counters.
func (n namespace) state(t testing.TB) string {
	t.Helper()
	return n.sh(t, `ip -d addr | sed 's/valid_lft.*//; s/ tentative//'
		for f in 4 6; do ip -$f route show table all; ip -$f neigh show nud all; ip -$f neigh show proxy; done
		cd /proc/sys/net; for k in ipv?/conf/*/*redirects ipv6/conf/*/accept_ra ipv6/conf/*/disable_ipv6 ipv?/conf/*/forwarding
		do echo $k $(cat $k); done`)
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func addrList(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// await polls until the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	const patience = time.Minute // a busy machine takes its time
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantHas fails for each of the lines that text lacks.
func wantHas(t testing.TB, what, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l) {
			t.Errorf("%s lacks %q:\n%s", what, l, text)
		}
	}
}

// uplinks makes interfaces that are up and have a carrier: ends of veth pairs
// whose other ends are in a namespace which plays the network. Their own IPv6
// addresses wait for no duplicate detection, which would end in the midst of a test.
func uplinks(t testing.TB, names ...string) namespace {
	t.Helper()
	lan := anotherNamespace(t)
	for _, name := range names {
		testhost.Sh(t, fmt.Sprintf("ip link add %s type veth peer name far-%s netns /proc/%d/fd/%d", name, name, os.Getpid(), int(lan.handle)))
		lan.sh(t, "ip link set far-"+name+" up")
		testhost.Sh(t, "echo 0 >/proc/sys/net/ipv6/conf/"+name+"/accept_dad; ip link set "+name+" up")
	}
	return lan
}

// changed gives the lines that are in one of two states only, as of diff. What
// the kernel does by itself and in its own time is no change: carriers come,
// groups are joined, neighbours are learnt.
func changed(before, after string) []string {
	seen := map[string]int{}
	for sign, state := range map[int]string{-1: before, 1: after} {
		for line := range strings.Lines(state) {
			if !slices.ContainsFunc([]string{"multicast", "STALE", "NOARP", "FAILED", "ff0", "state DOWN", "state UP", "state UNKNOWN"}, func(s string) bool { return strings.Contains(line, s) }) {
				seen[strings.TrimSpace(line)] += sign
			}
		}
	}
	var changes []string
	for line, sign := range seen {
		if sign != 0 {
			changes = append(changes, fmt.Sprintf("%+d %s", sign, line))
		}
	}
	slices.Sort(changes)
	return changes
}
