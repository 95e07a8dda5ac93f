package firewall

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

// judged is a network whose subnet and whose interfaces have random groups, and
// one pod of it.
func judged(n Network, seed uint64, rules int) (Network, *Policies) {
	r := rand.New(rand.NewPCG(seed, 3))
	p := &Policies{
		Subnet:     nsgtest.Policy(r, "subnet", rules),
		Interfaces: map[string]*nsg.Policy{"web": nsgtest.Policy(r, "web", rules), "api": nsgtest.Policy(r, "api", rules)},
		Pods:       []Pod{{Addrs: []netip.Addr{pod4, pod6}, Group: "web", ASGs: []string{"web", "db"}}},
	}
	n.Judging = &Judging{Groups: []string{"web"}, Load: func() (*Policies, error) { return p, nil }}
	return n, p
}

// staleOnce has policies that are not in force until they were installed.
func staleOnce(groups []string, p *Policies) *Judging {
	stale := true
	return &Judging{Groups: groups, Stale: func() bool { return stale }, Load: func() (*Policies, error) {
		stale = false
		return p, nil
	}}
}

func TestJudgingInstallsAndLeavesNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		for _, program := range []string{"iptables", "ip6tables"} {
			sh(t, program+" -w -t mangle -A FORWARD -j TTL --ttl-inc 1 2>/dev/null || "+program+" -w -t mangle -A FORWARD -j HL --hl-inc 1")
			sh(t, program+" -w -t mangle -I FORWARD -j ACCEPT; "+program+" -w -t mangle -N VNET-OTHER")
		}
		before := rules(t, f)
		n, p := judged(n, 1, 60)
		ensure(t, f, n)
		must(t, f.AddPod(n, p.Pods[0]))
		if problems, err := f.Problems(n, p.Pods...); err != nil || len(problems) > 0 {
			t.Errorf("Problems: %q, %v; want none", problems, err)
		}
		installed := rules(t, f)
		for _, program := range []string{"iptables", "ip6tables"} {
			if first := chainOf(t, program, "mangle", "FORWARD")[0]; !strings.Contains(first, forwardChain) {
				t.Errorf("%s: mangle FORWARD begins with %s", program, first)
			}
		}
		t.Run("nothing to do", func(t *testing.T) {
			t.Setenv("PATH", "/nonexistent")
			ensure(t, f, n)
			must(t, f.AddPod(n, p.Pods[0]))
			ensure(t, f, n)
		})
		other := n
		other.Name = strings.Repeat("other.", 16)
		ensure(t, f, other)
		both := rules(t, f)
		for range 2 {
			n.Judging = staleOnce(n.Judging.Groups, p)
			ensure(t, f, n)
			if got := rules(t, f); got != both {
				t.Errorf("after a second installation:\n%s\nwant:\n%s", got, both)
			}
		}
		for _, name := range []string{other.Name, n.Name} {
			must(t, f.RemovePod(name, p.Pods[0]))
			if name == n.Name {
				if got := rules(t, f); sorted(got) != sorted(installed) {
					t.Errorf("after Remove of the other network:\n%s\nwant:\n%s", got, installed)
				}
			}
			must(t, f.Remove(n.StateDir, name))
		}
		if got := rules(t, f); got != before {
			t.Errorf("after Remove of everything:\n%s\nwant:\n%s", got, before)
		}
	})
}

func sorted(lines string) string {
	list := strings.Split(lines, "\n")
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func TestJudgingFollowsChanges(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n, first := judged(n, 1, 40)
		ensure(t, f, n)
		want := rules(t, f)
		sizes := []int{3, 200, 0, 40}
		for i, size := range sizes {
			other, p := judged(n, uint64(i)+2, size)
			p.Pods[0].Group = "api"
			delete(p.Interfaces, "web")
			other.Judging = staleOnce([]string{"api"}, p)
			ensure(t, f, other)
			wantSound(t, f, other)
			if got := rules(t, f); strings.Contains(got, groupSet(n.Name, "web", ipv4)) || strings.Contains(got, groupChain(n.Name, "web", nsg.Inbound)) {
				t.Errorf("a group that nobody has is still there:\n%s", got)
			}
		}
		must(t, f.RemovePod(n.Name, Pod{Addrs: first.Pods[0].Addrs, Group: "api", ASGs: first.Pods[0].ASGs}))
		ensure(t, f, n)
		if got := rules(t, f); got != want {
			t.Errorf("after %d changes:\n%s\nwant:\n%s", len(sizes), got, want)
		}
		t.Logf("%d changes", len(sizes))
	})
}
