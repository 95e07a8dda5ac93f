package integration

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// awaitNoticed waits for CHECK to fail, for rules of the nf_tables backend let go of
// their sets a moment after they are gone.
func awaitNoticed(t *testing.T, check func() testnet.Output) {
	t.Helper()
	for deadline := time.Now().Add(testnet.Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if out := check(); out.Err != nil && out.Err.Code == codeCheck {
			return
		}
	}
	t.Error("CHECK does not notice")
}

// TestChainedLostRecords loses the records of living pods: they stay judged, also after
// the next ADD and under new documents, and CHECK tells.
func TestChainedLostRecords(t *testing.T) {
	t.Parallel()
	for main, lost := range map[string][]string{"bridge": {".db"}, "ptp": {".db", ".nsg"}} {
		t.Run(main, func(t *testing.T) {
			t.Parallel()
			docs := someDocuments(t)
			c := newChain(t, main, docs.conf(""))
			a, b := c.add(), c.add(annotated("vnet-cni.io/nsg", "some"))
			for _, suffix := range lost {
				if err := os.Truncate(filepath.Join(c.node.StateDir(), "pods+nsg"+suffix), 0); err != nil {
					t.Fatal(err)
				}
			}
			s := expectSilent(t, flows(a.pod, b.pod, 9000))
			d := c.add()
			docs.put("some.json", restGroup("some", denyIn("*", "8000-8399")))
			c.ctl("apply")
			n := expectAll(t, slices.Concat(flows(a.pod, b.pod, 9000), flows(d.pod, b.pod, 9000)))
			s += expectSilent(t, slices.Concat(flows(a.pod, b.pod, 8000), flows(d.pod, b.pod, 8000)))
			if out := b.call("CHECK", b.withResult()); out.Err == nil || out.Err.Code != codeCheck {
				t.Errorf("CHECK of a pod without a record: %+v", out.Err)
			}
			again := b.withResult()
			again["runtimeConfig"] = map[string]any{annotations: map[string]string{"vnet-cni.io/nsg": "some"}}
			if out := b.call("ADD", again); out.Err != nil {
				t.Errorf("ADD again: %+v", out.Err)
			}
			if out := b.call("CHECK", b.withResult()); out.Err != nil {
				t.Errorf("CHECK after ADD: %+v", out.Err)
			}
			s += expectSilent(t, flows(a.pod, b.pod, 8000))
			for _, p := range []chainedPod{a, b, d} {
				p.del()
			}
			expectNoMembers(t, c.node, "after all DELs")
			t.Logf("%d flows passed, %d were silent", n, s)
		})
	}
}

// TestChainedLinkLocal tries to get from pod to pod of one bridge, and to the node, by
// the addresses that work on the link alone.
func TestChainedLinkLocal(t *testing.T) {
	t.Parallel()
	for _, main := range []string{"bridge", "ptp"} {
		t.Run(main, func(t *testing.T) {
			t.Parallel()
			closed := restGroup("closed", denyIn("*", "*"), denyOut("*", "*"))
			c := newChain(t, main, newDocuments(t, closed).conf("closed"))
			a, b := c.add(), c.add()
			w, inPod := newWatch(t, c.node.NS), newWatch(t, b.NS)
			sent := 0
			for _, ns := range []*testnet.NS{b.NS, c.node.NS} {
				addrs, err := testnet.Whole(func() ([]netlink.Addr, error) { return ns.NL.AddrList(nil, family("::1")) })
				if err != nil {
					t.Fatal(err)
				}
				for _, addr := range addrs {
					if to, _ := netip.AddrFromSlice(addr.IP); to.IsLinkLocalUnicast() {
						sent += sendFrom(t, a.NS, to.WithZone("eth0"))
					}
				}
			}
			sent += sendFrom(t, a.NS, netip.MustParseAddr("ff02::1%eth0"))
			expectSilent(t, flows(a.pod, b.pod, 8000)) // time for what was sent to arrive
			if n := w.denied[1].Load() + inPod.denied[1].Load(); n > 0 {
				t.Errorf("%d packets of a closed pod came through", n)
			}
			if sent < 3 {
				t.Errorf("only %d packets were sent", sent)
			}
			open := c.nsg.plugin["nsg"].(map[string]any)["documents"].([]string)[0]
			documents{t: t, dir: open}.put("closed.json", restGroup("closed", allowIn("*", "*"), allowOut("*", "*")))
			c.ctl("apply")
			n := expectAll(t, flows(a.pod, b.pod, 8000))
			t.Logf("%d packets of closed pods, %d flows of open ones", sent, n)
		})
	}
}

// TestChainedBroadcast sends what a pod's group denies to everybody in its bridge: as any
// program can, also where the node has no address there, and in a frame for that pod
// alone.
func TestChainedBroadcast(t *testing.T) {
	t.Parallel()
	const everybody = "10.244.0.255"
	for _, backend := range backends {
		for name, gateway := range map[string]bool{"gateway": true, "no gateway": false} {
			t.Run(name+" "+backend, func(t *testing.T) {
				t.Parallel()
				docs := newDocuments(t, restGroup("nsg", denyIn("*", "9000-9999"), allowIn("*", "*"), allowOut("*", "*")))
				c := newChain(t, "bridge", docs.conf("nsg"), testnet.WithIptables(backend))
				c.main["isGateway"] = gateway
				c.write()
				a, b := c.add(), c.add()
				w := newWatch(t, b.NS)
				sent := sendFrom(t, a.NS, netip.MustParseAddr(everybody))
				if gateway {
					for _, command := range []string{
						"route del table local broadcast " + everybody + " dev eth0", "route add " + everybody + " dev eth0",
						"neigh replace " + everybody + " lladdr " + b.result.Interfaces[2].Mac + " dev eth0",
					} {
						if _, err := c.node.Shell("ip", append([]string{"-n", a.Name}, strings.Fields(command)...)...); err != nil {
							t.Fatal(err)
						}
					}
					sent += sendFrom(t, a.NS, netip.MustParseAddr(everybody))
				}
				passed := expectAll(t, flows(a.pod, b.pod, 8100)) // behind them
				if got := w.denied[0].Load(); got > 0 || sent == 0 {
					t.Errorf("%d of %d denied packets came through", got, sent)
				}
				t.Logf("%d packets to everybody, %d flows", sent, passed)
			})
		}
	}
}

// TestChainedSameNode lets pods of one node reach each other unjudged, as in Azure:
// pods, and not whoever bears their addresses.
func TestChainedSameNode(t *testing.T) {
	eachMain(t, func(t *testing.T, main, backend string) {
		nsg := newDocuments(t, restGroup("closed", denyIn("*", "*"), denyOut("*", "*"))).conf("closed")
		nsg["sameNode"] = "azure"
		c := newChain(t, main, nsg, testnet.WithIptables(backend))
		other := c.fabric.Nodes[1]
		for _, ns := range []*testnet.NS{c.node.NS, other.NS} {
			for _, of := range []string{"all", testnet.Uplink, "default"} {
				if err := ns.SetSysctl("ipv4/conf/"+of+"/rp_filter", "0"); err != nil {
					t.Fatal(err)
				}
			}
		}
		a, b := c.add(), c.add()
		n := expectAll(t, slices.Concat(flows(a.pod, b.pod, 8000), flows(b.pod, a.pod, 8000), pings(a.pod, b.pod)))
		s := expectSilent(t, flows(a.pod, c.gateway(), 8000))
		if main != "vnet" { // a host beside the node that has a route to its pods
			for _, dst := range []string{"10.244.0.0/24", "fd00:10:244::/64"} {
				via := c.node.IPv4.String()
				if strings.Contains(dst, ":") {
					via = c.node.IPv6.String()
				}
				if _, err := other.Shell("ip", "route", "add", dst, "via", via); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.node.SetSysctl("ipv4/ip_forward", "1"); err != nil {
				t.Fatal(err)
			}
			if err := c.node.SetSysctl("ipv6/conf/all/forwarding", "1"); err != nil {
				t.Fatal(err)
			}
		}
		capture := testnet.NewCapture(t, c.node.NS, testnet.Uplink)
		for _, dst := range b.addrs() {
			src := a.like(dst)
			arrives(t, asPod(other), b.pod, src, dst, false)
			if _, err := capture.Wait(testnet.Patience, func(frame []byte) bool {
				return strings.Contains(string(frame), string(append(src.AsSlice(), dst.AsSlice()...)))
			}); err != nil {
				t.Errorf("the packet from %s did not come to the node, and proves nothing: %v", src, err)
			}
		}
		t.Logf("%d flows between pods passed, %d were silent, %d forged packets were sent", n, s, len(b.addrs()))
	})
}

// TestChainedNoFlowBefore has a flow to an address before the pod there gets its
// rules: it does not pass for established afterwards.
func TestChainedNoFlowBefore(t *testing.T) {
	t.Parallel()
	for _, main := range []string{"bridge", "ptp"} {
		t.Run(main, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, main, someDocuments(t).conf("some"))
			client, p := c.add(), c.add()
			p.unjudge()
			runs := newTalk(t, client.pod, p.pod, p.v4, 9000)
			if err := runs.say(testnet.Patience); err != nil {
				t.Fatalf("without rules: %v", err)
			}
			if out := p.call("ADD", p.withResult()); out.Err != nil {
				t.Fatalf("ADD: %+v", out.Err)
			}
			if err := runs.say(silence); err == nil {
				t.Error("what began before the rules goes on")
			}
			t.Logf("1 flow ended, %d were silent", expectSilent(t, flows(client.pod, p.pod, 9000)))
		})
	}
}

// TestChainedNoFlowBeforeKilled kills the ADD that ends flows of before: the next one ends
// them.
func TestChainedNoFlowBeforeKilled(t *testing.T) {
	t.Parallel()
	for _, main := range []string{"bridge", "ptp"} {
		t.Run(main, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, main, someDocuments(t).conf("some"))
			client, p := c.add(), c.add()
			const kills = 3
			var killed tally
			last := callsOf(t, c.node, "vnet-nsg", p.Env("ADD"), c.nsg.stdin(t, p.withResult()))["sendto"]
			// What is near the end is not reached where Go spreads the calls over more threads.
			for n := last + 2; n > 0 && killed.killed.Load() < kills; n-- {
				p.unjudge()
				runs := newTalk(t, client.pod, p.pod, p.v4, 9000)
				out := traced(t, c.node, kill(point{"ADD", "sendto", n}), "vnet-nsg", p.Env("ADD"), c.nsg.stdin(t, p.withResult()))
				killed.count(out)
				for range 2 { // one that finds everything changes nothing
					if out := p.call("ADD", p.withResult()); out.Err != nil {
						t.Fatalf("ADD: %+v", out.Err)
					}
				}
				if err := runs.say(silence); err == nil {
					t.Errorf("what began before the rules goes on after the kill at #%d", n)
				}
			}
			t.Logf("kills of vnet-nsg's ADD: %s", &killed)
			if killed.killed.Load() < kills {
				t.Error("too few runs were killed to prove anything")
			}
		})
	}
}

// TestChainedLostRecordsFlows loses the records of pods and attaches them anew: the flows
// that the rules allow go on, those that they deny do not.
func TestChainedLostRecordsFlows(t *testing.T) {
	t.Parallel()
	for _, main := range []string{"bridge", "ptp"} {
		t.Run(main, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, main, someDocuments(t).conf(""))
			client, p := c.add(), c.add()
			var allowed, denied []talk
			for _, a := range p.addrs() {
				allowed = append(allowed, newTalk(t, client.pod, p.pod, a, 8000))
				denied = append(denied, newTalk(t, client.pod, p.pod, a, 9000))
			}
			for _, a := range client.addrs() {
				allowed = append(allowed, newTalk(t, p.pod, client.pod, a, 9000))
				denied = append(denied, newTalk(t, p.pod, client.pod, a, 9400))
			}
			if err := os.Remove(filepath.Join(c.node.StateDir(), "pods+nsg.db")); err != nil {
				t.Fatal(err)
			}
			again := p.withResult()
			again["runtimeConfig"] = map[string]any{annotations: map[string]string{"vnet-cni.io/nsg": "some"}}
			if out := p.call("ADD", again); out.Err != nil {
				t.Fatalf("ADD again: %+v", out.Err)
			}
			for i := range allowed {
				if err := allowed[i].say(testnet.Patience); err != nil {
					t.Errorf("allowed flow %d was cut: %v", i, err)
				}
				if err := denied[i].say(silence); err == nil {
					t.Errorf("denied flow %d goes on", i)
				}
			}
			t.Logf("%d flows went on, %d ended", len(allowed), len(denied))
		})
	}
}

// unjudge makes a pod as its main plugin has left it.
func (p chainedPod) unjudge() {
	p.c.t.Helper()
	if out := p.call("DEL", nil); out.Err != nil {
		p.c.t.Fatal(out.Err)
	}
	commands := [][]string{{"link", "set", hostEndOf(p), "up"}}
	if p.c.main["type"] == "ptp" { // the routes went with the link
		for _, a := range p.addrs() {
			commands = append(commands, []string{"route", "replace", a.String(), "dev", hostEndOf(p)})
		}
	}
	for _, args := range commands {
		if _, err := p.c.node.Shell("ip", args...); err != nil {
			p.c.t.Fatal(err)
		}
	}
}

// hostEndOf is the node's end of a pod's pair, the last of the result's interfaces
// that is not in the pod.
func hostEndOf(p chainedPod) string {
	name := ""
	for _, i := range p.result.Interfaces {
		if i.Sandbox == "" {
			name = i.Name
		}
	}
	return name
}
