package flowspace

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/nsg/nsgtest"
)

func set(prefixes ...string) nsg.AddressSet {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return nsg.NewAddressSet(list...)
}

func ports(numbers ...uint16) []nsg.PortRange {
	out := []nsg.PortRange{}
	for i := 0; i < len(numbers); i += 2 {
		out = append(out, nsg.PortRange{First: numbers[i], Last: numbers[i+1]})
	}
	return out
}

// web is what comes to ports 80 and 8000-8080 of members of web.
func web() Box {
	return Box{Direction: nsg.Inbound, Protocols: TCP | UDP,
		Source:      End{Addresses: set("0.0.0.0/1", "128.0.0.0/2", "2001:db8::/32"), NotIn: []string{"db"}},
		Destination: End{Addresses: set("10.0.0.4/32", "10.0.0.8/31", "10.0.0.10/32", "fd00::/8"), Ports: ports(80, 80, 8000, 8080), In: []string{"web"}}}
}

func TestContains(t *testing.T) {
	flow := func(change func(*nsg.Flow)) nsg.Flow {
		f := nsg.Flow{Direction: nsg.Inbound, Protocol: nsg.TCP, Local: netip.MustParseAddr("10.0.0.4"), LocalPort: 8080,
			Remote: netip.MustParseAddr("8.8.8.8"), RemotePort: 1, LocalASGs: []string{"x", "web"}}
		change(&f)
		return f
	}
	cases := []struct {
		name   string
		change func(*nsg.Flow)
		want   bool
	}{
		{"as it is", func(*nsg.Flow) {}, true},
		{"mapped", func(f *nsg.Flow) { f.Local = netip.MustParseAddr("::ffff:10.0.0.4") }, true},
		{"IPv6", func(f *nsg.Flow) {
			f.Local, f.Remote = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("2001:db8::1")
		}, true},
		{"families mixed", func(f *nsg.Flow) { f.Local = netip.MustParseAddr("fd00::1") }, false},
		{"another direction", func(f *nsg.Flow) { f.Direction = nsg.Outbound }, false},
		{"another protocol", func(f *nsg.Flow) { f.Protocol = nsg.ESP }, false},
		{"every protocol", func(f *nsg.Flow) { f.Protocol = nsg.AnyProtocol }, false},
		{"another port", func(f *nsg.Flow) { f.LocalPort = 81 }, false},
		{"another address", func(f *nsg.Flow) { f.Local = netip.MustParseAddr("10.0.0.5") }, false},
		{"another remote address", func(f *nsg.Flow) { f.Remote = netip.MustParseAddr("203.0.113.1") }, false},
		{"no member", func(f *nsg.Flow) { f.LocalASGs = []string{"x"} }, false},
		{"a member too many", func(f *nsg.Flow) { f.RemoteASGs = []string{"db"} }, false},
	}
	for _, c := range cases {
		if got := web().Contains(flow(c.change)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	t.Logf("%d flows", len(cases))
}

func TestEmptyBoxes(t *testing.T) {
	cases := map[string]func(*Box){
		"no protocol":         func(b *Box) { b.Protocols = 0 },
		"no ports":            func(b *Box) { b.Source.Ports = ports() },
		"ports of none":       func(b *Box) { b.Protocols = ICMP | ESP },
		"no address":          func(b *Box) { b.Source.Addresses = nsg.AddressSet{} },
		"no family in common": func(b *Box) { b.Source.Addresses, b.Destination.Addresses = set("::/0"), set("0.0.0.0/0") },
		"in and not in":       func(b *Box) { b.Source.In = []string{"db"} },
	}
	for name, change := range cases {
		b := web()
		if b.IsEmpty() {
			t.Fatal("the box is empty before")
		}
		if change(&b); !b.IsEmpty() {
			t.Errorf("%s: %v is not empty", name, b)
		}
	}
	t.Logf("%d boxes", len(cases))
}

func TestSamplesLookLikeFlows(t *testing.T) {
	all := nsg.Flow{Direction: nsg.Outbound, Protocol: nsg.TCP,
		Local: exampleSource[0], LocalPort: ephemeral, Remote: exampleDestination[0], RemotePort: service}
	if f := All(nsg.Outbound).Sample(); f.Local != all.Local || f.LocalPort != all.LocalPort || f.Remote != all.Remote || f.RemotePort != all.RemotePort {
		t.Errorf("of all: %+v", f)
	}
	b := All(nsg.Inbound)
	b.Source.Addresses = set("::/0")
	if f := b.Sample(); f.Remote != exampleSource[1] || f.Local != exampleDestination[1] {
		t.Errorf("of all IPv6: %+v", f)
	}
	if f := web().Sample(); !web().Contains(f) || f.LocalPort != 80 || f.Local.String() != "10.0.0.4" || f.Remote.String() != "0.0.0.1" {
		t.Errorf("of web: %+v", f)
	}
}

func TestText(t *testing.T) {
	const want = "Inbound Tcp,Udp 0.0.0.0-191.255.255.255,2001:db8::/32 but no members of db" +
		" -> members of web in 10.0.0.4,10.0.0.8-10.0.0.10,fd00::/8 ports 80,8000-8080"
	if got := web().String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	b := All(nsg.Outbound)
	b.Protocols = Others
	b.Destination.Addresses = nsg.AllAddresses().Minus(set("10.0.0.0/8"))
	if got, want := b.String(), "Outbound others * -> * but 10.0.0.0/8"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	raw, err := json.Marshal(web())
	const wantJSON = `{"direction":"Inbound","protocols":["Tcp","Udp"],` +
		`"source":{"addresses":["0.0.0.0-191.255.255.255","2001:db8::/32"],"ports":["*"],"asgs":[],"notASGs":["db"]},` +
		`"destination":{"addresses":["10.0.0.4","10.0.0.8-10.0.0.10","fd00::/8"],"ports":["80","8000-8080"],"asgs":["web"],"notASGs":[]}}`
	if err != nil || string(raw) != wantJSON {
		t.Errorf("%s %v\nwant\n%s", raw, err, wantJSON)
	}
}

func TestJoined(t *testing.T) {
	narrowed := func(change func(*Box)) Box {
		b := All(nsg.Inbound)
		change(&b)
		return b
	}
	cases := map[string][]Box{
		"ports": {narrowed(func(b *Box) { b.Protocols, b.Destination.Ports = TCP, ports(0, 79) }),
			narrowed(func(b *Box) { b.Protocols, b.Destination.Ports = TCP, ports(80, 65535) }),
			narrowed(func(b *Box) { b.Protocols = AllProtocols &^ TCP })},
		"members": {narrowed(func(b *Box) { b.Source.In = []string{"a", "b"} }), narrowed(func(b *Box) { b.Source.NotIn = []string{"a"} }),
			narrowed(func(b *Box) { b.Source.In, b.Source.NotIn = []string{"a"}, []string{"b"} })},
		"families": {narrowed(func(b *Box) { b.Source.Addresses = set("0.0.0.0/0") }), narrowed(func(b *Box) { b.Destination.Addresses = set("::/0") })},
		"addresses": {narrowed(func(b *Box) { b.Source.Addresses = set("0.0.0.0/1") }), narrowed(func(b *Box) { b.Source.Addresses = set("128.0.0.0/1") }),
			narrowed(func(b *Box) { b.Source.Addresses = set("::/0") })},
	}
	for name, boxes := range cases {
		if got := joined(boxes); len(got) != 1 || got[0].String() != All(nsg.Inbound).String() {
			t.Errorf("%s: %v", name, got)
		}
	}
	apart := []Box{web(), All(nsg.Outbound)}
	if got := joined(apart); len(got) != 2 {
		t.Errorf("boxes that have nothing in common: %v", got)
	}
	t.Logf("%d sets of boxes", len(cases)+1)
}

func TestIntersect(t *testing.T) {
	tried, inBoth := 0, 0
	for seed := uint64(1); tried < 20_000; seed++ {
		r := random(seed)
		p := nsgtest.Policy(r, "group", 20)
		boxes := func() []Box {
			rule := &p.Rules[r.IntN(len(p.Rules))]
			return OfRule(rule)
		}
		for _, a := range boxes() {
			for _, b := range boxes() {
				both := a.Intersect(b)
				for range 20 {
					tried++
					f := flowAt(r, directions[r.IntN(2)], p)
					want := a.Contains(f) && b.Contains(f)
					if both.Contains(f) != want || want && both.IsEmpty() {
						t.Fatalf("seed %d: %+v in %v and %v: %t", seed, f, a, b, want)
					}
					if want {
						inBoth++
					}
				}
				if both.IsEmpty() {
					continue
				}
				if f := both.Sample(); !a.Contains(f) || !b.Contains(f) {
					t.Fatalf("seed %d: the sample of %v is not in both", seed, both)
				}
			}
		}
	}
	if inBoth < 100 {
		t.Errorf("%d of %d flows are in both boxes: they prove little", inBoth, tried)
	}
	t.Logf("%d flows, %d in both", tried, inBoth)
}

func TestBoxesOfRules(t *testing.T) {
	tried, matched := 0, 0
	for seed := uint64(1); tried < 20_000; seed++ {
		r := random(seed)
		p := nsgtest.Policy(r, "group", 20)
		for i := range p.Rules {
			boxes := OfRule(&p.Rules[i])
			for range 10 {
				tried++
				f := flowAt(r, p.Rules[i].Direction, p)
				want, got := p.Rules[i].Matches(f).All(), slices.ContainsFunc(boxes, func(b Box) bool { return b.Contains(f) })
				if want != got {
					t.Fatalf("seed %d: %+v in %v: %t, want %t", seed, f, boxes, got, want)
				}
				if want {
					matched++
				}
			}
		}
	}
	t.Logf("%d flows, %d matched", tried, matched)
}
