package arm

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew")

// TestGolden tells, for every document in testdata, all that it gives.
func TestGolden(t *testing.T) {
	files := testDocuments(t)
	var got strings.Builder
	for _, f := range files {
		fmt.Fprintf(&got, "== %s\n%s\n", filepath.Base(f), render(Load([]string{f})))
	}
	const golden = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s differs:\n%s", golden, firstDifference(got.String(), string(want)))
	}
	t.Logf("%d documents", len(files))
}

func testDocuments(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json*")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d documents in testdata: %v", len(files), err)
	}
	slices.Sort(files)
	return files
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(g), len(w))
}

// render writes all that documents say, without empty things.
func render(d *Documents) string {
	var out strings.Builder
	for _, g := range d.Groups {
		fmt.Fprintf(&out, "group %s id=%s file=%s flush=%t\n", g.Name, short(g.ID), g.File, g.FlushConnection)
		for _, r := range g.Rules {
			fmt.Fprintf(&out, "  rule %q %s %s %s %s %s -> %s %q\n", r.Name, r.Priority, r.Direction, r.Access, r.Protocol, side(r.Source), side(r.Destination), r.Description)
		}
	}
	for _, n := range d.VirtualNetworks {
		fmt.Fprintf(&out, "vnet %s id=%s file=%s %v\n", n.Name, short(n.ID), n.File, n.AddressSpace)
		for _, s := range n.Subnets {
			fmt.Fprintf(&out, "  subnet %s id=%s %v nsg=%s routes=%s\n", s.Name, short(s.ID), s.Prefixes, short(s.NSG), short(s.RouteTable))
		}
		for _, p := range n.Peerings {
			fmt.Fprintf(&out, "  peering %s id=%s %s denied=%t %v\n", p.Name, short(p.ID), p.State, p.AccessDenied, p.RemoteAddressSpace)
		}
	}
	for _, a := range d.ASGs {
		fmt.Fprintf(&out, "asg %s id=%s file=%s\n", a.Name, short(a.ID), a.File)
	}
	for _, r := range d.RouteTables {
		fmt.Fprintf(&out, "routes %s id=%s file=%s %q\n", r.Name, short(r.ID), r.File, r.Routes)
	}
	for _, name := range slices.Sorted(maps.Keys(d.ServiceTags)) {
		fmt.Fprintf(&out, "tag %s %v\n", name, d.ServiceTags[name])
	}
	for _, f := range d.Findings {
		fmt.Fprintf(&out, "%s %s file=%s nsg=%s rule=%s property=%s value=%q: %s\n", f.Severity, f.Code, f.File, f.NSG, f.Rule, f.Property, f.Value, f.Message)
	}
	return out.String()
}

// short leaves the resource group's part of an id out.
func short(id string) string {
	const mark = "/providers/Microsoft.Network"
	if at := strings.Index(id, mark); at >= 0 {
		return "…" + id[at+len(mark):]
	}
	return id
}

func side(e nsg.EndpointDefinition) string {
	asgs := make([]string, len(e.ASGs))
	for i, a := range e.ASGs {
		asgs[i] = short(a)
	}
	return fmt.Sprintf("{%q %q %q port %q %q}", e.Prefix, e.Prefixes, asgs, e.Port, e.Ports)
}
