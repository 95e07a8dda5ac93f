package integration

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestCheckNoticesMissingMembers takes the pod's addresses out of the sets of
// the packet filter, one after the other.
func TestCheckNoticesMissingMembers(t *testing.T) {
	t.Parallel()
	var conf config
	_, nodes := cluster(t, 1, func(c config) { conf = c })
	noticed := 0
	for _, pick := range []string{"v4", "v6"} {
		p := newPatient(t, nodes[0], conf)
		expectHealthy(t, p, pick)
		a := p.v4
		if pick == "v6" {
			a = p.v6
		}
		sets := setsWith(t, nodes[0], a)
		if len(sets) == 0 {
			t.Fatalf("no set has %s as a member", a)
		}
		for _, set := range sets {
			if _, err := nodes[0].Shell("ipset", "del", set, a.String()); err != nil {
				t.Fatal(err)
			}
			if expectNoticed(t, p, "member of "+set+" gone") {
				noticed++
			}
			if _, err := nodes[0].Shell("ipset", "add", set, a.String()); err != nil {
				t.Fatal(err)
			}
		}
		expectHealthy(t, p, pick+" repaired")
	}
	t.Logf("%d missing members noticed", noticed)
}

func setsWith(t *testing.T, n *testnet.Node, a netip.Addr) []string {
	t.Helper()
	out, err := n.Shell("ipset", "save")
	if err != nil {
		t.Fatal(err)
	}
	var sets []string
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "add" && f[2] == a.String() {
			sets = append(sets, f[1])
		}
	}
	return sets
}
