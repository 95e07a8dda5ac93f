package integration

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestChainedService goes to pods through the address of a service, as kube-proxy makes
// one: groups speak of the pod and its port that stand behind it. A pod reaches itself,
// too.
func TestChainedService(t *testing.T) {
	t.Parallel()
	service := netip.MustParseAddr("10.96.0.9")
	for _, main := range []string{"bridge", "ptp"} {
		for _, backend := range backends {
			t.Run(main+" "+backend, func(t *testing.T) {
				t.Parallel()
				c := newChain(t, main, someDocuments(t).conf("some"), testnet.WithIptables(backend))
				if main == "bridge" {
					c.main["hairpinMode"] = true
					c.write()
				}
				client, server := c.add(), c.add()
				through := func(from pod, class uint16) expectation {
					t.Helper()
					port := portOf(class)
					rules := [][]string{
						{"-A", "PREROUTING", "-d", service.String(), "-p", "tcp", "--dport", fmt.Sprint(port), "-j", "DNAT", "--to-destination", fmt.Sprintf("%s:%d", server.v4, port)},
						{"-A", "POSTROUTING", "-s", server.v4.String(), "-d", server.v4.String(), "-j", "MASQUERADE"},
					}
					for _, r := range rules {
						if _, err := c.node.Shell("iptables", append([]string{"-w", "-t", "nat"}, r...)...); err != nil {
							t.Fatal(err)
						}
					}
					peer := from.v4
					if from.Pod == server.Pod { // comes back with the node's address
						peer = c.gateway().v4
					}
					return expectation{testnet.Flow{Proto: testnet.TCP, From: from.NS, To: server.NS, Dst: service, Port: port, ServerPort: port}, peer}
				}
				n := expectAll(t, []expectation{through(client.pod, 8000), through(server.pod, 8000)})
				s := expectSilent(t, []expectation{through(client.pod, 9000), through(client.pod, 9400)})
				t.Logf("%d flows passed, %d were silent", n, s)
			})
		}
	}
}
