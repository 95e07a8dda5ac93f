package reach

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

func portRanges(pairs ...uint16) (out []nsg.PortRange) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, nsg.PortRange{First: pairs[i], Last: pairs[i+1]})
	}
	return out
}

func TestServicesInWords(t *testing.T) {
	t.Parallel()
	all := AllServices()
	cases := []struct {
		s           Services
		long, short string
	}{
		{Services{}, "nothing", "nothing"},
		{all, "everything", "everything"},
		{Services{TCP: portRanges(80, 80, 443, 443)}, "tcp 80,443", "tcp 80,443"},
		{Services{TCP: allPorts(), Portless: ICMP}, "tcp; icmp", "tcp; icmp"},
		{Services{UDP: portRanges(53, 53, 8000, 8080), Portless: ESP | AH | Other}, "udp 53,8000-8080; esp; ah; other protocols", "udp 53,8000-8080; esp; ah; other protocols"},
		{all.Minus(Services{TCP: portRanges(22, 22)}), "everything but tcp 22", "everything but tcp 22"},
		{all.Minus(Services{Portless: ICMP}), "everything but icmp", "everything but icmp"},
		{all.Minus(Services{TCP: portRanges(0, 0, 65535, 65535), UDP: allPorts()}), "everything but tcp 0,65535 and udp", "everything but tcp 0,65535 and udp"},
		{Services{TCP: portRanges(1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11)}, "tcp 1,3,5,7,9,11", "tcp 1,3,5,7,…"},
	}
	for _, c := range cases {
		if got := c.s.String(); got != c.long {
			t.Errorf("%+v: %q, want %q", c.s, got, c.long)
		}
		if got := c.s.Short(); got != c.short {
			t.Errorf("%+v in short: %q, want %q", c.s, got, c.short)
		}
	}
	list := fmt.Sprint(Services{TCP: allPorts(), UDP: portRanges(53, 53, 60, 70), Portless: AH}.List())
	if want := "[{tcp []} {udp [53 60-70]} {ah []}]"; list != want {
		t.Errorf("list %s, want %s", list, want)
	}
	t.Logf("%d sets", len(cases))
}

// Sets of ports are compared with sets of single ports.
func TestPortsAreSets(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	borders := []uint16{0, 1, 2, 79, 80, 81, 65533, 65534, 65535}
	random := func() (p ports) {
		for range r.IntN(4) {
			a, b := borders[r.IntN(len(borders))], borders[r.IntN(len(borders))]
			p = p.union(portRanges(min(a, b), max(a, b)))
		}
		return p
	}
	has := func(p ports, port uint16) bool {
		return slices.ContainsFunc(p, func(r nsg.PortRange) bool { return r.First <= port && port <= r.Last })
	}
	const rounds = 5000
	for range rounds {
		a, b := random(), random()
		union, minus := a.union(b), a.minus(b)
		for _, port := range borders {
			if has(union, port) != (has(a, port) || has(b, port)) || has(minus, port) != (has(a, port) && !has(b, port)) {
				t.Fatalf("port %d: %v and %v: union %v, difference %v", port, a, b, union, minus)
			}
		}
		for i := 1; i < len(union); i++ {
			if int(union[i-1].Last)+1 >= int(union[i].First) {
				t.Fatalf("%v and %v: union %v is not apart", a, b, union)
			}
		}
		if s := (Services{TCP: a}); s.Minus(Services{TCP: b}).Union(Services{TCP: b}).key() != (Services{TCP: union}).key() {
			t.Fatalf("%v and %v: a-b+b is not a+b", a, b)
		}
	}
	t.Logf("%d pairs of sets", rounds)
}
