package attachment

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/link"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// outsider is a pod that another main plugin attached.
type outsider struct {
	dir, network string
	lease        ipam.Lease
	record       Record
}

func newOutsider(dir, network, id string, list ...string) outsider {
	o := outsider{dir: dir, network: Chained(network), lease: ipam.Lease{Key: ipam.Key{ContainerID: id, IfName: "eth0"}, Since: time.Now().UTC()}}
	for _, a := range addrs(list...) {
		o.lease.Addresses = append(o.lease.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	o.record = Record{HostVeth: "v-" + id, Judged: true, Foreign: true, Ends: []End{{PodName: "eth0", Name: "v-" + id, Index: 9999, Device: "cni0"}}}
	return o
}

// rules is what judges it: one open group for the subnet, and "web".
func (o outsider) rules() firewall.Network {
	n := o.record.Rules(o.network, o.dir, Addrs(o.lease))
	open := nsgtest.MustPolicy(nsg.Definition{Name: "open"})
	n.Judging = &firewall.Judging{Groups: firewall.GroupsOf(o.record.FilterPod()), Load: func() (*firewall.Policies, error) {
		return &firewall.Policies{Subnet: open, Interfaces: map[string]*nsg.Policy{"web": open}}, nil
	}}
	return n
}

// attach is what an ADD does with it.
func (o *outsider) attach(t *testing.T, n *Node) (known bool) {
	t.Helper()
	c, err := n.Claim(o.dir, o.network, o.lease, o.record)
	must(t, err)
	o.record = c.Record
	must(t, n.Join(o.rules(), o.lease.Key, o.record, Addrs(o.lease), c.Known))
	return c.Known
}

// held lists what the store has: "container address,address".
func held(t *testing.T, dir, network string) []string {
	t.Helper()
	leases, err := Store(dir, Chained(network)).Leases()
	must(t, err)
	var out []string
	for _, l := range leases {
		out = append(out, strings.Trim(fmt.Sprint(l.ContainerID, Addrs(l)), "[]"))
	}
	slices.Sort(out)
	return out
}

func wantHeld(t *testing.T, when, dir, network string, want ...string) {
	t.Helper()
	if got := held(t, dir, network); !slices.Equal(got, want) {
		t.Errorf("%s: network %s has %q, want %q", when, network, got, want)
	}
}

func wantMembers(t *testing.T, n *Node, when, network string, want ...string) {
	t.Helper()
	got, err := n.Firewall.Members(Chained(network))
	if err != nil || !slices.Equal(got, addrs(want...)) {
		t.Errorf("%s: %v, %v are judged in network %s; want %v", when, got, err, network, want)
	}
}

// Whoever comes last has the address, also of another network, and who had it keeps
// what is left; with nothing left but what works on a link, nothing.
func TestClaim(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	old := newOutsider(dir, "pods", "old", "10.9.0.1", "fd00:9::1", "fe80::1")
	elsewhere := newOutsider(dir, "others", "elsewhere", "10.9.0.2")
	old.attach(t, n)
	elsewhere.attach(t, n)

	first := newOutsider(dir, "pods", "first", "10.9.0.1", "10.9.0.2")
	if first.attach(t, n) {
		t.Error("a new attachment is known")
	}
	wantHeld(t, "one address was taken", dir, "pods", "first[10.9.0.1 10.9.0.2", "old[fd00:9::1 fe80::1")
	wantHeld(t, "and one of another network", dir, "others")
	wantMembers(t, n, "one address was taken", "pods", "10.9.0.1", "10.9.0.2", "fd00:9::1", "fe80::1")
	wantMembers(t, n, "one address was taken", "others")

	second := newOutsider(dir, "pods", "second", "fd00:9::1")
	second.attach(t, n)
	wantHeld(t, "the last one was taken", dir, "pods", "first[10.9.0.1 10.9.0.2", "second[fd00:9::1")
	wantMembers(t, n, "the last one was taken", "pods", "10.9.0.1", "10.9.0.2", "fd00:9::1")
	for _, o := range []outsider{first, second} {
		if problems, err := n.Firewall.Problems(o.rules(), o.record.FilterPod(Addrs(o.lease)...)); err != nil || len(problems) > 0 {
			t.Errorf("%s: %q, %v", o.lease.ContainerID, problems, err)
		}
	}
	t.Log("4 pods, 2 networks")
}

// A container is the same in a network of another name, whose DEL never came: what its
// interface has there by now is not the old network's.
func TestClaimFromOtherNetwork(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	before := newOutsider(dir, "before", "c1", "10.9.0.1", "fe80::1")
	before.attach(t, n)
	now := newOutsider(dir, "now", "c1", "10.9.0.1", "fe80::1")
	if now.attach(t, n) {
		t.Error("a new attachment is known")
	}
	wantHeld(t, "in the network of before", dir, "before")
	wantMembers(t, n, "in the network of before", "before")
	wantMembers(t, n, "in the network of now", "now", "10.9.0.1", "fe80::1")
	t.Log("1 container in 2 networks")
}

// Whoever is called as what nobody has a record of is somebody all the same.
func TestIsLost(t *testing.T) {
	for k, want := range map[ipam.Key]bool{
		{ContainerID: "unknown", IfName: "10.9.0.1"}:  true,
		{ContainerID: "unknown", IfName: "fe80::1"}:   true,
		{ContainerID: "unknown", IfName: "eth0"}:      false,
		{ContainerID: "unknown1", IfName: "10.9.0.1"}: false,
	} {
		if IsLost(k) != want {
			t.Errorf("%v is lost: %t", k, !want)
		}
	}
	t.Log("4 attachments")
}

// An attachment that comes again with other addresses, devices and wishes keeps its
// groups for Choose to change, and nothing of its old addresses.
func TestClaimAgain(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	o := newOutsider(dir, "pods", "c1", "10.9.0.1", "10.9.0.2")
	o.record.Group, o.record.ASGs = "web", []string{"a"}
	o.attach(t, n)
	again := newOutsider(dir, "pods", "c1", "10.9.0.2", "10.9.0.3")
	again.record.Ends[0].Device = "cni1"
	again.record.Group = "other"
	if !again.attach(t, n) {
		t.Error("it is not known")
	}
	if again.record.Group != "web" || !slices.Equal(again.record.ASGs, []string{"a"}) || again.record.Ends[0].Device != "cni1" {
		t.Errorf("the record is %+v", again.record)
	}
	wantMembers(t, n, "attached again", "pods", "10.9.0.2", "10.9.0.3")
	if problems, err := n.Firewall.Problems(again.rules(), again.record.FilterPod(Addrs(again.lease)...)); err != nil || len(problems) > 0 {
		t.Errorf("attached again: %q, %v", problems, err)
	}
	if problems, err := n.Firewall.Problems(again.rules(), o.record.FilterPod(addrs("10.9.0.2")...)); err != nil || len(problems) != 1 {
		t.Errorf("of its old device: %q, %v; want one", problems, err)
	}
	t.Log("1 attachment, twice")
}

// An address is fresh until its flows of before were ended: whatever ends in between,
// and again when the main plugin made another pair. One that was judged all along is not.
func TestClaimFresh(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	claim := func(index int, name string, list ...string) (outsider, Claimed) {
		t.Helper()
		o := newOutsider(dir, "pods", "c1", list...)
		o.record.Ends[0].Index, o.record.Ends[0].Name = index, name
		c, err := n.Claim(o.dir, o.network, o.lease, o.record)
		must(t, err)
		return o, c
	}
	rows := []struct {
		what, name string
		index      int
		addrs      []string
		ends       bool // the ADD comes so far
		want       []string
	}{
		{"new", "v-c1", 9999, []string{"10.9.0.1", "10.9.0.2"}, false, []string{"10.9.0.1", "10.9.0.2"}},
		{"after a kill", "v-c1", 9999, []string{"10.9.0.2"}, false, []string{"10.9.0.2"}},
		{"after a kill, with another address", "v-c1", 9999, []string{"10.9.0.2", "10.9.0.3"}, true, []string{"10.9.0.2", "10.9.0.3"}},
		{"again", "v-c1", 9999, []string{"10.9.0.2", "10.9.0.3"}, true, nil},
		{"with an address more", "v-c1", 9999, []string{"10.9.0.2", "10.9.0.3", "fe80::1"}, true, []string{"fe80::1"}},
		{"renamed", "other", 9999, []string{"10.9.0.2", "fe80::1"}, true, nil},
		{"with another pair", "other", 10000, []string{"10.9.0.2", "fe80::1"}, true, []string{"10.9.0.2", "fe80::1"}},
	}
	for _, row := range rows {
		o, c := claim(row.index, row.name, row.addrs...)
		if !slices.Equal(c.Record.Fresh, addrs(row.want...)) {
			t.Errorf("%s: %v are fresh, want %v", row.what, c.Record.Fresh, row.want)
		}
		if row.ends {
			must(t, n.Settle(o.dir, o.network, c, nil))
		}
	}
	t.Logf("%d claims", len(rows))
}

// The end of one does not touch what another has by now, takes down its own pair
// only, and may come twice.
func TestRemoveOutsider(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	path := podNamespace(t)
	testhost.Sh(t, "ip link add v-old type veth peer name eth0; ip link set v-old up; ip link set eth0 up; ip link add v-new type veth peer name p1; ip link set v-new up")
	old, young := newOutsider(dir, "pods", "old", "10.9.0.1", "10.9.0.2"), newOutsider(dir, "pods", "new", "10.9.0.2")
	l, _, err := n.Host.Link("v-old")
	must(t, err)
	old.record.Sandbox, old.record.Ends[0].Index = path, l.Index
	old.attach(t, n)
	stale := old.lease // as a DEL read it, a moment ago
	young.attach(t, n)
	for range 2 {
		must(t, n.Remove(dir, old.network, old.lease.Key, old.record, Addrs(stale), func() error {
			_, _, err := Store(dir, old.network).Release(old.lease.Key)
			return err
		}))
		wantHeld(t, "after the end", dir, "pods", "new[10.9.0.2")
		wantMembers(t, n, "after the end", "pods", "10.9.0.2")
	}
	for name, up := range map[string]bool{"v-old": false, "v-new": true} {
		if l, found, err := n.Host.Link(name); err != nil || !found || l.Up != up {
			t.Errorf("%s: %+v, %v; up has to be %t", name, l, err, up)
		}
	}
	t.Log("2 removals")
}

// A store that was lost is rebuilt from the sets: everybody stays judged, by the
// groups that they had, until somebody tells whose addresses these are.
func TestLostOutsiders(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	a, b := newOutsider(dir, "pods", "a", "10.9.0.1"), newOutsider(dir, "pods", "b", "10.9.0.2", "fd00:9::2")
	a.attach(t, n)
	b.attach(t, n)
	for what, harm := range map[string]func(string) error{
		"deleted": os.Remove,
		"noise":   func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("noise", 10000)), 0o600) },
	} {
		must(t, harm(filepath.Join(dir, "pods+nsg.db")))
		wantHeld(t, what, dir, "pods", "unknown[10.9.0.1", "unknown[10.9.0.2", "unknown[fd00:9::2")
		pods, err := Pods(dir, a.network)()
		must(t, err)
		for _, p := range pods {
			if !p.Foreign || !p.Lost {
				t.Errorf("%s: a rebuilt pod is %+v", what, p)
			}
		}
		if again := newOutsider(dir, "pods", "a", "10.9.0.1"); again.attach(t, n) {
			t.Errorf("%s: the pod is known", what)
		}
		wantHeld(t, what+", and one came again", dir, "pods", "a[10.9.0.1", "unknown[10.9.0.2", "unknown[fd00:9::2")
	}
	l, found, err := Store(dir, a.network).Holder(netip.MustParseAddr("10.9.0.2"))
	if err != nil || !found || !IsLost(l.Key) {
		t.Errorf("%+v, %v", l, err)
	}
	t.Log("2 losses of 2 pods")
}

// Of an outsider's pair, everything is noticed that lets packets go other ways.
func TestOutsiderProblems(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	o := newOutsider(dir, "pods", "c1", "10.9.0.1")
	o.record.Sandbox = podNamespace(t)
	testhost.Sh(t, fmt.Sprintf("ip link add br0 type bridge; ip link add v-c1 type veth peer name eth0 netns /proc/%d/fd/%s; ip link set v-c1 master br0",
		os.Getpid(), filepath.Base(o.record.Sandbox)))
	s, err := link.OpenSandbox(o.record.Sandbox)
	must(t, err)
	defer s.Close()
	ipv6 := func(off string) {
		must(t, s.Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte(off), 0)
		}))
	}
	ipv6("1")
	e, err := n.Host.EndOf(s, "eth0")
	must(t, err)
	o.record.Ends = []End{EndOf(e)}
	o.attach(t, n)
	look := func() string {
		t.Helper()
		problems, err := n.Problems(dir, o.network, o.lease, o.record)
		must(t, err)
		return strings.Join(problems, "; ")
	}
	if got := look(); got != "" {
		t.Errorf("a healthy pod: %q", got)
	}
	ipv6("0")
	if got := look(); !strings.Contains(got, "fe80::") {
		t.Errorf("with an address that nobody judges: %q", got)
	}
	ipv6("1")
	rows := []struct{ harm, mend, want string }{
		{"echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables", "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables", "bridge-nf-call-iptables"},
		{"ip link set v-c1 nomaster", "ip link set v-c1 master br0", "instead of v-c1"},
		{"ip link set v-c1 name other", "ip link set other name v-c1", "instead of v-c1"},
		{"ipset flush vnet-near-4", "ipset add vnet-near-4 10.9.0.1,br0", "10.9.0.1 on br0"},
		{"ip link del v-c1", "true", "none in the pod"},
	}
	for _, row := range rows {
		testhost.Sh(t, row.harm)
		if got := look(); !strings.Contains(got, row.want) {
			t.Errorf("%s: %q does not tell of %q", row.harm, got, row.want)
		}
		testhost.Sh(t, row.mend)
	}
	t.Logf("%d kinds of damage", len(rows)+1)
}

// No network can be called like what is kept beside one.
func TestChainedNames(t *testing.T) {
	for name, want := range map[string]bool{Chained("pods"): true, "pods": false, "nsg": false, "pods-nsg": false} {
		if IsChained(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
	t.Log("4 names")
}
