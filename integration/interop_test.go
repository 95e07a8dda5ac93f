package integration

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// backends are the two ways in which iptables keeps its rules.
var backends = []string{"nft", "legacy"}

// eachBackend runs f once with each iptables first on the node's PATH.
func eachBackend(t *testing.T, f func(t *testing.T, backend string)) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			f(t, backend)
		})
	}
}

// behind writes a conflist of vnet with other plugins behind it.
func behind(n *testnet.Node, c config, more ...map[string]any) {
	plugins := []any{c.plugin}
	for _, p := range more {
		plugins = append(plugins, p)
	}
	n.Write(c.network, map[string]any{"cniVersion": "1.0.0", "cniVersions": []string{"1.0.0", "1.1.0"}, "name": c.network, "plugins": plugins})
}

// neighbours is a node with a chain, warmed up, and another node to talk to.
func neighbours(t *testing.T, backend string, at testnet.Attach, more ...map[string]any) (n1, n2 *testnet.Node, before testnet.State) {
	t.Helper()
	f := testnet.New(t)
	n1, n2 = f.AddNode("n1", testnet.WithIptables(backend)), f.AddNode("n2")
	c := vnetConfig(n1, 0)
	c.plugin["masquerade"] = map[string]any{"except": []string{"10.0.0.0/8"}}
	behind(n1, c, more...)
	warmUp(t, n1, at)
	return n1, n2, testnet.Snapshot(n1)
}

// leave checks and deletes a pod and wants nothing left.
func leave(t *testing.T, p pod, before testnet.State, at testnet.Attach) {
	t.Helper()
	if err := p.Node.Check(p.Pod, at); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if err := p.Node.Del(p.Pod, at); err != nil {
		t.Errorf("DEL: %v", err)
	}
	expectNothingLeft(t, before, p.Node)
}

// toNode is a flow of each protocol and family from a pod to a node and back.
func toNode(p pod, n *testnet.Node) []expectation {
	return append(everyProto(p, asPod(n), 0), everyProto(asPod(n), p, 0)...)
}

// TestInteropPortmap connects from another node to a port of the pod's node.
func TestInteropPortmap(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		const hostPort, podPort = 18080, 8080
		at := testnet.Attach{Caps: map[string]any{"portMappings": []map[string]any{
			{"hostPort": hostPort, "containerPort": podPort, "protocol": "tcp"}, {"hostPort": hostPort, "containerPort": podPort, "protocol": "udp"}}}}
		n1, n2, before := neighbours(t, backend, at, map[string]any{
			"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "backend": "iptables"})
		p := attach(t, n1, at)
		var flows []expectation
		for _, proto := range []testnet.Proto{testnet.TCP, testnet.UDP} {
			flow := testnet.Flow{Proto: proto, From: n2.NS, To: p.NS, Dst: n1.IPv4, Port: hostPort, ServerPort: podPort}
			flows = append(flows, expectation{flow, n2.IPv4})
		}
		n := expectAll(t, flows)
		n += expectAll(t, toNode(p, n2))
		leave(t, p, before, at)
		t.Logf("%d flows", n)
	})
}

// TestInteropBandwidth wants the shaper on the pod's host veth, and traffic.
func TestInteropBandwidth(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		at := testnet.Attach{}
		n1, n2, before := neighbours(t, backend, at, map[string]any{
			"type": "bandwidth", "ingressRate": 50e6, "ingressBurst": 50e6, "egressRate": 50e6, "egressBurst": 50e6})
		p := attach(t, n1, at)
		veth := link(t, n1.NS, p.result.Interfaces[0].Name)
		if !hasShaper(t, n1, veth) {
			t.Errorf("no tbf on %s", veth.Attrs().Name)
		}
		n := expectAll(t, toNode(p, n2))
		leave(t, p, before, at)
		t.Logf("%d flows", n)
	})
}

func hasShaper(t *testing.T, n *testnet.Node, l netlink.Link) bool {
	t.Helper()
	list, err := n.NL.QdiscList(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range list {
		if q.Type() == "tbf" {
			return true
		}
	}
	return false
}

// TestInteropTuning wants the sysctl, the MTU and the MAC that tuning sets, and
// CHECK to accept what a later plugin changed.
func TestInteropTuning(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		at := testnet.Attach{}
		n1, n2, before := neighbours(t, backend, at, map[string]any{
			"type": "tuning", "mtu": 1400, "sysctl": map[string]string{"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"}})
		p := attach(t, n1, at)
		for key, want := range map[string]string{"core/somaxconn": "500", "ipv4/conf/eth0/arp_filter": "1"} {
			if got, err := p.Sysctl(key); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %q", key, got, err, want)
			}
		}
		if mtu := link(t, p.NS, "eth0").Attrs().MTU; mtu != 1400 {
			t.Errorf("MTU %d, want 1400", mtu)
		}
		n := expectAll(t, toNode(p, n2))
		leave(t, p, before, at)
		t.Logf("%d flows", n)
	})
}

// TestInteropFirewall chains the upstream firewall, on a node that forwards
// nothing that is not allowed.
func TestInteropFirewall(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		at := testnet.Attach{}
		n1, n2, _ := neighbours(t, backend, at, map[string]any{"type": "firewall", "backend": "iptables"})
		for _, program := range []string{"iptables", "ip6tables"} {
			if _, err := n1.Shell(program, "-P", "FORWARD", "DROP"); err != nil {
				t.Fatal(err)
			}
		}
		before := testnet.Snapshot(n1)
		p, q := attach(t, n1, at), attach(t, n1, at)
		n := expectAll(t, toNode(p, n2))
		n += expectAll(t, everyProto(p, q, 0))
		if err := n1.Del(q.Pod, at); err != nil {
			t.Errorf("DEL: %v", err)
		}
		leave(t, p, before, at)
		t.Logf("%d flows", n)
	})
}

// foreign is an upstream main plugin over vnet-ipam.
func foreign(n *testnet.Node, plugin map[string]any, pools ...any) {
	plugin["stateDir"] = n.StateDir()
	plugin["ipam"] = map[string]any{"type": "vnet-ipam", "pools": pools, "routes": []any{map[string]any{"dst": "192.0.2.0/24"}}}
	n.Write("foreign", map[string]any{"cniVersion": "1.0.0", "name": "foreign", "plugins": []any{plugin}})
}

// TestInteropIPAM leases the addresses of the upstream main plugins' pods. Those
// of macvlan are in the middle of the VNet, the others in a subnet of their own.
func TestInteropIPAM(t *testing.T) {
	t.Parallel()
	inside := []any{poolOf("10.241.0.0/16", "10.241.4.10-10.241.4.14"), poolOf("fd00:10:241::/64", "fd00:10:241::410-fd00:10:241::414")}
	apart := []any{poolOf("10.244.0.0/24"), poolOf("fd00:10:244::/64", "fd00:10:244::50-fd00:10:244::54")}
	for name, c := range map[string]struct {
		plugin map[string]any
		pools  []any
	}{
		"bridge":  {map[string]any{"type": "bridge", "bridge": "cni9", "isGateway": true, "isDefaultGateway": true}, apart},
		"ptp":     {map[string]any{"type": "ptp"}, apart},
		"macvlan": {map[string]any{"type": "macvlan", "master": testnet.Uplink, "mode": "bridge"}, inside},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := testnet.New(t)
			n1, n2 := f.AddNode("n1"), f.AddNode("n2")
			withoutDAD(t, n1.NS)
			foreign(n1, c.plugin, c.pools...)
			overForeign(t, name, n1, n2)
		})
	}
}

func overForeign(t *testing.T, name string, n1, n2 *testnet.Node) {
	t.Helper()
	if err := n1.Del(attachForeign(t, n1).Pod); err != nil {
		t.Fatalf("DEL: %v", err)
	}
	before := testnet.Snapshot(n1)
	p, q := attachForeign(t, n1), attachForeign(t, n1)
	if !p.v4.IsValid() || !p.v6.IsValid() || p.v4 == q.v4 || p.v6 == q.v6 {
		t.Fatalf("the pods have %v and %v", p.addrs(), q.addrs())
	}
	flows := everyProto(p, q, 0)
	if name == "macvlan" {
		flows = append(flows, toNode(p, n2)...)
	}
	n := expectAll(t, flows)
	if err := n1.Del(q.Pod); err != nil {
		t.Errorf("DEL: %v", err)
	}
	leave(t, p, before, testnet.Attach{})
	t.Logf("%s: %d flows", name, n)
}

// hostLocal is the reference IPAM plugin with the first node's pools.
func hostLocal() map[string]any {
	return map[string]any{"type": "host-local", "routes": []any{map[string]any{"dst": "198.51.100.0/24"}},
		"ranges": []any{
			[]any{map[string]any{"subnet": "10.241.0.0/16", "rangeStart": "10.241.4.10", "rangeEnd": "10.241.4.14"}},
			[]any{map[string]any{"subnet": "fd00:10:241::/64", "rangeStart": "fd00:10:241::410", "rangeEnd": "fd00:10:241::414"}},
		}}
}

// TestInteropHostLocal lets the reference IPAM plugin lease vnet's addresses.
func TestInteropHostLocal(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		f := testnet.New(t)
		n1, n2 := f.AddNode("n1", testnet.WithIptables(backend)), f.AddNode("n2")
		c := vnetConfig(n1, 0)
		c.plugin["ipam"] = hostLocal()
		behind(n1, c)
		warmUp(t, n1)
		before := testnet.Snapshot(n1)
		n := 0
		for range 3 * smallPool { // of five addresses: DEL gives each back
			p := attach(t, n1)
			if n == 0 {
				n += expectAll(t, toNode(p, n2))
				expectPodRoute(t, p, "198.51.100.0/24")
			}
			leave(t, p, before, testnet.Attach{})
			p.Delete()
		}
		t.Logf("%d flows, %d pods one after the other", n, 3*smallPool)
	})
}

func expectPodRoute(t *testing.T, p pod, dst string) {
	t.Helper()
	_, want, err := net.ParseCIDR(dst)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := p.NL.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: want}, netlink.RT_FILTER_DST)
	if err != nil || len(routes) != 1 {
		t.Errorf("the pod has the routes %v to %s, %v; want one", routes, dst, err)
	}
}

// TestInteropChangedIPAM deletes pods after the configuration went over to
// another IPAM plugin, at last one that is not there: only whom an address came
// from is asked whether it is still leased, and gets it back.
func TestInteropChangedIPAM(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"host-local", "vnet-ipam"} {
		t.Run("from "+first, func(t *testing.T) {
			t.Parallel()
			n := testnet.New(t).AddNode("n1")
			own, other := vnetConfig(n, 0), vnetConfig(n, 0)
			other.plugin["ipam"] = hostLocal()
			if first == "host-local" {
				own, other = other, own
			}
			behind(n, other)
			warmUp(t, n)
			behind(n, own)
			warmUp(t, n)
			before := testnet.Snapshot(n)
			gone := vnetConfig(n, 0)
			gone.plugin["ipam"] = map[string]any{"type": "no-such-ipam"}
			for _, now := range []config{other, gone} {
				behind(n, own)
				p := attach(t, n)
				behind(n, now)
				if err := n.Check(p.Pod); err != nil {
					t.Errorf("CHECK: %v", err)
				}
				if err := n.Del(p.Pod); err != nil {
					t.Errorf("DEL: %v", err)
				}
				expectNothingLeft(t, before, n)
			}
		})
	}
}
