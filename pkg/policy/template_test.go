package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// TestTemplates: a network obeys a template with its parameters' defaults.
func TestTemplates(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	template := write("main.json", `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"parameters":{"name":{"type":"string","defaultValue":"web-nsg"}},
		"resources":[{"type":"Microsoft.Network/networkSecurityGroups","name":"[parameters('name')]"}]}`)
	write("values.parameters.json", `{"contentVersion":"1.0.0.0","parameters":{"name":{"value":"db-nsg"}}}`)
	for _, c := range []struct {
		config Config
		group  string
	}{
		{Config{Documents: []string{template}, Subnet: "web-nsg"}, "web-nsg"},
		{Config{Documents: []string{dir}, Subnet: "web-nsg"}, "web-nsg"},
	} {
		v, err := OfDocuments(c.config, arm.Load(c.config.Documents))
		if err != nil {
			t.Errorf("%v: %v", c.config.Documents, err)
			continue
		}
		if _, err := v.Key(c.group); err != nil {
			t.Errorf("%v: %v", c.config.Documents, err)
		}
	}
	t.Log("2 configurations")
}

// TestUnknownServiceTag: without a service tag file, no file is said to lack the tag.
func TestUnknownServiceTag(t *testing.T) {
	const group = `{"name":"web-nsg","type":"Microsoft.Network/networkSecurityGroups","properties":{"securityRules":[{"name":"out","properties":{
		"protocol":"*","access":"Allow","direction":"Outbound","priority":100,"sourcePortRange":"*","destinationPortRange":"*",
		"sourceAddressPrefix":"*","destinationAddressPrefix":"Storage"}}]}}`
	const file = `{"changeNumber":1,"cloud":"Public","values":[{"name":"Sql","properties":{"addressPrefixes":["192.0.2.0/24"]}}]}`
	cases := []struct {
		documents []string
		want      string
	}{
		{[]string{group}, `the service tag "Storage" needs Azure's service tag file, and there is none`},
		{[]string{group, file}, `there is no service tag "Storage" in the service tag file`},
	}
	for _, c := range cases {
		d := &arm.Documents{}
		for _, text := range c.documents {
			arm.Read("d.json", []byte(text), d)
		}
		g, findings := nsg.New(d.Groups[0])
		if len(findings) > 0 {
			t.Fatal(findings)
		}
		_, findings = nsg.NewPolicy(g, Config{}.Tags(d))
		if len(findings) != 1 || findings[0].Message != c.want {
			t.Errorf("%d documents: %v, want %s", len(c.documents), findings, c.want)
		}
	}
	t.Logf("%d cases", len(cases))
}

// TestFindingsOfAddedRules: what is wrong with a rule that a template adds is told of the
// template, and of the export what is wrong with its own.
func TestFindingsOfAddedRules(t *testing.T) {
	rule := func(name, port string, priority int) string {
		return fmt.Sprintf(`"name":%q,"properties":{"protocol":"Tcp","access":"Allow","direction":"Inbound","priority":%d,"sourcePortRange":"*",
			"destinationPortRange":%q,"sourceAddressPrefix":"*","destinationAddressPrefix":"*"}}`, name, priority, port)
	}
	const added = `{"type":"Microsoft.Network/networkSecurityGroups/securityRules",`
	d := &arm.Documents{}
	arm.Read("now.json", []byte(`{"name":"web","type":"Microsoft.Network/networkSecurityGroups","properties":{"securityRules":[{`+
		rule("ssh", "22", 100)+",{"+rule("old", "1-", 110)+",{"+rule("changed", "2-", 120)+",{"+rule("same", "3-", 130)+`]}}`), d)
	arm.Read("then.json", []byte(`{"contentVersion":"1.0.0.0","resources":[`+added+rule("web/http", "80", 100)+","+added+rule("web/CHANGED", "4-", 120)+
		","+added+rule("web/same", "3-", 130)+`]}`), d)
	got := ""
	for _, f := range Findings(d) {
		got += fmt.Sprintf("%s %s %s\n", f.File, f.Rule, f.Code)
	}
	const want = "then.json CHANGED ResourceReplaced\n" +
		"now.json old SecurityRuleInvalidPortRange\n" +
		"then.json CHANGED SecurityRuleInvalidPortRange\n" +
		"now.json same SecurityRuleInvalidPortRange\n" +
		"then.json http SecurityRuleConflict\n"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	t.Log("5 findings")
}
