package nsg

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// FuzzNew: whatever a rule says, New does not panic, gives either a group or an
// error, and a group's policy judges every flow by its first complete match.
func FuzzNew(f *testing.F) {
	f.Add("r", "Tcp", "Allow", "Inbound", "100", "*", "", "", "*", "", []byte{10, 0, 0, 4}, []byte{8, 8, 8, 8}, uint16(80), int16(6))
	f.Add("r", "*", "Deny", "Outbound", "4096", "", "10.0.0.0/8 11.0.0.1", "", "", "80 90-99", []byte{10, 0, 0, 4}, []byte{11, 0, 0, 1}, uint16(95), int16(17))
	f.Add("r", "Icmp", "Deny", "outbound", "200", "AzurePlatformDNS", "", "", "*", "", make([]byte, 16), make([]byte, 16), uint16(0), int16(58))
	f.Add("", "6", "", "In", "1e2", "fd00::/8", "*", "/web", "1,2", "9-8", []byte{}, []byte{1}, uint16(0), int16(-1))
	for _, row := range findingRows() {
		r, d := row.rule, row.rule.Source
		f.Add(r.Name, r.Protocol, r.Access, r.Direction, r.Priority, d.Prefix, strings.Join(d.Prefixes, " "), strings.Join(d.ASGs, " "),
			r.Destination.Port, strings.Join(r.Destination.Ports, " "), []byte{10, 0, 0, 4}, []byte{10, 0, 0, 5}, uint16(80), int16(6))
	}
	f.Fuzz(func(t *testing.T, name, protocol, access, direction, priority, prefix, prefixes, asgs, port, ports string,
		local, remote []byte, localPort uint16, number int16) {
		r := RuleDefinition{Name: name, Protocol: protocol, Access: access, Direction: direction, Priority: priority}
		r.Source = EndpointDefinition{Prefix: prefix, Prefixes: strings.Fields(prefixes), ASGs: strings.Fields(asgs), Port: "*"}
		r.Destination = EndpointDefinition{Prefix: "*", Port: port, Ports: strings.Fields(ports)}
		g, _ := New(groupOf(r, r))
		if g != nil {
			t.Fatal("two rules of one name are valid")
		}
		g, findings := New(groupOf(r))
		checkOutcome(t, g != nil, findings)
		if g == nil {
			return
		}
		p, findings := NewPolicy(g, vnetTags())
		checkOutcome(t, p != nil, findings)
		if p == nil {
			return
		}
		fl := Flow{Protocol: Protocol(number), LocalPort: localPort, RemotePort: 1}
		fl.Local, _ = netip.AddrFromSlice(local)
		fl.Remote, _ = netip.AddrFromSlice(remote)
		for _, fl.Direction = range []Direction{0, Inbound, Outbound} {
			checkExplanations(t, p, fl)
			Evaluate(fl, p, p)
		}
	})
}

// checkOutcome checks that there is a result exactly if no finding is an error.
func checkOutcome(t *testing.T, result bool, findings []Finding) {
	t.Helper()
	failed := false
	for _, f := range findings {
		failed = failed || f.Severity == Error
		if f.Code == "" || f.Message == "" || f.Severity != Error && f.Severity != Warning {
			t.Errorf("finding %+v", f)
		}
	}
	if failed == result {
		t.Fatalf("result: %v, findings %+v", result, findings)
	}
}

// TestFirstIsTheFirstMatch draws groups and flows that touch each other often:
// First, which reads a compiled form, must agree with the reasons.
func TestFirstIsTheFirstMatch(t *testing.T) {
	flows, asked := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var rules []RuleDefinition
		for i := range rapid.IntRange(0, 6).Draw(t, "rules") {
			rules = append(rules, drawRule(t, i))
		}
		if rapid.Bool().Draw(t, "many") { // rules of another port before them
			rules = append(manyRules(rapid.IntRange(50, 140).Draw(t, "others"), byPort), rules...)
		}
		g, findings := New(groupOf(rules...))
		if g == nil {
			t.Fatalf("%+v", findings)
		}
		p, findings := NewPolicy(g, vnetTags())
		if p == nil {
			t.Fatalf("%+v", findings)
		}
		for range 10 {
			flows++
			asked += checkExplanations(rapidTB{t: t}, p, drawFlow(t))
		}
	})
	t.Logf("%d flows, %d rules asked", flows, asked)
}

// rapidTB lets helpers that take a testing.TB fail a rapid.T.
type rapidTB struct {
	testing.TB
	t *rapid.T
}

func (r rapidTB) Helper()                           { r.t.Helper() }
func (r rapidTB) Fatalf(format string, args ...any) { r.t.Fatalf(format, args...) }

func drawRule(t *rapid.T, i int) RuleDefinition {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	end := func() EndpointDefinition {
		e := EndpointDefinition{Port: pick("port", "*", "*", "80", "0-65535", "80-90")}
		switch pick("kind", "prefix", "list", "asg") {
		case "list":
			for j := range rapid.IntRange(1, 20).Draw(t, "length") {
				e.Prefixes = append(e.Prefixes, netip.AddrFrom4([4]byte{10, 0, 0, byte(2 * j)}).String())
			}
		case "asg":
			e.ASGs = []string{pick("group", "Web", "api")}
		default:
			e.Prefix = pick("prefix", "*", "10.0.0.0/30", "VirtualNetwork", "Internet", "Storage.WestEurope", "AzurePlatformDNS")
		}
		return e
	}
	r := plainRule("drawn"+itoa(i), 4000+i)
	r.Protocol = pick("protocol", "*", "Tcp", "Udp", "Icmp", "Esp")
	r.Access = pick("access", "Allow", "Deny")
	r.Direction = pick("direction", "Inbound", "Outbound")
	r.Source, r.Destination = end(), end()
	return r
}

func drawFlow(t *rapid.T) Flow {
	address := func() netip.Addr {
		return netip.MustParseAddr(rapid.SampledFrom([]string{"10.0.0.2", "10.0.0.3", "10.0.0.20", "8.8.8.8", "20.38.0.1",
			"168.63.129.16", "169.254.169.254", "224.0.0.1", "fd00::1", "2603:1020::1", "::ffff:10.0.0.2", "ff02::1"}).Draw(t, "address"))
	}
	port := func() uint16 { return rapid.SampledFrom([]uint16{0, 79, 80, 90, 91}).Draw(t, "port") }
	groups := func() []string { return rapid.SampledFrom([][]string{nil, {"web"}, {"x", "api"}}).Draw(t, "groups") }
	return Flow{
		Direction: rapid.SampledFrom([]Direction{Inbound, Outbound}).Draw(t, "direction"),
		Protocol:  rapid.SampledFrom([]Protocol{TCP, UDP, ICMP, ESP, gre, icmpv6, 132}).Draw(t, "protocol"),
		Local:     address(), Remote: address(), LocalPort: port(), RemotePort: port(), LocalASGs: groups(), RemoteASGs: groups(),
	}
}
