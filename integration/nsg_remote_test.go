package integration

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// farPod is an entry of the file that tells a node of other nodes' pods.
type farPod struct {
	Addrs []netip.Addr `json:"addrs"`
	Group string       `json:"group,omitempty"`
	ASGs  []string     `json:"asgs,omitempty"`
}

// tellOf writes the file.
func tellOf(t *testing.T, conf config, n *testnet.Node, list ...farPod) {
	t.Helper()
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(n.StateDir(), conf.network+".members"), string(data)); err != nil {
		t.Fatal(err)
	}
}

// takeNotice has the node take notice of what changed.
func takeNotice(t *testing.T, n *testnet.Node) {
	t.Helper()
	if out, err := n.Shell(testnet.Bin(t, "vnetctl"), "--state-dir", n.StateDir(), "apply"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestNSGRemote tells one node of another one's pods: they are members of application
// security groups for the rules of its own pods, and what enters there through a
// service is judged by their groups, with the client's address. The other node judges
// nothing.
func TestNSGRemote(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			expectRemote(t, backend)
		})
	}
}

func remoteDocuments(t *testing.T) documents {
	t.Helper()
	clients := []string{testnet.Outside4.String() + "/32", testnet.Outside6.String() + "/128"}
	return newDocuments(t,
		restGroup("for-db", allowIn("*", "*").fromASG("db"), denyIn("*", "*")),
		restGroup("not-to-db", denyOut("*", "*").toASG("db"), allowOut("*", "*")),
		restGroup("friends", allowIn("*", "*").from(clients[0]), allowIn("*", "*").from(clients[1]), denyIn("*", "*")),
		restGroup("foes", denyIn("*", "*").from(clients[0]), denyIn("*", "*").from(clients[1]), allowIn("*", "*")))
}

func expectRemote(t *testing.T, backend string) {
	t.Helper()
	conf, f, here := judgedNode(t, remoteDocuments(t).conf(""), testnet.WithIptables(backend))
	f.AddOutside()
	elsewhere := f.AddNode("n2", testnet.WithIptables(backend))
	vnetConfig(elsewhere, 1).write(elsewhere)
	db, plain, server := attach(t, elsewhere), attach(t, elsewhere), attach(t, elsewhere)
	key := func(name string) string { return strings.ToLower(groupID(name)) }

	// Before there is any rule: the first ADD makes them with all members.
	tellOf(t, conf, here,
		farPod{Addrs: db.addrs(), ASGs: []string{"db"}}, farPod{Addrs: server.addrs(), Group: key("friends")},
		farPod{Addrs: []netip.Addr{netip.MustParseAddr("10.241.200.200")}, Group: "nobody-knows-it"})
	guarded := attachFor(t, conf, here.NewPod(), "for-db").pod
	choosy := attachFor(t, conf, here.NewPod(), "not-to-db").pod
	n := expectAll(t, flows(db, guarded, 8000)) + expectSilent(t, flows(plain, guarded, 8000))
	n += expectAll(t, flows(choosy, plain, 8000)) + expectSilent(t, flows(choosy, db, 8000))
	n += expectAll(t, flows(choosy, server, 8000)) // judged at its own node, if at all
	serve(t, here, server)
	n += expectAll(t, throughService(f, here, server))

	tellOf(t, conf, here, farPod{Addrs: plain.addrs(), ASGs: []string{"db"}}, farPod{Addrs: server.addrs(), Group: key("foes")})
	takeNotice(t, here)
	n += expectAll(t, flows(plain, guarded, 8000)) + expectSilent(t, flows(db, guarded, 8000))
	n += expectAll(t, flows(choosy, db, 8000)) + expectSilent(t, flows(choosy, plain, 8000))
	n += expectSilent(t, throughService(f, here, server))

	tellOf(t, conf, here)
	takeNotice(t, here)
	n += expectAll(t, throughService(f, here, server)) + expectSilent(t, flows(plain, guarded, 8000))
	t.Logf("%d flows", n)
}

// serve leads the ports of a class from the node to the pod, with the node's address,
// as kube-proxy does for a NodePort.
func serve(t *testing.T, n *testnet.Node, to pod) {
	t.Helper()
	for program, ends := range map[string][2]netip.Addr{"iptables": {n.IPv4, to.v4}, "ip6tables": {n.IPv6, to.v6}} {
		rules := [][]string{{"POSTROUTING", "-m", "conntrack", "--ctstate", "DNAT", "-j", "MASQUERADE"}}
		for _, proto := range []string{"tcp", "udp"} {
			rules = append(rules, []string{"PREROUTING", "-p", proto, "-d", ends[0].String(), "--dport", "8000:8399", "-j", "DNAT", "--to-destination", ends[1].String()})
		}
		for _, rule := range rules {
			if out, err := n.Shell(program, append([]string{"-w", "-t", "nat", "-A"}, rule...)...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
}

// throughService are flows from outside to the node that end at the pod, which sees
// the node's address.
func throughService(f *testnet.Fabric, n *testnet.Node, to pod) []expectation {
	var out []expectation
	for _, e := range flows(outside(f), to, 8000) {
		e.Dst = like(e.Dst, n.IPv4, n.IPv6)
		e.peer = e.Dst
		out = append(out, e)
	}
	return out
}
