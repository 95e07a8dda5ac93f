package agent

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

// guarded tells whether the tunnel's port is guarded.
func (r *rig) guarded() bool {
	r.t.Helper()
	return strings.Contains(r.shell("iptables-save", "-t", "mangle"), "vnet-cni-tunnel")
}

func (r *rig) hasTunnel() bool {
	r.t.Helper()
	return strings.Contains(r.shell("ip", "-o", "link"), "vxvnet")
}

// Nobody may send to the tunnel's port while there is a device that takes packets from
// it, also where the agent wants none and fails to remove it.
func TestGuardOutlivesTunnel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.configure("encapsulation: always")
	r.good()
	if !r.guarded() || !r.hasTunnel() {
		t.Fatalf("guarded %t, tunnel %t", r.guarded(), r.hasTunnel())
	}
	r.configure("encapsulation: never\nuplink: vxvnet") // routes cannot be made then
	if err := r.pass(); err == nil || !strings.Contains(err.Error(), "reach the other nodes") {
		t.Fatalf("routing by the tunnel itself: %v", err)
	}
	if !r.hasTunnel() || !r.guarded() {
		t.Errorf("routing failed: tunnel %t, guarded %t", r.hasTunnel(), r.guarded())
	}
	busy := errors.New("busy")
	r.on(func() error {
		node, err := attachment.OpenNode()
		must(t, err)
		defer node.Close()
		p := &pass{Agent: r.Agent, node: node}
		if err := p.endTunnel(func() error { return busy }); !errors.Is(err, busy) {
			t.Errorf("a tunnel that stays: %v", err)
		}
		return nil
	})
	if !r.guarded() {
		t.Error("the guard went before the tunnel")
	}
	r.configure("encapsulation: never")
	r.good()
	if r.hasTunnel() || r.guarded() {
		t.Errorf("in the end: tunnel %t, guarded %t", r.hasTunnel(), r.guarded())
	}
	t.Log("2 ways to fail")
}

// Another port is guarded when the tunnel at the one before is gone, also where no new
// one can be made.
func TestGuardOfAnotherPort(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	guards := func(port string) bool {
		return strings.Contains(r.shell("iptables-save", "-t", "mangle"), "--dport "+port+" ")
	}
	r.configure("encapsulation: always\nvxlan: {port: 4790}")
	r.good()
	if !guards("4790") || !r.hasTunnel() {
		t.Fatalf("guarded %t, tunnel %t", guards("4790"), r.hasTunnel())
	}
	r.configure("encapsulation: always\nvxlan: {port: 4791}\nuplink: vxvnet") // there can be no tunnel then
	if err := r.pass(); err == nil {
		t.Fatal("a tunnel by itself")
	}
	if r.hasTunnel() && !guards("4790") {
		t.Error("the tunnel at the port before is not guarded")
	}
	r.configure("encapsulation: always\nvxlan: {port: 4791}")
	r.good()
	if !guards("4791") || guards("4790") || !r.hasTunnel() {
		t.Errorf("guarded %t, before %t, tunnel %t", guards("4791"), guards("4790"), r.hasTunnel())
	}
	t.Log("2 ports")
}

// A look that cannot find out how the other nodes are reached leaves the pods' MTU as
// the tunnel has it, also where the configuration follows other nodes meanwhile.
func TestMTUOfUnknownWays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.configure("encapsulation: always")
	r.good()
	want := r.vnet().MTU
	if want == 0 {
		t.Fatal("the conflist has no MTU")
	}
	set := "vnet-peers-4789-4"
	for i := range 2 {
		r.shell("sh", "-c", "iptables-save -t mangle | grep -v vnet-cni-tunnel | iptables-restore")
		r.eventually("the kernel lets go of the set", func() bool { // before Linux 6.10 a moment later
			_, err := r.node.Shell("ipset", "destroy", set)
			return err == nil
		})
		r.shell("ipset", "create", set, "hash:net") // the port cannot be guarded then
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 250, byte(i), 0}), 24)
		r.cluster.change(func() { r.cluster.nodes = append(r.cluster.nodes, other("m", byte(10+i), cidr)) })
		if err := r.pass(); err == nil || !strings.Contains(err.Error(), set) {
			t.Errorf("ready says %v", err)
		}
		if p := r.vnet(); p.MTU != want || !contains(p.Masquerade.Except, cidr.String()) && !contains(p.Masquerade.Except, "10.250.0.0/23") {
			t.Errorf("the conflist has MTU %d, want %d, and excepts %v", p.MTU, want, p.Masquerade.Except)
		}
		r.shell("ipset", "destroy", set)
		r.good()
		r.restart()
	}
	t.Log("2 agents")
}
