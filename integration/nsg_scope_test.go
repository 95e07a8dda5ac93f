package integration

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNSGLocalScope sends from a closed pod what has no address of it, or is for
// everybody on the link: to the node's link-local address, to groups.
func TestNSGLocalScope(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			closed := restGroup("closed", denyIn("*", "*"), denyOut("*", "*"))
			conf, _, node := judgedNode(t, newDocuments(t, closed).conf("closed"), testnet.WithIptables(backend))
			p := attachFor(t, conf, node.NewPod(), "")
			w := newWatch(t, node.NS)
			targets := []string{"fe80::1234:5678:9abc%eth0", "ff02::1%eth0", "ff02::2%eth0", "169.254.1.1", "224.0.0.1", "255.255.255.255", node.IPv4.String(), node.IPv6.String()}
			addrs, err := node.NL.AddrList(link(t, node.NS, p.host), family("::1"))
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range addrs {
				targets = append(targets, a.IP.String()+"%eth0")
			}
			sent := 0
			for _, target := range targets {
				sent += sendFrom(t, p.NS, netip.MustParseAddr(target))
			}
			expectSilent(t, flows(p.pod, asPod(node), 7000)) // time for what was sent to arrive
			if n := w.denied[0].Load() + w.denied[1].Load(); n > 0 {
				t.Errorf("%d packets of a closed pod came to the node, the last from %v", n, w.last.Load())
			}
			if sent < len(targets) {
				t.Errorf("only %d packets could be sent", sent)
			}
			t.Logf("%d packets to %d targets", sent, len(targets))
		})
	}
}

// sendFrom sends UDP with the kernel's choice of source, and with a link-local one
// where there is one, and returns how many packets.
func sendFrom(t *testing.T, ns *testnet.NS, dst netip.Addr) (sent int) {
	t.Helper()
	err := ns.Do(func() error {
		lc := net.ListenConfig{}
		network := "udp4"
		if dst.Is6() {
			network = "udp6"
		}
		pc, err := lc.ListenPacket(t.Context(), network, ":0")
		if err != nil {
			return err
		}
		defer pc.Close()
		for range 3 {
			if _, err := pc.WriteTo([]byte("local"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, deniedPort))); err != nil {
				return err
			}
			sent++
		}
		return nil
	})
	if err != nil {
		t.Logf("%s: %v", dst, err)
	}
	return sent
}

// TestNSGTwoNetworks has networks with different groups, and one without any, on
// one node. Each judges its own pods, also after another one went.
func TestNSGTwoNetworks(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			node := testnet.New(t).AddNode("n1", testnet.WithIptables(backend))
			docs := newDocuments(t, restGroup("one", denyIn("*", "9000-9399"), denyIn("*", "*").fromASG("front")), restGroup("two", denyIn("*", "8000-8399")))
			network := func(name string, pool int, subnet string) config {
				c := vnetConfig(node, pool)
				c.network = name
				if subnet != "" {
					judged(docs.conf(subnet))(c)
				}
				return c
			}
			one, two, free := network("pods", 0, "one"), network("second-network-with-a-long-name", 1, "two"), network("free", 2, "")
			a, b, c := attachFor(t, one, node.NewPod(), ""), attachFor(t, two, node.NewPod(), ""), attachFor(t, free, node.NewPod(), "")
			passed, silent := expectOwnVerdicts(t, a.pod, b.pod, c.pod)
			delete(two.plugin, "nsg")
			d := attachFor(t, two, node.NewPod(), "")
			passed += expectAll(t, slices.Concat(flows(a.pod, b.pod, 8000), flows(a.pod, d.pod, 8000), flows(c.pod, b.pod, 9000)))
			silent += expectSilent(t, slices.Concat(flows(b.pod, a.pod, 9000), flows(c.pod, a.pod, 9000)))
			judged(docs.conf("two"))(two)
			e := attachFor(t, two, node.NewPod(), "")
			more, less := expectOwnVerdicts(t, a.pod, e.pod, c.pod)
			delete(one.plugin, "nsg")
			attachFor(t, one, node.NewPod(), "")
			passed += more + expectAll(t, slices.Concat(flows(e.pod, a.pod, 9000), flows(c.pod, a.pod, 9000)))
			silent += less + expectSilent(t, slices.Concat(flows(a.pod, e.pod, 8000), flows(a.pod, b.pod, 8000)))
			t.Logf("%d flows passed, %d were silent", passed, silent)
		})
	}
}

func expectOwnVerdicts(t *testing.T, one, two, free pod) (passed, silent int) {
	t.Helper()
	passed = expectAll(t, slices.Concat(flows(two, one, 8000), flows(free, one, 8000), flows(one, two, 9000), flows(free, two, 9000), flows(one, free, 8000), flows(two, free, 9000)))
	silent = expectSilent(t, slices.Concat(flows(two, one, 9000), flows(free, one, 9000), flows(one, two, 8000), flows(free, two, 8000)))
	return passed, silent
}
