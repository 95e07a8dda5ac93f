package link

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
)

// Nothing of the pair is left when PartWithVeth returns, though the kernel waits on:
// neither on the node nor in the pod, and the next pair may have the same names.
func TestPartWithVeth(t *testing.T) {
	inNode(t)
	h, p := openHost(t), newPod(t, "c1", "10.241.4.7", "fd00:241::7")
	empty, emptyPod := tables(t), p.ns.tables(t)
	const rounds = 10
	for i := range rounds {
		p.attach(t, h)
		if tables(t) == empty || p.ns.tables(t) == emptyPod {
			t.Fatal("the tables do not show the pair")
		}
		if err := h.PartWithVeth(p.veth.HostName); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if _, err := os.Stat("/proc/sys/net/ipv4/conf/" + p.veth.HostName); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("round %d: the link's sysctls: %v", i, err)
		}
		if left := tables(t); left != empty {
			t.Errorf("round %d: left on the node:\n%s", i, left)
		}
		if left := p.ns.tables(t); left != emptyPod {
			t.Errorf("round %d: left in the pod:\n%s", i, left)
		}
	}
	must(t, h.PartWithVeth(p.veth.HostName)) // what is gone already is success
	wantNoChildren(t)
	t.Logf("%d pairs of the same names, 1 that was gone", rounds)
}

// tables is what the namespace has of links, addresses, routes and neighbours, but
// for what lo has by itself.
func tables(t *testing.T) string {
	t.Helper()
	return testhost.Sh(t, `ip -o link show | grep -v ' lo: ' || true
		for f in 4 6; do ip -$f -o addr show; ip -$f route show table all; ip -$f neigh show nud all; done | grep -v ' lo ' || true`)
}

func (n namespace) tables(t *testing.T) (out string) {
	t.Helper()
	n.in(t, func() { out = tables(t) })
	return out
}

// The pod's namespace may go, with its end of the pair, before the child has ended.
func TestPartWithVethOfAPodThatGoes(t *testing.T) {
	const pods = 5
	for i := range pods {
		t.Run(fmt.Sprint(i), func(t *testing.T) { // whose end is the namespaces'
			inNode(t)
			h, p := openHost(t), newPod(t, "c1", "10.241.4.7", "fd00:241::7")
			p.attach(t, h)
			must(t, h.PartWithVeth(p.veth.HostName))
		})
	}
	wantNoChildren(t)
	t.Logf("%d pods", pods)
}

// wantNoChildren waits for the children of PartWithVeth, all of which end by themselves.
func wantNoChildren(t *testing.T) {
	t.Helper()
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(-1, &status, unix.WCLONE, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		case status != 0:
			t.Errorf("a child ended with wait status %#x", uint32(status))
		}
	}
}
