package reach

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// shop is a small network: web and db pods, a subnet and two networks outside.
func shop(t testing.TB) []End {
	subnet := group(t, "pods-nsg",
		"100 Inbound Allow Tcp Internet>asg:web 80,443",
		"200 Outbound Deny Tcp *>* 23",
		"210 Outbound Deny Udp 10.241.4.0/24>198.51.100.0/24 *")
	db := group(t, "db-nsg", "100 Inbound Allow Tcp asg:web>* 5432", "400 Inbound Deny * *>* *")
	pod := func(name, v4, v6 string, iface *nsg.Policy, asgs ...string) End {
		return End{Name: name, Kind: Pod, Places: []Place{{Addresses: set(t, v4, v6), ASGs: asgs, Subnet: subnet, Interface: iface}}}
	}
	return []End{
		{Name: "Internet", Kind: Outside, Places: []Place{{Addresses: set(t, "8.0.0.0/8", "198.51.100.0/24")}}},
		pod("shop/web-1", "10.241.4.1", "fd00:241::1", nil, "web", "unheard-of"),
		pod("shop/db-0", "10.241.4.2", "fd00:241::2", db),
		{Name: "office", Kind: Outside, Places: []Place{{Addresses: set(t, "192.168.0.0/16")}}},
		pod("shop/web-2", "10.241.4.3", "fd00:241::3", nil, "web"),
		{Name: "pods", Kind: Subnet, Places: []Place{{Addresses: set(t, "10.241.0.0/16"), Subnet: subnet}}},
		{Name: "modern", Kind: Named, Places: []Place{{Addresses: set(t, "2001:db8::/64")}}},
	}
}

// between is the answer by names.
func (m *Matrix) between(t testing.TB, from, to string) *Answer {
	t.Helper()
	at := func(name string) int { return slices.IndexFunc(m.Ends, func(e End) bool { return e.Name == name }) }
	return m.Answers[m.Between(at(from), at(to))]
}

func make1(t testing.TB, ends []End, q Question) *Matrix {
	t.Helper()
	m, err := Make(ends, q)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	m := make1(t, shop(t), Question{})
	cases := []struct{ from, to, verdict, words string }{
		{"shop/web-1", "shop/db-0", "some", "tcp 5432"},
		{"shop/web-2", "shop/web-1", "some", "everything but tcp 23"},
		{"shop/db-0", "shop/web-1", "some", "everything but tcp 23"},
		{"shop/web-1", "shop/web-1", "self", "never leaves the machine"},
		{"pods", "pods", "some", "everything but tcp 23"},
		{"Internet", "shop/web-1", "some", "tcp 80,443"},
		{"Internet", "shop/db-0", "none", "nothing"},
		{"Internet", "pods", "none", "nothing"},
		{"Internet", "office", "beyond", "not through this network"},
		{"shop/web-1", "Internet", "some", "everything but tcp 23, in part udp"},
		{"pods", "Internet", "some", "everything but tcp 23, in part udp"},
		{"Internet", "modern", "none", "no address family in common"},
		{"modern", "shop/web-1", "some", "tcp 80,443"},
	}
	for _, c := range cases {
		a := m.between(t, c.from, c.to)
		if a.Verdict.String() != c.verdict || a.Words() != c.words {
			t.Errorf("%s -> %s: %v %q, want %s %q\n%s", c.from, c.to, a.Verdict, a.Words(), c.verdict, c.words, a.identity())
		}
	}
	t.Logf("%d answers", len(cases))
}

// golden is an answer with its parts, for people who read tests.
func golden(a *Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s\n", a.Verdict, a.Words())
	for _, p := range a.Parts {
		fmt.Fprintf(&b, "%v\n", p.Access)
		for _, x := range p.Boxes {
			fmt.Fprintf(&b, "  %s from %q ports %q to %q\n", x.Services, x.From, PortWords(x.FromPorts), x.To)
		}
		for _, r := range p.Rules {
			fmt.Fprintf(&b, "  by %s %s %s %v %s %v\n", r.Side, r.Level, r.NSG, r.Direction, r.Name, r.Access)
		}
	}
	return b.String()
}

const goldenParts = `some: everything but tcp 23, in part udp
Allow
  everything but tcp 23 and udp from "" ports "" to ""
  udp from "" ports "" to "8.0.0.0/8"
  udp from "10.241.0.0/22,10.241.5.0/24,10.241.6.0/23,10.241.8.0/21,10.241.16.0/20,10.241.32.0/19,10.241.64.0/18,10.241.128.0/17" ports "" to "198.51.100.0/24"
  by from subnet pods-nsg Outbound defaultSecurityRules/AllowInternetOutBound Allow
Deny
  tcp 23 from "" ports "" to ""
  by from subnet pods-nsg Outbound securityRules/rule-2 Deny
Deny
  udp from "10.241.4.0/24" ports "" to "198.51.100.0/24"
  by from subnet pods-nsg Outbound securityRules/rule-3 Deny
`

func TestParts(t *testing.T) {
	t.Parallel()
	m := make1(t, shop(t), Question{})
	if got := golden(m.between(t, "pods", "Internet")); got != goldenParts {
		t.Errorf("got\n%s\nwant\n%s", got, goldenParts)
	}
	// A service that is allowed of one family only.
	four := group(t, "four", "100 Inbound Deny * 0.0.0.0/0>* *", "110 Inbound Allow Tcp *>* 80")
	ends := shop(t)
	ends[2].Places[0].Interface = four
	got := golden(make1(t, ends, Question{Protocol: nsg.TCP, Ports: portRanges(80, 80)}).between(t, "shop/web-1", "shop/db-0"))
	want := `some: in part tcp 80
Allow
  tcp 80 from "IPv6" ports "" to "IPv6"
  by from subnet pods-nsg Outbound defaultSecurityRules/AllowInternetOutBound Allow
  by to interface four Inbound securityRules/rule-2 Allow
Deny
  tcp 80 from "IPv4" ports "" to "IPv4"
  by to interface four Inbound securityRules/rule-1 Deny
`
	want = strings.Replace(want, "AllowInternetOutBound", "AllowVnetOutBound", 1)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	t.Log("2 answers with 5 parts")
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	cases := []struct {
		q                 Question
		from, to, verdict string
	}{
		{Question{Protocol: nsg.TCP, Ports: portRanges(5432, 5432)}, "shop/web-1", "shop/db-0", "all"},
		{Question{Protocol: nsg.TCP, Ports: portRanges(5432, 5433)}, "shop/web-1", "shop/db-0", "some"},
		{Question{Protocol: nsg.TCP, Ports: portRanges(22, 22)}, "shop/web-1", "shop/db-0", "none"},
		{Question{Protocol: nsg.UDP}, "shop/web-1", "shop/web-2", "all"},
		{Question{Protocol: nsg.UDP}, "shop/web-1", "Internet", "some"},
		{Question{Protocol: nsg.ICMP}, "shop/web-1", "Internet", "all"},
		{Question{Protocol: nsg.ESP}, "Internet", "shop/web-1", "none"},
		{Question{Protocol: nsg.AnyProtocol}, "shop/web-1", "shop/web-2", "some"},
	}
	for _, c := range cases {
		if a := make1(t, shop(t), c.q).between(t, c.from, c.to); a.Verdict.String() != c.verdict {
			t.Errorf("%+v: %s -> %s: %s", c.q, c.from, c.to, golden(a))
		}
	}
	if _, err := Make(shop(t), Question{Protocol: nsg.ICMP, Ports: portRanges(1, 1)}); err == nil {
		t.Error("ports of ICMP were accepted")
	}
	t.Logf("%d questions", len(cases))
}

// Who would be told too much is told so, and the others are told all the same.
func TestTooManyParts(t *testing.T) {
	t.Parallel()
	ends := shop(t)
	m := newMaker(ends, Question{})
	m.limit = 2
	web, internet, modern := &ends[1], &ends[0], &ends[6]
	for _, pair := range [][2]*End{{web, internet}, {internet, web}} {
		a, err := m.answer(pair[0], pair[1])
		if err != nil || a.Verdict != Undivided || len(a.Parts) != 0 || a.Words() != "too many parts: ask about one port" {
			t.Errorf("%s -> %s: %+v, %v", pair[0].Name, pair[1].Name, a, err)
		}
	}
	if a, err := m.answer(modern, modern); err != nil || a.Verdict != All {
		t.Errorf("where nobody judges: %+v, %v", a, err)
	}
	t.Log("3 answers")
}

// Groups that are on both levels, nodes that filter nothing within, and networks
// that do not know each other's members.
func TestPlaces(t *testing.T) {
	t.Parallel()
	g := group(t, "both", "100 Inbound Deny Tcp asg:web>* 22", "110 Inbound Allow * *>* *")
	base := func(name, network, node string, free bool, asgs ...string) End {
		return End{Name: name, Kind: Pod, Places: []Place{{Addresses: set(t, "10.241.4."+fmt.Sprint(len(name))), ASGs: asgs,
			Subnet: g, Interface: g, Network: network, Node: node, SameNodeFree: free}}}
	}
	m := make1(t, []End{
		base("a", "one", "n1", false, "web"), base("bb", "one", "n1", false), base("ccc", "two", "n1", false),
		base("dddd", "one", "n1", true), base("eeeee", "one", "n2", true),
	}, Question{Protocol: nsg.TCP, Ports: portRanges(22, 22)})
	cases := []struct{ from, to, rules string }{
		{"a", "bb", "Deny to subnet"},                   // of the two the first that denies
		{"bb", "a", "Allow from subnet; to interface"},  // and the last that allows
		{"a", "ccc", "Allow from subnet; to interface"}, // who is no member in its network
		{"a", "dddd", "Allow from subnet"},              // whose groups do not judge their own node
		{"a", "eeeee", "Deny to subnet"},                // but other nodes
		{"dddd", "a", "Allow to interface"},             // and what it sends
		{"dddd", "eeeee", "Allow from subnet; to interface"},
	}
	for _, c := range cases {
		a := m.between(t, c.from, c.to)
		var words []string
		for _, r := range a.Parts[0].Rules {
			words = append(words, r.Side+" "+r.Level)
		}
		if got := a.Parts[0].Access.String() + " " + strings.Join(words, "; "); len(a.Parts) != 1 || got != c.rules {
			t.Errorf("%s -> %s: %s, want %s\n%s", c.from, c.to, got, c.rules, golden(a))
		}
	}
	t.Logf("%d pairs", len(cases))
}

func TestOrder(t *testing.T) {
	t.Parallel()
	m := make1(t, shop(t), Question{})
	var names, labels []string
	for _, e := range m.Ends {
		names = append(names, e.Name)
	}
	for _, b := range m.Blocks {
		labels = append(labels, m.Label(b))
	}
	if got, want := strings.Join(names, " "), "shop/web-2 shop/web-1 shop/db-0 modern pods Internet office"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if got, want := strings.Join(labels, " "), "shop/web-… (2) shop/db-0 modern pods Internet office"; got != want {
		t.Errorf("blocks %s, want %s", got, want)
	}
	for _, c := range [][2]string{{"web-9", "web-10"}, {"a9b1", "a10b0"}, {"a", "b"}, {"web", "web-0"}} {
		if counting(c[0]) >= counting(c[1]) {
			t.Errorf("%s is not before %s", c[0], c[1])
		}
	}
	known := map[string]bool{}
	for _, a := range m.Answers {
		known[a.identity()] = true
	}
	if len(known) != len(m.Answers) || m.Answers[0].Verdict != Self {
		t.Errorf("%d answers, %d of them different", len(m.Answers), len(known))
	}
	for i := range m.Blocks {
		for k := range m.Blocks {
			if got, want := m.BetweenBlocks(i, k), m.Between(m.Blocks[i].First, m.Blocks[k].First+m.Blocks[k].Count-1); got != want {
				t.Errorf("block %d -> %d: answer %d, its ends %d", i, k, got, want)
			}
		}
	}
	t.Logf("%d ends in %d blocks", len(m.Ends), len(m.Blocks))
}

func TestEndsThatCannotBe(t *testing.T) {
	t.Parallel()
	good := Place{Addresses: set(t, "10.0.0.1")}
	cases := map[string][]End{
		"no name":                {{Places: []Place{good}}},
		`"a"`:                    {{Name: "a", Places: []Place{good}}, {Name: "a", Places: []Place{good}}},
		`"b": it has no address`: {{Name: "b"}},
		`"c": it has no address`: {{Name: "c", Places: []Place{good, {}}}},
	}
	for word, ends := range cases {
		if _, err := Make(ends, Question{}); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%+v: %v, want %s", ends, err, word)
		}
	}
	if m := make1(t, nil, Question{}); len(m.Ends) != 0 || len(m.Blocks) != 0 {
		t.Errorf("of nobody: %+v", m)
	}
	t.Logf("%d bad lists", len(cases))
}
