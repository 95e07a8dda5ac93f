package arm

import (
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

func TestGroup(t *testing.T) {
	const id = "/subscriptions/S/resourceGroups/%/providers/Microsoft.Network/networkSecurityGroups/"
	one, two := strings.Replace(id, "%", "one", 1), strings.Replace(id, "%", "two", 1)
	d := &Documents{Groups: []nsg.Definition{
		{Name: "web-nsg", ID: one + "web-nsg"}, {Name: "Db-Nsg"},
		{Name: "twin", ID: one + "twin"}, {Name: "TWIN", ID: two + "TWIN"}, {Name: "Twin", File: "loose.json"},
	}}
	cases := []struct {
		query string
		want  int      // place of the group, or -1
		text  []string // of the error
	}{
		{"web-nsg", 0, nil},
		{"WEB-NSG", 0, nil},
		{"db-nsg", 1, nil},
		{strings.ToUpper(one + "web-nsg"), 0, nil},
		{two + "twin", 3, nil},
		{"twin", -1, []string{"ambiguous", one + "twin", two + "TWIN", "loose.json"}},
		{"web_nsg", -1, []string{`"web_nsg"`, "near: web-nsg"}},
		{"web", -1, []string{"near: web-nsg"}},
		{two + "web-nsg", -1, []string{"near: " + one + "web-nsg"}},
		{"zzzzz", -1, []string{"there are: Db-Nsg, TWIN, Twin, twin, web-nsg"}},
		{"", -1, []string{"there are"}},
		{strings.Repeat("x", 1<<20), -1, []string{"there are"}},
		{strings.Repeat("\xa6", 1000), -1, []string{"there are"}},
	}
	for _, c := range cases {
		got, err := d.Group(c.query)
		if c.want >= 0 && (err != nil || got != &d.Groups[c.want]) {
			t.Errorf("%s: got %v, %v", c.query, got, err)
		}
		if c.want < 0 && err == nil {
			t.Errorf("%s: got %v", c.query, got)
		}
		for _, text := range c.text {
			if err != nil && (!strings.Contains(err.Error(), text) || len(err.Error()) > 1000) {
				t.Errorf("%.100s: error %q lacks %q", c.query, err, text)
			}
		}
	}
	if _, err := (&Documents{}).Group("web"); err == nil || !strings.Contains(err.Error(), "no group") {
		t.Errorf("no documents: %v", err)
	}
	t.Logf("%d queries", len(cases)+1)
}

func TestLookUp(t *testing.T) {
	d := &Documents{
		RouteTables:     []RouteTable{{Name: "rt-one", ID: "/s/rt-one"}, {Name: "rt-two", ID: "/s/rt-two"}},
		VirtualNetworks: []VirtualNetwork{{Name: "hub", ID: "/s/hub"}},
	}
	if got, err := d.RouteTable("RT-TWO"); err != nil || got != &d.RouteTables[1] {
		t.Errorf("a route table: %v, %v", got, err)
	}
	if got, err := d.VirtualNetwork("/S/HUB"); err != nil || got != &d.VirtualNetworks[0] {
		t.Errorf("a virtual network: %v, %v", got, err)
	}
	for want, err := range map[string]error{
		`route table "rt" is in no document; near: rt-one, rt-two`: second(d.RouteTable("rt")),
		`virtual network "x" is in no document; there are: hub`:    second(d.VirtualNetwork("x")),
		`route table "x" is in no document: they hold no table`:    second((&Documents{}).RouteTable("x")),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	t.Log("5 queries")
}

func second[T any](_ T, err error) error { return err }

func TestErr(t *testing.T) {
	d := &Documents{}
	d.Findings = append(d.Findings, nsg.Finding{Severity: nsg.Warning, File: "w", Message: "warned"})
	if err := d.Err(); err != nil {
		t.Errorf("warnings only: %v", err)
	}
	for _, f := range []string{"a", "b", "c", "d", "e"} {
		d.Findings = append(d.Findings, nsg.Finding{Severity: nsg.Error, File: f + ".json", Message: "is " + f})
	}
	if got := d.Err().Error(); got != "a.json: is a; b.json: is b; c.json: is c; and 2 more" {
		t.Errorf("got %q", got)
	}
	t.Log("2 cases")
}
