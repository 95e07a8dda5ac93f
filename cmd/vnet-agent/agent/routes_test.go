package agent

import (
	"net/netip"
	"strings"
	"testing"
)

// routeTable is a document of a table "r" with these routes of the form "prefix type" or
// "prefix type address".
func routeTable(routes ...string) map[string]string {
	var list []string
	for _, text := range routes {
		f := append(strings.Fields(text), "")
		list = append(list, `{"name": "to-`+strings.NewReplacer("/", "-", ":", "-").Replace(f[0])+`", "addressPrefix": "`+f[0]+`", "nextHopType": "`+f[1]+`", "nextHopIpAddress": "`+f[2]+`"}`)
	}
	return map[string]string{"r.json": `{"name": "r", "id": "/rt/r", "type": "Microsoft.Network/routeTables", "routes": [` + strings.Join(list, ",") + `]}`}
}

// routed is the network's table, and the rules that lead there.
func (r *rig) routed() string {
	return r.shell("sh", "-c", "(ip rule; ip -6 rule; ip route show table all; ip -6 route show table all) | grep -E 'proto 87|table 1992400579' || true")
}

// The agent puts a route table in force before the first pod is there, keeps the pods of
// other nodes out of it, and tells of an appliance that cannot be one.
func TestRouteTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.cluster.document("routes", routeTable("0.0.0.0/0 VirtualAppliance 10.241.0.9", "192.0.2.0/24 None", "203.0.113.7/32 VirtualAppliance "+r.node.IPv4.String()))
	r.good()
	if got := r.routed(); got != "" {
		t.Errorf("no subnet has the pods, and yet:\n%s", got)
	}
	r.configure("nsg: {routeTable: r}")
	r.good()
	has := func(when string, parts ...string) {
		t.Helper()
		got := r.routed()
		for _, p := range parts {
			if !strings.Contains(got, p) {
				t.Errorf("%s: no %q:\n%s", when, p, got)
			}
		}
	}
	has("before any pod", "from 10.244.1.0/24 lookup main suppress_prefixlength 31 proto 87", "default via 10.241.0.9 dev eth0",
		"blackhole 192.0.2.0/24", "blackhole 203.0.113.7", "throw 10.244.2.0/24", "throw 10.241.0.0/16")
	if told := r.cluster.about("ApplianceUnusable", "this node's own address"); len(told) != 1 {
		t.Errorf("told %q", told)
	}
	pod := r.added("shop/p")
	if err := pod.verb("check"); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	whole := r.routed()
	r.cluster.change(func() {
		r.cluster.nodes = append(r.cluster.nodes, other("n3", 3, netip.MustParsePrefix("10.244.3.0/24")))
	})
	r.good()
	has("another node", "throw 10.244.3.0/24")
	r.cluster.change(func() { r.cluster.nodes = r.cluster.nodes[:len(r.cluster.nodes)-1] })
	r.good()
	if got := r.routed(); got != whole {
		t.Errorf("without the node:\n%s\nwant\n%s", got, whole)
	}
	before := r.counted("vnet_agent_repaired_total", "rules")
	for _, damage := range []string{"ip rule del pref 7679", "ip route del blackhole 192.0.2.0/24 table 1992400579"} {
		r.shell("sh", "-c", damage)
		must(t, r.look(false)) // it does not take a deep look
		if got := r.routed(); got != whole {
			t.Errorf("after %s:\n%s\nwant\n%s", damage, got, whole)
		}
	}
	if n := r.counted("vnet_agent_repaired_total", "rules") - before; n != 2 {
		t.Errorf("%v repaired", n)
	}
	r.cluster.document("routes", routeTable("192.0.2.0/24 Nowhere"))
	r.good()
	if got := r.routed(); got != whole {
		t.Errorf("of a broken table:\n%s\nwant\n%s", got, whole)
	}
	r.configure("nsg: {routeTable: ''}")
	r.good()
	if got := r.routed(); got != "" {
		t.Errorf("none is wanted, and yet:\n%s", got)
	}
	t.Log("8 states")
}
