package firewall

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// watched is a network under groups that somebody looks at again and again.
type watched struct {
	t        *testing.T
	f        *Firewall
	n        Network
	restored int // how often rules were installed
	listed   int // and listed
	mark     int
}

func watch(t *testing.T, f *Firewall, n Network) *watched {
	t.Helper()
	n, p := judged(n, 1, 60)
	w := &watched{t: t, f: f, n: n}
	p.InForce = func([]Count) error { w.mark++; return nil }
	w.n.Judging.Groups, w.n.Judging.Anew, w.n.Judging.Wait = []string{"api", "web"}, true, true
	w.n.Judging.Listing, w.n.Judging.Mark = &Listing{}, func() string { return fmt.Sprint(w.mark) }
	f.step = func(name string) {
		switch name {
		case "restore groups":
			w.restored++
		case "list the rules":
			w.listed++
		}
	}
	return w
}

// look tells whether Ensure installed the rules, and what it found.
func (w *watched) look() (installed bool, drift string) {
	w.t.Helper()
	before := w.restored
	ensure(w.t, w.f, w.n)
	return w.restored > before, strings.Join(w.n.Judging.Listing.Drift, "; ")
}

// chainWith finds a chain of the network's groups with several rules.
func (w *watched) chainWith() string {
	w.t.Helper()
	for line := range strings.Lines(sh(w.t, "iptables-save -t mangle")) {
		if f := strings.Fields(line); f[0] == "-A" && ofGroups(w.n.Name, f[1]) && len(chainOf(w.t, "iptables", "mangle", f[1])) > 1 {
			return f[1]
		}
	}
	w.t.Fatal("no group has a chain with two rules")
	return ""
}

// contentSet finds a set of networks that a rule speaks of.
func (w *watched) contentSet() (name, member string) {
	w.t.Helper()
	for line := range strings.Lines(sh(w.t, "ipset save")) {
		if f := strings.Fields(line); f[0] == "add" && strings.HasPrefix(f[1], contentSets(w.n.Name)) {
			return f[1], f[2]
		}
	}
	w.t.Fatal("no set is of what rules speak of")
	return "", ""
}

// Rules that are as they were are not installed again; whatever somebody changes of
// them is found, told, and as before afterwards.
func TestListingFindsDrift(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		foreign(t)
		w := watch(t, f, n)
		if installed, drift := w.look(); !installed || drift != "" {
			t.Fatalf("the first look: installed %t, drift %q", installed, drift)
		}
		want := rules(t, f)
		group := w.chainWith()
		set, member := w.contentSet()
		outNetwork := ownPods.side(n.Name, nsg.Outbound).network
		rows := []struct{ what, command, drift string }{
			{"nothing", "true", ""},
			{"a rule behind ours", "iptables -w -t mangle -A FORWARD -j MARK --set-mark 1; iptables -w -t mangle -D FORWARD -j MARK --set-mark 1", ""},
			{"a node-wide chain", "iptables -w -t mangle -F " + strayChain, strayChain},
			{"a group's chain", "iptables -w -t mangle -F " + group, group},
			{"a rule in another's place", "iptables -w -t mangle -R " + group + " 1 -j RETURN", group},
			{"a rule more", "ip6tables -w -t mangle -I " + outNetwork + " -j RETURN", "IPv6 chain " + outNetwork},
			{"another order", "iptables -w -t mangle -A " + group + " $(iptables -w -t mangle -S " + group + " 1 2>/dev/null | sed 's/^-A [^ ]* //'); iptables -w -t mangle -D " + group + " 1", group},
			{"a chain of a group more", "iptables -w -t mangle -N " + group + "99", group + "99 was not installed"},
			{"a set that rules speak of", "ipset del " + set + " " + member, "ipset " + set},
		}
		for _, row := range rows {
			sh(t, row.command)
			installed, drift := w.look()
			if installed != (row.drift != "") || !strings.Contains(drift, row.drift) || row.drift == "" && drift != "" {
				t.Errorf("%s: installed %t, drift %q; want %q", row.what, installed, drift, row.drift)
			}
			if got := rules(t, f); got != want {
				t.Errorf("%s: not as before:\n%s\nwant:\n%s", row.what, got, want)
			}
			if installed, drift := w.look(); installed || drift != "" {
				t.Errorf("%s, a look later: installed %t, drift %q", row.what, installed, drift)
			}
		}
		if !strings.Contains(sh(t, "ipset save "+set), " "+member+"\n") {
			t.Error("the set is not whole")
		}
		t.Logf("%d kinds of change", len(rows))
	})
}

// Who looks for the first time at rules that should be there tells what was damaged,
// and not what served groups that are gone.
func TestFirstListingTellsDamage(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		w := watch(t, f, n)
		w.look()
		want := rules(t, f)
		first := func() string {
			t.Helper()
			*w.n.Judging.Listing = Listing{}
			installed, drift := w.look()
			if !installed {
				t.Error("the first look installs nothing")
			}
			return drift
		}
		group := w.chainWith()
		rows := []struct{ what, command, drift string }{
			{"nothing", "true", ""},
			{"a group's chain", "iptables -w -t mangle -F " + group, "IPv4 chain " + group + " is not as it was installed"},
			{"a rule in another's place", "iptables -w -t mangle -R " + group + " 1 -j RETURN", "IPv4 chain " + group + " is not as it was installed"},
			{"a chain of a group more", "iptables -w -t mangle -N " + group + "99", "IPv4 chain " + group + "99 was not installed"},
			{"a rule before ours", "iptables -w -t mangle -I FORWARD -j ACCEPT", "IPv4 chain FORWARD is not as it was installed"},
		}
		for _, row := range rows {
			sh(t, row.command)
			if drift := first(); drift != row.drift {
				t.Errorf("%s: drift %q, want %q", row.what, drift, row.drift)
			}
			sh(t, "iptables -w -t mangle -D FORWARD -j ACCEPT 2>/dev/null || true")
			if got := rules(t, f); got != want {
				t.Errorf("%s: not as before:\n%s\nwant:\n%s", row.what, got, want)
			}
		}
		load := w.n.Judging.Load
		w.n.Judging.Groups = []string{"web"}
		w.n.Judging.Load = func() (*Policies, error) {
			p, err := load()
			delete(p.Interfaces, "api")
			return p, err
		}
		if drift := first(); drift != "" || strings.Contains(rules(t, f), groupChain(n.Name, "api", nsg.Inbound)) {
			t.Errorf("a group without pods: drift %q", drift)
		}
		t.Logf("%d kinds of change", len(rows))
	})
}

// What others decide before our rules is drift; what other networks and the tunnel's
// guard have is not, and what others installed is not, but is looked at once.
func TestListingKnowsWhoseRulesTheyAre(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		w := watch(t, f, n)
		w.look()
		sh(t, "iptables -w -t mangle -I FORWARD -j ACCEPT")
		if installed, drift := w.look(); !installed || drift != "IPv4 chain FORWARD is not as it was installed" {
			t.Errorf("a rule before ours: installed %t, drift %q", installed, drift)
		}
		if first := chainOf(t, "iptables", "mangle", "FORWARD")[0]; !strings.Contains(first, forwardChain) {
			t.Errorf("FORWARD begins with %s", first)
		}
		other := w.n
		other.Name, other.Judging = "other", &Judging{Groups: w.n.Judging.Groups, Load: w.n.Judging.Load}
		w.f.step = func(string) {}
		mark := w.mark
		ensure(t, f, other)
		w.mark = mark
		_, err := f.GuardTunnel(n.StateDir, tunnelPort, tunnelNodes())
		must(t, err)
		again := watch(t, f, n)
		again.n, again.mark = w.n, w.mark
		if installed, drift := again.look(); installed || drift != "" {
			t.Errorf("another network and a tunnel: installed %t, drift %q", installed, drift)
		}
		sh(t, "iptables -w -t mangle -F "+again.chainWith())
		w.mark++
		if installed, drift := again.look(); !installed || drift != "" {
			t.Errorf("others installed rules: installed %t, drift %q", installed, drift)
		}
		if installed, drift := again.look(); installed || drift != "" {
			t.Errorf("a look later: installed %t, drift %q", installed, drift)
		}
	})
}

// What no pod needs any more is removed by a look, and is no drift.
func TestListingLeavesNothingBehind(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		w := watch(t, f, n)
		w.look()
		pod := Pod{Addrs: podOf(pod4).Addrs, ASGs: []string{"rare"}}
		must(t, f.AddPod(w.n, pod))
		if installed, drift := w.look(); installed || drift != "" {
			t.Errorf("a pod came: installed %t, drift %q", installed, drift)
		}
		must(t, f.RemovePod(n.Name, pod))
		load := w.n.Judging.Load
		w.n.Judging.Groups = []string{"web"}
		w.n.Judging.Load = func() (*Policies, error) {
			p, err := load()
			delete(p.Interfaces, "api")
			return p, err
		}
		has := func() []string {
			var left []string
			all := rules(t, f)
			for _, part := range []string{asgSet(n.Name, "rare", ipv4), groupSet(n.Name, "api", ipv4), groupChain(n.Name, "api", nsg.Inbound)} {
				if strings.Contains(all, part) {
					left = append(left, part)
				}
			}
			return left
		}
		if before := has(); len(before) != 3 {
			t.Fatalf("there is only %q to remove", before)
		}
		if installed, drift := w.look(); !installed || drift != "" {
			t.Errorf("a group without pods: installed %t, drift %q", installed, drift)
		}
		if left := has(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		pod.ASGs = slices.Insert(pod.ASGs, 0, "rarer")
		must(t, f.AddPod(w.n, pod))
		must(t, f.RemovePod(n.Name, pod))
		if installed, drift := w.look(); !installed || drift != "" || strings.Contains(rules(t, f), asgSet(n.Name, "rarer", ipv4)) {
			t.Errorf("an application security group without pods: installed %t, drift %q", installed, drift)
		}
	})
}

// Where the kernel counts its transactions nothing is listed while there are none.
func TestListingIsNotRepeated(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		w := watch(t, f, n)
		w.look()
		looks, each := 5, 0
		if backend, _, err := Backend(n.StateDir); err != nil || backend == backendLegacy {
			each = 1
		}
		w.listed = 0
		for range looks {
			w.look()
		}
		if w.listed != each*looks {
			t.Errorf("%d listings in %d looks, want %d", w.listed, looks, each*looks)
		}
		w.listed = 0
		sh(t, "iptables -w -t nat -N ELSEWHERE")
		if installed, drift := w.look(); installed || drift != "" || w.listed != 1 {
			t.Errorf("a change elsewhere: installed %t, drift %q, %d listings", installed, drift, w.listed)
		}
		if w.look(); w.listed != 1+each {
			t.Errorf("%d listings after it", w.listed)
		}
		t.Logf("%d looks", looks+2)
	})
}
