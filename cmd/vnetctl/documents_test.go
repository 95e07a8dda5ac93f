package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

const (
	templateFile   = "testdata/template/main.json"
	parametersFile = "testdata/template/prod.parameters.json"
)

// TestTemplates asks all commands that read documents about a template.
func TestTemplates(t *testing.T) {
	findings := decode[[]nsg.Finding](t, vnetctl("validate", templateFile, "-o", "json").stdout)
	if len(findings) != 1 || findings[0].NSG != "shop-nsg" || findings[0].Rule != "allow-ssh" ||
		findings[0].Property != "sourceAddressPrefix" || !strings.Contains(findings[0].Message, `"admins"`) {
		t.Errorf("a parameter without a value: %+v", findings)
	}
	expectText(t, "with parameters", vnetctl("validate", templateFile, "--parameters", parametersFile).must(t),
		"1 group, 3 rules, 0 errors, 0 warnings\n")

	flow := []string{"--direction", "Inbound", "--protocol", "TCP", "--local", "10.241.0.4:22", "--remote", "198.51.100.9:50000"}
	ask := func(more ...string) []string {
		return append(append([]string{"test-ip-flow", "--documents", templateFile}, more...), flow...)
	}
	expectText(t, "by name", vnetctl(ask("--parameters", parametersFile, "--nsg", "prod-nsg")...).must(t), "Allow  securityRules/allow-ssh  (prod-nsg)\n")
	id := "/subscriptions/s1/resourceGroups/g1/providers/Microsoft.Network/networkSecurityGroups/prod-nsg"
	expectText(t, "by id", vnetctl(ask("--parameters", parametersFile, "--subscription", "s1", "-g", "g1", "--nsg", id)...).must(t),
		"Allow  securityRules/allow-ssh  (prod-nsg)\n")

	other := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(other, []byte(`{"parameters":{"admins":{"value":"192.0.2.0/24"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	expectText(t, "the later file counts", vnetctl(ask("--parameters", parametersFile, "--parameters", other, "--nsg", "prod-nsg")...).must(t),
		"Deny  defaultSecurityRules/DenyAllInBound  (prod-nsg)\n")

	flows := filepath.Join(t.TempDir(), "flows.yaml")
	text := `- {direction: Inbound, protocol: TCP, local: "10.241.0.4:443", remote: "203.0.113.9:*", access: Allow, rule: allow-443}`
	if err := os.WriteFile(flows, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	expectText(t, "assert", vnetctl("assert", flows, "--documents", templateFile, "--parameters", parametersFile, "--nsg", "prod-nsg").must(t),
		"1 flow, 0 differences\n")
	t.Log("6 questions")
}

// An error names the flag that the fault is in.
func TestBlamedFlags(t *testing.T) {
	flow := []string{"--direction", "Inbound", "--protocol", "TCP", "--local", "10.241.0.4:22", "--remote", "198.51.100.9:50000"}
	const gone = "testdata/gone.json"
	diff := []string{"diff", "testdata/diff/old.json", "testdata/diff/new.json"}
	cases := []struct {
		args []string
		want string
	}{
		{append([]string{"test-ip-flow", "--documents", gone}, flow...), "--documents: " + gone},
		{append([]string{"test-ip-flow", "--documents", templateFile, "--parameters", gone}, flow...), "--parameters: " + gone},
		{append([]string{"test-ip-flow", "--documents", templateFile, "--parameters", templateFile}, flow...), "--parameters: " + templateFile},
		{[]string{"reach", "--documents", templateFile, "--parameters", gone}, "--parameters: " + gone},
		{[]string{"show-next-hop", "--documents", templateFile, "--parameters", gone, "--route-table", "", "--routes"}, "--parameters: " + gone},
		{append(diff, "--parameters", gone), "vnetctl: " + gone + ": open"},
		{[]string{"diff", gone, diff[1]}, "vnetctl: " + gone + ": open"},
		{append(diff, "--nsg", "gone"), "OLD: --nsg: "},
		{append(diff, "--nsg", "new-nsg"), "OLD: --nsg: "},
		{append(diff, "--nsg", "old-nsg"), "NEW: --nsg: "},
		{append(diff, "--nsg", "pods-nsg", "--new-nsg", "gone"), "NEW: --new-nsg: "},
		{append(diff, "--interface-nsg", "pods-nsg", "--new-interface-nsg", "gone"), "NEW: --new-interface-nsg: "},
	}
	for _, c := range cases {
		vnetctl(c.args...).fails(t, exitFailed, c.want)
	}
	t.Logf("%d faults", len(cases))
}

// TestTemplateFlags: what the flags cannot mean is a fault of usage.
func TestTemplateFlags(t *testing.T) {
	cases := []struct {
		args []string
		want string
	}{
		{[]string{"validate", templateFile, "--parameters", ""}, `--parameters ""`},
		{[]string{"validate", templateFile, "--subscription", "/subscriptions/x"}, "without a slash"},
		{[]string{"test-ip-flow", "--pod", "a/b", "--parameters", "x", "--direction", "Inbound"}, "--parameters and --pod"},
		{[]string{"assert", "f", "--pod", "a/b", "-g", "x"}, "--resource-group and --pod"},
	}
	for _, c := range cases {
		if a := vnetctl(c.args...); a.status != exitUsage || !strings.Contains(a.stderr, c.want) {
			t.Errorf("%v: status %d, %s", c.args, a.status, a.stderr)
		}
	}
	t.Logf("%d command lines", len(cases))
}
