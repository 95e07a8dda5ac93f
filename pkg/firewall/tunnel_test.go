package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const tunnelPort = 4789

// tunnelNodes are the addresses of this node, as a cluster has it, of the other one
// and of one that is somewhere outside.
func tunnelNodes() []netip.Addr {
	var out []netip.Addr
	for _, v6 := range []bool{false, true} {
		out = append(out, addressesOf(v6).node, otherNode[v6], farNode[v6])
	}
	return out
}

var (
	otherNode = addr2("192.0.2.2", "2001:db8:2::2")
	farNode   = addr2("192.0.2.3", "2001:db8:2::3")
	unlisted  = addr2("192.0.2.66", "2001:db8:2::66") // this node's as well
	service   = addr2("192.0.2.200", "2001:db8:2::200")
)

// Ports of the service and where they lead.
const (
	toThisTunnel  = 53
	toOtherTunnel = 54
)

func guardTunnel(t *testing.T, f *Firewall, stateDir string, port uint16, nodes []netip.Addr, want bool) {
	t.Helper()
	if changed, err := f.GuardTunnel(stateDir, port, nodes); err != nil || changed != want {
		t.Fatalf("GuardTunnel: %t, %v; want %t", changed, err, want)
	}
	for asked, want := range map[uint16]bool{port: false, port + 1: true} {
		if another, err := f.GuardsAnother(asked); err != nil || another != want {
			t.Errorf("GuardsAnother of %d beside %d: %t, %v; want %t", asked, port, another, err, want)
		}
	}
}

// Without the guard every packet comes to the tunnel's port, with it only those from
// node to node, and nothing else is missing.
func TestTunnelIsForNodesOnly(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		c := newCluster(t, f, n)
		for _, a := range []addresses{addressesOf(false), addressesOf(true)} {
			c.route(c.other, otherNode[a.v6])
			c.route(c.outside, farNode[a.v6])
			c.giveNode(unlisted[a.v6], "other0")
			c.translate(a, toThisTunnel, a.node)
			c.translate(a, toOtherTunnel, otherNode[a.v6])
		}
		before := rules(t, f)
		for _, guarded := range []bool{false, true, false} {
			if guarded {
				guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
			} else {
				must(t, f.UnguardTunnel(n.StateDir))
			}
			for _, a := range []addresses{addressesOf(false), addressesOf(true)} {
				c.intrusions(a, !guarded)
				c.tunnelTraffic(a)
				c.complaints(a, !guarded)
			}
		}
		if got := rules(t, f); got != before {
			t.Errorf("after UnguardTunnel:\n%s\nwant:\n%s", got, before)
		}
		t.Logf("%d packets", c.sent)
	})
}

// translate leads a port of the service to the tunnel's at a node.
func (c *cluster) translate(a addresses, port int, to netip.Addr) {
	c.t.Helper()
	sh(c.t, fmt.Sprintf("%s -w -t nat -A PREROUTING -p udp -d %v --dport %d -j DNAT --to-destination %v",
		familyOf(to).program(), service[a.v6], port, netip.AddrPortFrom(to, tunnelPort)))
}

func (c *cluster) intrusions(a addresses, pass bool) {
	c.t.Helper()
	pod, other, far := c.world.pods[2], otherNode[a.v6], farNode[a.v6]
	c.want(pass, "a pod to its own node", pod, c.node, a.free, a.node, tunnelPort)
	c.want(pass, "a pod to another node", pod, c.other, a.free, other, tunnelPort)
	c.want(pass, "a host that is no node", c.outside, c.node, a.friend, a.node, tunnelPort)
	c.want(pass, "such a host through this node", c.outside, c.other, a.friend, other, tunnelPort)
	for _, from := range []struct {
		why  string
		end  *end
		addr netip.Addr
	}{
		{"a pod", pod, a.free}, {"a host that is no node", c.outside, a.friend},
		{"a pod of a node that gave it its own address", c.outside, far},
	} {
		c.want(pass, from.why+" through a service to this node", from.end, c.node, from.addr, service[a.v6], toThisTunnel)
		c.want(pass, from.why+" through a service to another", from.end, c.other, from.addr, service[a.v6], toOtherTunnel)
	}
	c.want(pass, "a masqueraded pod to an address of this node that is no tunnel's", c.outside, c.node, far, unlisted[a.v6], tunnelPort)
}

// tunnelTraffic is what the guard must let through.
func (c *cluster) tunnelTraffic(a addresses) {
	c.t.Helper()
	pod, other := c.world.pods[2], otherNode[a.v6]
	c.want(true, "another node", c.other, c.node, other, a.node, tunnelPort)
	c.want(true, "this node", c.node, c.other, a.node, other, tunnelPort)
	c.want(true, "one node to another through this one", c.other, c.outside, other, farNode[a.v6], tunnelPort)
	c.want(true, "a pod to another port of its node", pod, c.node, a.free, a.node, tunnelPort+1)
	c.want(true, "a pod to another port of another node", pod, c.other, a.free, other, tunnelPort+1)
	c.want(true, "a host that is no node to another port", c.outside, c.node, a.friend, a.node, tunnelPort+1)
	c.want(true, "a pod to the port of who is no node", pod, c.outside, a.free, a.friend, tunnelPort)
}

// complaints are errors about what nodes send through the tunnel. By them a node learns
// how large a packet may be there, for all of its pods: from a router on the way, and not
// from a pod.
func (c *cluster) complaints(a addresses, pass bool) {
	c.t.Helper()
	for _, from := range []struct {
		why  string
		end  *end
		addr netip.Addr
		pass bool
	}{{"a router complains", c.outside, a.friend, true}, {"a pod complains", c.world.pods[2], a.free, pass}} {
		for _, of := range []struct {
			sender, receiver *end
			src, dst         netip.Addr
		}{{c.node, c.other, a.node, otherNode[a.v6]}, {c.other, c.node, otherNode[a.v6], a.node}} {
			sent := c.want(true, "node to node", of.sender, of.receiver, of.src, of.dst, tunnelPort)
			sent.src, sent.dst = of.src, of.dst // a node does not see them in IPv6
			complaint := sent.complain(sent.bytes())
			complaint.src = from.addr
			got, arrived := c.send(from.end, of.sender, complaint)
			if got.src.IsValid() && got.src != from.addr {
				arrived = false // it is the receiver's own, that nobody listens there
			}
			if arrived != from.pass {
				c.t.Errorf("%s about %v: arrived: %t, want %t", from.why, sent, arrived, from.pass)
			}
		}
	}
}

// Whatever somebody takes away comes back, and then there is nothing to do and no
// program to start.
func TestTunnelGuardHeals(t *testing.T) {
	damages := []string{
		"IPT -w -t mangle -F FORWARD", "IPT -w -t mangle -F INPUT", "IPT -w -t mangle -F",
		"IPT -w -t mangle -D FORWARD 1", "IPT -w -t mangle -D FORWARD 2",
		"IPT -w -t mangle -D INPUT 1", "IPT -w -t mangle -D INPUT 2", "IPT -w -t mangle -D INPUT 3",
		"IPT -w -t mangle -F; ipset flush SET",
	}
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		want := rules(t, f)
		for _, damage := range damages {
			for _, fam := range []family{ipv4, ipv6} {
				set := wantedSet{name: peerSet(tunnelPort, fam), references: peerReferences}
				sh(t, strings.NewReplacer("IPT", fam.program(), "SET", set.name).Replace(damage))
				await(t, damage+" becomes visible", func() bool {
					fault, err := f.setFault(set)
					return err != nil || fault != ""
				})
				guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
				wantGuard(t, f, want, tunnelNodes())
			}
		}
		t.Setenv("PATH", "/nonexistent")
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), false)
		t.Logf("%d damages in two families", len(damages))
	})
}

// wantGuard compares rules and members with what they should be.
func wantGuard(t *testing.T, f *Firewall, want string, nodes []netip.Addr) {
	t.Helper()
	if got := rules(t, f); got != want {
		t.Fatalf("the guard is:\n%s\nwant:\n%s", got, want)
	}
	for _, fam := range []family{ipv4, ipv6} {
		var members []netip.Prefix
		for _, a := range nodes {
			if familyOf(a) == fam {
				members = append(members, single(a))
			}
		}
		wantMembers(t, f, peerSet(tunnelPort, fam), members)
	}
}

// Nodes come and go without a program being started.
func TestTunnelNodesChange(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		all := tunnelNodes()
		guardTunnel(t, f, n.StateDir, tunnelPort, all, true)
		want, path := rules(t, f), os.Getenv("PATH")
		lists := [][]netip.Addr{{all[0], all[3]}, {all[1], all[4]}, all, {all[0], all[1], all[5]}}
		for _, nodes := range lists {
			t.Setenv("PATH", "/nonexistent")
			guardTunnel(t, f, n.StateDir, tunnelPort, nodes, true)
			mapped := append(slices.Clone(nodes), netip.AddrFrom16(nodes[0].As16()), netip.Addr{}, nodes[1].WithZone("eth0"))
			guardTunnel(t, f, n.StateDir, tunnelPort, mapped, false)
			t.Setenv("PATH", path)
			wantGuard(t, f, want, nodes)
		}
		for _, set := range []string{peerSet(tunnelPort, ipv4), peerSet(tunnelPort, ipv6)} {
			sh(t, "ipset flush "+set)
		}
		guardTunnel(t, f, n.StateDir, tunnelPort, all, true)
		wantGuard(t, f, want, all)

		guardTunnel(t, f, n.StateDir, tunnelPort, all[:3], true)
		if got := rules(t, f); strings.Contains(got, "ip6tables") || !strings.Contains(got, peerSet(tunnelPort, ipv4)) || strings.Contains(got, peerSet(tunnelPort, ipv6)) {
			t.Errorf("without an IPv6 address:\n%s", got)
		}
		guardTunnel(t, f, n.StateDir, tunnelPort, all[:3], false)
		t.Setenv("PATH", withoutIPv6(t, path)) // which nobody needs any more
		must(t, f.UnguardTunnel(n.StateDir))
		t.Setenv("PATH", path)
		if got := rules(t, f); got != "" {
			t.Errorf("after UnguardTunnel:\n%s", got)
		}
		if _, err := f.GuardTunnel(n.StateDir, 0, all); err == nil {
			t.Error("GuardTunnel of port 0: no error")
		}
		t.Logf("%d lists", len(lists)+1)
	})
}

// withoutIPv6 gives a folder with the IPv4 programs of path only.
func withoutIPv6(t *testing.T, path string) string {
	t.Helper()
	dir, first := t.TempDir(), strings.Split(path, ":")[0]
	for _, name := range []string{"iptables", "iptables-restore", "iptables-save"} {
		file, err := filepath.EvalSymlinks(filepath.Join(first, name))
		must(t, err)
		// The program goes by the name it is called with.
		must(t, os.Symlink(file, filepath.Join(dir, name)))
	}
	return dir
}

// Another port is another guard, in one restore for each family.
func TestTunnelPortChanges(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		first := rules(t, f)
		restores := 0
		f.step = func(name string) {
			if name == "restore" {
				restores++
			}
		}
		guardTunnel(t, f, n.StateDir, 8472, tunnelNodes(), true)
		if want := strings.ReplaceAll(first, "4789", "8472"); rules(t, f) != want {
			t.Errorf("with another port:\n%s\nwant:\n%s", rules(t, f), want)
		}
		guardTunnel(t, f, n.StateDir, 8472, tunnelNodes(), false)
		if restores != 2 {
			t.Errorf("%d restores, want 2", restores)
		}
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		wantGuard(t, f, first, tunnelNodes())
	})
}

// The guard and the rules of networks know nothing of each other, in whatever order
// they come, are repaired and go.
func TestTunnelBesideNetworks(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		sh(t, "ipset destroy vnet-podsy-4") // which would keep the record of the backend
		clean := rules(t, f)
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		alone := rules(t, f)
		n, _ = judged(n, 1, 3)
		ensure(t, f, n)
		both := rules(t, f)
		if got := tunnelRules(both); !slices.Equal(got, tunnelRules(alone)) {
			t.Errorf("after Ensure:\n%s\nwant:\n%s", got, tunnelRules(alone))
		}
		sh(t, "iptables -w -t mangle -F FORWARD && ip6tables -w -t mangle -F INPUT")
		for i, set := range []wantedSet{{name: judgedSet(ipv6), references: 3}, {name: entrySet(ipv4), references: 2},
			{name: peerSet(tunnelPort, ipv4), references: peerReferences}, {name: peerSet(tunnelPort, ipv6), references: peerReferences}} {
			await(t, fmt.Sprint("flush ", i, " becomes visible"), func() bool {
				fault, err := f.setFault(set)
				return err != nil || fault != ""
			})
		}
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		ensure(t, f, n)
		if got := rules(t, f); got != both {
			t.Errorf("after repairs:\n%s\nwant:\n%s", got, both)
		}

		leave(t, f, n)
		must(t, f.Remove(n.StateDir, n.Name))
		wantGuard(t, f, alone, tunnelNodes())
		wantPresent(t, f, "", false)
		wantRecord(t, n.StateDir, true)
		ensure(t, f, n)
		must(t, f.UnguardTunnel(n.StateDir))
		wantSound(t, f, n)
		if got := tunnelRules(rules(t, f)); len(got) > 0 {
			t.Errorf("after UnguardTunnel: %q", got)
		}
		wantRecord(t, n.StateDir, true)
		leave(t, f, n)
		must(t, f.Remove(n.StateDir, n.Name))
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		must(t, f.UnguardTunnel(n.StateDir))
		wantRecord(t, n.StateDir, false)
		if got := rules(t, f); got != clean {
			t.Errorf("after everything:\n%s\nwant:\n%s", got, clean)
		}
		t.Setenv("PATH", "/nonexistent")
		must(t, f.UnguardTunnel(n.StateDir))
	})
}

func tunnelRules(all string) []string {
	return slices.DeleteFunc(strings.Split(all, "\n"), func(line string) bool { return !strings.Contains(line, peerSetStart) })
}

func wantRecord(t *testing.T, stateDir string, want bool) {
	t.Helper()
	_, err := os.Stat(filepath.Join(stateDir, backendFile))
	if is := err == nil; is != want || err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record of the backend: %v; want it there: %t", err, want)
	}
}

// A process that is killed while it guards or ends that leaves nothing that the next
// one does not put right.
func TestTunnelGuardKilled(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		clean := rules(t, f)
		guard := helper{StateDir: n.StateDir, Tunnel: true}
		end := helper{StateDir: n.StateDir, Tunnel: true, Remove: true}
		guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		want := rules(t, f)
		kills := 0
		for step := 1; end.diesAt(t, step); step++ {
			kills++
			_, err := f.GuardTunnel(n.StateDir, tunnelPort, tunnelNodes())
			must(t, err)
			wantGuard(t, f, want, tunnelNodes())
			end.diesAt(t, step)
			must(t, f.UnguardTunnel(n.StateDir))
			if got := rules(t, f); got != clean {
				t.Fatalf("end killed at step %d, then UnguardTunnel:\n%s", step, got)
			}
			guardTunnel(t, f, n.StateDir, tunnelPort, tunnelNodes(), true)
		}
		must(t, f.UnguardTunnel(n.StateDir))
		for step := 1; guard.diesAt(t, step); step++ {
			kills++
			_, err := f.GuardTunnel(n.StateDir, tunnelPort, tunnelNodes())
			must(t, err)
			wantGuard(t, f, want, tunnelNodes())
			must(t, f.UnguardTunnel(n.StateDir))
			guard.diesAt(t, step)
			must(t, f.UnguardTunnel(n.StateDir))
			if got := rules(t, f); got != clean {
				t.Fatalf("guard killed at step %d, then UnguardTunnel:\n%s", step, got)
			}
		}
		must(t, f.UnguardTunnel(n.StateDir))
		if kills < 8 {
			t.Errorf("%d kills only", kills)
		}
		t.Logf("%d kills", kills)
	})
}
