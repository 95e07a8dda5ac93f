package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// packets counts by NSG, level and rule, leaving out what counted none.
func (n judgedNode) packets() map[string]uint64 {
	n.Helper()
	counts := map[string]uint64{}
	for _, e := range decode[[]counterEntry](n, n.vnetctl("counters", "-o", "json").must(n)) {
		if e.Packets > 0 {
			counts[e.NSG+" "+e.Level+" "+e.Direction.String()+" "+e.Rule] += e.Packets
		}
		if e.Network != "vctl" || (e.Packets == 0) != (e.Bytes == 0) {
			n.Errorf("counter %+v", e)
		}
	}
	return counts
}

// knock sends UDP packets from the pod, which nobody answers.
func (n judgedNode) knock(pod string, packets int, address string) {
	n.Helper()
	host, port, _ := strings.Cut(address, ":")
	for range packets {
		n.in(pod, fmt.Sprintf("echo x >/dev/udp/%s/%s", host, port))
	}
}

// in runs a script in the pod's namespace.
func (n judgedNode) in(pod, script string) {
	n.Helper()
	out, err := exec.Command("ip", "netns", "exec", n.names[pod], "bash", "-c", script).CombinedOutput()
	if err != nil {
		n.Fatalf("%s in pod %s: %v\n%s", script, pod, err, out)
	}
}

// syn sends the packet that opens a TCP connection from the pod, as large as Linux makes
// it. A connection's own socket would send a second one a second later, unless this
// process came to close it before.
func (n judgedNode) syn(pod, from, to string) {
	n.Helper()
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	segment := make([]byte, 40) // of which 20 are options
	binary.BigEndian.PutUint16(segment[0:], source.Port())
	binary.BigEndian.PutUint16(segment[2:], destination.Port())
	segment[12], segment[13], segment[14] = byte(len(segment)/4)<<4, 0x02, 0xff // length, SYN, window
	for i := 20; i < len(segment); i++ {
		segment[i] = 1 // no operation
	}
	pseudo := slices.Concat(source.Addr().AsSlice(), destination.Addr().AsSlice(), []byte{0, unix.IPPROTO_TCP, 0, byte(len(segment))}, segment)
	sum := uint32(0)
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(segment[16:], ^uint16(sum+sum>>16))

	node, err := netns.Get()
	if err != nil {
		n.Fatal(err)
	}
	defer node.Close()
	there, err := netns.GetFromName(n.names[pod])
	if err != nil {
		n.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		n.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if back := netns.Set(node); err != nil || back != nil {
		n.Fatalf("a socket in pod %s: %v, %v", pod, err, back)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: destination.Addr().As4()}); err != nil {
		n.Fatalf("send from pod %s to %s: %v", pod, to, err)
	}
}

func TestCounters(t *testing.T) {
	n := newJudgedNode(t)
	n.add("web", webArgs)
	n.add("api", apiArgs)
	if counts := n.packets(); len(counts) != 0 {
		t.Errorf("before any flow: %v", counts)
	}
	n.knock("web", 3, "10.241.4.1:9")
	want := map[string]uint64{
		"web-nsg interface Outbound defaultSecurityRules/AllowVnetOutBound": 3,
		"pods-nsg subnet Outbound defaultSecurityRules/AllowVnetOutBound":   3,
		"pods-nsg subnet Inbound defaultSecurityRules/AllowVnetInBound":     3,
	}
	n.expectPackets(want)
	n.syn("web", "10.241.4.0:40000", "10.241.9.9:23")
	want["web-nsg interface Outbound defaultSecurityRules/AllowVnetOutBound"]++
	want["pods-nsg subnet Outbound securityRules/deny-telnet"] = 1
	n.expectPackets(want)

	// Replaced rules leave their counts behind.
	n.edit("deny-telnet", "no telnet")
	n.edit(`"destinationPortRange": "23"`, `"destinationPortRange": "24"`)
	n.expectApply(applyApplied, "", 0)
	n.knock("web", 2, "10.241.4.1:9")
	for rule := range want {
		if strings.Contains(rule, "default") {
			want[rule] += 2
		}
	}
	n.expectPackets(want)
	table := n.vnetctl("counters", "--network", "vctl").must(t)
	for _, line := range []string{
		"NETWORK  NSG       LEVEL      DIRECTION  PRIORITY  RULE ",
		"vctl     pods-nsg  subnet     Outbound   200       securityRules/no telnet                             Deny    0        0\n",
		"vctl     pods-nsg  subnet     Outbound   65000     defaultSecurityRules/AllowVnetOutBound              Allow   5  ",
		"vctl     pods-nsg  subnet     Outbound   -         securityRules/deny-telnet                           Deny    1        60\n",
		"vctl     web-nsg   interface  Inbound    -         platformRules/DenyGRE                               Deny    0 ",
	} {
		expectLine(t, table, line)
	}

	// What was denied stays denied, whatever its rule does since.
	n.syn("web", "10.241.4.0:40000", "10.241.9.9:24")
	n.awaitPackets("pods-nsg subnet Outbound securityRules/no telnet", 1)
	n.edit(`"access": "Deny"`, `"access": "Allow"`)
	n.expectApply(applyApplied, "", 0)
	changed := n.vnetctl("counters", "--network", "vctl").must(t)
	for _, line := range []string{
		"vctl     pods-nsg  subnet     Outbound   200       securityRules/no telnet                             Allow   0        0\n",
		"vctl     pods-nsg  subnet     Outbound   -         securityRules/no%20telnet                           Deny    1        60\n",
	} {
		expectLine(t, changed, line)
	}
	if strings.Count(changed, "\n") != strings.Count(table, "\n")+1 {
		t.Errorf("rules that are gone and have counted nothing have a line:\n%s", changed)
	}
	t.Logf("%d rules counted, of %d", len(want), strings.Count(table, "\n")-1)
}

func expectLine(t *testing.T, table, line string) {
	t.Helper()
	if !strings.Contains(table, line) {
		t.Errorf("the table lacks %q:\n%s", line, table)
	}
}

// expectPackets waits until that many are counted, all in all, which under load may be
// after they were sent, and wants these.
func (n judgedNode) expectPackets(want map[string]uint64) {
	n.Helper()
	total := func(counts map[string]uint64) (sum uint64) {
		for _, packets := range counts {
			sum += packets
		}
		return sum
	}
	var got map[string]uint64
	await(n, "what was sent is counted", func() bool {
		got = n.packets()
		return total(got) >= total(want)
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		n.Errorf("counted %v, want %v", got, want)
	}
}

// awaitPackets waits until a rule has counted that many.
func (n judgedNode) awaitPackets(rule string, packets uint64) {
	n.Helper()
	await(n, rule+" counts", func() bool { return n.packets()[rule] == packets })
}
