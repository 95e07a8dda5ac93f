package integration

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// udr is a user-defined route: a prefix, the type of its next hop, and an appliance.
type udr struct{ prefix, hop, appliance string }

func none(prefix string) udr           { return udr{prefix, "None", ""} }
func through(prefix, via string) udr   { return udr{prefix, "VirtualAppliance", via} }
func systemHop(prefix, hop string) udr { return udr{prefix, hop, ""} }

// routeTable is a route table's document in the form of Azure's REST interface.
func routeTable(name string, routes ...udr) map[string]any {
	var list []any
	for i, r := range routes {
		properties := map[string]any{"addressPrefix": r.prefix, "nextHopType": r.hop}
		if r.appliance != "" {
			properties["nextHopIpAddress"] = r.appliance
		}
		list = append(list, map[string]any{"name": fmt.Sprintf("route-%d", i), "properties": properties})
	}
	return map[string]any{"name": name, "id": resources + "routeTables/" + name, "type": "Microsoft.Network/routeTables",
		"location": "westeurope", "properties": map[string]any{"routes": list}}
}

// vnetWith is the document of the fabric's virtual network, whose only subnet has the
// route table; none with "".
func vnetWith(table string) map[string]any {
	prefixes := []string{testnet.Subnet4.String(), testnet.Subnet6.String()}
	subnet := map[string]any{"addressPrefixes": prefixes}
	if table != "" {
		subnet["routeTable"] = map[string]any{"id": resources + "routeTables/" + table}
	}
	return map[string]any{"name": "vnet", "id": resources + "virtualNetworks/vnet", "type": "Microsoft.Network/virtualNetworks",
		"properties": map[string]any{"addressSpace": map[string]any{"addressPrefixes": prefixes},
			"subnets": []any{map[string]any{"name": "pods", "properties": subnet}}}}
}

// Further addresses of the outside host.
var (
	outside11, outside20 = netip.MustParseAddr("203.0.113.11"), netip.MustParseAddr("203.0.113.20")
	outside6b            = netip.MustParseAddr("2001:db8:113::20")
)

// routed is a fabric with two nodes, of which the first has two pods and the other one,
// an appliance that forwards with its own address, and a host outside that knows the
// way to all of them.
type routed struct {
	t         *testing.T
	docs      documents
	conf      config // of the first node
	fabric    *testnet.Fabric
	node      *testnet.Node
	appliance *testnet.Node
	a, b      pod // on the first node
	far       pod // on the other
	sent      int
}

// newRouted makes it with a table for the pods' subnet. change alters the
// configuration of the first node and may be nil.
func newRouted(t *testing.T, change func(config), routes ...udr) *routed {
	t.Helper()
	w := &routed{t: t, docs: newDocuments(t)}
	w.docs.put("vnet.json", vnetWith("table"))
	w.docs.put("table.json", routeTable("table", routes...))
	first := true
	w.fabric, _ = cluster(t, 2, func(c config) {
		if !first {
			return
		}
		first = false
		judged(w.docs.conf(""))(c)
		if change != nil {
			change(c)
		}
		w.conf = c
	})
	w.node = w.fabric.Nodes[0]
	w.shell(w.node.NS, "for c in all eth0; do echo 1 > /proc/sys/net/ipv4/conf/$c/rp_filter; done") // strict
	w.appliance = w.fabric.AddNode("appliance")
	w.fabric.AddOutside()
	w.fabric.RouteToPods()
	w.shell(w.fabric.Outside, "ip addr add %s/24 dev eth0; ip addr add %s/24 dev eth0; ip addr add %s/64 dev eth0 nodad", outside11, outside20, outside6b)
	w.awaitOutside(outside6b)
	w.shell(w.appliance.NS, `for s in ipv4.ip_forward ipv6.conf.all.forwarding; do echo 1 > /proc/sys/net/$(echo $s | tr . /); done
		for c in all eth0; do echo 0 > /proc/sys/net/ipv4/conf/$c/send_redirects; done
		iptables-nft -t nat -A POSTROUTING -j MASQUERADE; ip6tables-nft -t nat -A POSTROUTING -p icmpv6 --icmpv6-type neighbour-solicitation -j ACCEPT; ip6tables-nft -t nat -A POSTROUTING -j MASQUERADE`)
	return w
}

// awaitOutside waits until an IPv6 address is the outside host's own, which a worker of
// the kernel's makes it: until then the host drops what is for it.
func (w *routed) awaitOutside(a netip.Addr) {
	w.t.Helper()
	own := func() bool {
		routes, err := w.fabric.Outside.NL.RouteGet(a.AsSlice())
		return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
	}
	if !eventually(testnet.Patience, own) {
		w.t.Fatalf("%s is not in use by the outside host", a)
	}
}

// attach attaches the pods.
func (w *routed) attach() {
	w.t.Helper()
	w.a, w.b, w.far = attach(w.t, w.node), attach(w.t, w.node), attach(w.t, w.fabric.Nodes[1])
}

func (w *routed) shell(ns *testnet.NS, format string, args ...any) {
	w.t.Helper()
	err := ns.Do(func() error {
		out, err := exec.Command("sh", "-ec", fmt.Sprintf(format, args...)).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	if err != nil {
		w.t.Fatalf("%s: %v", format, err)
	}
}

// change replaces the table and puts it in force.
func (w *routed) change(routes ...udr) {
	w.t.Helper()
	w.docs.put("table.json", routeTable("table", routes...))
	w.apply()
}

func (w *routed) apply() string {
	w.t.Helper()
	out, err := w.vnetctl("apply")
	if err != nil {
		w.t.Errorf("vnetctl apply: %v\n%s", err, out)
	}
	return out
}

func (w *routed) vnetctl(args ...string) (string, error) {
	w.t.Helper()
	return w.node.Shell(testnet.Bin(w.t, "vnetctl"), append([]string{"--state-dir", w.node.StateDir()}, args...)...)
}

// direct are flows to the addresses, which see the pod; via are such that see the
// appliance.
func (w *routed) direct(from pod, to *testnet.NS, addrs ...netip.Addr) (out []expectation) {
	for _, dst := range addrs {
		out = append(out, w.flows(from, to, dst, from.like(dst))...)
	}
	return out
}

func (w *routed) via(from pod, to *testnet.NS, addrs ...netip.Addr) (out []expectation) {
	for _, dst := range addrs {
		out = append(out, w.flows(from, to, dst, like(dst, w.appliance.IPv4, w.appliance.IPv6))...)
	}
	return out
}

// flows are of the protocols whose server answers from the address that it was asked
// at: the host outside has several.
func (w *routed) flows(from pod, to *testnet.NS, dst, peer netip.Addr) (out []expectation) {
	for _, proto := range []testnet.Proto{testnet.TCP, testnet.ICMP} {
		out = append(out, expectation{testnet.Flow{Proto: proto, From: from.NS, To: to, Dst: dst}, peer})
	}
	return out
}

// expect wants these flows answered, those silent, and what no table changes as ever:
// pods of one node among each other and with their node, and the node itself.
func (w *routed) expect(answered []expectation, silent []expectation) {
	w.t.Helper()
	answered = append(answered, everyProto(w.a, w.b, 0)...)
	answered = append(answered, w.direct(w.a, w.node.NS, w.node.IPv4, w.node.IPv6)...)
	answered = append(answered, everyProto(asPod(w.node), w.a, 0)...)
	own := w.direct(asPod(w.node), w.fabric.Outside, testnet.Outside4, outside11, outside20, testnet.Outside6)
	for i := range own {
		own[i].Src = like(own[i].Dst, w.node.IPv4, w.node.IPv6)
	}
	w.sent += expectAll(w.t, append(answered, own...))
	if len(silent) > 0 {
		w.sent += expectSilent(w.t, silent)
	}
}

// TestRouteTable puts one table after the other in force under two pods and sends
// packets through, past and into each of its routes.
func TestRouteTable(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil)
	w.attach()
	out, far := w.fabric.Outside, w.far.NS
	nva4, nva6 := w.appliance.IPv4.String(), w.appliance.IPv6.String()
	private := netip.MustParseAddr("192.168.77.7")
	w.shell(w.appliance.NS, "ip addr add %s/32 dev lo", private)
	rows := []struct {
		name     string
		routes   []udr
		answered []expectation
		silent   []expectation
	}{
		{"empty", nil, w.direct(w.a, out, testnet.Outside4, outside11, testnet.Outside6, outside6b), nil},
		{"one address goes nowhere", []udr{none("203.0.113.11/32"), none("2001:db8:113::20/128")},
			append(w.direct(w.a, out, testnet.Outside4, outside20, testnet.Outside6), w.direct(w.a, far, w.far.addrs()...)...), w.direct(w.a, out, outside11, outside6b)},
		{"through an appliance", []udr{through("203.0.113.0/24", nva4), through("2001:db8:113::/64", nva6)},
			append(w.via(w.a, out, testnet.Outside4, outside11, testnet.Outside6), w.direct(w.a, far, w.far.addrs()...)...), nil},
		{"the longest prefix decides", []udr{none("203.0.113.0/24"), through("203.0.113.10/32", nva4), systemHop("203.0.113.11/32", "Internet"), through("::/0", nva6), none("2001:db8:113::20/128")},
			append(append(w.via(w.a, out, testnet.Outside4, testnet.Outside6), w.direct(w.a, out, outside11)...), w.direct(w.a, far, w.far.addrs()...)...), w.direct(w.a, out, outside20, outside6b)},
		{"everything but the virtual network", []udr{through("0.0.0.0/0", nva4), through("::/0", nva6)},
			append(append(w.via(w.b, out, testnet.Outside4, outside20, testnet.Outside6, outside6b), w.direct(w.a, far, w.far.addrs()...)...), w.direct(w.a, w.fabric.Nodes[1].NS, w.fabric.Nodes[1].IPv4, w.fabric.Nodes[1].IPv6)...), nil},
		{"the virtual network's own prefix", []udr{through(testnet.Subnet4.String(), nva4), through(testnet.Subnet6.String(), nva6)},
			append(w.via(w.a, far, w.far.addrs()...), w.direct(w.a, out, testnet.Outside4, testnet.Outside6)...), nil},
		{"a part of the virtual network", []udr{none(w.far.v4.String() + "/32"), none(w.far.v6.String() + "/128")},
			w.direct(w.a, out, testnet.Outside4, testnet.Outside6), w.direct(w.a, far, w.far.addrs()...)},
		{"pods of this node", []udr{none(w.b.v4.String() + "/32"), none("10.241.4.0/24"), none("10.241.0.1/32"), none("fd00:10:241::400/120")},
			w.direct(w.a, out, testnet.Outside4, testnet.Outside6), nil},
		{"to the gateway", []udr{systemHop("0.0.0.0/0", "VirtualNetworkGateway"), systemHop("::/0", "Internet"), systemHop("203.0.113.0/24", "VnetLocal")},
			w.direct(w.a, out, testnet.Outside4, outside11, testnet.Outside6), nil},
		{"IPv6 alone", []udr{none("::/0")},
			append(w.direct(w.a, out, testnet.Outside4), w.direct(w.a, far, w.far.addrs()...)...), w.direct(w.a, out, testnet.Outside6)},
		{"an appliance that is the node", []udr{through("203.0.113.11/32", w.node.IPv4.String()), through("2001:db8:113::20/128", w.node.IPv6.String())},
			w.direct(w.a, out, testnet.Outside4, testnet.Outside6), w.direct(w.a, out, outside11, outside6b)},
		{"an appliance that is a pod", []udr{through("203.0.113.11/32", w.b.v4.String())}, w.direct(w.a, out, testnet.Outside4), w.direct(w.a, out, outside11)},
		{"an appliance behind the gateway", []udr{through("203.0.113.11/32", "198.51.100.4")}, w.direct(w.a, out, testnet.Outside4, outside11), nil},
		{"a private prefix through an appliance", []udr{through("192.168.0.0/16", nva4)}, w.direct(w.a, w.appliance.NS, private), nil},
		{"what Azure drops under a shorter prefix", []udr{through("192.0.0.0/2", nva4)}, w.via(w.a, out, testnet.Outside4), w.direct(w.a, w.appliance.NS, private)},
		{"what Azure drops under all of IPv4", []udr{through("0.0.0.0/0", nva4)}, w.direct(w.a, w.appliance.NS, private), nil},
		{"empty again", nil, w.direct(w.a, out, testnet.Outside4, outside11, testnet.Outside6, outside6b), nil},
	}
	for _, row := range rows {
		before := w.sent
		w.change(row.routes...)
		w.expect(row.answered, row.silent)
		if status, _ := w.vnetctl("pods"); strings.Contains(status, " no ") {
			t.Errorf("%s: vnetctl pods:\n%s", row.name, status)
		}
		if t.Failed() {
			rules, _ := w.node.Shell("sh", "-c", "ip rule; ip route show table all | grep -v local; ip -6 route show table all | grep -v local")
			t.Fatalf("%s:\n%s", row.name, rules)
		}
		t.Logf("%s: %d flows", row.name, w.sent-before)
	}
	t.Logf("%d tables, %d flows", len(rows), w.sent)
}
