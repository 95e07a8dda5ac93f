package main

import (
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// An installation that was killed leaves sets that no rule refers to.
func TestPartialRulesAreCollected(t *testing.T) {
	n := newTestNode(t)
	unused := lease(t, n.dir, "vctl", ipam.Key{ContainerID: "a", IfName: "eth0"}, nil, 0, mustPool(t, "10.241.0.0/24"))
	if _, _, err := ipam.New(ipam.Options{Dir: n.dir, Network: "vctl"}).Release(unused.Key); err != nil {
		t.Fatal(err)
	}
	states := map[string][]string{
		"the shared set":    {"vnet-pods-4"},
		"the network's set": {"vnet-masq-vctl-4"},
		"IPv6":              {"vnet-pods-6", "vnet-masq-vctl-6"},
	}
	for name, sets := range states {
		for _, set := range sets {
			family := map[byte]string{'4': "inet", '6': "inet6"}[set[len(set)-1]]
			sh(t, "ipset create %s hash:ip family %s", set, family)
		}
		if r := n.gc(); len(r.Removed) != len(sets) || len(r.Kept) != 0 || n.ipsets() != 0 {
			t.Errorf("%s: %+v, %d sets left", name, r, n.ipsets())
		}
	}
	sh(t, "ipset create vnet-pods-4 hash:ip family inet")
	sh(t, "ipset add vnet-pods-4 10.241.0.9")
	if r := n.gc(); len(r.Removed) != 0 || len(r.Kept) != 1 || n.ipsets() != 1 {
		t.Errorf("a set with a member of nobody: %+v", r)
	}
	t.Logf("%d partial states", len(states))
}

func TestUndecodableRecordOfALivingPod(t *testing.T) {
	n := newTestNode(t)
	_, path := testhost.Beside(t, "pod")
	n.add("pod", path)
	store := attachment.Store(n.dir, "vctl")
	l, found, err := store.Get(ipam.Key{ContainerID: "pod", IfName: "eth0"})
	if err != nil || !found {
		t.Fatalf("the pod's lease: %v, %v", found, err)
	}
	l.Attachment = []byte(`{"hostVeth":7}`)
	if err := store.Record(l); err != nil {
		t.Fatal(err)
	}
	if r := n.gc(); len(r.Removed)+len(r.Kept) != 0 || !n.hasLink(link.HostName("vctl", "pod", "eth0")) {
		t.Errorf("gc of a living pod with an undecodable record: %+v", r)
	}
	n.vnetctl("ipam", "release", "vctl", "pod").fails(t, exitFailed, "is alive", path)
}
