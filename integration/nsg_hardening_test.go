package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// closedAzure is one node, and what is outside, whose group denies everything but
// whose pods reach each other.
func closedAzure(t *testing.T) (config, *testnet.Fabric, *testnet.Node) {
	t.Helper()
	nsg := newDocuments(t, restGroup("closed", denyIn("*", "*"), denyOut("*", "*"))).conf("closed")
	nsg["sameNode"] = "azure"
	conf, f, node := judgedNode(t, nsg)
	f.AddOutside()
	f.RouteToPods()
	return conf, f, node
}

// TestNSGSameNodeForgedOutside sends packets of the uplink that bear the address of
// a pod of the node: they are not between its pods, whatever their source.
func TestNSGSameNodeForgedOutside(t *testing.T) {
	t.Parallel()
	_, f, node := closedAzure(t)
	a, b := attach(t, node), attach(t, node)
	for _, of := range []string{"all", testnet.Uplink} {
		if err := node.SetSysctl("ipv4/conf/"+of+"/rp_filter", "0"); err != nil {
			t.Fatal(err)
		}
	}
	for _, ns := range []*testnet.NS{f.NS, f.Outside} {
		for _, of := range []string{"all", "default"} {
			if err := ns.SetSysctl("ipv4/conf/"+of+"/rp_filter", "0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	passed := expectAll(t, slices.Concat(flows(a, b, 8000), pings(b, a)))
	sent := 0
	capture := testnet.NewCapture(t, node.NS, testnet.Uplink)
	for _, dst := range b.addrs() {
		src := a.like(dst)
		arrives(t, outside(f), b, src, dst, false)
		sent++
		_, err := capture.Wait(testnet.Patience, func(frame []byte) bool {
			return strings.Contains(string(frame), string(append(src.AsSlice(), dst.AsSlice()...)))
		})
		if err != nil {
			t.Errorf("the packet from %s did not come to the node, and proves nothing: %v", src, err)
		}
	}
	t.Logf("%d flows between pods passed, %d forged packets were sent", passed, sent)
}

// TestNSGSameNodeHealsGuard flushes the guard against forged sources, which the
// groups rely on: the next ADD brings it back.
func TestNSGSameNodeHealsGuard(t *testing.T) {
	t.Parallel()
	conf, _, node := closedAzure(t)
	a, b := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "")
	before := onlyRules(node)
	for _, program := range families {
		if _, err := node.Shell(program, "-w", "-t", "raw", "-F", "PREROUTING"); err != nil {
			t.Fatal(err)
		}
	}
	awaitCheckFailure(t, a)
	extra := attachFor(t, conf, node.NewPod(), "")
	forged := 0
	for _, dst := range b.addrs() {
		arrives(t, a.pod, b.pod, extra.like(dst), dst, false)
		arrives(t, a.pod, b.pod, a.like(dst), dst, true)
		forged++
	}
	expectHealthy(t, a, "after the next ADD")
	if out := node.Exec("vnet", extra.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
		t.Errorf("DEL: %+v", out.Err)
	}
	for _, line := range testnet.Diff(before, onlyRules(node)) {
		t.Errorf("not as before the flush: %s", line)
	}
	t.Logf("%d forged packets", forged)
}

// TestNSGFamilyLeavesConfiguration takes the pool of a family away under a pod that
// has both: what changes then is in force in both.
func TestNSGFamilyLeavesConfiguration(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t, restGroup("nsg", denyIn("*", "9000-9999")))
	conf, _, node := judgedNode(t, docs.conf("nsg"))
	a, host := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "")
	if !a.v6.IsValid() {
		t.Fatal("the pod has no IPv6 address: nothing would be proved")
	}
	silent := expectSilent(t, flows(host.pod, a.pod, 9000))
	passed := expectAll(t, flows(host.pod, a.pod, 8000))
	conf.pools(conf.ipam["pools"].([]any)[0])
	docs.put("nsg.json", restGroup("nsg", denyIn("*", "8000-8999")))
	b := attachFor(t, conf, node.NewPod(), "")
	if b.v6.IsValid() {
		t.Fatalf("the pod has %s although its family is not configured", b.v6)
	}
	silent += expectSilent(t, flows(host.pod, a.pod, 8000))
	passed += expectAll(t, append(flows(host.pod, a.pod, 9000), flows(b.pod, onlyLike(a.pod, b.pod), 9000)...))
	t.Logf("%d flows passed, %d were silent", passed, silent)
}

// TestNSGLeaseLost takes the record of a pod away in different ways before its DEL:
// no set keeps its addresses.
func TestNSGLeaseLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*testing.T, patient) error{
		"lease": leaseGone,
		"store": func(_ *testing.T, p patient) error {
			return os.Remove(filepath.Join(p.Node.StateDir(), p.conf.network+".db"))
		},
		"store and rules in force": func(_ *testing.T, p patient) error {
			return errors.Join(os.Remove(filepath.Join(p.Node.StateDir(), p.conf.network+".db")),
				os.Remove(filepath.Join(p.Node.StateDir(), p.conf.network+".nsg")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf, _, node := judgedNode(t, lifeDocuments(t).conf("some"))
			p := node.NewPod()
			env := asking(p, "ADD", "plain-0")
			env["CNI_ARGS"] += ";VNET_ASGS=asg-1,elsewhere"
			out := node.Exec("vnet", env, conf.stdin(t, nil))
			if out.Err != nil {
				t.Fatalf("ADD: %+v", out.Err)
			}
			members := len(membersOf(t, node))
			if err := lose(t, patient{pod: pod{Pod: p}, conf: conf}); err != nil {
				t.Fatal(err)
			}
			if out := node.Exec("vnet", p.Env("DEL"), conf.stdin(t, map[string]any{"prevResult": json.RawMessage(out.Stdout)})); out.Err != nil {
				t.Errorf("DEL: %+v", out.Err)
			}
			expectNoMembers(t, node, "after DEL")
			if members < 2*7 {
				t.Errorf("the pod was a member %d times only", members)
			}
			t.Logf("the pod was a member %d times", members)
		})
	}
}

// TestNSGNoisyState overwrites all that the node remembers of a network.
func TestNSGNoisyState(t *testing.T) {
	t.Parallel()
	conf, _, node := judgedNode(t, newDocuments(t, someGroup()).conf("some"))
	a, b := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "some")
	for _, suffix := range []string{".db", ".nsg"} {
		path := filepath.Join(node.StateDir(), conf.network+suffix)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := noise(0, int(info.Size())).do(path); err != nil {
			t.Fatal(err)
		}
	}
	silent := expectSilent(t, flows(a.pod, b.pod, 9000))
	c := attachFor(t, conf, node.NewPod(), "some")
	silent += expectSilent(t, append(flows(a.pod, c.pod, 9000), flows(a.pod, b.pod, 9000)...))
	passed := expectAll(t, append(flows(a.pod, c.pod, 8000), flows(c.pod, a.pod, 8000)...))
	for _, p := range []patient{a, b, c} {
		if out := node.Exec("vnet", p.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
			t.Errorf("DEL: %+v", out.Err)
		}
	}
	expectNoMembers(t, node, "after all DELs")
	t.Logf("%d flows passed, %d were silent", passed, silent)
}

// TestNSGEndsHealthy takes the groups out of the configuration: a pod that came with
// them is as it should be after the next ADD.
func TestNSGEndsHealthy(t *testing.T) {
	t.Parallel()
	conf, _, node := judgedNode(t, newDocuments(t, someGroup()).conf("some"))
	a := attachFor(t, conf, node.NewPod(), "some")
	delete(conf.plugin, "nsg")
	b := attachFor(t, conf, node.NewPod(), "")
	for _, p := range []patient{a, b} {
		expectHealthy(t, p, "without groups")
	}
	out, err := node.Shell(testnet.Bin(t, "vnetctl"), "--state-dir", node.StateDir(), "pods", "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	healthy := strings.Count(strings.Join(strings.Fields(out), ""), `"healthy":true`)
	if healthy != 2 {
		t.Errorf("vnetctl pods tells of %d healthy pods, want 2: %s", healthy, out)
	}
	t.Logf("%d pods healthy, %d flows passed", healthy, expectAll(t, flows(a.pod, b.pod, 9000)))
}

// TestNSGSetsEmptied empties all sets that pods are members of: vnetctl apply fills
// them.
func TestNSGSetsEmptied(t *testing.T) {
	t.Parallel()
	conf, _, node := judgedNode(t, newDocuments(t, someGroup(), restGroup("own", denyIn("*", "8000-8399"), allowIn("*", "8400-8999"))).conf("some"))
	a, own := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "own")
	before := membersOf(t, node)
	if _, err := node.Shell("ipset", "flush"); err != nil {
		t.Fatal(err)
	}
	expectNoMembers(t, node, "after the flush")
	if _, err := node.Shell(testnet.Bin(t, "vnetctl"), "--state-dir", node.StateDir(), "apply"); err != nil {
		t.Error(err)
	}
	if after := membersOf(t, node); !slices.Equal(before, after) {
		t.Errorf("members %q, want %q", after, before)
	}
	passed := expectAll(t, slices.Concat(flows(own.pod, a.pod, 8000), flows(a.pod, own.pod, 8500), pings(own.pod, a.pod)))
	silent := expectSilent(t, slices.Concat(flows(a.pod, own.pod, 8000), flows(own.pod, a.pod, 9000), flows(a.pod, own.pod, 9000)))
	for _, p := range []patient{a, own} {
		expectHealthy(t, p, "after vnetctl apply")
	}
	t.Logf("%d flows passed, %d were silent", passed, silent)
}

// TestNSGNoWayOutAsNeighbour sends what looks like neighbour discovery through the
// node from a pod that may send nothing: it is not delivered, and real neighbour
// discovery goes on.
func TestNSGNoWayOutAsNeighbour(t *testing.T) {
	t.Parallel()
	nsg := newDocuments(t, restGroup("mute", allowOut("Udp", "8000-8999"), denyOut("*", "*"))).conf("mute")
	_, f, node := judgedNode(t, nsg)
	f.AddOutside()
	f.RouteToPods()
	p, out := attach(t, node), outside(f)
	capture := testnet.NewCapture(t, f.Outside, "eth0")
	bad := []craft{}
	for typ := byte(133); typ <= 137; typ++ {
		c := craft{what: "neighbour discovery", icmp: typ, src: p.v6, dst: out.v6, mark: 31000 + uint16(typ)}
		for _, hops := range []byte{64, 255} {
			if err := sendWithHops(c, p.NS, hops); err != nil {
				t.Fatal(err)
			}
		}
		bad = append(bad, c)
	}
	const last = "that was all"
	if err := testnet.Forge(p.NS, p.v6, netip.AddrPortFrom(out.v6, 8080), []byte(last)); err != nil {
		t.Fatal(err)
	}
	_, err := capture.Wait(testnet.Patience, func(frame []byte) bool {
		for _, c := range bad {
			if c.is(frame) {
				t.Errorf("delivered: %s of type %d", c, c.icmp)
			}
		}
		return strings.Contains(string(frame), last)
	})
	if err != nil {
		t.Errorf("not delivered, and allowed: %v", err)
	}
	expectNeighbours(t, node, p)
	t.Logf("%d messages", 2*len(bad))
}

// sendWithHops is send with another hop limit.
func sendWithHops(c craft, from *testnet.NS, hops byte) error {
	packet := c.bytes()
	packet[7] = hops
	return from.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		return os.NewSyscallError("sendto", unix.Sendto(fd, packet, 0, &unix.SockaddrInet6{Addr: c.dst.As16()}))
	})
}

// expectNeighbours sends the node what it hears from a neighbour only, and what the
// hop limit says was routed: the groups deny that.
func expectNeighbours(t *testing.T, node *testnet.Node, p pod) {
	t.Helper()
	const solicitation, redirect = 135, 137 // nobody else sends the latter
	heard := map[byte]int{solicitation: received(t, node, solicitation), redirect: received(t, node, redirect)}
	for _, hops := range []byte{64, 255} {
		for typ := range heard {
			if err := sendWithHops(craft{icmp: typ, src: p.v6, dst: node.IPv6, mark: 32000}, p.NS, hops); err != nil {
				t.Fatal(err)
			}
		}
	}
	for typ, before := range heard {
		deadline := time.Now().Add(testnet.Patience)
		for received(t, node, typ) == before && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if got := received(t, node, typ) - before; got < 1 || typ == redirect && got > 1 {
			t.Errorf("the node heard %d messages of type %d from its neighbour, want 1", got, typ)
		}
	}
}

// received is how many ICMPv6 messages of a type the node has taken.
func received(t *testing.T, node *testnet.Node, typ byte) int {
	t.Helper()
	out, err := node.Shell("cat", "/proc/self/net/snmp6")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "Icmp6InMsgs") {
		t.Fatalf("the kernel does not count ICMPv6: %s", out)
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == fmt.Sprintf("Icmp6InType%d", typ) {
			count, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return count
		}
	}
	return 0
}
