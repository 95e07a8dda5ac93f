package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/review"
)

func TestValidateTellsEverything(t *testing.T) {
	a := vnetctl("validate", "testdata/faulty.json", "-o", "json")
	findings := decode[[]nsg.Finding](t, a.stdout)
	want := []struct {
		severity             nsg.Severity
		code, rule, property string
	}{
		{nsg.Warning, nsg.CodeInvalidName, "ssh\x1b[31m", "name"},
		{nsg.Error, nsg.CodeInvalidPrefix, "ssh\x1b[31m", "sourceAddressPrefix"},
		{nsg.Error, nsg.CodeInvalidPortRange, "typo", "destinationPortRange"},
		{nsg.Error, nsg.CodeConflict, "typo", "priority"},
		{nsg.Error, nsg.CodeInvalidPrefix, "tag", "sourceAddressPrefix"}, // though the group has other faults
		{nsg.Warning, nsg.CodeInvalidName, "", "name"},
	}
	if a.status != exitFailed || a.stderr != "" || len(findings) != len(want) {
		t.Fatalf("status %d, %d findings, want %d\n%s%s", a.status, len(findings), len(want), a.stdout, a.stderr)
	}
	for i, w := range want {
		f := findings[i]
		if f.Severity != w.severity || f.Code != w.code || f.Rule != w.rule || f.Property != w.property ||
			f.File != "testdata/faulty.json" || f.NSG == "" || f.Message == "" {
			t.Errorf("finding %d: %+v, want %+v", i, f, w)
		}
	}
	t.Logf("%d findings", len(want))
}

// TestValidateNamesakes: groups of one name in two resource groups are told by their ids.
func TestValidateNamesakes(t *testing.T) {
	id := "/subscriptions/s/resourceGroups/rg-%d/providers/Microsoft.Network/networkSecurityGroups/nsg"
	var groups []string
	for i, port := range []string{"22", "80-"} {
		groups = append(groups, fmt.Sprintf(`{"name": "nsg", "id": %q, "type": "Microsoft.Network/networkSecurityGroups", "securityRules": [
			{"name": "r", "priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "sourceAddressPrefix": "Internet",
			"sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": %q}]}`, fmt.Sprintf(id, i), port))
	}
	file := filepath.Join(t.TempDir(), "groups.json")
	if err := os.WriteFile(file, []byte("["+strings.Join(groups, ",")+"]"), 0o600); err != nil {
		t.Fatal(err)
	}
	findings := decode[[]nsg.Finding](t, vnetctl("validate", file, "-o", "json").stdout)
	if len(findings) != 2 || findings[0].NSG != fmt.Sprintf(id, 1) || findings[1].NSG != fmt.Sprintf(id, 0) {
		t.Errorf("findings %+v", findings)
	}
	if a := vnetctl("validate", file); !strings.Contains(a.stdout, fmt.Sprintf(id, 0)+" ") || !strings.Contains(a.stdout, fmt.Sprintf(id, 1)+" ") {
		t.Errorf("table: %s", a.stdout)
	}
}

func TestValidateTable(t *testing.T) {
	a := vnetctl("validate", "testdata/faulty.json")
	if a.status != exitFailed || a.stderr != "" || strings.Contains(a.stdout, "\x1b") {
		t.Errorf("status %d %s\n%q", a.status, a.stderr, a.stdout)
	}
	for _, part := range []string{
		"SEVERITY  CODE ", "ssh\uFFFD[31m  sourceAddressPrefix   50.206.209.68/27  ",
		"80,443,8080,8443,9000,9443,10000,10443", "\n\n2 groups, 3 rules, 4 errors, 2 warnings\n",
	} {
		if !strings.Contains(a.stdout, part) {
			t.Errorf("the table lacks %q:\n%s", part, a.stdout)
		}
	}
	expectText(t, "valid documents", vnetctl("validate", "testdata/web.json", "testdata/vnet.json").must(t),
		"2 groups, 6 rules, 0 errors, 0 warnings\n")
	expectText(t, "valid documents for programs", vnetctl("validate", "testdata/web.json", "-o", "json").must(t), "[]\n")
}

func TestValidateStatus(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	odd := write("odd.json", `{"name":"odd name","type":"Microsoft.Network/networkSecurityGroups","securityRules":[]}`)
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		path   string
		status int
		tail   string
	}{
		{odd, 0, "1 group, 0 rules, 0 errors, 1 warning\n"},
		{empty, 0, "0 groups, 0 rules, 0 errors, 1 warning\n"},
		{write("noise.json", "\x00\x01"), exitFailed, "0 groups, 0 rules, 1 error, 0 warnings\n"},
		{filepath.Join(dir, "none.json"), exitFailed, "0 groups, 0 rules, 1 error, 0 warnings\n"},
	}
	for _, c := range cases {
		a := vnetctl("validate", c.path)
		if a.status != c.status || a.stderr != "" || !strings.HasSuffix(a.stdout, c.tail) {
			t.Errorf("%s: status %d, want %d %s\n%s", c.path, a.status, c.status, a.stderr, a.stdout)
		}
	}
	vnetctl("validate").fails(t, exitUsage, "1 arg")
	t.Logf("%d documents", len(cases))
}

func TestValidateReviews(t *testing.T) {
	golden, err := os.ReadFile("testdata/review/golden.table")
	if err != nil {
		t.Fatal(err)
	}
	expectText(t, "review", vnetctl("validate", "testdata/review").must(t), string(golden))
	codes := map[string]int{}
	for _, f := range decode[[]nsg.Finding](t, vnetctl("validate", "testdata/review", "-o", "json").must(t)) {
		codes[f.Code]++
		if f.Severity != nsg.Warning || f.Rule == "" || f.NSG == "" || f.Message == "" {
			t.Errorf("finding %+v", f)
		}
	}
	for _, code := range []string{review.CodeShadowed, review.CodeDuplicate, review.CodeAllowBehindDeny, review.CodeRedundant, review.CodeInternet} {
		if codes[code] == 0 {
			t.Errorf("no finding %s", code)
		}
	}
	t.Logf("%d codes", len(codes))
}

// TestValidateKnowsTheVirtualNetwork: whether the rule is needed depends on it.
func TestValidateKnowsTheVirtualNetwork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n.json")
	content := `{"name":"n","type":"Microsoft.Network/networkSecurityGroups","securityRules":[{"name":"neighbours","priority":100,"direction":"Inbound","access":"Allow",
 "protocol":"*","sourceAddressPrefix":"10.0.0.0/8","sourcePortRange":"*","destinationAddressPrefix":"10.0.0.0/8","destinationPortRange":"*"}]}`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for space, warnings := range map[string]string{"10.0.0.0/8": " 1 warning\n", "10.0.0.0/9": " 0 warnings\n"} {
		if out := vnetctl("validate", file, "--virtual-network", space).must(t); !strings.HasSuffix(out, warnings) {
			t.Errorf("in %s: %s", space, out)
		}
	}
	if out := vnetctl("validate", file).must(t); !strings.HasSuffix(out, " 0 warnings\n") {
		t.Errorf("in a network that nobody knows: %s", out)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, "10.0.0.0/8", "VirtualNetwork")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := vnetctl("validate", file).must(t); !strings.Contains(out, "SecurityRuleRedundant") || !strings.HasSuffix(out, " 1 warning\n") {
		t.Errorf("whatever network it is: %s", out)
	}
	vnetctl("validate", file, "--virtual-network", "10.0.0.1/8").fails(t, exitUsage, "--virtual-network", "10.0.0.1/8")
}
