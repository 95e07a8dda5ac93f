package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// TestHarnessRepair damages what the agent keeps, one thing at a time.
func TestHarnessRepair(t *testing.T) {
	c := begin(t, testcluster.Settings{Layout: "routed", Proxy: "nftables", Containerd: "2", Family: "dual"}, testcluster.Overlay)
	t.Run("Damage", func(t *testing.T) { damageIsRepaired(t, c) })
	t.Run("Orphan", func(t *testing.T) { orphanIsCollected(t, c) })
	t.Run("IPVS", func(t *testing.T) { ipvsIsRefused(t, c) })
	t.Run("Metrics", func(t *testing.T) { metricsTell(t, c) })
	t.Run("Removal", func(t *testing.T) { removal(t, c) })
}

// repairedWithin is how long damage may last: the agent looks every five seconds.
const repairedWithin = 10 * time.Second

// foreign is what is on a node that is none of the agent's business. It is in tables
// and chains that the damage does not empty.
const foreign = `set -e
ip link add foreign0 type bridge
ip link set foreign0 addrgenmode none
ip link set foreign0 up
ip addr add 203.0.113.1/24 dev foreign0
ip route add 192.0.2.0/24 via 203.0.113.9
ip route add unreachable 2001:db8:77::/48
for i in iptables ip6tables; do
	$i -w -N FOREIGN
	$i -w -A FOREIGN -m comment --comment foreign -j RETURN
	$i -w -I FORWARD -m comment --comment foreign -j FOREIGN
	$i -w -t raw -A PREROUTING -m comment --comment foreign -m mark --mark 0x7777
done
ipset create foreign hash:ip
ipset add foreign 203.0.113.5
echo foreign >/opt/cni/bin/foreign
echo '{"cniVersion":"1.0.0","name":"foreign","plugins":[{"type":"foreign"}]}' >/etc/cni/net.d/99-foreign.conflist`

const foreignGone = `ip link del foreign0
ip route del unreachable 2001:db8:77::/48
for i in iptables ip6tables; do
	$i -w -D FORWARD -m comment --comment foreign -j FOREIGN
	$i -w -F FOREIGN; $i -w -X FOREIGN
	$i -w -t raw -D PREROUTING -m comment --comment foreign -m mark --mark 0x7777
done
ipset destroy foreign
rm /opt/cni/bin/foreign /etc/cni/net.d/99-foreign.conflist`

// damages are done by a shell on a node; PODS are the podCIDRs of the other one.
var damages = []struct{ what, script string }{
	{"chains flushed", "iptables -w -t mangle -F && ip6tables -w -t mangle -F"},
	{"one chain flushed", "iptables -w -t mangle -F VNET-IN"},
	{"a jump deleted", "iptables -w -t mangle -D FORWARD -m comment --comment vnet-cni -j VNET-FORWARD || iptables -w -t mangle -F FORWARD"},
	{"raw flushed", "iptables -w -t raw -S | grep vnet-cni | sed 's/^-A/-D/' | while read -r r; do echo iptables -w -t raw $r; done | sh"},
	{"nat flushed", "iptables -w -t nat -S POSTROUTING | grep vnet-cni | sed 's/^-A/-D/' | while read -r r; do echo iptables -w -t nat $r; done | sh"},
	{"members of all sets gone", "for s in $(ipset list -n | grep ^vnet-); do ipset flush $s; done"},
	{"one member gone", "m=$(ipset save vnet-pods-4 | grep ^add | head -1) && ipset del ${m#add }"},
	{"the other node's members gone", "ipset flush vnet-far-4; ipset flush vnet-far-6"},
	{"routes deleted", "for p in PODS; do ip route del $p; done"},
	{"the tunnel's device deleted", "ip link del vxvnet"},
	{"the tunnel's device down", "ip link set vxvnet down"},
	{"the conflist deleted", "rm /etc/cni/net.d/05-vnet.conflist"},
	{"the conflist emptied", ": >/etc/cni/net.d/05-vnet.conflist"},
	{"a binary deleted", "rm /opt/cni/bin/vnet"},
	{"a binary broken", "echo broken >/opt/cni/bin/vnet.new && mv /opt/cni/bin/vnet.new /opt/cni/bin/vnet"},
	{"documents deleted", "rm -r /var/lib/vnet/documents/*"},
	{"namespaces' defaults deleted", "rm -r /var/lib/vnet/namespaces/*"},
	{"forwarding off", "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"},
}

// fingerprint is the node's state and the content of files, but for what differs each
// time: the list of what was installed, and the name of the documents' generation.
func fingerprint(c *testcluster.Cluster, node string) ([]string, error) {
	state, err := c.Snapshot(node)
	if err != nil {
		return nil, err
	}
	out, err := c.NodeExec(node, "sh", "-c", `find /opt/cni/bin /etc/cni/net.d /var/lib/vnet/namespaces /var/lib/vnet/documents/current/ -type f ! -name .vnet-cni | xargs sha256sum
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
ip -o link show up | sed 's/^[0-9]*: //;s/[@:].*//;s/^/up /'`)
	state = slices.DeleteFunc(state, func(l string) bool { return strings.HasPrefix(l, "file /var/lib/vnet/documents/") })
	return append(state, strings.Split(out, "\n")...), err
}

// damageIsRepaired: within seconds the node is exactly as before, foreign things
// included, and packets pass again, or not.
func damageIsRepaired(t *testing.T, c *testcluster.Cluster) {
	g := newGuard(t, c, "repair", true)
	for _, w := range g.watches {
		w.End(t) // some damage takes the door away; that it is back is what counts
	}
	node := g.nodeB
	if out, err := c.NodeExec(node.Name, "sh", "-c", foreign); err != nil {
		t.Fatalf("make foreign things: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := c.NodeExec(node.Name, "sh", "-e", "-c", foreignGone); err != nil {
			t.Errorf("foreign things are not all there any more: %v %s", err, out)
		}
	})
	g.Consistent(t)
	before, err := fingerprint(c, node.Name)
	if err != nil {
		t.Fatal(err)
	}
	var cidrs []string
	for _, p := range g.nodeA.PodCIDRs {
		cidrs = append(cidrs, p.String())
	}
	for _, k := range damages {
		out, err := c.NodeExec(node.Name, "sh", "-c", strings.ReplaceAll(k.script, "PODS", strings.Join(cidrs, " ")))
		if err != nil {
			t.Errorf("%s: %v %s", k.what, err, out)
			continue
		}
		damaged, err := fingerprint(c, node.Name)
		if err != nil {
			t.Fatal(err)
		}
		seen := len(testcluster.Differences(before, damaged))
		took := testcluster.Await(t, repairedWithin, k.what+" to be repaired", func() error {
			now, err := fingerprint(c, node.Name)
			if err != nil {
				return err
			}
			if d := testcluster.Differences(before, now); len(d) > 0 {
				return fmt.Errorf("%d differences:\n%s", len(d), strings.Join(d[:min(len(d), 20)], "\n"))
			}
			return nil
		})
		testcluster.Expect(t, g.door()...)
		t.Logf("%s: %d differences seen, repaired within %.1f s", k.what, seen, took.Seconds())
	}
	c.AwaitNodes(t, time.Minute, true, node.Name)
	g.works(t)
	for _, what := range []string{"rules", "routes"} {
		if v, _, err := c.Metric(node, "vnet_agent_repaired_total", `what="`+what+`"`); err != nil || v < 1 {
			t.Errorf("the metric of repaired %s is %v (%v)", what, v, err)
		}
	}
	t.Logf("%d kinds of damage", len(damages))
}

// orphanIsCollected: an attachment whose container the runtime does not know goes when
// its time of grace is over, and not before. The runtime does not take it away, for
// containerd never calls GC: its go-cni has no word for it. STATUS it calls.
func orphanIsCollected(t *testing.T, c *testcluster.Cluster) {
	const grace = 20 * time.Second
	c.Arguments(t, "run", "--grace="+grace.String())
	node := c.Nodes(t)[0]
	text, err := c.NodeExec(node.Name, "cat", "/etc/cni/net.d/05-vnet.conflist")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		CNIVersion string
		Name       string
		Plugins    []map[string]any
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	conf := list.Plugins[0]
	conf["name"], conf["cniVersion"] = list.Name, list.CNIVersion
	data, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	out, err := c.NodeExec(node.Name, "sh", "-c", `ip netns add orphan && cat <<'EOF' | CNI_COMMAND=ADD CNI_CONTAINERID=`+id+
		` CNI_NETNS=/run/netns/orphan CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin CNI_ARGS='IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=orphan' /opt/cni/bin/vnet`+
		"\n"+string(data)+"\nEOF")
	if err != nil {
		t.Fatalf("attach by hand: %v %s", err, out)
	}
	leases := func() (string, error) { return c.Vnetctl(node.Name, "ipam", "-o", "json") }
	if text, err := leases(); err != nil || !strings.Contains(text, id) {
		t.Fatalf("the attachment has no lease: %v %s", err, text)
	}
	called := func(verb string) float64 {
		v, _, err := c.Metric(node, "vnet_plugin_duration_seconds_count", `verb="`+verb+`"`)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	status := called("STATUS")
	if _, err := c.Script("node-containerd", node.Name, "restart"); err != nil {
		t.Fatal(err)
	}
	testcluster.Await(t, grace, "containerd to ask for the status", func() error {
		if now := called("STATUS"); now <= status {
			return fmt.Errorf("STATUS was called %.0f times, and %.0f before it started again", now, status)
		}
		return nil
	})
	if n := called("GC"); n > 0 {
		t.Errorf("GC was called %.0f times: then it is GC that collects first", n)
	}
	took := testcluster.Await(t, grace+time.Minute, "the attachment without a container to go", func() error {
		text, err := leases()
		if err == nil && strings.Contains(text, id) {
			err = fmt.Errorf("it is there: %s", text)
		}
		return err
	})
	if since := time.Since(began); since < grace {
		t.Errorf("it went after %s, before the grace of %s was over", since, grace)
	}
	if _, err := c.NodeExec(node.Name, "ip", "netns", "del", "orphan"); err != nil {
		t.Error(err)
	}
	c.Consistent(t)
	t.Logf("1 attachment without a container, collected %.0f s after containerd was there again, with a grace of %s; STATUS was called %.0f times, GC never",
		took.Seconds(), grace, called("STATUS"))
}

// ipvsIsRefused: what would go past the rules makes the node unusable for new pods,
// and an Event says why.
func ipvsIsRefused(t *testing.T, c *testcluster.Cluster) {
	node := c.Nodes(t)[0].Name
	if _, err := c.NodeExec(node, "ip", "link", "add", "kube-ipvs0", "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	down := c.AwaitNodes(t, time.Minute, false, node)
	testcluster.Await(t, 30*time.Second, "the Event", func() error {
		_, err := c.Event("UnsupportedKubeProxy", node)
		return err
	})
	if out, err := c.NodeExec(node, "ls", "/etc/cni/net.d"); err != nil || strings.Contains(out, "05-vnet") {
		t.Errorf("the conflist is still there: %v %s", err, out)
	}
	if _, err := c.NodeExec(node, "ip", "link", "del", "kube-ipvs0"); err != nil {
		t.Fatal(err)
	}
	up := c.AwaitNodes(t, time.Minute, true, node)
	t.Logf("1 node: NotReady after %.1f s, Ready again %.1f s after the device was gone", down.Seconds(), up.Seconds())
}
