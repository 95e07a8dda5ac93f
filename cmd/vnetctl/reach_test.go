package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/members"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// shopArgs is a question about the shop's documents.
func shopArgs(more ...string) []string {
	return append([]string{"reach", "--documents", "testdata/reach"}, more...)
}

// someEnds are three in the subnet front.
var someEnds = []string{"--end", "web-1=10.10.1.10", "--end", "api-1=10.10.1.20 asgs=api", "--end", "job-1=10.10.1.30 nsg=jobs-nsg"}

const goldenReach = `FROM      TO                             REACHES  WHAT
web-1     api-1, front, tools, Internet  some     everything but tcp 23
web-1     job-1, data                    none     nothing
web-1     api                            some     in part everything but tcp 23
api-1     web-1, front, tools, Internet  some     everything but tcp 23
api-1     job-1                          none     nothing
api-1     api                            some     tcp 5432, in part everything but tcp 23,5432
api-1     data                           some     tcp 5432
job-1     web-1, api-1, front, tools     some     everything but tcp 23
job-1     api                            some     in part everything but tcp 23
job-1     data                           none     nothing
job-1     Internet                       some     everything but tcp 23
api       web-1, api-1, api, front       some     in part everything
api       job-1                          none     nothing
api       tools, Internet                some     in part everything
api       data                           some     in part tcp 5432; icmp
front     web-1, api-1, front, tools     some     everything but tcp 23
front     job-1, data                    none     nothing
front     api                            some     in part everything but tcp 23
front     Internet                       some     everything but tcp 23
tools     web-1, api-1, front, tools     all      everything
tools     job-1                          none     nothing
tools     api                            some     in part everything
tools     data                           some     in part icmp
tools     Internet                       all      everything
data      web-1, api-1, job-1, api       none     nothing
data      front, tools, data, Internet   none     nothing
Internet  web-1, api-1, front            some     tcp 80,443
Internet  job-1, data                    none     nothing
Internet  api                            some     in part everything
Internet  tools                          all      everything
`

const goldenPair = `tools -> data: some, in part icmp

ACCESS  WHAT                 FROM            TO   DECIDED BY
Allow   icmp                 10.10.3.0/25    all  securityRules/tools-ping  (data-nsg, receiver's subnet)
Deny    everything but icmp  all             all  securityRules/nothing-else-in  (data-nsg, receiver's subnet)
        icmp                 10.10.3.128/25  all  
`

func TestReach(t *testing.T) {
	t.Parallel()
	expectText(t, "table", vnetctl(shopArgs(someEnds...)...).must(t), goldenReach)
	expectText(t, "pair", vnetctl(shopArgs("--from", "tools", "--to", "data")...).must(t), goldenPair)
	ports := vnetctl(shopArgs("--from", "tools", "--to", "data", "--to", "front", "--protocol", "icmp")...).must(t)
	expectText(t, "one protocol", ports, "FROM   TO     REACHES  WHAT\ntools  data   partly   in part icmp\ntools  front  allowed  -\n")
	sql := vnetctl(shopArgs(append(someEnds, "--from", "web-1", "--from", "api-1", "--to", "data", "--protocol", "tcp", "--port", "5432")...)...).must(t)
	expectText(t, "one port", sql, "FROM   TO    REACHES\nweb-1  data  denied\napi-1  data  allowed\n")
	self := vnetctl(shopArgs(append(someEnds, "--from", "web-1", "--to", "web-1")...)...).must(t)
	expectText(t, "itself", self, "web-1 -> web-1: self, never leaves the machine\n")
	t.Log("5 tables")
}

func TestReachReport(t *testing.T) {
	t.Parallel()
	r := decode[reachReport](t, vnetctl(shopArgs(append(someEnds, "-o", "json")...)...).must(t))
	if len(r.Ends) != 8 || len(r.Pairs) != 64 {
		t.Fatalf("%d ends, %d pairs", len(r.Ends), len(r.Pairs))
	}
	for _, p := range r.Pairs {
		if a := r.Answers[p.Answer]; a.Reaches != p.Reaches || a.What != p.What {
			t.Errorf("pair %+v has the answer %+v", p, a)
		}
	}
	i := slices.IndexFunc(r.Pairs, func(p reachPair) bool { return p.From == "tools" && p.To == "data" })
	a := r.Answers[r.Pairs[i].Answer]
	if a.Reaches != "some" || len(a.Whole) != 0 || len(a.Partly) != 1 || a.Partly[0].Protocol != "icmp" || len(a.Parts) != 2 {
		t.Fatalf("%+v", a)
	}
	allow := a.Parts[0]
	if allow.Access != nsg.Allow || len(allow.Rules) != 1 || len(allow.Flows) != 1 {
		t.Fatalf("%+v", allow)
	}
	if rule := allow.Rules[0]; rule.Side != "to" || rule.Level != "subnet" || rule.NSG != "data-nsg" || rule.Direction != nsg.Inbound ||
		rule.Name != "securityRules/tools-ping" || rule.Access != nsg.Allow {
		t.Errorf("%+v", rule)
	}
	if f := allow.Flows[0]; strings.Join(f.From, " ") != "10.10.3.0/25" || strings.Join(f.To, " ") != "all" || f.SourcePorts == nil || f.Services[0].Ports == nil {
		t.Errorf("%+v", f)
	}
	i = slices.IndexFunc(r.Ends, func(e reachEnd) bool { return e.Name == "api" })
	if e := r.Ends[i]; e.Kind != "asg" || len(e.Places) != 3 || e.Places[0].SubnetNSG != "front-nsg" || strings.Join(e.Places[0].ASGs, "") != "api" {
		t.Errorf("members of api: %+v", e)
	}
	t.Logf("%d pairs, %d answers", len(r.Pairs), len(r.Answers))
}

// A group without an id is a subnet's by its name, as it is to whoever asks what its
// tags mean.
func TestReachGroupWithoutID(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/reach/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "shop.json")
	id := `, "id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/data-nsg"`
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), id, "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	a := vnetctl(append([]string{"reach", "--documents", file}, someEnds...)...)
	expectText(t, "table", a.must(t), goldenReach)
}

// Where groups come from: what is told of an end, else its subnet's document, else
// the flags.
func TestReachGroups(t *testing.T) {
	t.Parallel()
	cases := []struct {
		args, end, want string
	}{
		{"--end x=10.10.1.9", "x", "10.10.1.9:front-nsg/"},
		{"--end x=10.10.3.9", "x", "10.10.3.9:/"},
		{"--end x=10.10.3.9 --nsg jobs-nsg", "x", "10.10.3.9:jobs-nsg/"},
		{"--end x=10.10.1.9 --nsg jobs-nsg --interface-nsg data-nsg", "x", "10.10.1.9:front-nsg/data-nsg"},
		{"--end x=10.10.1.9,10.10.2.0/24,10.10.9.1", "x", "10.10.1.9:front-nsg/ 10.10.2.0/24:data-nsg/ 10.10.9.1:/"},
		{"--end x=10.10.1.9_subnetNSG=data-nsg", "x", "10.10.1.9:data-nsg/"},
		{"--end x=10.10.1.9_subnetNSG=-_nsg=- --interface-nsg data-nsg", "x", "10.10.1.9:/"},
		{"--outside x=10.10.1.9 --interface-nsg data-nsg", "x", "10.10.1.9:/"},
		{"--nsg jobs-nsg", "tools", "10.10.3.0/24:jobs-nsg/"},
		{"--nsg jobs-nsg", "front", "10.10.1.0/24:front-nsg/"},
		{"--end front=10.10.9.1", "front (subnet)", "10.10.1.0/24:front-nsg/"},
		{"--end Internet=10.10.9.1", "Internet", "10.10.9.1:/"},
		{"--end x=fd00::1,::ffff:10.10.1.9", "x", "10.10.1.9:front-nsg/ fd00::1:/"},
	}
	for _, c := range cases {
		args := shopArgs(append(strings.Fields(c.args), "-o", "json")...)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		r := decode[reachReport](t, vnetctl(args...).must(t))
		i := slices.IndexFunc(r.Ends, func(e reachEnd) bool { return e.Name == c.end })
		if i < 0 {
			t.Errorf("%s: no end %s", c.args, c.end)
			continue
		}
		var places []string
		for _, p := range r.Ends[i].Places {
			places = append(places, strings.Join(p.Addresses, ",")+":"+p.SubnetNSG+"/"+p.NSG)
		}
		if got := strings.Join(places, " "); got != c.want {
			t.Errorf("%s: %s is %s, want %s", c.args, c.end, got, c.want)
		}
	}
	t.Logf("%d ends", len(cases))
}

func TestReachEndsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "ends")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	same := []string{
		"- {name: web-1, addresses: [10.10.1.10]}\n- {name: api-1, addresses: [10.10.1.20], asgs: [api]}\n- {name: job-1, addresses: [10.10.1.30], nsg: jobs-nsg}\n",
		`[{"name":"web-1","addresses":["10.10.1.10"],"outside":false},{"name":"api-1","addresses":["10.10.1.20"],"asgs":["/x/API"]},{"name":"job-1","addresses":["10.10.1.30"],"nsg":"jobs-nsg"}]`,
	}
	for _, text := range same {
		expectText(t, "ends of a file", vnetctl(shopArgs("--ends", write(text))...).must(t), goldenReach)
	}
	bad := []struct{ text, words string }{
		{"", "list"}, {"{}", "list"}, {"[]", "one at least"}, {"- a\n---\n- b\n", "more than one document"}, {"- a", `"a" map`}, {"- [", "ends"},
		{"- {addresses: [10.0.0.1]}", "name"}, {"- {name: x}", "addresses"}, {"- {name: x, addresses: []}", "addresses"},
		{"\n- {name: x, addresses: 10.0.0.1}", `:2: "10.0.0.1" addresses list`}, {"- {name: x, addresses: [ten]}", `addresses "ten"`},
		{"- {name: x, addresses: [10.0.0.1/8]}", `"10.0.0.1/8" 10.0.0.0/8`}, {"- {name: x, addresses: [224.0.0.1, 255.255.255.255]}", "224.0.0.1"},
		{"- {name: x, addresses: [10.0.0.1], asg: [a]}", `asg unknown subnetNSG`}, {"- {name: x, name: y}", `"y" twice`},
		{"- {name: x, addresses: [10.0.0.1], asgs: ['a/']}", `asgs "a/"`}, {"- {name: x, addresses: [10.0.0.1], outside: maybe}", `outside "maybe" true`},
		{"- {name: x, addresses: [10.0.0.1], outside: true, nsg: jobs-nsg}", `nsg "jobs-nsg" outside`},
		{"- {name: x, addresses: [10.0.0.1], nsg: jobs}", `"x" nsg "jobs" jobs-nsg`}, {"- {name: x, addresses: [10.0.0.1], subnetNSG: ~}", "subnetNSG string"},
	}
	for _, c := range bad {
		a := vnetctl(shopArgs("--ends", write(c.text))...)
		a.fails(t, exitFailed, strings.Fields(c.words)...)
	}
	vnetctl(shopArgs("--ends", filepath.Join(dir, "none"))...).fails(t, exitFailed, "--ends", "none")
	vnetctl(shopArgs("--ends", write(same[0]), "--end", "web-1=10.0.0.1")...).fails(t, exitUsage, `"web-1"`)
	t.Logf("%d files, %d bad ones", len(same), len(bad))
}

func TestReachUsage(t *testing.T) {
	t.Parallel()
	docs := "--documents testdata/reach "
	cases := []struct {
		args, words string
		status      int
	}{
		{docs + "--end x", `--end "x" NAME=ADDRESSES`, exitUsage}, {docs + "--end =10.0.0.1", `--end NAME=ADDRESSES`, exitUsage},
		{docs + "--end x=", "--end addresses", exitUsage}, {docs + "--end x=10.0.0.300", `--end addresses "10.0.0.300"`, exitUsage},
		{docs + "--end x=::ffff:10.0.0.0/104", `--end addresses "::ffff:10.0.0.0/104" IPv4`, exitUsage}, {docs + "--virtual-network ::ffff:10.0.0.0/104", `--virtual-network "::ffff:10.0.0.0/104" IPv4`, exitUsage},
		{docs + "--end x=10.0.0.1_color=red", `color "red" unknown`, exitUsage}, {docs + "--end x=10.0.0.1_nsg", "nsg KEY=VALUE", exitUsage},
		{docs + "--end x=10.0.0.1_nsg=a_nsg=b", `nsg "b" twice`, exitUsage}, {docs + "--end x=10.0.0.1_asgs=a,,b", `asgs ""`, exitUsage},
		{docs + "--outside x=10.0.0.1_asgs=a", `--outside asgs "a"`, exitUsage}, {docs + "--end x=10.0.0.1 --outside x=10.0.0.2", `"x"`, exitUsage},
		{docs + "--end x=10.0.0.1_nsg=jobs", `"x" nsg "jobs" jobs-nsg`, exitFailed}, {docs + "--nsg fornt-nsg", `nsg "fornt-nsg" front-nsg`, exitFailed},
		{docs + "--port 80", "--port --protocol", exitUsage}, {docs + "--port 80 --protocol icmp", `--port "80" --protocol`, exitUsage},
		{docs + "--port 80- --protocol tcp", `--port "80-"`, exitUsage}, {docs + "--port 90-80 --protocol tcp", `--port "90-80"`, exitUsage},
		{docs + "--port 80,443 --protocol tcp", `--port "80,443" such as`, exitUsage}, {docs + "--port * --protocol tcp", `--port "*" such as`, exitUsage},
		{docs + "--port= --protocol tcp", `--port ""`, exitUsage}, {docs + "--protocol sctp", `--protocol "sctp" ICMP`, exitUsage},
		{docs + "--protocol *", `--protocol "*"`, exitUsage}, {docs + "--html=", `--html ""`, exitUsage}, {docs + "--html x -o json", "--html --output", exitUsage},
		{docs + "--html x --from front", "--html --from", exitUsage}, {docs + "--html /nowhere/x.html", "--html /nowhere/x.html", exitFailed},
		{docs + "--from frnot", `--from "frnot" "front"`, exitFailed}, {docs + "--to elsewhere", `--to "elsewhere"`, exitFailed},
		{docs + "--virtual-network 10.0.0.1/8", "--virtual-network 10.0.0.0/8", exitUsage}, {"--documents=", "--documents", exitUsage},
		{"--documents testdata/none.json", "--documents none.json", exitFailed}, {"--documents testdata/faulty.json --nsg broken", "--nsg broken", exitFailed}, {docs + "now", `"now"`, exitUsage},
		{"--end x=10.0.0.1", "--end --documents", exitUsage}, {"--nsg x", "--nsg --documents", exitUsage}, {"--virtual-network 10.0.0.0/8", "--virtual-network", exitUsage},
	}
	for _, c := range cases {
		args := append([]string{"reach"}, strings.Fields(c.args)...)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		a := vnetctl(args...)
		a.fails(t, c.status, strings.Fields(c.words)...)
		if a.stdout != "" {
			t.Errorf("%s: errors belong on stderr: %s", c.args, a.stdout)
		}
	}
	t.Logf("%d bad command lines", len(cases))
}

func TestReachNotes(t *testing.T) {
	t.Parallel()
	cases := []struct{ args, word string }{
		{"--documents testdata/web.json --nsg pods-nsg", "VirtualNetwork"},
		{"--documents testdata/web.json --nsg pods-nsg", "application security groups are left out"},
	}
	for _, c := range cases {
		a := vnetctl(append([]string{"reach"}, strings.Fields(c.args)...)...)
		if a.status != 0 || !strings.Contains(a.stderr, c.word) {
			t.Errorf("%s: %+v", c.args, a)
		}
	}
	dir := t.TempDir()
	data, err := os.ReadFile("testdata/reach/shop.json")
	if err == nil { // the subnet's group is the resource group's of somebody else
		err = os.WriteFile(filepath.Join(dir, "shop.json"), []byte(strings.Replace(string(data), "networkSecurityGroups/data-nsg\"}}}", "networkSecurityGroups/other-nsg\"}}}", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := vnetctl("reach", "--documents", dir)
	if a.status != 0 || !strings.Contains(a.stderr, "subnet data is left out") || strings.Contains(a.stdout, "data") {
		t.Errorf("a subnet under a group of nobody's: %+v", a)
	}
	vnetctl("reach", "--documents", dir, "--end", "x=10.10.2.9").fails(t, exitFailed, `"x"`, "subnet data", "other-nsg", "subnetNSG")
	for group, want := range map[string]string{"jobs-nsg": "none", "-": "all"} {
		told := vnetctl("reach", "--documents", dir, "--end", "x=10.10.2.9 subnetNSG="+group, "--from", "tools", "--to", "x")
		if told.status != 0 || !strings.HasPrefix(told.stdout, "tools -> x: "+want) {
			t.Errorf("under %s: %+v", group, told)
		}
	}
	t.Logf("%d notes", len(cases)+1)
}

func TestReachPage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "reach.html")
	if out := vnetctl(shopArgs("--html", file, "--protocol", "tcp", "--port", "443")...).must(t); out != "" {
		t.Errorf("the page is in the file, and on standard output: %s", out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"<!DOCTYPE html>", "Documents testdata/reach, TCP 443, as of 2026-03-01 12:00 UTC", "no-telnet", ">front<"} {
		if word == "no-telnet" == strings.Contains(string(data), word) { // which is about another port
			t.Errorf("the page with or without %q", word)
		}
	}
	if out := vnetctl(shopArgs("--html", "-", "--protocol", "tcp", "--port", "443")...).must(t); out != string(data) {
		t.Error("the page on standard output is another one")
	}
	t.Logf("%d bytes", len(data))
}

// A page is there as a whole or not at all: on a full disk the one that was there stays.
func TestReachPageWhole(t *testing.T) {
	t.Parallel()
	dir := testhost.Tmpfs(t, "64k")
	file, link := filepath.Join(dir, "reach.html"), filepath.Join(dir, "link.html")
	for path, err := range map[string]error{
		file: os.WriteFile(file, []byte("before"), 0o640), link: os.Symlink("reach.html", link),
	} {
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	testhost.Fill(t, filepath.Join(dir, "others"))
	for _, path := range []string{file, link, filepath.Join(dir, "new.html")} {
		a := vnetctl(shopArgs("--html", path)...)
		if a.status == 0 || !strings.Contains(a.stderr, "--html "+quoted(path)) || !strings.Contains(a.stderr, "no space") {
			t.Errorf("%s on a full disk: %+v", path, a)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "before" {
		t.Errorf("what was there is %q, %v", data, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(dir, "others")); err != nil {
		t.Fatal(err)
	}
	vnetctl(shopArgs("--html", link)...).must(t)
	info, err := os.Lstat(file)
	if err != nil || info.Size() < 1000 || info.Mode() != 0o640 {
		t.Errorf("written through a link: %v, %v", info, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "reach.html" {
		t.Errorf("the link: %q, %v", to, err)
	}
	vnetctl(shopArgs("--html", os.DevNull)...).must(t)
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s is %v by now, %v", os.DevNull, info, err)
	}
	t.Log("5 pages")
}

func TestReachCompletion(t *testing.T) {
	t.Parallel()
	cases := []struct {
		args []string
		want string
	}{
		{shopArgs("--protocol", ""), "TCP\nUDP\nICMP\nESP\nAH\n"},
		{shopArgs("--nsg", ""), "front-nsg\ndata-nsg\njobs-nsg\n"},
		{shopArgs("--end", "web-1=10.10.1.10", "--from", ""), "Internet\napi\ndata\nfront\ntools\nweb-1\n"},
		{shopArgs("--to", ""), "Internet\napi\ndata\nfront\ntools\n"},
		{shopArgs("--ends", ""), "yaml\nyml\njson\n"},
		{shopArgs("--html", ""), "html\n"},
		{shopArgs("--port", ""), ":4"},
	}
	for _, c := range cases {
		if out := vnetctl(append([]string{"__complete"}, c.args...)...).stdout; !strings.HasPrefix(out, c.want) {
			t.Errorf("completion of %q: %q, want %q", c.args, out, c.want)
		}
	}
	t.Logf("%d completions", len(cases))
}

func TestReachOfPods(t *testing.T) {
	n := newJudgedNode(t)
	n.add("web", webArgs) // 10.241.4.0
	n.add("api", apiArgs) // 10.241.4.1
	expectText(t, "pods", n.vnetctl("reach", "--outside", "office=192.168.40.0/22").must(t), goldenReachOfPods)
	expectText(t, "two pods", n.vnetctl("reach", "--from", "shop/api-0", "--to", "shop/web-0").must(t), goldenTwoPods)
	r := decode[reachReport](t, n.vnetctl("reach", "-o", "json").must(t))
	i := slices.IndexFunc(r.Ends, func(e reachEnd) bool { return e.Name == "shop/web-0" })
	if e := r.Ends[i]; e.Kind != "pod" || len(e.Places) != 1 || strings.Join(e.Places[0].Addresses, " ") != "10.241.4.0 fd00:10:241::400" ||
		e.Places[0].SubnetNSG != "pods-nsg" || e.Places[0].NSG != "web-nsg" || strings.Join(e.Places[0].ASGs, " ") != "web" {
		t.Errorf("%+v", e)
	}
	n.vnetctl("reach", "--to", "shop/wep-0").fails(t, exitFailed, "--to", `"shop/wep-0"`, `"shop/web-0"`)
	n.vnetctl("reach", "--nsg", "web-nsg").fails(t, exitUsage, "--nsg", "--documents")
	n.write("ends.yaml", "- {name: x, addresses: [10.241.4.7]}\n")
	n.vnetctl("reach", "--ends", filepath.Join(n.documents, "ends.yaml")).fails(t, exitUsage, "--ends", `"x"`, "outside")
	n.write("ends.yaml", "- {name: office, addresses: [192.168.40.0/22], outside: true}\n")
	expectText(t, "a network of a file", n.vnetctl("reach", "--ends", filepath.Join(n.documents, "ends.yaml")).must(t), goldenReachOfPods)
	n.expectMembersElsewhere()
	out := vnetctl("__complete", "--state-dir", n.dir, "reach", "--from", "").stdout
	if want := "Internet\napi\njobs\nshop/api-0\nshop/web-0\nweb\n:"; !strings.HasPrefix(out, want) {
		t.Errorf("completion of --from: %q, want %q", out, want)
	}
	t.Logf("%d ends", len(r.Ends))
}

// expectMembersElsewhere expects that pods of other nodes are members of the groups
// that they are in, and judged by their own.
func (n judgedNode) expectMembersElsewhere() {
	n.Helper()
	web := n.vnetctl("reach", "-o", "json").must(n)
	key := "/subscriptions/s/resourcegroups/rg/providers/microsoft.network/networksecuritygroups/web-nsg"
	if _, err := members.Write(n.dir, "vctl", []members.Member{
		{Addrs: []netip.Addr{netip.MustParseAddr("10.241.9.1")}, ASGs: []string{"api"}, Group: key},
		{Addrs: []netip.Addr{netip.MustParseAddr("10.241.9.2")}, ASGs: []string{"api"}},
		{Addrs: []netip.Addr{netip.MustParseAddr("10.241.9.3")}, ASGs: []string{"api"}, Group: "gone"},
	}); err != nil {
		n.Fatal(err)
	}
	a := n.vnetctl("reach", "-o", "json")
	if a.status != 0 || !strings.Contains(a.stderr, "10.241.9.3 of another node is left out") {
		n.Errorf("a pod of another node, under a group of nobody's: %+v", a)
	}
	r := decode[reachReport](n, a.stdout)
	var places []string
	for _, e := range r.Ends {
		for _, p := range e.Places {
			if e.Name == "api" {
				places = append(places, strings.Join(p.Addresses, ",")+":"+p.NSG)
			}
		}
	}
	slices.Sort(places)
	if got, want := strings.Join(places, " "), "10.241.4.1,fd00:10:241::401: 10.241.9.1:web-nsg 10.241.9.2:"; got != want {
		n.Errorf("members of api: %s, want %s", got, want)
	}
	if err := members.Forget(n.dir, "vctl"); err != nil {
		n.Fatal(err)
	}
	expectText(n, "without members elsewhere", n.vnetctl("reach", "-o", "json").must(n), web)
}

func TestReachOnOneNodeIsFreeAsInAzure(t *testing.T) {
	n := newJudgedNode(t)
	n.sameNode = "azure"
	n.add("web", webArgs)
	n.add("api", apiArgs)
	a := n.vnetctl("reach", "--from", "shop/api-0", "--to", "shop/web-0")
	if a.status != 0 || !strings.HasPrefix(a.stdout, "shop/api-0 -> shop/web-0: all, everything\n") || !strings.Contains(a.stdout, "no security group") || !strings.Contains(a.stderr, "node") {
		t.Errorf("between pods of the node: %+v", a)
	}
	if a := n.vnetctl("reach", "--from", "Internet", "--to", "shop/web-0"); !strings.HasPrefix(a.stdout, "Internet -> shop/web-0: some, tcp 443\n") {
		t.Errorf("from elsewhere: %+v", a)
	}
}

// Pods that nobody judges, and none at all.
func TestReachWithoutGroups(t *testing.T) {
	n := newTestNode(t)
	a := n.vnetctl("reach")
	if a.status != 0 || a.stdout != "no two ends that could talk to each other\n" || !strings.Contains(a.stderr, "no pods") {
		t.Errorf("no pods: %+v", a)
	}
	_, path := testhost.Beside(t, "free")
	n.add("free", path)
	a = n.vnetctl("reach")
	want := "FROM      TO        REACHES  WHAT\nfree      Internet  all      everything\nInternet  free      all      everything\n"
	if a.status != 0 || a.stdout != want || !strings.Contains(a.stderr, "vctl has no security groups") {
		t.Errorf("pod of a network without groups: %+v", a)
	}
}

const goldenReachOfPods = `FROM        TO                                      REACHES  WHAT
shop/api-0  shop/web-0, web                         some     tcp 8080
shop/api-0  api, jobs, Internet                     some     everything but tcp 23, in part udp 123
shop/api-0  office                                  none     nothing
shop/web-0  shop/api-0, api, jobs, Internet         some     everything but tcp 23, in part udp 123
shop/web-0  web, office                             none     nothing
api, jobs   shop/api-0, api, jobs, Internet         some     everything but tcp 23, in part udp 123
api, jobs   shop/web-0, web                         some     tcp 8080
api, jobs   office                                  none     nothing
web         shop/api-0, api, jobs, Internet         some     everything but tcp 23, in part udp 123
web         shop/web-0, web, office                 none     nothing
Internet    shop/api-0, api, jobs                   some     tcp 80,443
Internet    shop/web-0, web                         some     tcp 443
office      shop/api-0, shop/web-0, api, jobs, web  none     nothing
`

const goldenTwoPods = `shop/api-0 -> shop/web-0: some, tcp 8080

ACCESS  WHAT                                    SOURCE PORTS  FROM  TO   DECIDED BY
Allow   tcp 8080                                all           all   all  defaultSecurityRules/AllowVnetOutBound  (pods-nsg, sender's subnet)
                                                                         securityRules/api-to-web  (web-nsg, receiver's interface)
Deny    tcp 23                                  all           all   all  securityRules/deny-telnet  (pods-nsg, sender's subnet)
Deny    udp 123                                 0-1023        all   all  securityRules/ntp-from-low-ports  (pods-nsg, sender's subnet)
Deny    everything but tcp 23,8080 and udp 123  all           all   all  securityRules/no-vnet  (web-nsg, receiver's interface)
        udp 123                                 1024-65535    all   all  
`
