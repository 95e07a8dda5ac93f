package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

// image is a folder with what the agent's image brings.
var image string

func TestMain(m *testing.M) {
	os.Exit(main(m))
}

func main(m *testing.M) int {
	for key, folder := range map[string]string{"VNET_BIN": "bin", "VNET_PEERS": ".cache/peers"} {
		if os.Getenv(key) == "" {
			path, _ := filepath.Abs(filepath.Join("../../..", folder))
			os.Setenv(key, path)
		}
	}
	if child := os.Getenv(childPaths); child != "" {
		return removeAsChild(child)
	}
	var err error
	if image, err = os.MkdirTemp("", "vnet-agent-image"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(image)
	return m.Run()
}

var programs sync.Mutex

// program copies a program to the image, once: an agent that has installed it would find
// that another file has come in its place.
func program(t testing.TB, path string) {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	target := filepath.Join(image, filepath.Base(path))
	if _, err := os.Stat(target); err == nil {
		return
	}
	next := target + ".new"
	from, err := os.Open(path)
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, err)
	must(t, to.Close())
	must(t, os.Rename(next, target))
}

// rig is an agent on a node of a test.
type rig struct {
	t       testing.TB
	fabric  *testnet.Fabric
	node    *testnet.Node
	cluster *fakeCluster
	runtime *fakeRuntime
	paths   Paths
	clock   time.Time
	*Agent
}

const grace = 5 * time.Minute

// The pods' ranges: of this node, of another one, and in the nodes' own subnet.
var (
	ownCIDRs   = prefixes("10.244.1.0/24", "fd00:10:244:1::/64")
	otherCIDRs = prefixes("10.244.2.0/24", "fd00:10:244:2::/64")
	flatCIDRs  = prefixes("10.241.129.0/24", "fd00:10:241::1:0/112")
)

// newRig makes a node n1 of a cluster that also has n2, and an agent that has not
// looked yet.
func newRig(t testing.TB) *rig {
	t.Helper()
	for _, name := range ownBinaries {
		program(t, testnet.Bin(t, name))
	}
	for _, name := range missingBinaries {
		program(t, testnet.Peer(t, name))
	}
	fabric := testnet.New(t)
	node := fabric.AddNode("n1")
	dir := node.StateDir()
	r := &rig{t: t, fabric: fabric, node: node, runtime: &fakeRuntime{known: map[string]struct{}{}}, clock: time.Now(), paths: Paths{
		Config: filepath.Join(dir, "etc", "config.yaml"), Source: image, Binaries: filepath.Join(dir, "bin"),
		Conflist: filepath.Join(dir, "net.d"), State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data"), Sysctls: "/proc/sys/net",
	}}
	r.cluster = &fakeCluster{
		nodes: []kube.Node{
			{Name: "n1", UID: "u1", Addresses: []netip.Addr{node.IPv4, node.IPv6}, PodCIDRs: ownCIDRs},
			other("n2", 2, otherCIDRs...),
		},
		namespaces: map[string]kube.Choice{"default": {}, "shop": {NSG: "shop-nsg", ASGs: "shop"}},
		pods:       map[string]kube.Pod{},
	}
	for _, folder := range []string{filepath.Dir(r.paths.Config), r.paths.Conflist} {
		must(t, os.MkdirAll(folder, 0o755))
	}
	r.settle()
	r.restart()
	return r
}

// settle waits for what the kernel does by itself once the node's link is up: its
// local routes of IPv6 come from a worker.
func (r *rig) settle() {
	r.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		routes := r.shell("ip", "-6", "route", "show", "table", "local", "dev", "eth0")
		if strings.Contains(routes, "local "+r.node.IPv6.String()) && strings.Contains(routes, "local fe80::") {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the node's own routes did not come: %s", routes)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// other is another node of the fabric.
func other(name string, n byte, cidrs ...netip.Prefix) kube.Node {
	return kube.Node{Name: name, UID: "uid-of-" + name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 241, 0, n})}, PodCIDRs: cidrs}
}

// restart is another agent in the place of this one.
func (r *rig) restart() {
	r.Agent = New("n1", r.paths, slog.New(slog.DiscardHandler), time.Hour, grace)
	r.Cluster, r.Runtime = r.cluster, r.runtime
	r.now = func() time.Time { return r.clock }
}

// pass makes one look, on the node, and tells whether the node is ready. The runtime
// is asked in each.
func (r *rig) pass() error {
	r.t.Helper()
	r.clock = r.clock.Add(collectEvery)
	return r.look(true)
}

func (r *rig) look(deep bool) error {
	r.t.Helper()
	r.on(func() error { r.Agent.look(context.Background(), deep); return nil })
	return r.Ready()
}

// good is a pass that has to succeed.
func (r *rig) good() {
	r.t.Helper()
	if err := r.pass(); err != nil {
		r.t.Fatalf("the node is not ready: %v", err)
	}
}

func (r *rig) on(f func() error) {
	r.t.Helper()
	must(r.t, r.node.Do(f))
}

// configure writes the agent's configuration; "" removes it.
func (r *rig) configure(text string) {
	r.t.Helper()
	if text == "" {
		must(r.t, os.Remove(r.paths.Config))
		return
	}
	must(r.t, os.WriteFile(r.paths.Config, []byte(text), 0o644))
}

func (r *rig) conflistPath() string { return filepath.Join(r.paths.Conflist, conflistName) }

// offered tells whether the conflist is there.
func (r *rig) offered() bool {
	_, err := os.Stat(r.conflistPath())
	return err == nil
}

// vnet is the main plugin's part of the conflist.
func (r *rig) vnet() vnetPlugin {
	r.t.Helper()
	data, err := os.ReadFile(r.conflistPath())
	must(r.t, err)
	var list struct {
		Name    string
		Plugins []json.RawMessage
	}
	must(r.t, json.Unmarshal(data, &list))
	var p vnetPlugin
	must(r.t, json.Unmarshal(list.Plugins[0], &p))
	return p
}

// container is a pod that a runtime attaches.
type container struct {
	*testnet.Pod
	rig  *rig
	name string // namespace/name
	args []string
}

const annotations = "io.kubernetes.cri.pod-annotations"

// add attaches a pod as a runtime does, with the plugins and the conflist that the
// agent put there, and annotations "key=value"; "port=1234" is a port of the node.
func (r *rig) add(name string, annotated ...string) (*container, error) {
	r.t.Helper()
	c := &container{r.node.NewPod(), r, name, annotated}
	r.runtime.change(func() { r.runtime.known[c.ContainerID()] = struct{}{} })
	r.cluster.pod(name, annotated...)
	return c, c.verb("add")
}

func (r *rig) added(name string, annotated ...string) *container {
	r.t.Helper()
	c, err := r.add(name, annotated...)
	if err != nil {
		r.t.Fatalf("ADD of %s: %v", name, err)
	}
	return c
}

func (c *container) verb(verb string) error {
	r := c.rig
	r.t.Helper()
	said, ports := map[string]string{}, []any{}
	for _, a := range c.args {
		key, value, _ := strings.Cut(a, "=")
		said["vnet-cni.io/"+key] = value
		if port, err := strconv.Atoi(value); key == "port" && err == nil {
			ports = append(ports, map[string]any{"hostPort": port, "containerPort": 80, "protocol": "tcp"})
		}
	}
	caps, err := json.Marshal(map[string]any{annotations: said, "portMappings": ports})
	must(r.t, err)
	namespace, short, _ := strings.Cut(c.name, "/")
	cmd := r.node.Command(map[string]string{
		"CNI_PATH": r.paths.Binaries, "NETCONFPATH": r.paths.Conflist, "CNI_IFNAME": "eth0", "CAP_ARGS": string(caps),
		"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + short,
	}, testnet.Peer(r.t, "cnitool"), verb, defaultNetwork, c.Path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := r.node.Run(cmd); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}

func (c *container) addrs() []netip.Addr {
	c.rig.t.Helper()
	l, _ := c.lease()
	return attachment.Addrs(l)
}

func (c *container) lease() (ipam.Lease, attachment.Record) {
	r := c.rig
	r.t.Helper()
	l, found, err := attachment.Store(r.paths.State, defaultNetwork).Get(ipam.Key{ContainerID: c.ContainerID(), IfName: "eth0"})
	must(r.t, err)
	if !found {
		return l, attachment.Record{}
	}
	record, _, err := attachment.Of(l)
	must(r.t, err)
	return l, record
}

// shell runs a program on the node.
func (r *rig) shell(words ...string) string {
	r.t.Helper()
	out, err := r.node.Shell(words[0], words[1:]...)
	must(r.t, err)
	return out
}

// sets are the sets that an address is a member of.
func (r *rig) sets(a netip.Addr) (in []string) {
	r.t.Helper()
	for _, line := range strings.Split(r.shell("ipset", "save"), "\n") {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "add" && f[2] == a.String() {
			in = append(in, f[1])
		}
	}
	return in
}

// rules are the rules of IPv4's table mangle that have the word.
func (r *rig) rules(word string) (n int) {
	r.t.Helper()
	return strings.Count(r.shell("iptables-save", "-t", "mangle"), word)
}

func (r *rig) routes() string {
	r.t.Helper()
	return r.shell("ip", "route") + r.shell("ip", "-6", "route")
}

// files are all files of the node that an agent could write, and their folders.
func (r *rig) files() (list []string) {
	r.t.Helper()
	must(r.t, filepath.WalkDir(r.node.StateDir(), func(path string, _ fs.DirEntry, err error) error {
		list = append(list, path)
		return err
	}))
	return list
}

// written tells when files were written, with their inodes' times; without what the
// plugins count.
func (r *rig) written() map[string]string {
	r.t.Helper()
	times := map[string]string{}
	for _, path := range r.files() {
		info, err := os.Lstat(path)
		must(r.t, err)
		if !info.IsDir() && !strings.HasSuffix(path, ".tally") {
			times[path] = info.ModTime().String()
		}
	}
	return times
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// group is a document of an NSG that denies an inbound port, from an ASG if one is named.
func group(name, port string, asg ...string) string {
	rule := map[string]any{"direction": "Inbound", "access": "Deny", "protocol": "Tcp", "priority": 100,
		"sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "sourcePortRange": "*", "destinationPortRange": port}
	if len(asg) > 0 {
		delete(rule, "sourceAddressPrefix")
		rule["sourceApplicationSecurityGroups"] = []any{map[string]any{"id": resources + "applicationSecurityGroups/" + asg[0]}}
	}
	data, err := json.Marshal(map[string]any{"name": name, "id": resources + "networkSecurityGroups/" + name,
		"type": "Microsoft.Network/networkSecurityGroups", "location": "westeurope",
		"properties": map[string]any{"securityRules": []any{map[string]any{"name": "deny-" + port, "properties": rule}}}})
	if err != nil {
		panic(err)
	}
	return string(data)
}

const resources = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/"

// key is how records have the group.
func key(name string) string { return strings.ToLower(resources + "networkSecurityGroups/" + name) }

func contains(list []netip.Prefix, text string) bool {
	return slices.Contains(list, netip.MustParsePrefix(text))
}
