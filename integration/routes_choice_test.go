package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestRouteTableChosen takes the table from the configuration instead of the virtual
// network's document.
func TestRouteTableChosen(t *testing.T) {
	t.Parallel()
	rows := []struct {
		value   any
		dropped bool
		refused string // a part of the message of an ADD that is refused
	}{
		{"", false, ""},
		{"Other", true, ""},
		{resources + "routeTables/OTHER", true, ""},
		{"table", false, ""},
		{"othr", false, `nsg.routeTable: route table "othr" is in no document`},
		{"twice", false, `nsg.routeTable: route table "twice" is ambiguous`},
	}
	for _, row := range rows {
		t.Run(fmt.Sprint(row.value), func(t *testing.T) {
			t.Parallel()
			w := newRouted(t, func(c config) { c.plugin["nsg"].(map[string]any)["routeTable"] = row.value })
			w.docs.put("other.json", routeTable("other", drops()...))
			for _, group := range []string{"a", "b"} {
				twice := routeTable("twice")
				twice["id"] = strings.Replace(twice["id"].(string), "/rg/", "/"+group+"/", 1)
				w.docs.put("twice-"+group+".json", twice)
			}
			if row.refused != "" {
				before := testnet.Snapshot(w.node)
				p := w.node.NewPod()
				out := w.node.Exec("vnet", p.Env("ADD"), w.conf.stdin(t, nil))
				if out.Err == nil || out.Err.Code != codeDocuments || !strings.Contains(out.Err.Msg+out.Err.Details, row.refused) {
					t.Errorf("ADD: %+v", out.Err)
				}
				expectNothingLeft(t, before, w.node)
				return
			}
			p := attach(t, w.node)
			if row.dropped {
				w.expectDrops(p)
			} else {
				w.expectNoDrops(p)
			}
			t.Logf("%d flows", w.sent)
		})
	}
}

// TestRouteTableWithoutVirtualNetwork names a table where no document tells of a
// virtual network: what the node is connected to stands for it.
func TestRouteTableWithoutVirtualNetwork(t *testing.T) {
	t.Parallel()
	w := newRouted(t, func(c config) { c.plugin["nsg"].(map[string]any)["routeTable"] = "table" })
	w.docs.remove("vnet.json")
	w.change0([]udr{through("0.0.0.0/0", w.appliance.IPv4.String()), through("::/0", w.appliance.IPv6.String())})
	w.attach()
	w.expect(append(w.via(w.a, w.fabric.Outside, testnet.Outside4, testnet.Outside6), w.direct(w.a, w.far.NS, w.far.addrs()...)...), nil)
	t.Logf("%d flows", w.sent)
}

// TestRouteTableGrowsVirtualNetwork lets a host outside in where a group allows the
// virtual network alone, once a route makes it part of that.
func TestRouteTableGrowsVirtualNetwork(t *testing.T) {
	t.Parallel()
	w := newRouted(t, func(c config) { c.plugin["nsg"].(map[string]any)["subnet"] = "vnet-only" })
	w.docs.put("group.json", restGroup("vnet-only", allowIn("*", "*").from("VirtualNetwork"), denyIn("*", "*")))
	a := attach(t, w.node)
	in := w.flows(pod{Pod: &testnet.Pod{NS: w.fabric.Outside}}, a.NS, a.v4, testnet.Outside4)
	w.sent += expectSilent(t, in)
	w.change(systemHop("203.0.113.0/24", "VnetLocal"))
	w.sent += expectAll(t, in)
	w.change(none("203.0.113.20/32"))
	w.sent += expectSilent(t, in)
	t.Logf("%d flows", w.sent)
}

// TestRouteTableMasquerade has an appliance see what everybody beyond the exceptions
// sees: the node's address.
func TestRouteTableMasquerade(t *testing.T) {
	t.Parallel()
	w := newRouted(t, func(c config) { c.plugin["masquerade"] = map[string]any{"except": []string{"203.0.113.20/32"}} })
	w.change0([]udr{through("203.0.113.0/24", w.appliance.IPv4.String())})
	a := attach(t, w.node)
	w.shell(w.appliance.NS, "iptables-nft -t nat -F") // it forwards what it sees
	seen := []expectation{{testnet.Flow{Proto: testnet.TCP, From: a.NS, To: w.fabric.Outside, Dst: outside11}, w.node.IPv4},
		{testnet.Flow{Proto: testnet.TCP, From: a.NS, To: w.fabric.Outside, Dst: outside20}, a.v4}}
	before := w.forwarded()
	w.sent += expectAll(t, seen)
	if n := w.forwarded() - before; n < 2*len(seen) {
		t.Errorf("the appliance forwarded %d packets", n)
	}
	t.Logf("%d flows", w.sent)
}

// forwarded counts the packets that the appliance has forwarded.
func (w *routed) forwarded() (n int) {
	w.t.Helper()
	out, err := w.appliance.Shell("sh", "-c", "awk '/^Ip: [0-9]/ { print $7 }' /proc/net/snmp") // ForwDatagrams
	if err == nil {
		_, err = fmt.Sscan(out, &n)
	}
	if err != nil {
		w.t.Fatalf("count what is forwarded: %v in %q", err, out)
	}
	return n
}

// TestRouteTableInOverlay names a table for the pods of an overlay, who are in no subnet:
// pods of other nodes are reached as ever, by the routes of protocol 86 that lead there.
func TestRouteTableInOverlay(t *testing.T) {
	t.Parallel()
	overlay := func(c config, pool string) {
		c.plugin["mode"], c.plugin["masquerade"] = "overlay", map[string]any{"except": []string{"10.244.0.0/16"}}
		c.pools(poolOf(pool))
	}
	w := newRouted(t, func(c config) {
		overlay(c, "10.244.1.0/24")
		c.plugin["nsg"].(map[string]any)["routeTable"] = "table"
	})
	other := w.fabric.Nodes[1]
	far := vnetConfig(other, 1)
	overlay(far, "10.244.2.0/24")
	far.write(other)
	w.shell(w.node.NS, "ip route add 10.244.2.0/24 via %s proto 86", other.IPv4)
	w.shell(other.NS, "ip route add 10.244.1.0/24 via %s proto 86", w.node.IPv4)
	w.change0([]udr{through("0.0.0.0/0", w.appliance.IPv4.String()), through("10.244.0.0/16", w.appliance.IPv4.String()), none("203.0.113.11/32")})
	w.attach()
	w.sent += expectAll(t, append(w.via(w.a, w.fabric.Outside, testnet.Outside4, outside20), append(everyProto(w.a, w.far, 0), everyProto(w.far, w.a, 0)...)...))
	w.sent += expectAll(t, everyProto(w.a, w.b, 0))
	w.sent += expectSilent(t, w.direct(w.a, w.fabric.Outside, outside11))
	if err := w.node.Check(w.a.Pod); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	t.Logf("%d flows", w.sent)
}

// TestRouteTablesOfTwoNetworks has two networks on a node with a table each.
func TestRouteTablesOfTwoNetworks(t *testing.T) {
	t.Parallel()
	w := newRouted(t, nil, drops()...)
	w.docs.put("other.json", routeTable("other", none("203.0.113.20/32")))
	other := vnetConfig(w.node, 5)
	judged(w.docs.conf(""))(other)
	other.network = "pods2"
	other.plugin["nsg"].(map[string]any)["routeTable"] = "other"
	other.write(w.node)
	warmUp(t, w.node)
	warmUp(t, w.node, testnet.Attach{Network: "pods2"})
	before := testnet.Snapshot(w.node)
	a, b := attach(t, w.node), attach(t, w.node, testnet.Attach{Network: "pods2"})
	w.expectDrops(a)
	w.sent += expectAll(t, append(w.direct(b, w.fabric.Outside, testnet.Outside4, outside11), everyProto(a, b, 0)...))
	w.sent += expectSilent(t, w.direct(b, w.fabric.Outside, outside20))
	for _, p := range []struct {
		pod
		at testnet.Attach
	}{{a, testnet.Attach{}}, {b, testnet.Attach{Network: "pods2"}}} {
		if err := w.node.Check(p.Pod, p.at); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		if err := w.node.Del(p.Pod, p.at); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	expectNothingLeft(t, before, w.node)
	t.Logf("%d flows", w.sent)
}
