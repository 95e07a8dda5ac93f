package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

const (
	diffOld  = "testdata/diff/old.json"
	diffNew  = "testdata/diff/new.json"
	diffSame = "testdata/diff/same.json"
)

// diffVNet is the virtual network of the tests.
var diffVNet = []string{"--virtual-network", "10.241.0.0/16,fd00:10:241::/48"}

func diffOf(args ...string) answer {
	return vnetctl(append(append([]string{"diff"}, args...), diffVNet...)...)
}

func TestDiffTable(t *testing.T) {
	a := diffOf(diffOld, diffNew)
	const want = `CHANGE         DIRECTION  PROTOCOL  SOURCE           DESTINATION        BEFORE                                          AFTER                                     SAMPLE
Deny -> Allow  Inbound    Tcp       198.51.101.0/24  0.0.0.0/0 port 22  defaultSecurityRules/DenyAllInBound (pods-nsg)  securityRules/ssh-from-office (pods-nsg)  Tcp 198.51.100.4:22 <- 198.51.101.1:50000
Allow -> Deny  Inbound    Tcp       members of jump  * port 8080        securityRules/jump-to-admin (pods-nsg)          securityRules/deny-admin (pods-nsg)       Tcp 198.51.100.4:8080 <- 203.0.113.9:50000

2 boxes of flows that change
old-nsg is in OLD only and was compared with nothing
new-nsg is in NEW only and was compared with nothing
`
	if expectText(t, "diff", a.stdout, want); a.status != exitFailed || a.stderr != "" {
		t.Errorf("status %d, %s", a.status, a.stderr)
	}
}

// TestDiffOfAnExportAndATemplate: parameters are for the template of one side.
func TestDiffOfAnExportAndATemplate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, err := os.ReadFile(diffOld)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "then"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("then/now.json", string(old))
	write("then/template.json", `{"contentVersion":"1.0.0.0","parameters":{"from":{"type":"string"}},"resources":[
		{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"pods-nsg/telnet","properties":{"priority":3000,"direction":"Inbound","access":"Allow",
		"protocol":"Tcp","sourceAddressPrefix":"[parameters('from')]","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"23"}}]}`)
	parameters := write("p.json", `{"parameters":{"from":{"value":"198.51.101.0/24"}}}`)
	wrong := write("wrong.json", `{"parameters":{"form":{"value":"198.51.101.0/24"}}}`)
	for _, paths := range [][2]string{{diffOld, dir + "/then"}, {dir + "/then", diffOld}} {
		a := diffOf(paths[0], paths[1], "--parameters", parameters)
		if a.status != exitFailed || a.stderr != "" || !strings.Contains(a.stdout, "securityRules/telnet") || !strings.Contains(a.stdout, "1 box") {
			t.Errorf("status %d, %s\n%s", a.status, a.stderr, a.stdout)
		}
		diffOf(paths[0], paths[1], "--parameters", parameters, "--parameters", wrong).fails(t, exitFailed, "wrong.json: parameters.form: no template")
	}
	t.Log("4 comparisons")
}

// TestDiffOfNamesakes: groups of one name in two resource groups are told by their ids.
func TestDiffOfNamesakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, ports ...string) string {
		var list []string
		for i, port := range ports {
			list = append(list, fmt.Sprintf(`{"name": "nsg", "id": "/subscriptions/s/resourceGroups/rg-%d/providers/Microsoft.Network/networkSecurityGroups/nsg",
				"type": "Microsoft.Network/networkSecurityGroups", "securityRules": [{"name": "r", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp",
				"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "192.0.2.1", "destinationPortRange": %q}]}`, i, port))
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("["+strings.Join(list, ",")+"]"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	old, changed := write("old.json", "80", "80", "80"), write("new.json", "80", "81")
	id := func(i int) string {
		return fmt.Sprintf("/subscriptions/s/resourceGroups/rg-%d/providers/Microsoft.Network/networkSecurityGroups/nsg", i)
	}
	programs := diffOf(old, changed, "-o", "json").stdout
	for _, words := range []string{`"nsg": "` + id(0), `"nsg": "` + id(1), `"onlyOld": [
    "` + id(2)} {
		if !strings.Contains(programs, words) {
			t.Errorf("no %q in\n%s", words, programs)
		}
	}
	table := diffOf(old, changed).stdout
	for _, words := range []string{"securityRules/r (" + id(1) + ")", "\n" + id(2) + " is in OLD only"} {
		if !strings.Contains(table, words) {
			t.Errorf("no %q in\n%s", words, table)
		}
	}
	if one := diffOf(old, changed, "--nsg", id(1), "-o", "json").stdout; !strings.Contains(one, `"nsg": "`+id(1)) {
		t.Errorf("by its id: %s", one)
	}
}

func TestDiffOfTheSameInOtherWords(t *testing.T) {
	expectText(t, "diff", diffOf(diffOld, diffSame, "--nsg", "pods-nsg").must(t), "1 group compared: no flow changes its verdict\n")
	o := decode[map[string]any](t, diffOf(diffSame, diffOld, "--nsg", "pods-nsg", "-o", "json").must(t))
	const want = `map[comparisons:[map[changes:[] equivalent:true interfaceNSG: nsg:pods-nsg undivided:[]]] onlyNew:[] onlyOld:[]]`
	expectText(t, "diff for programs", fmt.Sprint(o), want)
}

func TestDiffForPrograms(t *testing.T) {
	a := diffOf(diffOld, diffNew, "--nsg", "pods-nsg", "-o", "json")
	golden, err := os.ReadFile("testdata/diff/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if expectText(t, "diff for programs", a.stdout, string(golden)); a.status != exitFailed || a.stderr != "" {
		t.Errorf("status %d, %s", a.status, a.stderr)
	}
}

// TestDiffSampleIsAnsweredSo asks test-ip-flow for what diff says.
func TestDiffSampleIsAnsweredSo(t *testing.T) {
	for file, want := range map[string]string{diffOld: "Deny", diffNew: "Allow"} {
		got := vnetctl(append([]string{"test-ip-flow", "--documents", file, "--nsg", "pods-nsg", "--direction", "Inbound",
			"--protocol", "TCP", "--local", "198.51.100.4:22", "--remote", "198.51.101.1:50000"}, diffVNet...)...).must(t)
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestDiffSumsUp(t *testing.T) {
	a := diffOf(diffOld, diffNew, "--nsg", "old-nsg", "--new-nsg", "pods-nsg", "--boxes", "1")
	for _, part := range []string{"Deny -> Allow  Inbound    Tcp       198.51.100.0/23  ", "changes with too many boxes to list: some of the flows within\nCHANGE         BOXES  ",
		"VirtualNetwork", "1 box of flows that change, 4 changes summed up\n"} {
		if !strings.Contains(a.stdout, part) {
			t.Errorf("the table lacks %q:\n%s", part, a.stdout)
		}
	}
	if a.status != exitFailed {
		t.Errorf("status %d", a.status)
	}
}

func TestDiffOfWhatTagsMean(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, space := range []string{"10.0.0.0/8", "10.0.0.0/9"} {
		files = append(files, filepath.Join(dir, strings.ReplaceAll(space, "/", "-")+".json"))
		content := fmt.Sprintf(`[{"name":"n","type":"Microsoft.Network/networkSecurityGroups","securityRules":[]},
 {"name":"vnet","type":"Microsoft.Network/virtualNetworks","properties":{"addressSpace":{"addressPrefixes":[%q]}}}]`, space)
		if err := os.WriteFile(files[len(files)-1], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := vnetctl("diff", files[0], files[1])
	if a.status != exitFailed || !strings.Contains(a.stdout, "Allow -> Deny  Inbound    * but Gre,IpInIp  ") || !strings.Contains(a.stdout, "10.128.0.0/9") {
		t.Errorf("a smaller virtual network: %+v", a)
	}
	vnetctl("diff", files[0], files[1], "--virtual-network", "10.0.0.0/8").must(t)
}

func TestDiffMistakes(t *testing.T) {
	cases := []struct {
		args   []string
		status int
		words  []string
	}{
		{[]string{diffOld}, exitUsage, []string{"2 arg"}},
		{[]string{diffOld, diffNew, "--boxes", "-1"}, exitUsage, []string{"--boxes", "-1"}},
		{[]string{diffOld, diffNew, "--new-nsg", "x"}, exitUsage, []string{`--new-nsg "x": it needs --nsg`}},
		{[]string{diffOld, diffNew, "--nsg", "pods-nsg", "--new-interface-nsg", "x"}, exitUsage, []string{`vnetctl: --new-interface-nsg "x": it needs --interface-nsg`}},
		{[]string{diffOld, diffNew, "--virtual-network", "10.0.0.1/8"}, exitUsage, []string{"--virtual-network", "10.0.0.1/8"}},
		{[]string{diffOld, diffNew, "--nsg", "old-nsg"}, exitFailed, []string{"NEW", "--nsg", "old-nsg"}},
		{[]string{diffOld, diffNew, "--nsg", "nobody"}, exitFailed, []string{"OLD", "--nsg", "nobody"}},
		{[]string{diffOld, "testdata/none.json"}, exitFailed, []string{"testdata/none.json"}},
		{[]string{"testdata/faulty.json", diffNew}, exitFailed, []string{"no security group is in both"}},
		{[]string{"testdata/faulty.json", "testdata/faulty.json"}, exitFailed, []string{"testdata/faulty.json", "50.206.209.68/27"}},
	}
	for _, c := range cases {
		vnetctl(append([]string{"diff"}, c.args...)...).fails(t, c.status, c.words...)
	}
	t.Logf("%d mistakes", len(cases))
}

func TestDiffCompletion(t *testing.T) {
	cases := map[string][]string{
		"pods-nsg\nold-nsg\n:": {diffOld, diffNew, "--nsg", ""},
		"pods-nsg\nnew-nsg\n:": {diffOld, diffNew, "--new-nsg", ""},
	}
	for want, args := range cases {
		if out := vnetctl(append([]string{"__complete", "diff"}, args...)...).stdout; !strings.HasPrefix(out, want) {
			t.Errorf("completion of %q: %q", args, out)
		}
	}
	t.Logf("%d completions", len(cases))
}

// TestDiffNeverCallsEquivalentWhatWasNotDivided prints a comparison that was not
// finished.
func TestDiffNeverCallsEquivalentWhatWasNotDivided(t *testing.T) {
	b := flowspace.All(nsg.Inbound)
	b.Protocols = flowspace.TCP
	r := &diffResult{comparisons: []comparison{{subnet: "web", found: []flowspace.Comparison{
		{Undivided: &flowspace.Part{Boxes: []flowspace.Box{b}, Count: 1, Hull: b, Sample: b.Sample()}},
		{Undivided: &flowspace.Part{Count: 7000, Hull: b, Sample: b.Sample()}},
	}}}}
	var out bytes.Buffer
	if err := (&app{out: &out, output: "table"}).printDiff(r); err != nil {
		t.Fatal(err)
	}
	const want = `flows that may change: too much work to divide further
BOXES  DIRECTION  PROTOCOL  SOURCE  DESTINATION
1      Inbound    Tcp       *       *
7000   Inbound    Tcp       *       *

0 boxes of flows that change, and flows that may change
`
	expectText(t, "unfinished", out.String(), want)
	if o := r.output().Comparisons[0]; !r.changes() || o.Equivalent || len(o.Undivided) != 2 || o.Undivided[1].Boxes != 7000 || len(o.Undivided[0].Flows) != 1 {
		t.Errorf("for programs: %+v", o)
	}
}
