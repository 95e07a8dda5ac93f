package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// routedDocuments are those of a network whose subnets have route tables.
var routedDocuments = []string{"--documents", "testdata/web.json", "--documents", "testdata/spoke.json"}

// TestVirtualNetworkOfRoutes asks whether AllowVnetInBound lets an address in.
func TestVirtualNetworkOfRoutes(t *testing.T) {
	cases := []struct{ flags, remote, access, note string }{
		{"--nsg pods-nsg", "192.168.3.4", "Allow", ""},
		{"--nsg pods-nsg", "172.16.0.9", "Allow", ""},
		{"--nsg pods-nsg", "10.0.66.6", "Allow", ""}, // it is the peer's
		{"--nsg pods-nsg", "203.0.113.9", "Deny", ""},
		{"--nsg pods-nsg --route-table=", "192.168.3.4", "Deny", ""},
		{"--nsg pods-nsg --virtual-network 10.250.0.0/16", "192.168.3.4", "Deny", ""},
		{"--nsg pods-nsg --route-table TRAP-rt", "203.0.113.9", "Allow", "VirtualNetwork is 0.0.0.0/0, every address of the family, because of route all-by-firewall"},
		{"--interface-nsg pods-nsg", "192.168.3.4", "Deny", "no subnet of the documents has the group of --nsg"},
		{"--interface-nsg pods-nsg --route-table spoke-rt", "192.168.3.4", "Allow", ""},
	}
	for _, c := range cases {
		args := append([]string{"test-ip-flow", "--direction", "Inbound", "--protocol", "TCP", "--local", "10.250.0.4:22", "--remote", c.remote + ":5"}, routedDocuments...)
		a := vnetctl(append(args, strings.Fields(c.flags)...)...)
		if a.status != 0 || !strings.HasPrefix(a.stdout, c.access) || (c.note == "") != (a.stderr == "") || !strings.Contains(a.stderr, c.note) {
			t.Errorf("%s from %s: %+v", c.flags, c.remote, a)
		}
	}
	args := append([]string{"test-ip-flow", "--direction", "Inbound", "--protocol", "TCP", "--local", "10.250.0.4:22", "--remote", "1.2.3.4:5"}, routedDocuments...)
	vnetctl(append(args, "--nsg", "pods-nsg", "--route-table", "spoke")...).fails(t, exitFailed, "--route-table", `"spoke"`, "near: spoke-rt")
	if a := vnetctl(append([]string{"reach"}, routedDocuments...)...); a.status != 0 || strings.Contains(a.stderr, "--nsg") {
		t.Errorf("a note about a group that nobody named: %+v", a.stderr)
	}
	vnetctl(append(args, "--route-table", "x", "--virtual-network", "10.0.0.0/8")...).fails(t, exitUsage, "--route-table", `"x"`, "--virtual-network")
	vnetctl("test-ip-flow", "--pod", "x", "--route-table", "y").fails(t, exitUsage, "--route-table", "--pod")
	out := vnetctl(append(append([]string{"__complete", "test-ip-flow"}, routedDocuments...), "--route-table", "")...).stdout
	if !strings.HasPrefix(out, "spoke-rt\ntrap-rt\n") {
		t.Errorf("completion: %q", out)
	}
	t.Logf("%d questions", len(cases)+5)
}

func TestSubnetsWithDifferentTables(t *testing.T) {
	text, err := os.ReadFile("testdata/spoke.json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "spoke.json")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "/web-nsg", "/pods-nsg", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"test-ip-flow", "--documents", "testdata/web.json", "--documents", file, "--nsg", "pods-nsg",
		"--direction", "Inbound", "--protocol", "TCP", "--local", "10.250.0.4:22", "--remote", "192.168.3.4:5"}
	vnetctl(args...).fails(t, exitFailed, "--route-table", "pods has ", "/spoke-rt", "jump has ", "/trap-rt")
	vnetctl(append(args, "--route-table", "spoke-rt")...).must(t)
	t.Log("2 questions")
}

// TestTwinNetworks asks about networks that have the same addresses, as an export of
// several subscriptions has them: each has its own peers and route table.
func TestTwinNetworks(t *testing.T) {
	args := []string{"--documents", "testdata/twins.json"}
	for group, want := range map[string]string{
		"dev": "10.0.0.0/16 10.8.0.0/16 168.63.129.16/32 192.0.2.0/24", "prod": "10.0.0.0/16 10.9.0.0/16 168.63.129.16/32",
	} {
		out := decode[effectiveGroups](t, vnetctl(append([]string{"effective", "--nsg", group, "-o", "json"}, args...)...).must(t))
		if got := strings.Join(out.Value[0].TagMap["VirtualNetwork"], " "); got != want {
			t.Errorf("%s: %s, want %s", group, got, want)
		}
	}
	if a := vnetctl("validate", "testdata/twins.json"); a.status != 0 || !strings.Contains(a.stdout, "0 warnings") {
		t.Errorf("validate: %+v", a)
	}
	table := vnetctl(append([]string{"reach", "--outside", "dev-hub=10.8.0.9", "--outside", "prod-hub=10.9.0.9"}, args...)...).stdout
	for _, row := range []string{"dev-hub dev/pods all everything", "dev-hub prod/pods none nothing", "prod-hub dev/pods none nothing", "prod-hub prod/pods all everything"} {
		if !strings.Contains(strings.Join(strings.Fields(table), " "), row) {
			t.Errorf("reach: no row %s:\n%s", row, table)
		}
	}
	t.Log("4 questions")
}

// TestGroupInSeveralNetworks asks about a group in two networks that are no peers: what
// is in VirtualNetwork for the one is not for the other.
func TestGroupInSeveralNetworks(t *testing.T) {
	dir := t.TempDir()
	write := func(name, rules, peering string) string {
		network := func(name, space, subnet, peer string) string {
			return fmt.Sprintf(`{"name": %q, "id": "/v/%[1]s", "type": "Microsoft.Network/virtualNetworks", "addressSpace": {"addressPrefixes": [%q]},
				"subnets": [{"name": "pods", "addressPrefix": %q, "networkSecurityGroup": {"id": "/g/shared"}}],
				"virtualNetworkPeerings": [{"name": "p", "peeringState": %q, "remoteAddressSpace": {"addressPrefixes": [%q]}}]}`, name, space, subnet, peering, peer)
		}
		file := filepath.Join(dir, name)
		text := "[" + network("hub", "10.0.0.0/16", "10.0.1.0/24", "10.2.0.0/16") + "," + network("lone", "10.2.0.0/16", "10.2.1.0/24", "10.0.0.0/16") +
			`, {"name": "shared", "id": "/g/shared", "type": "Microsoft.Network/networkSecurityGroups", "securityRules": [` + rules + "]}]"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const rule = `{"name": "from-lone", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "*",
		"sourceAddressPrefix": "10.2.0.0/16", "sourcePortRange": "*", "destinationAddressPrefix": "VirtualNetwork", "destinationPortRange": "*"}`
	bare, ruled := write("bare.json", "", "Disconnected"), write("ruled.json", rule, "Disconnected")
	if a := vnetctl("validate", ruled); a.status != 0 || strings.Contains(a.stdout, "Redundant") {
		t.Errorf("a rule that the hub needs: %+v", a)
	}
	if a := vnetctl("diff", bare, ruled); a.status != exitFailed || !strings.Contains(a.stdout, "securityRules/from-lone") || !strings.Contains(a.stderr, "or several") {
		t.Errorf("a rule more: %+v", a)
	}
	ask := []string{"test-ip-flow", "--nsg", "shared", "--direction", "Inbound", "--protocol", "TCP", "--local", "10.0.1.4:22", "--remote", "10.2.1.4:5"}
	if a := vnetctl(append(ask, "--documents", bare)...); a.status != 0 || !strings.Contains(a.stderr, "different addresses, hub and lone") {
		t.Errorf("no note: %+v", a)
	}
	expectText(t, "told", vnetctl(append(ask, "--documents", bare, "--virtual-network", "10.0.0.0/16")...).must(t), "Deny  defaultSecurityRules/DenyAllInBound  (shared)\n")

	bare, ruled = write("bare.json", "", "Connected"), write("ruled.json", rule, "Connected")
	expectText(t, "peers", vnetctl(append(ask, "--documents", bare)...).must(t), "Allow  defaultSecurityRules/AllowVnetInBound  (shared)\n")
	expectText(t, "peers", vnetctl("diff", bare, ruled).must(t), "1 group compared: no flow changes its verdict\n")
	if a := vnetctl("validate", ruled); !strings.Contains(a.stdout, "Redundant") {
		t.Errorf("a rule that nobody needs: %+v", a)
	}
	t.Log("2 exports")
}

func TestValidateRoutes(t *testing.T) {
	a := vnetctl("validate", "testdata/web.json", "testdata/spoke.json", "-o", "json")
	findings := decode[[]nsg.Finding](t, a.must(t))
	if len(findings) != 1 || findings[0].Code != policy.CodeEverything || findings[0].Severity != nsg.Warning ||
		!strings.Contains(findings[0].Message, "route table trap-rt, route all-by-firewall: it makes the tag VirtualNetwork every address of its family in jump") {
		t.Errorf("findings %+v", findings)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, "rt.json")
	if err := os.WriteFile(broken, []byte(`{"name": "rt", "type": "Microsoft.Network/routeTables", "routes": [
		{"name": "a", "addressPrefix": "10.0.0.1/8", "nextHopType": "VirtualAppliance"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a = vnetctl("validate", broken)
	if a.status != exitFailed || !strings.Contains(a.stdout, "RouteInvalidAddressPrefix") || !strings.Contains(a.stdout, "RouteInvalidNextHopIpAddress") ||
		!strings.HasSuffix(a.stdout, "\n0 groups, 0 rules, 2 errors, 0 warnings\n") {
		t.Errorf("a broken table: %+v", a)
	}
	t.Log("2 sets of documents")
}

// TestRoutesOfPods puts a route table in force that makes VirtualNetwork every
// address, changes it, and asks as the pod is judged.
func TestRoutesOfPods(t *testing.T) {
	n := newJudgedNode(t)
	document := func(table, route string) {
		n.write("vnet.json", `[{"name": "vnet", "type": "Microsoft.Network/virtualNetworks", "properties": {"addressSpace": {"addressPrefixes": ["10.241.0.0/16", "fd00:10:241::/48"]},
			"subnets": [{"name": "pods", "properties": {"addressPrefix": "10.241.0.0/16", "routeTable": {"id": "/x/`+table+`"}}}]}},
			{"name": "rt", "id": "/x/rt", "type": "Microsoft.Network/routeTables", "properties": {"routes": [
			{"name": "by-firewall", "properties": {"addressPrefix": "`+route+`", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.241.0.9"}}]}}]`)
	}
	document("rt", "0.0.0.0/0")
	n.add("api", apiArgs)
	ask := func(want, result string) {
		t.Helper()
		got := decode[[]applyEntry](t, n.vnetctl("apply", "-o", "json").stdout)
		if len(got) != 1 || got[0].Result != result {
			t.Errorf("apply: %+v, want %s", got, result)
		}
		rule := n.ask("--pod", "api", "--direction", "Inbound", "--protocol", "TCP", "--local", ":22", "--remote", "203.0.113.9:5").RuleName
		if rule != "defaultSecurityRules/"+want {
			t.Errorf("%s, want %s", rule, want)
		}
		problems := decode[[]podEntry](t, n.vnetctl("pods", "-o", "json").must(t))[0].Problems
		if len(problems) > 0 {
			t.Errorf("problems: %q", problems)
		}
	}
	ask("AllowVnetInBound", "unchanged")
	document("rt", "192.168.0.0/16")
	ask("DenyAllInBound", "applied")
	document("rt", "203.0.113.0/24")
	ask("AllowVnetInBound", "applied")
	document("rt", "203.0.113.9/24")
	ask("AllowVnetInBound", "rejected")
	document("none", "203.0.113.0/24")
	ask("DenyAllInBound", "applied")
	if a := n.vnetctl("status"); a.status != exitFailed || !strings.Contains(a.stdout, "the route table is in no document: /x/none: its routes") {
		t.Errorf("status without the table: %+v", a)
	}
	t.Log("5 route tables")
}
