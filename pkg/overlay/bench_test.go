package overlay

import (
	"fmt"
	"net/netip"
	"testing"
)

// many is a cluster of 500 other nodes of both families, half of which are direct.
func many(w world) Config {
	c := w.config(w.a())
	c.Others = nil
	for i := range 500 {
		n := Node{Name: fmt.Sprintf("node-%d", i), PodCIDRs: prefixes(fmt.Sprintf("10.%d.%d.0/24", 100+i/250, i%250), fmt.Sprintf("fd00:100:%x::/64", i))}
		if i%2 == 0 {
			n.Addrs = []netip.Addr{nth(netip.MustParsePrefix("10.241.9.0/16"), i+1), nth(netip.MustParsePrefix("fd00:10:241::1:0/64"), i+1)}
		} else {
			n.Addrs = []netip.Addr{nth(netip.MustParsePrefix("192.168.0.0/16"), i+1), nth(netip.MustParsePrefix("fd00:99::/64"), i+1)}
		}
		c.Others = append(c.Others, n)
	}
	return c
}

func TestManyNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p, c := w.a(), many(w)
	// For both families a route, and of those behind the tunnel a neighbour and
	// a route to the node as well; its forwarding entry; and this node's own five.
	const want = 250*2 + 250*(2*3+1) + 5
	if r := p.apply(t, c); r.Added != want || r.Removed != 0 || len(r.Skipped) != 0 {
		t.Errorf("%+v, want %d", r, want)
	}
	if r := p.apply(t, c); r.Added != 0 || r.Removed != 0 || len(r.Skipped) != 0 {
		t.Errorf("again: %+v", r)
	}
	c.Others = c.Others[:1]
	if r := p.apply(t, c); r.Added != 0 || r.Removed == 0 {
		t.Errorf("one left: %+v", r)
	}
	t.Logf("500 nodes, %d changes", want)
}

func BenchmarkApply500(b *testing.B) {
	w := newWorld(b)
	p, c := w.a(), many(w)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			p.apply(b, c)
			b.StopTimer()
			must(b, p.Do(Remove))
			b.StartTimer()
		}
	})
	p.apply(b, c)
	b.Run("nothing to do", func(b *testing.B) {
		for b.Loop() {
			p.apply(b, c)
		}
	})
}
