package collect

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// binDir holds the main plugin, built once for all tests.
var binDir string

func TestMain(m *testing.M) { os.Exit(withPlugin(m)) }

func withPlugin(m *testing.M) int {
	dir, err := os.MkdirTemp("", "collect-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-o", dir, "../../plugins/vnet").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the plugin: %v\n%s", err, out)
		return 1
	}
	binDir = dir
	return m.Run()
}

const network = "col"

const conf = `{"cniVersion":"1.0.0","name":%q,"type":"vnet","mode":"vnet","uplink":"up0","stateDir":%q,
 "masquerade":{"except":["10.0.0.0/8"]},
 "ipam":{"type":"vnet-ipam","pools":[{"subnet":"10.241.0.0/16","ranges":[%q]}]}}`

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testNode is a node with the plugin, in a network namespace of its own.
type testNode struct {
	testing.TB
	dir string
	*Node
}

func newTestNode(t testing.TB) testNode {
	t.Helper()
	testhost.Stay(t)
	testhost.EnterNamed(t, "node")
	for _, line := range []string{
		"link set lo up", "link add up0 type veth peer name wire0", "link set wire0 up",
		"addr add 10.241.0.4/16 dev up0", "link set up0 up",
	} {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	n, err := OpenNode()
	must(t, err)
	t.Cleanup(n.Close)
	return testNode{t, t.TempDir(), n}
}

// add attaches a container of a living pod with the plugin.
func (n testNode) add(network, id string) {
	n.Helper()
	_, path := testhost.Beside(n, id)
	cmd := exec.Command(filepath.Join(binDir, "vnet"))
	ranges := map[bool]string{true: "10.241.4.0/24", false: "10.241.5.0/24"}[network == "col"]
	cmd.Stdin = strings.NewReader(fmt.Sprintf(conf, network, n.dir, ranges))
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_NETNS="+path, "CNI_IFNAME=eth0", "CNI_PATH="+binDir)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.Fatalf("ADD %s: %v\n%s", id, err, out)
	}
}

func key(id string) ipam.Key { return ipam.Key{ContainerID: id, IfName: "eth0"} }

func (n testNode) lease(network, id string) (ipam.Lease, bool) {
	n.Helper()
	l, found, err := attachment.Store(n.dir, network).Get(key(id))
	must(n, err)
	return l, found
}

// problems of an attachment that must have a lease.
func (n testNode) problems(network, id string) []string {
	n.Helper()
	l, found := n.lease(network, id)
	if !found {
		return []string{"no lease"}
	}
	r, _, err := attachment.Of(l)
	must(n, err)
	found2, err := n.Problems(n.dir, network, l, r)
	must(n, err)
	return found2
}

func (n testNode) hasLink(network, id string) bool {
	_, err := netlink.LinkByName(link.HostName(network, id, "eth0"))
	return err == nil
}

// sets are the node's ipsets, and how many members they have together.
func (n testNode) sets() (sets, members int) {
	n.Helper()
	list, err := netlink.IpsetListAll()
	must(n, err)
	for _, s := range list {
		members += len(s.Entries)
	}
	return len(list), members
}

// list lists the attachments of the network as an agent does.
func (n testNode) list(network string) []Attachment {
	n.Helper()
	list, err := List(n.Node.Node, n.dir, network)
	must(n, err)
	return list
}

// remove removes as an agent does that may neither change mounts nor enter
// namespaces, nor look into other processes.
func (n testNode) remove(o Options, orphans []Attachment) Report {
	n.Helper()
	o.StateDir = n.dir
	defer withoutCapabilities(n, unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE)()
	if fd, err := netns.GetFromPath("/proc/1/ns/net"); err == nil {
		defer fd.Close()
		if err := netns.Set(fd); err == nil {
			n.Fatal("the test has a capability that it should do without")
		}
	}
	r, err := Remove(n.Node.Node, o, orphans)
	must(n, err)
	return r
}

// withoutCapabilities takes them from the thread until restore is called.
func withoutCapabilities(t testing.TB, list ...uint) (restore func()) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var was [2]unix.CapUserData
	must(t, unix.Capget(&header, &was[0]))
	now := was
	for _, c := range list {
		now[c/32].Effective &^= 1 << (c % 32)
	}
	must(t, unix.Capset(&header, &now[0]))
	return func() { must(t, unix.Capset(&header, &was[0])) }
}

func known(ids ...string) map[string]struct{} {
	set := map[string]struct{}{}
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

// words are what a report says, one line each.
func words(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s %s: %s\n", e.Kind, e.Network, e.ContainerID, e.Reason)
	}
	return b.String()
}
