package firewall

import (
	"os"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// How many flows of a family and direction an ordinary run sends, and in what
// portions.
const (
	kernelFlows = 2000
	soakFlows   = 20_000
	roundFlows  = 100
	batchFlows  = 50
	nodeFlows   = 20 // to the node, and from it
	forgedFlows = 5
)

func flowsToSend() int {
	if os.Getenv("VNET_SOAK") != "" {
		return soakFlows
	}
	return kernelFlows
}

// Real packets get from the kernel the verdict of the evaluator: those between
// pods and the world, between two pods, and to the node. What answers an allowed
// flow passes whatever the rules say, and what answers none does not.
func TestKernelGivesTheSameVerdict(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) { sendFlows(t, f, n, flowsToSend()) })
}

// The same holds for pods of other main plugins, on interfaces of any name.
func TestKernelGivesTheSameVerdictToForeignPods(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n.Foreign = true
		sendFlows(t, f, n, flowsToSend()/4)
	})
}

// sendFlows sends that many flows of each family and direction.
func sendFlows(t *testing.T, f *Firewall, n Network, flows int) {
	t.Helper()
	w := newWorld(t, f, n)
	c := campaign{flows: flows, tallies: map[way]*tally{}}
	seeds := map[string]uint64{backendNFT: 1, backendLegacy: 1_000_001}
	first := seeds[t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]]
	seed := first
	for ; c.of(nsg.Inbound, false, "pods").flows < flows; seed++ {
		n := w.newRound(seed)
		for _, v6 := range []bool{false, true} {
			for _, d := range []nsg.Direction{nsg.Inbound, nsg.Outbound} {
				c.pods(n, d, v6)
			}
			c.node(n, v6)
		}
		c.platform(n)
		n.end()
	}
	c.report(t)
	t.Logf("%d rounds of random groups from seed %d on", seed-first, first)
}

// way is what flows are counted by.
type way struct {
	direction nsg.Direction
	v6        bool
	kind      string
}

// campaign is what all rounds did.
type campaign struct {
	flows   int // of each family and direction, at least
	tallies map[way]*tally
	exempt  int // flows from the node that the receiver's groups would deny
	forged  int // flows from Azure's address that they would allow
}

func (c *campaign) of(d nsg.Direction, v6 bool, kind string) *tally {
	k := way{d, v6, kind}
	if c.tallies[k] == nil {
		c.tallies[k] = &tally{}
	}
	return c.tallies[k]
}

// pods sends a round's flows between pods and anybody.
func (c *campaign) pods(n *round, d nsg.Direction, v6 bool) {
	n.w.t.Helper()
	count := c.of(d, v6, "pods")
	for range roundFlows / batchFlows {
		n.w.run(v6, n.batchOf(batchFlows, count, func() *exchange { return n.drawAny(d, v6, count) }), count)
	}
}

// node sends flows to the node, judged on the way out only, and from it, which
// nothing judges.
func (c *campaign) node(n *round, v6 bool) {
	n.w.t.Helper()
	addresses, remove := n.nodeAddresses(v6)
	defer remove()
	for _, d := range []nsg.Direction{nsg.Inbound, nsg.Outbound} {
		count := c.of(d, v6, "node")
		list := n.batchOf(nodeFlows, count, func() *exchange { return n.drawNode(d, v6, addresses) })
		n.w.run(v6, list, count)
		for _, x := range list {
			if x.from == n.w.node && n.inbound(x).Access == nsg.Deny {
				c.exempt++
			}
		}
	}
}

// platform sends flows from Azure's own address, which are dropped: here anybody
// could have sent them.
func (c *campaign) platform(n *round) {
	n.w.t.Helper()
	list := n.batchOf(forgedFlows, &tally{}, n.drawForged)
	for _, x := range list {
		if x.allowed {
			c.forged++
		}
		x.allowed, x.why = false, "its source is forged; else "+x.why
	}
	n.w.run(false, list, &tally{})
}

// report tells the counts, and fails where they prove little.
func (c *campaign) report(t *testing.T) {
	t.Helper()
	for _, v6 := range []bool{false, true} {
		for _, d := range []nsg.Direction{nsg.Inbound, nsg.Outbound} {
			name := map[bool]string{false: "IPv4", true: "IPv6"}[v6] + map[nsg.Direction]string{nsg.Inbound: " inbound", nsg.Outbound: " outbound"}[d]
			pods := c.of(d, v6, "pods")
			t.Logf("%s: %v", name, pods)
			t.Logf("%s between pods and the node: %v", name, c.of(d, v6, "node"))
			if pods.flows < c.flows || pods.allowed < pods.flows/10 || pods.denied < pods.flows/10 || pods.betweenPods == 0 {
				t.Errorf("%s: the flows prove little", name)
			}
			if pods.excluded > (pods.flows+pods.excluded)/5 {
				t.Errorf("%s: %d of %d flows are excluded", name, pods.excluded, pods.flows+pods.excluded)
			}
		}
	}
	t.Logf("%d flows from the node passed though the groups would deny them, %d from Azure's address did not though they would allow them", c.exempt, c.forged)
	if c.exempt == 0 || c.forged == 0 {
		t.Error("no flow shows where groups have no say")
	}
}
