package attachment

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

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

// inNode puts the test into a namespace of its own, without a name, that plays
// the node with the uplink up0.
func inNode(t testing.TB) *Node {
	t.Helper()
	testhost.Enter(t)
	testhost.Sh(t, "ip link set lo up; ip link add up0 type veth peer name far0; ip link set up0 up; ip link set far0 up")
	n, err := OpenNode()
	must(t, err)
	t.Cleanup(n.Close)
	return n
}

// podNamespace makes one and gives the path to it.
func podNamespace(t testing.TB) string {
	t.Helper()
	here, err := netns.Get()
	must(t, err)
	defer here.Close()
	pod, err := netns.New()
	must(t, err)
	t.Cleanup(func() { pod.Close() })
	must(t, netns.Set(here))
	return fmt.Sprintf("/proc/self/fd/%d", int(pod))
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// attach makes a pod as ADD does, without lease and filter, and gives its record.
func attach(t testing.TB, n *Node, network, id string, flat bool, list []netip.Addr) Record {
	t.Helper()
	r := Record{
		HostVeth: link.HostName(network, id, "eth0"), Sandbox: podNamespace(t),
		PodMAC: link.PodMAC(network, id, "eth0").String(),
	}
	s, err := link.OpenSandbox(r.Sandbox)
	must(t, err)
	defer s.Close()
	must(t, link.PrepareNode("", slices.ContainsFunc(list, netip.Addr.Is4), slices.ContainsFunc(list, netip.Addr.Is6)))
	mac := link.PodMAC(network, id, "eth0")
	must(t, n.Host.CreateVeth(link.Veth{HostName: r.HostVeth, PodName: "eth0", PodMAC: mac, MTU: 1500}, s))
	must(t, s.ConfigurePod(link.PodEnd{Name: "eth0", MAC: mac, Addrs: list}))
	must(t, n.Host.ConfigureHost(link.HostEnd{
		Name: r.HostVeth, Alias: link.Alias(network, id, "eth0"), PodMAC: mac, Addrs: list, IPv6: slices.ContainsFunc(list, netip.Addr.Is6),
	}))
	if flat {
		r.Uplink = "up0"
		up, _, err := n.Host.Link("up0")
		must(t, err)
		must(t, n.Host.AddProxy(up.Index, list))
	}
	return r
}

// tables is what the node's kernel holds of pods.
func tables(t testing.TB) string {
	t.Helper()
	return testhost.Sh(t, "ip -o link | grep -o 'vnet[^@]*' || true; ip route; ip -6 route | grep -v fe80 || true; ip neigh show proxy; ip -6 neigh show proxy")
}

func TestRebuild(t *testing.T) {
	n := inNode(t)
	want := map[string]Record{
		"c1": attach(t, n, "pods", "c1", true, addrs("10.241.4.7")),
		"c2": attach(t, n, "pods", "c2", false, addrs("10.241.4.8", "fd00:241::8")),
	}
	attach(t, n, "other", "c3", true, addrs("10.242.0.7"))
	attach(t, n, "pods", "c4", false, nil) // died before it got an address: nothing to lease
	leases, err := Rebuild(t.TempDir(), "pods")
	must(t, err)
	if len(leases) != len(want) {
		t.Fatalf("%d leases, want %d: %+v", len(leases), len(want), leases)
	}
	lengths := map[string]string{"c1": "[10.241.4.7/32]", "c2": "[10.241.4.8/32 fd00:241::8/128]"}
	for _, l := range leases {
		r, ours, err := Of(l)
		w := want[l.ContainerID]
		w.Sandbox, w.Lost = "", true // the kernel does not say all
		if err != nil || !ours || l.IfName != "eth0" || !reflect.DeepEqual(r, w) {
			t.Errorf("%+v: %+v, %v, %v; want %+v", l.Key, r, ours, err, w)
		}
		if got := fmt.Sprint(l.Addresses); got != lengths[l.ContainerID] {
			t.Errorf("%s has %s, want %s", l.ContainerID, got, lengths[l.ContainerID])
		}
	}
	if leases, err := Rebuild(t.TempDir(), "nobody"); err != nil || len(leases) != 0 {
		t.Errorf("an unknown network: %v, %v", leases, err)
	}
	t.Logf("%d of 4 pods", len(want))
}

// A store whose file is noise gives the living pods' leases, and never leases
// their addresses again.
func TestStoreIsRebuilt(t *testing.T) {
	n := inNode(t)
	record := attach(t, n, "pods", "c1", true, addrs("10.241.4.4"))
	dir := t.TempDir()
	noise := filepath.Join(dir, "pods.db")
	must(t, os.WriteFile(noise, []byte(strings.Repeat("noise", 10000)), 0o600))
	s := Store(dir, "pods")
	l, found, err := s.Get(ipam.Key{ContainerID: "c1", IfName: "eth0"})
	must(t, err)
	r, ours, err := Of(l)
	if err != nil || !found || !ours || r.HostVeth != record.HostVeth || r.Uplink != "up0" || fmt.Sprint(Addrs(l)) != "[10.241.4.4]" {
		t.Errorf("%v, %+v, %+v, %v", found, l, r, err)
	}
	pool, err := ipam.ParsePool("10.241.4.0/24", nil)
	must(t, err)
	const count = 20
	for i := range count {
		l, _, err := s.Acquire(ipam.Request{Key: ipam.Key{ContainerID: fmt.Sprint("n", i), IfName: "eth0"}, Pools: []ipam.Pool{pool}})
		must(t, err)
		if slices.Contains(Addrs(l), netip.MustParseAddr("10.241.4.4")) {
			t.Fatal("the living pod's address is leased again")
		}
	}
	t.Logf("1 lease rebuilt, %d new ones", count)
}

// Remove takes all of one pod and nothing of another; again it finds nothing.
func TestRemoveIsIdempotent(t *testing.T) {
	n := inNode(t)
	attach(t, n, "pods", "stays", true, addrs("10.241.4.9", "fd00:241::9"))
	before := tables(t)
	list := addrs("10.241.4.7", "fd00:241::7")
	r := attach(t, n, "pods", "goes", true, list)
	if during := tables(t); strings.Count(during, "10.241.4.7") != 2 || !strings.Contains(during, r.HostVeth) {
		t.Fatalf("the pod is not there:\n%s", during)
	}
	for range 3 {
		must(t, n.Remove(t.TempDir(), "pods", ipam.Key{}, r, list, func() error { return nil }))
		if after := tables(t); after != before {
			t.Errorf("the node has\n%s\n--- instead of\n%s", after, before)
		}
	}
	t.Log("3 removals of 1 pod")
}

// Every part may be gone before, the uplink included.
func TestRemoveOfAHalf(t *testing.T) {
	rows := []string{"ip link del HOST", "ip neigh del proxy 10.241.4.7 dev up0", "ip link del up0", "ip link del HOST; ip link del up0"}
	for _, row := range rows {
		t.Run(row, func(t *testing.T) {
			n := inNode(t)
			list := addrs("10.241.4.7", "fd00:241::7")
			r := attach(t, n, "pods", "c1", true, list)
			testhost.Sh(t, strings.ReplaceAll(row, "HOST", r.HostVeth))
			must(t, n.Remove(t.TempDir(), "pods", ipam.Key{}, r, list, func() error { return nil }))
			if after := tables(t); strings.Contains(after, "10.241.4.7") || strings.Contains(after, "241::7") || strings.Contains(after, r.HostVeth) {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
	t.Logf("%d halves", len(rows))
}

// Problems tells a namespace that is gone, damage in the kernel, and the lack of
// the packet filter's sets, and repairs nothing.
func TestProblems(t *testing.T) {
	n := inNode(t)
	list := addrs("10.241.4.7")
	r := attach(t, n, "pods", "c1", true, list)
	l := ipam.Lease{Key: ipam.Key{ContainerID: "c1", IfName: "eth0"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.241.4.7/16")}}
	look := func() string {
		t.Helper()
		problems, err := n.Problems(t.TempDir(), "pods", l, r)
		must(t, err)
		return strings.Join(problems, "; ")
	}
	unfiltered := look()
	if !strings.Contains(unfiltered, "ipset") || strings.Contains(unfiltered, "gone") {
		t.Errorf("a pod without a packet filter: %q", unfiltered)
	}
	rules := r.Rules("pods", t.TempDir(), list)
	must(t, n.Firewall.Ensure(rules))
	must(t, n.Firewall.AddPod(rules, firewall.Pod{Addrs: list[:1]}))
	if got := look(); got != "" {
		t.Errorf("a healthy pod: %q", got)
	}
	testhost.Sh(t, "ip route del 10.241.4.7")
	for range 2 {
		if got := look(); got != "the node's route to 10.241.4.7 through "+r.HostVeth+" is gone" {
			t.Errorf("without a route: %q", got)
		}
	}
	must(t, n.Remove(t.TempDir(), "pods", ipam.Key{}, r, list, func() error { return nil }))
	if got := look(); !strings.Contains(got, r.HostVeth+" is gone") || !strings.Contains(got, "10.241.4.7 is not in ipset") {
		t.Errorf("a removed pod: %q", got)
	}
	r.Sandbox = filepath.Join(t.TempDir(), "missing")
	if got := look(); !strings.Contains(got, r.Sandbox) {
		t.Errorf("a missing namespace: %q", got)
	}
	t.Log("6 looks")
}
