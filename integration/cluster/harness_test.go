package cluster

import (
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// Tests of this kind bring up clusters of their own, one after the other.

// suite is what holds on every cluster.
var suite = []struct {
	name string
	run  func(*testing.T, *testcluster.Cluster)
}{
	{"Pods", podsReachEachOther},
	{"Probes", kubeletProbes},
	{"Services", servicesAnswer},
	{"Affinity", affinityHolds},
	{"HostPort", hostPortsAnswer},
	{"DNS", dnsAnswers},
	{"API", apiAnswers},
	{"NSG", groupsDecide},
	{"NSGServices", groupsDecideBehindServices},
	{"NSGDefault", namespaceDefaults},
	{"ASG", applicationGroups},
	{"NSGOutside", groupsSeeTheClient},
}

// firstReady is how soon after the first apply all nodes are Ready where nothing else
// runs. A busy machine is no fault of ours.
const firstReady = 10 * time.Second

// begin brings up a cluster with the network of a mode.
func begin(t *testing.T, s testcluster.Settings, mode string) *testcluster.Cluster {
	t.Helper()
	if mode == testcluster.VNet {
		s.PodCIDRs = "vnet"
	}
	c := testcluster.Start(t, s)
	took := c.Install(t, mode)
	t.Logf("mode %s: from the first apply to Ready nodes in %.1f s, of %.0f s that it may take on an idle machine", mode, took.Seconds(), firstReady.Seconds())
	return c
}

func runSuite(t *testing.T, s testcluster.Settings, mode string) {
	c := begin(t, s, mode)
	for _, k := range suite {
		t.Run(k.name, func(t *testing.T) { k.run(t, c) })
	}
	t.Logf("%d tests; %d pods are left, and nothing of others", len(suite), c.Consistent(t))
}

// TestHarnessOverlayRouted has nodes on different networks, so that packets between
// pods go through VXLAN.
func TestHarnessOverlayRouted(t *testing.T) {
	runSuite(t, testcluster.Settings{Layout: "routed", Proxy: "nftables", Containerd: "2", Family: "dual"}, testcluster.Overlay)
}

// TestHarnessOverlayFlat has nodes on one network, with routes between them.
func TestHarnessOverlayFlat(t *testing.T) {
	runSuite(t, testcluster.Settings{Layout: "flat", Proxy: "iptables", Containerd: "1", Family: "dual"}, testcluster.Overlay)
}

// TestHarnessVNet has pods in the nodes' own network.
func TestHarnessVNet(t *testing.T) {
	runSuite(t, testcluster.Settings{Layout: "flat", Proxy: "iptables", Containerd: "2", Family: "dual"}, testcluster.VNet)
}

// TestHarnessIPv4 has no IPv6 at all.
func TestHarnessIPv4(t *testing.T) {
	runSuite(t, testcluster.Settings{Layout: "routed", Proxy: "iptables", Containerd: "1", Family: "ipv4"}, testcluster.Overlay)
}

// TestHarnessSmoke is a short part of everything.
func TestHarnessSmoke(t *testing.T) {
	t.Run("Overlay", func(t *testing.T) {
		c := begin(t, testcluster.Settings{Layout: "routed", Proxy: "nftables", Containerd: "2", Family: "dual"}, testcluster.Overlay)
		t.Run("Pods", func(t *testing.T) { podsReachEachOther(t, c) })
		t.Run("NSGServices", func(t *testing.T) { groupsDecideBehindServices(t, c) })
		t.Run("AgentKilled", func(t *testing.T) { agentKilled(t, c, 3) })
		t.Run("Removal", func(t *testing.T) { removal(t, c) })
	})
	t.Run("VNet", func(t *testing.T) {
		c := begin(t, testcluster.Settings{Family: "dual"}, testcluster.VNet)
		t.Run("Services", func(t *testing.T) { servicesAnswer(t, c) })
		t.Run("NSG", func(t *testing.T) { groupsDecide(t, c) })
	})
}
