package attachment

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/members"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

func (s *site) sync(list ...members.Member) bool {
	s.t.Helper()
	changed, err := s.node.SyncMembers(s.state, siteNetwork, list)
	must(s.t, err)
	return changed
}

// inSets counts the sets with the address.
func (s *site) inSets(addr string) int {
	return strings.Count(testhost.Sh(s.t, "ipset save")+"\n", " "+addr+"\n")
}

// What an agent does: members come and go, and the rules of their groups follow.
func TestSyncMembersAndEnforce(t *testing.T) {
	s := newSite(t)
	own := s.sets()
	far := members.Member{Addrs: addrs("10.241.5.1", "fd00::1"), Group: "api", ASGs: []string{"x", "y"}}
	foreign := members.Member{Addrs: []netip.Addr{s.addr}, Group: "api"}
	unknown := members.Member{Addrs: addrs("10.241.5.2"), Group: "nobody's"}
	if !s.sync(far, foreign, unknown) || s.sync(unknown, far, foreign) {
		t.Error("changed once, and then not")
	}
	// far, network, whoever has a group, the group, and two application security groups
	if got := []int{s.inSets("10.241.5.1"), s.inSets("fd00::1"), s.inSets("10.241.5.2")}; !slices.Equal(got, []int{6, 6, 4}) {
		t.Errorf("pods of other nodes are in %d sets, want 6, 6 and 4", got)
	}
	if s.sets() != own {
		t.Errorf("an address that is leased here is in %s, want %s", s.sets(), own)
	}
	if done := s.enforce(); done.Changed || len(done.Repaired) == 0 || done.Rejected != "" {
		t.Errorf("a group that is new here: %+v", done)
	}
	view, err := policy.InForce(s.state, siteNetwork)
	must(t, err)
	if !slices.Equal(view.Used(), []string{"api", "web"}) {
		t.Errorf("in force: %q", view.Used())
	}
	t.Run("nothing to do", func(t *testing.T) {
		t.Setenv("PATH", "/nonexistent")
		if done := s.enforce(); done.Changed || len(done.Repaired) > 0 {
			t.Errorf("again: %+v", done)
		}
	})
	for _, damage := range []string{"ipset flush", "iptables -w -t mangle -F VNET-FORWARD"} {
		testhost.Sh(t, damage)
		await(t, damage+" becomes visible", func() bool { // the kernel lets go of a set a moment later
			problems, err := s.node.Firewall.Problems(s.judged(), pods(t, s)...)
			return err != nil || len(problems) > 0
		})
		if done := s.enforce(); len(done.Repaired) == 0 {
			t.Errorf("after %s: nothing repaired", damage)
		}
		if s.sets() != own || s.inSets("10.241.5.1") != 6 {
			t.Errorf("after %s: in %s, and a pod of another node in %d sets", damage, s.sets(), s.inSets("10.241.5.1"))
		}
	}
	s.sync(far)
	if got := []int{s.inSets("10.241.5.1"), s.inSets("10.241.5.2")}; !slices.Equal(got, []int{6, 0}) {
		t.Errorf("pods of other nodes are in %d sets, want 6 and 0", got)
	}
	s.remove()
	s.sync()
	must(t, s.node.Firewall.Remove(s.state, siteNetwork))
	if left := testhost.Sh(t, "ipset list -n"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// judged is the network with what judges its pods, as Enforce looks at it.
func (s *site) judged() firewall.Network {
	s.t.Helper()
	rules, err := policy.Reopen(s.state, siteNetwork, Pods(s.state, siteNetwork))
	must(s.t, err)
	n := s.want
	n.Judging = rules.Judging(pods(s.t, s)...)
	return n
}

func pods(t *testing.T, s *site) []firewall.Pod {
	t.Helper()
	list, err := Pods(s.state, siteNetwork)()
	must(t, err)
	return list
}

// With a broken file nobody makes rules, and nobody takes away what is there; the next
// list mends it.
func TestBrokenMembers(t *testing.T) {
	s := newSite(t)
	far := members.Member{Addrs: addrs("10.241.5.1"), ASGs: []string{"x"}}
	s.sync(far)
	file := filepath.Join(s.state, siteNetwork+".members")
	must(t, os.WriteFile(file, []byte("noise"), 0o600))
	if _, err := s.node.Enforce(s.want, s.config, false, nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a broken file: %v; want an error that names it", err)
	}
	if got := s.inSets("10.241.5.1"); got != 3 {
		t.Errorf("with a broken file a pod of another node is in %d sets, want 3", got)
	}
	r, _ := s.record()
	n := r.Rules(siteNetwork, s.state, []netip.Addr{s.addr})
	must(t, s.node.Firewall.Ensure(n)) // as an ADD does: the rules are whole
	must(t, s.node.Firewall.AddPod(n, r.FilterPod(s.addr)))
	if !s.sync(far) {
		t.Error("the file is not replaced")
	}
	if done := s.enforce(); len(done.Repaired) > 0 {
		t.Errorf("after the repair of the file: %+v", done)
	}
}

// Killed between the file and the sets, the next sync makes the sets right, also when
// the list is the same.
func TestSyncMembersKilled(t *testing.T) {
	s := newSite(t)
	one, two := members.Member{Addrs: addrs("10.241.5.1")}, members.Member{Addrs: addrs("10.241.5.2")}
	s.sync(one)
	if !s.dies(1, func() { s.sync(two) }) || s.inSets("10.241.5.1") != 2 {
		t.Fatal("not killed before the sets changed")
	}
	s.enforce() // whoever else is there makes it no worse
	if s.sync(two) || s.inSets("10.241.5.1") != 0 || s.inSets("10.241.5.2") != 2 {
		t.Errorf("after the next sync in %d and %d sets, want 0 and 2", s.inSets("10.241.5.1"), s.inSets("10.241.5.2"))
	}
}
