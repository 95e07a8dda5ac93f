package collect

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

const grace = 5 * time.Minute

// orphans are what two looks at the network find, a grace apart.
func (n testNode) orphans(network string, alive ...string) []Attachment {
	n.Helper()
	o, now := NewOrphans(grace), time.Now()
	if early := o.Look(now, n.list(network), known(alive...)); len(early) != 0 {
		n.Errorf("found at the first look: %+v", early)
	}
	return o.Look(now.Add(grace), n.list(network), known(alive...))
}

// A pod that the runtime does not know goes, though its namespace lives; others
// are not touched.
func TestOrphanIsRemoved(t *testing.T) {
	t.Parallel()
	n := newTestNode(t)
	for _, id := range []string{"known", "unknown", "renewed", "deleted"} {
		n.add(network, id)
	}
	n.add("other", "another")
	_, before := n.sets()
	orphans := n.orphans(network, "known")
	if len(orphans) != 3 {
		t.Fatalf("orphans %+v", orphans)
	}
	dry := n.remove(Options{DryRun: true, Keep: []string{network}}, orphans)
	if !dry.DryRun || len(dry.Removed) != 3 || len(dry.Kept) != 0 || !n.hasLink(network, "unknown") {
		t.Errorf("dry run: %+v", dry)
	}
	l, _ := n.lease(network, "renewed")
	l.Since = l.Since.Add(time.Second)
	must(t, attachment.Store(n.dir, network).Record(l))
	deleted, _ := n.lease(network, "deleted")
	must(t, Detach(n.Node.Node, n.dir, "", network, deleted))

	r := n.remove(Options{Keep: []string{network}}, orphans)
	if got, want := words(r.Removed), "lease col unknown: "+unknownContainer+"\n"; got != want {
		t.Errorf("removed %s, want %s", got, want)
	}
	if got, want := words(r.Kept), "lease col renewed: "+ChangedMeanwhile+"\n"; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	if _, found := n.lease(network, "unknown"); found || n.hasLink(network, "unknown") {
		t.Error("the orphan has a lease or a link")
	}
	if _, after := n.sets(); after >= before {
		t.Errorf("%d members of sets, %d before", after, before)
	}
	for _, of := range [][2]string{{network, "known"}, {network, "renewed"}, {"other", "another"}} {
		if problems := n.problems(of[0], of[1]); len(problems) != 0 {
			t.Errorf("%s: %q", of[1], problems)
		}
	}
	t.Logf("%d orphans", len(orphans))
}

// A host veth whose lease was lost goes, and one that got a lease stays.
func TestOrphanWithoutLease(t *testing.T) {
	t.Parallel()
	n := newTestNode(t)
	for _, id := range []string{"lost", "anew", "known"} {
		n.add(network, id)
	}
	must(t, os.Remove(filepath.Join(n.dir, network+".db")))
	orphans := n.orphans(network, "known")
	if len(orphans) != 2 || orphans[0].Link == nil {
		t.Fatalf("orphans %+v", orphans)
	}
	pool, err := ipam.ParsePool("10.242.0.0/24", nil)
	must(t, err)
	store := ipam.New(ipam.Options{Dir: n.dir, Network: network})
	_, _, err = store.Acquire(ipam.Request{Key: key("anew"), Pools: []ipam.Pool{pool}})
	must(t, err)
	r := n.remove(Options{Keep: []string{network}}, orphans)
	if got, want := words(r.Removed), "link col lost: no lease, and "+unknownContainer+"\n"; got != want {
		t.Errorf("removed %s, want %s", got, want)
	}
	if len(r.Kept) != 1 || r.Kept[0].Reason != ChangedMeanwhile {
		t.Errorf("kept %s", words(r.Kept))
	}
	if n.hasLink(network, "lost") || !n.hasLink(network, "known") || !n.hasLink(network, "anew") {
		t.Error("the wrong links are gone")
	}
	t.Logf("%d orphans", len(orphans))
}

// Rules of networks without leases go, except those that somebody keeps.
func TestRulesAreKept(t *testing.T) {
	t.Parallel()
	n := newTestNode(t)
	n.add(network, "gone")
	n.add("old", "gone")
	all := append(n.orphans(network), n.orphans("old")...)
	r := n.remove(Options{Keep: []string{network, "old"}}, all)
	if len(r.Removed) != 2 || len(r.Kept) != 0 {
		t.Errorf("removed %s; kept %s", words(r.Removed), words(r.Kept))
	}
	present := func(want map[string]bool) {
		t.Helper()
		for of, want := range want {
			if present, err := n.Firewall.Present(of); err != nil || present != want {
				t.Errorf("rules of %q: %v, %v; want %v", of, present, err, want)
			}
		}
	}
	present(map[string]bool{network: true, "old": true, shared: true})
	n.add(network, "pod")
	steps := []struct {
		keep []string
		want string
	}{
		{[]string{network, "old"}, ""},
		{[]string{network}, "rules old : the network has no lease\n"},
		{nil, ""},
	}
	for _, s := range steps {
		r := n.remove(Options{Keep: s.keep}, nil)
		if got := words(r.Removed); got != s.want || len(r.Kept) != 0 {
			t.Errorf("keeping %q: removed %s, want %s; kept %s", s.keep, got, s.want, words(r.Kept))
		}
	}
	present(map[string]bool{network: true, "old": false, shared: true})
	if problems := n.problems(network, "pod"); len(problems) != 0 {
		t.Errorf("pod: %q", problems)
	}
	r = n.remove(Options{}, n.orphans(network))
	if got, want := words(r.Removed), "lease col pod: "+unknownContainer+"\nrules col : the network has no lease\nrules  : no network has a lease\n"; got != want {
		t.Errorf("removed %s, want %s", got, want)
	}
	if sets, _ := n.sets(); sets != 0 {
		t.Errorf("%d sets are left", sets)
	}
	t.Logf("%d attachments", len(all))
}

// Without orphans nothing happens, as when a runtime did not answer; and leases
// of other main plugins are nobody's orphans.
func TestNothingToRemove(t *testing.T) {
	t.Parallel()
	n := newTestNode(t)
	n.add(network, "pod")
	pool, err := ipam.ParsePool("10.243.0.0/24", nil)
	must(t, err)
	_, _, err = ipam.New(ipam.Options{Dir: n.dir, Network: "bridge"}).Acquire(ipam.Request{Key: key("bridged"), Pools: []ipam.Pool{pool}})
	must(t, err)
	orphans := n.orphans("")
	if len(orphans) != 1 || orphans[0].Lease.ContainerID != "pod" {
		t.Errorf("orphans of all networks: %+v", orphans)
	}
	foreign, _ := n.lease("bridge", "bridged")
	for _, list := range [][]Attachment{nil, {{Network: "bridge", Lease: foreign}}, {{Network: network, Lease: ipam.Lease{Key: key("nobody")}}}} {
		if r := n.remove(Options{}, list); len(r.Removed)+len(r.Kept) != 0 || r.Removed == nil || r.Kept == nil {
			t.Errorf("%+v: %+v", list, r)
		}
	}
	if problems := n.problems(network, "pod"); len(problems) != 0 {
		t.Errorf("pod: %q", problems)
	}
	t.Log("3 lists")
}

// While a pod is judged, the runtime may take it down and attach a container of
// the same name: that one's lease is not the judged one.
func TestLeaseThatChangedIsKept(t *testing.T) {
	t.Parallel()
	n := newTestNode(t)
	record, err := attachment.Record{HostVeth: "vnet1", Sandbox: "/run/netns/collect-no"}.Encode()
	must(t, err)
	pool, err := ipam.ParsePool("10.241.0.0/24", nil)
	must(t, err)
	store := attachment.Store(n.dir, network)
	acquire := func() ipam.Lease {
		l, _, err := store.Acquire(ipam.Request{Key: key("anew"), Pools: []ipam.Pool{pool}, Cooldown: time.Hour, Attachment: record})
		must(t, err)
		return l
	}
	judged := acquire()
	_, _, err = store.Release(key("anew"))
	must(t, err)
	now := acquire()
	c, err := begin(n.Node.Node, Options{StateDir: n.dir})
	must(t, err)
	must(t, c.judge(n.Node, network, judged))
	if _, found := n.lease(network, "anew"); !found || len(c.report.Removed) != 0 || len(c.report.Kept) != 1 || c.report.Kept[0].Reason != ChangedMeanwhile {
		t.Errorf("a lease that changed: found %v, %+v", found, c.report)
	}
	must(t, c.judge(n.Node, network, now))
	if _, found := n.lease(network, "anew"); found || len(c.report.Removed) != 1 {
		t.Errorf("a lease that did not change: found %v, %+v", found, c.report)
	}
	if !slices.Equal(judged.Attachment, now.Attachment) || slices.Equal(judged.Addresses, now.Addresses) {
		t.Errorf("the leases differ in more than their addresses: %+v, %+v", judged, now)
	}
	t.Log("2 leases")
}
