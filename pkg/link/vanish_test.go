package link

import (
	"net/netip"
	"testing"
)

// A link may go between the listing and the question about its neighbours.
func TestNeighbourOfAVanishedLink(t *testing.T) {
	inNode(t)
	h := openHost(t)
	const gone = 4242
	for _, a := range []string{"10.241.4.7", "fd00:241::7"} {
		mac, err := h.conn.podMAC([]netip.Addr{netip.MustParseAddr(a)}, gone)
		if err != nil || mac != nil {
			t.Errorf("%s: %v, %v", a, mac, err)
		}
	}
	t.Logf("2 families")
}
