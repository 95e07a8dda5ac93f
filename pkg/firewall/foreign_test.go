package firewall

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// foreignNetwork is a judged network of another main plugin's pods, and one of them.
func foreignNetwork(n Network, name string, seed uint64) (Network, *Policies) {
	n.Name, n.Foreign = name, true
	n, p := judged(n, seed, 40)
	p.Pods[0].Addrs = []netip.Addr{netip.MustParseAddr("10.244.0.9"), netip.MustParseAddr("fd00:10:244::9")}
	p.Pods[0].Foreign, p.Pods[0].Devices = true, []string{"cni0"}
	return n, p
}

const goldenForeign = `*mangle
-I FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -m set --match-set vnet-foreign-6 dst -m comment --comment vnet-cni-foreign -j VNET-FOREIGN-IN
-I FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -m set --match-set vnet-foreign-6 src -m comment --comment vnet-cni-foreign -j VNET-FOREIGN-OUT
-I INPUT -m conntrack ! --ctstate RELATED,ESTABLISHED -m set --match-set vnet-foreign-6 src -m comment --comment vnet-cni-foreign -j VNET-FOREIGN-OUT
COMMIT
`

func TestGoldenForeign(t *testing.T) {
	p := table{name: "mangle", entries: foreignEntries(ipv6)}
	if got := p.render(make([][]string, len(p.entries))); got != goldenForeign {
		t.Errorf("%s\nwant:\n%s", got, goldenForeign)
	}
	n := Network{Name: "pods", Foreign: true, IPv6: true, Masquerade: true}
	if got := tables(n, ipv6); len(got) != 0 || len(n.families()) != 1 || n.masquerades(ipv6) {
		t.Errorf("what is done besides: %v in %v", got, n.families())
	}
	between := map[nsg.Direction]string{
		nsg.Outbound: "[-o vnet+ -m set --match-set vnet-near-4 dst,dst]",
		nsg.Inbound:  "[-i vnet+ -m set --match-set vnet-near-4 src,src]",
	}
	for d, want := range between {
		if got := fmt.Sprint(foreignPods.betweenPods(ipv4, d)); got != want {
			t.Errorf("between pods: %s, want %s", got, want)
		}
	}
	t.Log("1 text, 2 matches")
}

// Networks of both kinds come and go in any order: neither changes anything of the
// other's, and nothing is left.
func TestForeignBesideOwn(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		before := rules(t, f)
		own, ownPods := judged(n, 1, 40)
		other, otherPods := foreignNetwork(n, n.Name+"+nsg", 2)
		third, thirdPods := foreignNetwork(n, "third", 3)
		add := func(n Network, p *Policies) {
			ensure(t, f, n)
			must(t, f.AddPod(n, p.Pods[0]))
			ensure(t, f, n)
			if problems, err := f.Problems(n, p.Pods...); err != nil || len(problems) > 0 {
				t.Errorf("Problems of %s: %q, %v; want none", n.Name, problems, err)
			}
		}
		remove := func(n Network, p *Policies) {
			must(t, f.RemovePod(n.Name, p.Pods[0]))
			must(t, f.Remove(n.StateDir, n.Name))
		}
		add(other, otherPods)
		alone := rules(t, f)
		if strings.Contains(alone, "vnet+") || strings.Contains(alone, "vnet-pods") {
			t.Errorf("without pods of ours there are rules for them:\n%s", alone)
		}
		add(own, ownPods)
		must(t, f.RemovePod(other.Name, otherPods.Pods[0]))
		must(t, f.Remove(other.StateDir, other.Name))
		onlyOwn := rules(t, f)
		if strings.Contains(strings.ToLower(onlyOwn), "foreign") {
			t.Errorf("without foreign pods there are rules for them:\n%s", onlyOwn)
		}
		add(other, otherPods)
		add(third, thirdPods)
		remove(third, thirdPods)
		remove(own, ownPods)
		if got := rules(t, f); sorted(got) != sorted(alone) {
			t.Errorf("after the others went:\n%s\nwant:\n%s", got, alone)
		}
		for _, fam := range []family{ipv4, ipv6} {
			await(t, fmt.Sprintf("ipset %s is used by %d rules", foreignSet(fam), foreignReferences), func() bool {
				h, err := f.sets.header(foreignSet(fam))
				must(t, err)
				return h.references == foreignReferences // others let go of it in the kernel's own time
			})
		}
		remove(other, otherPods)
		if got := rules(t, f); got != before {
			t.Errorf("after all went:\n%s\nwant:\n%s", got, before)
		}
		t.Log("3 networks of 2 kinds")
	})
}

// Whatever of the rules for foreign pods is flushed, Problems tells and Ensure repairs.
func TestForeignHeals(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n, p := foreignNetwork(n, n.Name, 1)
		p.SameNodeFree = true
		ensure(t, f, n)
		must(t, f.AddPod(n, p.Pods[0]))
		want := rules(t, f)
		damages := []string{"-F FORWARD", "-F INPUT", "-F " + foreignOutChain, "-F " + foreignInChain}
		for _, program := range []string{"iptables", "ip6tables"} {
			for _, damage := range damages {
				sh(t, program+" -w -t mangle "+damage)
				await(t, "notice "+program+" "+damage, func() bool {
					problems, err := f.Problems(n, p.Pods...)
					return err == nil && len(problems) > 0
				})
				ensure(t, f, n)
				if got := rules(t, f); sorted(got) != sorted(want) {
					t.Fatalf("after %s %s and Ensure:\n%s\nwant:\n%s", program, damage, got, want)
				}
			}
		}
		sh(t, "ipset flush "+nearSet(ipv4))
		problems, err := f.Problems(n, p.Pods...)
		if err != nil || len(problems) != 1 || !strings.Contains(problems[0], "cni0") {
			t.Errorf("Problems without the devices: %q, %v", problems, err)
		}
		t.Logf("%d damages", 2*len(damages)+1)
	})
}

// A pod behind another device leaves the old one, and one whose devices nobody knows
// leaves all.
func TestForeignDevices(t *testing.T) {
	f := inNamespace(t)
	a := netip.MustParseAddr("10.244.0.9")
	must(t, f.makeMemberSets(Network{Name: "pods", Foreign: true}, &Policies{}, ipv4))
	n := Network{Name: "pods", Foreign: true, Judging: &Judging{}}
	p := Pod{Addrs: []netip.Addr{a}, Foreign: true, Devices: []string{"cni0", "veth1"}}
	wantDevices := func(when string, want ...string) {
		t.Helper()
		got, err := f.sets.devices(nearSet(ipv4), a)
		must(t, err)
		if len(got) != len(want) {
			t.Errorf("%s: on %q, want %q", when, got, want)
		}
		for _, d := range want {
			if in, err := f.near(a, d); err != nil || !in {
				t.Errorf("%s: not on %s (%v)", when, d, err)
			}
		}
	}
	must(t, f.AddPod(n, p))
	wantDevices("added", "cni0", "veth1")
	must(t, f.Displace(p))
	wantDevices("displaced")
	p.Devices = []string{"veth2"}
	must(t, f.AddPod(n, p))
	wantDevices("added again", "veth2")
	must(t, f.RemovePod(n.Name, Pod{Addrs: p.Addrs, Foreign: true, Lost: true}))
	wantDevices("removed, and nobody knew from where")
	members, err := f.Members(n.Name)
	if err != nil || len(members) != 0 {
		t.Errorf("members are %v, %v; want none", members, err)
	}
	t.Log("4 changes")
}

// Only pods of ours that groups judge count as judged already.
func TestJudges(t *testing.T) {
	f := inNamespace(t)
	a, b, c := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.3")
	if is, err := f.Judges(a); is || err != nil {
		t.Errorf("without any set: %t, %v", is, err)
	}
	for _, n := range []Network{{Name: "own"}, {Name: "foreign", Foreign: true}} {
		must(t, f.makeMemberSets(n, &Policies{Interfaces: map[string]*nsg.Policy{}}, ipv4))
	}
	must(t, f.sets.create(ipv4.podSet(), hashIP, ipv4))
	must(t, f.AddPod(Network{Name: "own", Judging: &Judging{}}, podOf(a)))
	must(t, f.AddPod(Network{Name: "foreign", Foreign: true, Judging: &Judging{}}, Pod{Addrs: []netip.Addr{b}, Foreign: true}))
	must(t, f.AddPod(Network{Name: "plain"}, podOf(c)))
	for addr, want := range map[netip.Addr]bool{a: true, b: false, c: false} {
		if is, err := f.Judges(addr); is != want || err != nil {
			t.Errorf("%s: %t, %v; want %t", addr, is, err, want)
		}
	}
	t.Log("4 questions")
}
