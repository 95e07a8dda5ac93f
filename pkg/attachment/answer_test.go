package attachment

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/ipam"
)

// What an uplink that was set down has lost comes back when it is up: for the pods that
// are there and the node had answered for, once.
func TestAnswerAgain(t *testing.T) {
	n, dir := inNode(t), t.TempDir()
	lease := func(id string, r Record, list ...string) {
		record, err := r.Encode()
		must(t, err)
		l := ipam.Lease{Key: ipam.Key{ContainerID: id, IfName: "eth0"}, Attachment: record}
		for _, a := range addrs(list...) {
			l.Addresses = append(l.Addresses, netip.PrefixFrom(a, a.BitLen()))
		}
		must(t, Store(dir, "pods").Record(l))
	}
	lease("flat", attach(t, n, "pods", "flat", true, addrs("10.241.4.7", "fd00:241::7")), "10.241.4.7", "fd00:241::7")
	lease("overlay", attach(t, n, "pods", "overlay", false, addrs("10.241.4.8")), "10.241.4.8")
	gone := attach(t, n, "pods", "gone", true, addrs("10.241.4.9"))
	lease("gone", gone, "10.241.4.9")
	testhost.Sh(t, "ip link del "+gone.HostVeth+"; ip neigh del proxy 10.241.4.9 dev up0")
	before := tables(t)

	again := func(when, want string) {
		t.Helper()
		got, err := n.AnswerAgain(dir, "pods")
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v; want %s", when, got, err, want)
		}
	}
	again("nothing is lost", "[]")
	testhost.Sh(t, "ip link set up0 down")
	again("the uplink is down", "[]")
	testhost.Sh(t, "ip link set up0 up")
	if tables(t) == before {
		t.Fatal("nothing was lost")
	}
	again("the uplink is up", "[10.241.4.7 fd00:241::7]")
	again("all is there", "[]")
	if after := tables(t); after != before {
		t.Errorf("the node has\n%s\n--- instead of\n%s", after, before)
	}

	// A pod that goes meanwhile is not answered for.
	if answered, err := n.answerFor(gone, addrs("10.241.4.9")); err != nil || answered || tables(t) != before {
		t.Errorf("a pod that is gone: %v, %v\n%s", answered, err, tables(t))
	}
	t.Log("3 pods")
}
