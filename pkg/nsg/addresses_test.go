package nsg

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// The universe of the tests: 32 addresses at each border of each family. What a set
// has within a window, a model of bools can say as well.
const window = 32

var windows = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/27"), netip.MustParsePrefix("255.255.255.224/27"),
	netip.MustParsePrefix("::/123"), netip.MustParsePrefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffe0/123"),
}

type model [len(windows) * window]bool

var universe = func() (all [len(windows) * window]netip.Addr) {
	for w, p := range windows {
		a := p.Addr()
		for i := range window {
			all[w*window+i], a = a, a.Next()
		}
	}
	return all
}()

// drawSet draws prefixes within the windows: the set and its model.
func drawSet(t *rapid.T, label string) (AddressSet, model) {
	var m model
	var list []netip.Prefix
	for range rapid.IntRange(0, 8).Draw(t, label) {
		a := universe[rapid.IntRange(0, len(universe)-1).Draw(t, label+" address")]
		bits := a.BitLen() - rapid.IntRange(0, 5).Draw(t, label+" host bits")
		p := netip.PrefixFrom(a, bits) // may have host bits
		list = append(list, p)
		for i, b := range universe {
			m[i] = m[i] || p.Contains(b)
		}
	}
	return NewAddressSet(list...), m
}

func checkModel(t *rapid.T, what string, s AddressSet, want func(i int) bool) {
	t.Helper()
	for i, a := range universe {
		if s.Contains(a) != want(i) {
			t.Fatalf("%s: %v: %v, want %v; ranges %v", what, a, s.Contains(a), want(i), s.Ranges())
		}
	}
	ranges := s.Ranges()
	for i := 1; i < len(ranges); i++ {
		if joins(ranges[i-1], ranges[i]) || ranges[i].First.Less(ranges[i-1].Last) {
			t.Fatalf("%s: ranges %v and %v are not apart", what, ranges[i-1], ranges[i])
		}
	}
	if back := NewAddressSet(s.Prefixes()...); !back.Equal(s) {
		t.Fatalf("%s: prefixes %v are %v, not %v", what, s.Prefixes(), back.Ranges(), ranges)
	}
	if s.IsEmpty() != (len(s.Prefixes()) == 0) {
		t.Fatalf("%s: IsEmpty is %v with %v", what, s.IsEmpty(), s.Prefixes())
	}
}

func TestAddressSets(t *testing.T) {
	checks := 0
	rapid.Check(t, func(t *rapid.T) {
		checks++
		a, inA := drawSet(t, "a")
		b, inB := drawSet(t, "b")
		checkModel(t, "a", a, func(i int) bool { return inA[i] })
		checkModel(t, "union", a.Union(b), func(i int) bool { return inA[i] || inB[i] })
		checkModel(t, "intersection", a.Intersect(b), func(i int) bool { return inA[i] && inB[i] })
		checkModel(t, "difference", a.Minus(b), func(i int) bool { return inA[i] && !inB[i] })
		checkModel(t, "complement", AllAddresses().Minus(a), func(i int) bool { return !inA[i] })
		checkModel(t, "IPv4", a.Family(false), func(i int) bool { return inA[i] && universe[i].Is4() })
		checkModel(t, "IPv6", a.Family(true), func(i int) bool { return inA[i] && universe[i].Is6() })
		if !a.Minus(b).Union(a.Intersect(b)).Equal(a) || !AllAddresses().Minus(AllAddresses().Minus(a)).Equal(a) {
			t.Fatalf("laws of sets fail for %v and %v", a.Ranges(), b.Ranges())
		}
		if (a.Equal(b)) != (inA == inB) {
			t.Fatalf("Equal(%v, %v) is %v", a.Ranges(), b.Ranges(), a.Equal(b))
		}
	})
	t.Logf("%d pairs of sets", checks)
}

func TestAllAddresses(t *testing.T) {
	all := AllAddresses()
	p := all.Prefixes()
	if len(p) != 2 || p[0].String() != "0.0.0.0/0" || p[1].String() != "::/0" {
		t.Errorf("all are %v", p)
	}
	if !all.Minus(all).IsEmpty() || !(AddressSet{}).IsEmpty() || !all.Minus(AddressSet{}).Equal(all) {
		t.Error("nothing is something")
	}
	if got := all.Minus(set("128.0.0.0/1", "::/1")).Prefixes(); len(got) != 2 || got[0].String() != "0.0.0.0/1" || got[1].String() != "8000::/1" {
		t.Errorf("halves are %v", got)
	}
}
