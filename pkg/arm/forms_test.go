package arm

import (
	"os"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// TestFormsAgree reads one group as REST, az and PowerShell write it, and in
// each wrapping that exporters put around one.
func TestFormsAgree(t *testing.T) {
	want := only(t, "testdata/rest-nsg.json", readTestFile(t, "testdata/rest-nsg.json"))
	if len(want.Rules) != 3 || !want.FlushConnection || len(want.Rules[1].Source.ASGs) != 1 {
		t.Fatalf("not the group that the forms are compared by: %+v", want)
	}
	wrappings := []struct{ name, before, after string }{
		{"bare", "", ""},
		{"array", "[", "]"},
		{"REST list", `{"value":[`, `]}`},
		{"REST list of one page", `{"value":[`, `],"nextLink":null}`},
		{"PowerShell 5.1 array", `{"value":[`, `],"Count":1}`},
		{"create", `{"NewNSG":`, `}`},
		{"commented", "// exported\n", "\n/* end */"},
		{"BOM", "\uFEFF", ""},
		{"CRLF around", "\r\n", "\r\n"},
	}
	cases := 0
	for _, file := range []string{"testdata/rest-nsg.json", "testdata/az-nsg-show.json", "testdata/powershell-nsg.json"} {
		for _, w := range wrappings {
			got := only(t, file+" "+w.name, w.before+readTestFile(t, file)+w.after)
			if got.Name != want.Name || got.ID != want.ID || !sameGroup(want, got) {
				t.Errorf("%s in %s:\n got %+v\nwant %+v", file, w.name, got, want)
			}
			cases++
		}
	}
	t.Logf("%d cases", cases)
}

func only(t *testing.T, name, text string) nsg.Definition {
	t.Helper()
	d := &Documents{}
	Read(name, []byte(text), d)
	if len(d.Groups) != 1 || len(d.Findings) != 0 {
		t.Fatalf("%s: %d groups, findings %v", name, len(d.Groups), d.Findings)
	}
	return d.Groups[0]
}

func readTestFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestMerging reads documents that speak of the same resource.
func TestMerging(t *testing.T) {
	group := func(id, priority string) string {
		return `{"name":"n","id":"` + id + `","securityRules":[{"name":"a","priority":` + priority + `}]}`
	}
	const id = "/subscriptions/s/providers/Microsoft.Network/networkSecurityGroups/n"
	vnet := func(prefix string) string {
		return `{"name":"v","addressSpace":{"addressPrefixes":["` + prefix + `"]}}`
	}
	table := func(hop string) string { return `{"name":"r","routes":[{"name":"x","nextHopType":"` + hop + `"}]}` }
	tags := func(prefix string) string {
		return `{"cloud":"Public","values":[{"name":"T","properties":{"addressPrefixes":["` + prefix + `"]}}]}`
	}
	cases := []struct {
		name      string
		one, two  string
		resources int
		conflicts int
	}{
		{"same group", group(id, "100"), group(strings.ToUpper(id), `"100"`), 1, 0},
		{"differing group", group(id, "100"), group(id, "101"), 1, 1},
		{"groups of one name", group(id, "100"), group(strings.Replace(id, "/s/", "/t/", 1), "101"), 2, 0},
		{"with and without id", group(id, "100"), group("", "100"), 2, 0},
		{"without id, same", group("", "100"), group("", "100"), 1, 0},
		{"without id, differing", group("", "100"), group("", "200"), 1, 1},
		{"same vnet", vnet("10.0.0.0/8"), vnet("10.0.0.0/8"), 1, 0},
		{"differing vnet", vnet("10.0.0.0/8"), vnet("10.0.0.0/9"), 1, 1},
		{"same routes", table("None"), table("None"), 1, 0},
		{"differing routes", table("None"), table("Internet"), 1, 1},
		{"same tags", tags("192.0.2.0/24"), tags("192.0.2.0/24"), 1, 0},
		{"differing tags", tags("192.0.2.0/24"), tags("192.0.2.0/25"), 1, 1},
	}
	for _, c := range cases {
		d := &Documents{}
		Read("one.json", []byte(c.one), d)
		Read("two.json", []byte(c.two), d)
		resources := len(d.Groups) + len(d.VirtualNetworks) + len(d.RouteTables) + len(d.ServiceTags)
		if resources != c.resources || len(d.Findings) != c.conflicts {
			t.Errorf("%s: %d resources, findings %v", c.name, resources, d.Findings)
		}
		for _, f := range d.Findings {
			if f.Severity != nsg.Error || f.Code != Conflict || f.File != "two.json" || !strings.Contains(f.Message, "one.json") {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
	}
	t.Logf("%d cases", len(cases))
}
