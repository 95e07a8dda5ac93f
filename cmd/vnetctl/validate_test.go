package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
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
