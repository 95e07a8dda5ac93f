package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
)

const tableID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/routeTables/"

func hopArgs(flags string) []string {
	return append(append([]string{"show-next-hop"}, routedDocuments...), strings.Fields(flags)...)
}

func TestNextHop(t *testing.T) {
	spoke := "(" + tableID + "spoke-rt)"
	cases := []struct{ flags, want string }{
		{"--source-ip 10.250.0.4 --dest-ip 192.168.3.4", "VirtualAppliance 10.0.0.4  192.168.0.0/16 to-site  " + spoke},
		{"--source-ip 10.250.0.4 --dest-ip 10.0.66.1", "None  10.0.66.0/24 no-lab  " + spoke},
		{"--source-ip 10.250.0.4 --dest-ip 10.0.67.1", "VNetPeering  10.0.0.0/16  (System Route)"},
		{"--source-ip 10.250.0.4 --dest-ip ::ffff:10.250.2.2", "VnetLocal  10.250.0.0/16  (System Route)"},
		{"--source-ip 10.250.0.4 --dest-ip 8.8.8.8", "Internet  0.0.0.0/0  (System Route)"},
		{"--source-ip 10.250.2.4 --dest-ip 192.168.3.4", "None  192.168.0.0/16  (System Route)"},
		{"--source-ip 10.250.1.4 --dest-ip 192.168.3.4", "VirtualAppliance 10.0.0.4  0.0.0.0/0 all-by-firewall  (" + tableID + "trap-rt)"},
		{"--subnet PLAIN --dest-ip 2001:db8::1", "Internet  ::/0  (System Route)"},
		{"--vnet spoke --subnet plain --dest-ip 8.8.8.8 --route-table trap-rt", "VirtualAppliance 10.0.0.4  0.0.0.0/0 all-by-firewall  (" + tableID + "trap-rt)"},
		{"--source-ip 10.250.0.4 --dest-ip 192.168.3.4 --route-table=", "None  192.168.0.0/16  (System Route)"},
		{"--source-ip 203.0.113.4 --dest-ip 10.250.3.4 --route-table spoke-rt", "VnetLocal  10.250.0.0/16  (System Route)"},
	}
	for _, c := range cases {
		expectText(t, c.flags, vnetctl(hopArgs(c.flags)...).must(t), c.want+"\n")
		got := decode[nextHop](t, vnetctl(hopArgs(c.flags+" -o json")...).must(t))
		kind, _, _ := strings.Cut(c.want, " ")
		if string(got.Type) != kind || (got.Address != nil) != (kind == "VirtualAppliance") || !strings.HasSuffix(c.want, "("+got.Table+")") {
			t.Errorf("%s: %+v", c.flags, got)
		}
	}
	expectText(t, "for programs", vnetctl(hopArgs("--subnet pods --dest-ip 8.8.8.8 -o json")...).must(t),
		"{\n  \"nextHopIpAddress\": null,\n  \"nextHopType\": \"Internet\",\n  \"routeTableId\": \"System Route\"\n}\n")
	if a := vnetctl(hopArgs("--subnet pods --dest-ip 172.16.3.4")...); a.status != 0 || !strings.Contains(a.stderr, "gateway") {
		t.Errorf("a gateway: %+v", a)
	}
	t.Logf("%d next hops", len(cases)+2)
}

const goldenRoutes = `SOURCE   STATE    ADDRESS PREFIX  NEXT HOP TYPE          NEXT HOP IP  NAME
User     Active   10.0.66.0/24    None                   -            no-lab
Default  Active   10.0.0.0/16     VNetPeering            -            -
Default  Active   10.250.0.0/16   VnetLocal              -            -
User     Active   172.16.0.0/16   VirtualNetworkGateway  -            to-branch
User     Active   192.168.0.0/16  VirtualAppliance       10.0.0.4     to-site
Default  Invalid  192.168.0.0/16  None                   -            -
Default  Active   172.16.0.0/12   None                   -            -
Default  Active   100.64.0.0/10   None                   -            -
Default  Active   10.0.0.0/8      None                   -            -
Default  Active   0.0.0.0/0       Internet               -            -
Default  Active   ::/0            Internet               -            -
`

func TestRoutesOfASubnet(t *testing.T) {
	expectText(t, "for people", vnetctl(hopArgs("--source-ip 10.250.0.9 --routes")...).must(t), goldenRoutes)
	out := decode[effectiveRoutes](t, vnetctl(hopArgs("--subnet pods --routes -o json")...).must(t))
	if len(out.Value) != 11 || out.Value[4].Name == nil || *out.Value[4].Name != "to-site" || out.Value[4].Addresses[0].String() != "10.0.0.4" ||
		out.Value[5].State != "Invalid" || out.Value[5].Source != nexthop.Default || out.Value[5].Name != nil || out.Value[5].Addresses == nil {
		t.Errorf("%+v", out)
	}
	tags := filepath.Join(t.TempDir(), "tags.json")
	writeFile(t, tags, `[{"name": "rt", "type": "Microsoft.Network/routeTables", "routes": [
		{"name": "mail", "addressPrefix": "Mail", "nextHopType": "Internet"}]},
		{"changeNumber": 1, "cloud": "Public", "values": [{"name": "Mail", "id": "Mail", "properties": {"addressPrefixes": ["192.0.2.0/25"]}}]}]`)
	table := vnetctl("show-next-hop", "--documents", tags, "--route-table", "rt", "--routes").must(t)
	if !strings.HasPrefix(table, "SOURCE   STATE   ADDRESS PREFIX  NEXT HOP TYPE  NEXT HOP IP  NAME  SERVICE TAG\nUser     Active  192.0.2.0/25    Internet       -            mail  Mail\n") {
		t.Errorf("a service tag:\n%s", table)
	}
	t.Log("3 tables")
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNextHopUsage(t *testing.T) {
	cases := []struct {
		flags  string
		status int
		words  string
	}{
		{"--dest-ip 8.8.8.8", exitUsage, "--source-ip --subnet --route-table"},
		{"--source-ip 10.250.0.4", exitUsage, "--dest-ip --routes"},
		{"--source-ip 10.250.0.4 --dest-ip 8.8.8.8 --routes", exitUsage, "--dest-ip --routes"},
		{"--source-ip ten --dest-ip 8.8.8.8", exitUsage, `--source-ip "ten"`},
		{"--source-ip 10.250.0.4 --dest-ip fe80::1%eth0", exitUsage, `--dest-ip "fe80::1%eth0"`},
		{"--source-ip 10.250.0.4 --dest-ip fd00::1", exitUsage, "--source-ip 10.250.0.4 family fd00::1"},
		{"--source-ip 10.250.2.4 --subnet pods --dest-ip 8.8.8.8", exitUsage, "--source-ip 10.250.2.4 pods"},
		{"--pod x --documents y --dest-ip 8.8.8.8", exitUsage, "--documents --pod"},
		{"--source-ip 10.251.0.4 --dest-ip 8.8.8.8", exitFailed, "--source-ip 10.251.0.4"},
		{"--subnet none --dest-ip 8.8.8.8", exitFailed, `--subnet "none"`},
		{"--vnet hub --subnet pods --dest-ip 8.8.8.8", exitFailed, `--vnet "hub" spoke`},
		{"--subnet pods --route-table spok-rt --dest-ip 8.8.8.8", exitFailed, `--route-table "spok-rt" spoke-rt`},
		{"--documents testdata/none.json --subnet pods --dest-ip 8.8.8.8", exitFailed, "--documents none.json"},
	}
	for _, c := range cases {
		a := vnetctl(hopArgs(c.flags)...)
		a.fails(t, c.status, strings.Fields(c.words)...)
		if a.stdout != "" {
			t.Errorf("%s: %s", c.flags, a.stdout)
		}
	}
	vnetctl("show-next-hop", "--dest-ip", "8.8.8.8", "--subnet", "x").fails(t, exitUsage, "--documents", "--pod")
	vnetctl("show-next-hop", "--dest-ip", "8.8.8.8", "--pod", "").fails(t, exitUsage, "--pod")
	for flag, want := range map[string]string{"--vnet": "spoke\n", "--subnet": "pods\njump\nplain\n", "--route-table": "spoke-rt\ntrap-rt\n"} {
		args := append(append([]string{"__complete", "show-next-hop"}, routedDocuments...), flag, "")
		if out := vnetctl(args...).stdout; !strings.HasPrefix(out, want) {
			t.Errorf("completion of %s: %q", flag, out)
		}
	}
	t.Logf("%d command lines", len(cases)+5)
}

// TestNextHopOfBrokenDocuments holds the question to answers that are whole.
func TestNextHopOfBrokenDocuments(t *testing.T) {
	text, err := os.ReadFile("testdata/spoke.json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "spoke.json")
	edit := func(old, by string) {
		t.Helper()
		if !strings.Contains(string(text), old) {
			t.Fatalf("no %q", old)
		}
		writeFile(t, file, strings.Replace(string(text), old, by, 1))
	}
	ask := func(flags string) answer {
		return vnetctl(append([]string{"show-next-hop", "--documents", file, "--dest-ip", "8.8.8.8"}, strings.Fields(flags)...)...)
	}
	edit(`"None"`, `"Nothing"`)
	ask("--subnet pods").fails(t, exitFailed, file, "nextHopType", "route table spoke-rt, route no-lab", `[VnetLocal`)
	ask("--subnet jump").must(t)
	edit(`routeTables/spoke-rt"}`, `routeTables/gone-rt"}`)
	ask("--subnet pods").fails(t, exitFailed, "subnet pods", "/gone-rt", "--route-table")
	ask("--subnet pods --route-table=").must(t)
	writeFile(t, file, `[{"name": "one", "type": "Microsoft.Network/virtualNetworks", "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}, "subnets": [{"name": "pods", "addressPrefix": "10.0.0.0/16"}]},
		{"name": "two", "type": "Microsoft.Network/virtualNetworks", "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}, "subnets": [{"name": "pods", "addressPrefix": "10.0.0.0/16"}]}]`)
	ask("--source-ip 10.0.0.4").fails(t, exitFailed, "--source-ip 10.0.0.4", "--vnet", "pods of one, pods of two")
	ask("--subnet pods").fails(t, exitFailed, `--subnet "pods"`, "--vnet")
	ask("--route-table=").fails(t, exitUsage, "--vnet", "2 virtual networks")
	ask("--vnet two --source-ip 10.0.0.4").must(t)
	t.Log("8 questions")
}

func TestNextHopOfPods(t *testing.T) {
	n := newJudgedNode(t)
	n.add("web", webArgs)
	hop := func(flags string) string {
		t.Helper()
		return n.vnetctl(append([]string{"show-next-hop", "--pod", "shop/web-0"}, strings.Fields(flags)...)...).must(t)
	}
	expectText(t, "without a table", hop("--dest-ip 10.241.9.9"), "VnetLocal  10.241.0.0/16  (System Route)\n")
	n.write("vnet.json", `[{"name": "vnet", "type": "Microsoft.Network/virtualNetworks", "properties": {"addressSpace": {"addressPrefixes": ["10.241.0.0/16"]},
		"subnets": [{"name": "pods", "properties": {"addressPrefix": "10.241.0.0/16", "routeTable": {"id": "/x/rt"}}}]}},
		{"name": "rt", "id": "/x/rt", "type": "Microsoft.Network/routeTables", "properties": {"routes": [
		{"name": "drop", "properties": {"addressPrefix": "192.0.2.0/24", "nextHopType": "None"}}]}}]`)
	expectText(t, "not yet in force", hop("--dest-ip 192.0.2.1"), "Internet  0.0.0.0/0  (System Route)\n")
	n.vnetctl("apply").must(t)
	expectText(t, "with one", hop("--dest-ip 192.0.2.1 --source-ip 10.241.4.0"), "None  192.0.2.0/24 drop  (/x/rt)\n")
	n.vnetctl("show-next-hop", "--pod", "web", "--dest-ip", "192.0.2.1", "--source-ip", "10.241.4.9").fails(t, exitUsage, "--source-ip", "10.241.4.9", "10.241.4.0")
	n.vnetctl("show-next-hop", "--pod", "none", "--routes").fails(t, exitFailed, "--pod", `"none"`)
	n.write("vnet.json", "{")
	n.vnetctl("apply") // in vain
	if a := n.vnetctl("show-next-hop", "--pod", "web", "--dest-ip", "192.0.2.1"); a.stdout != "None  192.0.2.0/24 drop  (/x/rt)\n" || !strings.Contains(a.stderr, "were rejected") || !strings.Contains(a.stderr, "vnet.json") {
		t.Errorf("broken documents: %+v", a)
	}
	state := filepath.Join(n.dir, "vctl.nsg")
	text, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, state, strings.Replace(string(text), `"effective"`, `"unknown"`, 1))
	n.vnetctl("show-next-hop", "--pod", "web", "--routes").fails(t, exitFailed, "--pod", `"web"`, "network vctl", "earlier version", "--documents "+n.documents)
	t.Log("8 questions")
}

// TestNotesOfNextHops tells where a node, or the platform, does not do what the answer
// says of Azure.
func TestNotesOfNextHops(t *testing.T) {
	n := newJudgedNode(t)
	n.write("vnet.json", `[{"name": "vnet", "type": "Microsoft.Network/virtualNetworks", "addressSpace": {"addressPrefixes": ["10.241.0.0/16"]},
		"subnets": [{"name": "pods", "addressPrefix": "10.241.0.0/16", "routeTable": {"id": "/x/rt"}}]},
		{"name": "rt", "id": "/x/rt", "type": "Microsoft.Network/routeTables", "routes": [
		{"name": "all", "addressPrefix": "0.0.0.0/1", "nextHopType": "Internet"}, {"name": "upper", "addressPrefix": "128.0.0.0/1", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.241.0.9"},
		{"name": "own", "addressPrefix": "10.241.0.0/16", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.241.0.9"}, {"name": "gw", "addressPrefix": "198.51.100.0/24", "nextHopType": "VirtualNetworkGateway"},
		{"name": "pod", "addressPrefix": "192.0.3.0/24", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.241.4.9"}]}]`)
	n.add("web", webArgs) // 10.241.4.0
	n.add("api", apiArgs) // 10.241.4.1
	const tables = "as its own routing tables have it"
	documents := "--documents " + n.documents + " --source-ip 10.241.4.0"
	cases := []struct{ flags, answer, note string }{
		{"--pod web --dest-ip 10.241.4.1", "VirtualAppliance 10.241.0.9  10.241.0.0/16 own", "10.241.4.1 is a pod of this node"},
		{"--pod web --dest-ip 10.241.4.2", "VirtualAppliance 10.241.0.9  10.241.0.0/16 own", ""},
		{"--pod web --dest-ip 168.63.129.16", "VirtualAppliance 10.241.0.9  128.0.0.0/1 upper", "168.63.129.16 is the platform's"},
		{documents + " --dest-ip 169.254.169.254", "VirtualAppliance 10.241.0.9  128.0.0.0/1 upper", "169.254.169.254 is the platform's"},
		{documents + " --dest-ip 10.241.4.1", "VirtualAppliance 10.241.0.9  10.241.0.0/16 own", ""},
		{"--pod web --dest-ip 198.51.100.1", "VirtualNetworkGateway  198.51.100.0/24 gw", tables},
		{documents + " --dest-ip 198.51.100.1", "VirtualNetworkGateway  198.51.100.0/24 gw", "where it has none, Azure drops"},
		{"--pod web --dest-ip 10.9.9.9", "None  10.0.0.0/8", tables},
		{"--pod web --dest-ip 192.168.9.9", "None  192.168.0.0/16", ""}, // or the appliance would get it
		{documents + " --dest-ip 10.9.9.9", "None  10.0.0.0/8", ""},
		{"--pod web --dest-ip 192.0.2.1", "VirtualAppliance 10.241.0.9  128.0.0.0/1 upper", ""},
		{"--pod web --dest-ip 192.0.3.1", "VirtualAppliance 10.241.4.9  192.0.3.0/24 pod", "is an address of this node's pods, so that all of 192.0.3.0/24 is dropped"},
		{"--pod web --routes", "SOURCE", tables},
	}
	for _, c := range cases {
		a := n.vnetctl(append([]string{"show-next-hop"}, strings.Fields(c.flags)...)...)
		if a.status != 0 || !strings.HasPrefix(a.stdout, c.answer) || !strings.Contains(a.stderr, c.note) || (c.note == "") != (a.stderr == "") {
			t.Errorf("%s: %+v, want %s, note %q", c.flags, a, c.answer, c.note)
		}
	}
	t.Logf("%d questions", len(cases))
}
