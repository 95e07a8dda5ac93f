package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A network of IPv6 only: its pods' IPv4 sources are guarded all the same, and
// nothing of IPv4 is masqueraded.
func TestIPv6NetworkGuardsIPv4(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		n.IPv4 = false
		clean := rules(t, f)
		pod := twoPods(t)
		ensure(t, f, n)
		wantSound(t, f, n)
		if got := rules(t, f); strings.Contains(got, "vnet-masq-"+n.Name+"-4") || !strings.Contains(got, "vnet-masq-"+n.Name+"-6") {
			t.Errorf("masquerade of the wrong family:\n%s", got)
		}
		forged, node := netip.MustParseAddr("10.9.0.4"), netip.MustParseAddr("169.254.1.1")
		addRoute(t, netlinkHere(t), "vnetone", pod4)
		addRoute(t, netlinkHere(t), "vnetone", forged)
		if err := f.AddPod(n, podOf(pod6)); err != nil {
			t.Fatal(err)
		}
		addRoute(t, netlinkHere(t), "vnetone", pod6)
		received := listen(t, node)
		pod.send(t, forged, node, forged.String())
		if err := f.AddPod(n, podOf(netip.MustParseAddr("10.9.0.3"))); err == nil {
			t.Error("AddPod of a masqueraded IPv4 pod of an IPv6 network: no error")
		}
		must(t, f.sets.add("vnet-pods-4", single(pod4)))
		pod.send(t, pod4, node, pod4.String())
		if got := received(); got != pod4.String() {
			t.Errorf("the first IPv4 packet that came through is %q, want that after the lease", got)
		}
		must(t, f.sets.remove("vnet-pods-4", single(pod4)))
		must(t, f.sets.remove("vnet-pods-4", single(netip.MustParseAddr("10.9.0.3"))))

		// The guard stays as long as any pod, of whatever network, is there.
		must(t, f.Remove(n.StateDir, "another"))
		wantSound(t, f, n, pod6)
		must(t, f.RemovePod(n.Name, podOf(pod6)))
		must(t, f.Remove(n.StateDir, n.Name))
		if got := rules(t, f); got != clean {
			t.Errorf("after Remove:\n%s\nwant:\n%s", got, clean)
		}
	})
}

// Somebody clears the firewall of a node with two networks, and one of them
// comes first to heal it: the other's pods are in the shared sets again.
func TestHealingServesEveryNetwork(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		other4, other6 := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2")
		own := []netip.Addr{pod4, pod6}
		n.Pods = func() ([]netip.Addr, error) { return own, nil }
		n.NodePods = func() ([]netip.Addr, error) { return []netip.Addr{pod4, pod6, other4, other6}, nil }
		other := n
		other.Masquerade = false
		heals := 0
		for _, pods := range []func() ([]netip.Addr, error){n.NodePods, nil} {
			n.NodePods = pods
			ensure(t, f, n)
			for _, a := range []netip.Addr{other4, other6} {
				set := familyOf(a).podSet()
				in, err := f.sets.contains(set, single(a))
				if err != nil || in != (pods != nil) {
					t.Errorf("with NodePods %t, %s in %s: %t, %v", pods != nil, a, set, in, err)
				}
				in, err = f.sets.contains(masqSet(n.Name, familyOf(a)), single(a))
				if err != nil || in {
					t.Errorf("%s of another network is masqueraded: %t, %v", a, in, err)
				}
			}
			wantSound(t, f, n, own...)
			heals++
			clearFirewall(t, f)
		}
		t.Logf("%d heals", heals)
	})
}

// clearFirewall does what people do to a firewall: it leaves our chains empty.
func clearFirewall(t *testing.T, f *Firewall) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"raw", "filter", "nat"} {
			sh(t, program+" -w -t "+table+" -F")
		}
	}
	names, err := f.sets.names()
	must(t, err)
	for _, name := range names {
		must(t, f.destroyUnused(name))
	}
}

// After somebody cleared everything but our empty chains, Remove takes these.
func TestRemoveEmptyChains(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		clean := rules(t, f)
		ensure(t, f, n)
		wantPresent(t, f, n.Name, true)
		wantPresent(t, f, "", true)
		wantPresent(t, f, "another", false)
		clearFirewall(t, f)
		if got := rules(t, f); !strings.Contains(got, masqChain(n.Name)) || !strings.Contains(got, guardChain) {
			t.Fatalf("no empty chains to remove:\n%s", got)
		}
		for _, name := range []string{n.Name, ""} {
			wantPresent(t, f, name, false)
		}
		must(t, f.Remove(n.StateDir, n.Name))
		if got := rules(t, f); got != clean {
			t.Errorf("after Remove:\n%s\nwant:\n%s", got, clean)
		}
		t.Setenv("PATH", "/nonexistent") // nothing is recorded any more: no program is needed
		must(t, f.Remove(n.StateDir, n.Name))
	})
}

func wantPresent(t *testing.T, f *Firewall, network string, want bool) {
	t.Helper()
	if got, err := f.Present(network); err != nil || got != want {
		t.Errorf("Present(%q): %t, %v; want %t", network, got, err, want)
	}
}

// Each fault is told once, and a pod's exceptions may be the former ones, but
// not none.
func TestProblems(t *testing.T) {
	eachBackend(t, func(t *testing.T, f *Firewall, n Network) {
		ensure(t, f, n)
		pods := []netip.Addr{pod4, pod6}
		problems, err := f.Problems(n, podOf(pods...))
		slices.Sort(problems)
		if err != nil || len(problems) != 4 || len(slices.Compact(problems)) != 4 {
			t.Errorf("Problems of two addresses that nobody added: %q, %v; want 4", problems, err)
		}
		for _, a := range pods {
			must(t, f.AddPod(n, podOf(a)))
		}
		older := n
		older.Except = append(slices.Clone(n.Except), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"))
		wantSound(t, f, older, pods...)
		if got, err := f.faults(older, f.setFault); err != nil || len(got) != 2 {
			t.Errorf("what Ensure finds wrong with other exceptions: %q, %v; want 2", got, err)
		}
		sh(t, "iptables -w -t nat -F "+masqChain(n.Name))
		await(t, "the flush becomes visible", func() bool {
			problems, err = f.Problems(older, podOf(pods...))
			return err != nil || len(problems) > 0
		})
		if err != nil || len(problems) != 1 {
			t.Errorf("without the rule for exceptions: %q, %v; want 1", problems, err)
		}
	})
}
