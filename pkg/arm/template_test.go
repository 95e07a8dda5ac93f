package arm

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// TestTemplatesAgree reads templates as they are exported, written by hand and compiled
// from Bicep, and the resources that each makes in REST's form: both say the same.
func TestTemplatesAgree(t *testing.T) {
	files, err := filepath.Glob("testdata/template/*.rest.json")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d templates: %v", len(files), err)
	}
	for _, file := range files {
		want, got := Load([]string{file}), Load([]string{strings.Replace(file, ".rest", "", 1)})
		if len(got.Findings) != 0 || len(want.Findings) != 0 {
			t.Errorf("%s: findings %v, in REST's form %v", file, got.Findings, want.Findings)
		}
		if g, w := said(got), said(want); g != w {
			t.Errorf("%s: %s", file, firstDifference(g, w))
		}
		if len(want.Groups) == 0 {
			t.Errorf("%s: no groups", file)
		}
	}
	t.Logf("%d templates", len(files))
}

// said writes what documents say, as far as it means something: with the groups' rules
// as they are compared when documents hold a group twice.
func said(d *Documents) string {
	var out strings.Builder
	for _, g := range d.Groups {
		fmt.Fprintf(&out, "%s %s %t\n", g.Name, g.ID, g.FlushConnection)
		for _, r := range canonicalRules(g.Rules) {
			fmt.Fprintf(&out, "  %+v\n", r)
		}
	}
	for _, n := range d.VirtualNetworks {
		n.File = ""
		fmt.Fprintf(&out, "%+v\n", n)
	}
	for _, a := range d.ASGs {
		fmt.Fprintf(&out, "%s %s\n", a.Name, a.ID)
	}
	for _, r := range d.RouteTables {
		r.File = ""
		fmt.Fprintf(&out, "%+v\n", r)
	}
	return out.String()
}

// readTemplate reads a template with these resources.
func readTemplate(sections, resources string) *Documents {
	d := &Documents{}
	Read("t.json", []byte(`{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",`+
		sections+`"resources":[`+resources+`]}`), d)
	return d
}

const (
	aGroup = `{"type":"Microsoft.Network/networkSecurityGroups","name":"n"`
	aRule  = `{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"n/r"`
)

// TestTemplateFindings: what is wrong with a template is told with its place.
func TestTemplateFindings(t *testing.T) {
	listed := `{"type":"Microsoft.Network/networkSecurityGroups","name":"n","properties":{"securityRules":[{"name":"R","properties":{"priority":100}}]}}`
	cases := []struct{ name, sections, resources, want string }{
		{"a rule's expression", "", aGroup + `,"properties":{"securityRules":[{"name":"r","properties":{"protocol":"[uniqueString('a')]"}}]}}`,
			"error TemplateUnresolved n r protocol [uniqueString('a')]: resources[0].properties.securityRules[0].properties.protocol: the value of [uniqueString('a')] is not known: uniqueString() is a hash that Azure does not publish"},
		{"a parameter without a value", `"parameters":{"p":{"type":"int"}},`, aGroup + `,"properties":{"securityRules":[{"name":"r","properties":{"priority":"[parameters('p')]"}}]}}`,
			`error TemplateUnresolved n r priority [parameters('p')]: resources[0].properties.securityRules[0].properties.priority: the value of [parameters('p')] is not known: the parameter "p": it has no value and no default`},
		{"a list's expression", "", aGroup + `,"properties":{"securityRules":"[nope()]"}}`,
			`error TemplateUnresolved n  securityRules [nope()]: resources[0].properties.securityRules: the value of [nope()] is not known: the function "nope"() is not known here`},
		{"a prefix with a blank in its expression", "", aGroup + `,"properties":{"securityRules":[{"name":"r","properties":{"sourceAddressPrefix":"[nope('a b')]"}}]}}`,
			`error TemplateUnresolved n r sourceAddressPrefix [nope('a b')]: resources[0].properties.securityRules[0].properties.sourceAddressPrefix: the value of [nope('a b')] is not known: the function "nope"() is not known here`},
		{"properties", "", aGroup + `,"properties":"[nope()]"}`,
			`error TemplateUnresolved n  properties [nope()]: resources[0].properties: the value of [nope()] is not known: the function "nope"() is not known here`},
		{"a condition", "", aGroup + `,"condition":"[nope()]"}`,
			`error TemplateUnresolved   condition [nope()]: resources[0]: the value of [nope()] is not known: the function "nope"() is not known here`},
		{"a name", "", `{"type":"Microsoft.Network/networkSecurityGroups","name":"[nope()]"}`,
			`error TemplateUnresolved   name [nope()]: resources[0]: the value of [nope()] is not known: the function "nope"() is not known here`},
		{"a rule without its group", "", aRule + `,"properties":{}}`,
			"error PropertyMissing   name n/r: resources[0]: n/r is part of a resource that is in no document: " +
				"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/unknown-resource-group/providers/Microsoft.Network/networkSecurityGroups/n"},
		{"a subnet without its network", "", `{"type":"Microsoft.Network/virtualNetworks/subnets","name":"v/s","properties":{"addressPrefix":"10.0.0.0/24"}}`,
			"warning ResourceSkipped   name v/s: resources[0]: v/s is not read: it is part of a virtual network that is in no document: " +
				"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/unknown-resource-group/providers/Microsoft.Network/virtualNetworks/v"},
		{"a route without its table", "", `{"type":"Microsoft.Network/routeTables/routes","name":"t/r","properties":{}}`,
			"error PropertyMissing   name t/r: resources[0]: t/r is part of a resource that is in no document: " +
				"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/unknown-resource-group/providers/Microsoft.Network/routeTables/t"},
		{"a loop of rules without an input", "", aGroup + `,"properties":{"copy":[{"name":"securityRules","count":1}]}}`,
			`error TemplateUnresolved n  properties : resources[0].properties: copy[0]: the loop "securityRules" has no input`},
		{"allowed arrays", `"parameters":{"a":{"type":"array","defaultValue":["x"],"allowedValues":[["x"],["y"]]},"b":{"type":"array","defaultValue":["x"],"allowedValues":["x","y"]},` +
			`"c":{"type":"array","defaultValue":["z"],"allowedValues":[["x"],"y"]},"d":{"type":"array","defaultValue":[],"allowedValues":["x"]}},`,
			aGroup + `,"properties":{"securityRules":[{"name":"[concat(parameters('a')[0], parameters('b')[0], string(length(parameters('d'))))]","properties":{"access":"[parameters('c')[0]]"}}]}}`,
			`error TemplateUnresolved n xx0 access [parameters('c')[0]]: resources[0].properties.securityRules[0].properties.access: the value of [parameters('c')[0]] is not known: the parameter "c": its value is not among the allowed ones`},
		{"a rule twice", "", listed + "," + aRule + `,"properties":{"priority":"100"}}`, ""},
		{"a differing rule", "", listed + "," + aRule + `,"properties":{"priority":101}}`,
			"error ResourceConflict n r name r: resources[1]: r is a resource of its own with other contents than where the template has it before"},
		{"a group twice", "", aGroup + `},` + aGroup + `}`, ""},
		{"a linked template", "", `{"type":"Microsoft.Resources/deployments","name":"d","properties":{"templateLink":{"uri":"x"}}}`,
			`warning ResourceSkipped   properties : resources[0]: the deployment "d" is not read: its template is not in the document`},
		{"a name of the resource group", "", `{"type":"Microsoft.Network/networkSecurityGroups","name":"[concat(resourceGroup().name, '-nsg')]"}`,
			"warning TemplateScope   name unknown-resource-group-nsg: resources[0]: the name depends on where the template is deployed, or under which name, which is not known; vnetctl is told the place by --resource-group and --subscription"},
		{"a group named by a hash", "", `{"type":"Microsoft.Network/networkSecurityGroups","name":"[concat('web-', uniqueString(resourceGroup().id))]"}`,
			"warning TemplateScope   name web-8988918089800: resources[0]: the name or the id has a placeholder in it: uniqueString() is a hash that Azure does not publish"},
		{"an application security group named by a hash", "", `{"type":"Microsoft.Network/applicationSecurityGroups","name":"[uniqueString('a')]"}`,
			"error TemplateUnresolved   name [uniqueString('a')]: resources[0]: the value of [uniqueString('a')] is not known: uniqueString() is a hash that Azure does not publish"},
		{"others are not looked at", "", `{"type":"Microsoft.Compute/x","name":"[nope()]"},` + aGroup + `,"location":"[nope()]","tags":"[nope()]","properties":{"x":"[nope()]"}}`, ""},
		{"a wrong type", "", aGroup + `,"properties":{"securityRules":[{"name":"r","properties":{"protocol":"[add(1, 2)]"}}]}}`,
			"error PropertyWrongType n r protocol 3: resources[0].properties.securityRules[0].properties.protocol: 3 is a number, where a string belongs"},
	}
	for _, c := range cases {
		var got []string
		for _, f := range readTemplate(c.sections, c.resources).Findings {
			got = append(got, fmt.Sprintf("%s %s %s %s %s %s: %s", f.Severity, f.Code, f.NSG, f.Rule, f.Property, f.Value, f.Message))
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, strings.Join(got, "\n"), c.want)
		}
	}
	t.Logf("%d templates", len(cases))
}

// TestParameters deploys a template with parameter files.
func TestParameters(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := file("main.json", `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"parameters":{"name":{"type":"string"},"flush":{"type":"bool","defaultValue":false},"secret":{"type":"securestring","defaultValue":""}},
		"resources":[{"type":"Microsoft.Network/networkSecurityGroups","name":"[parameters('name')]","properties":{"flushConnection":"[parameters('FLUSH')]","x":"[parameters('secret')]"}}]}`)
	const schema = `"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#","contentVersion":"1.0.0.0",`
	one := file("one.parameters.json", `{`+schema+`"parameters":{"name":{"value":"one"},"Flush":{"value":true},"secret":{"reference":{"keyVault":{"id":"x"}}}}} // comment`)
	two := file("two.json", `{"name":{"value":"[two]"}}`)
	cases := []struct {
		files       []string
		group, code string // what there is of one group, and the code of the first finding
		flush       bool
	}{
		{nil, "", Unresolved, false},
		{[]string{one}, "one", "", true},
		{[]string{one, two}, "[two]", "", true},
		{[]string{two, one}, "one", "", true},
		{[]string{two}, "[two]", "", false},
		{[]string{two, file("typo.json", `{"parameters":{"nmae":{"value":"x"}}}`)}, "[two]", UnknownParameter, false},
		{[]string{two, file("type.json", `{"parameters":{"flush":{"value":"yes"}}}`)}, "[two]", Unresolved, false},
		{[]string{two, file("bare.json", `{"parameters":{"flush":true}}`)}, "[two]", WrongType, false},
		{[]string{two, file("list.json", `[]`)}, "[two]", Malformed, false},
		{[]string{two, file("none.json", `{`)}, "[two]", Malformed, false},
		{[]string{two, main}, "[two]", Malformed, false},
		{[]string{two, filepath.Join(dir, "absent.json")}, "[two]", Unreadable, false},
	}
	for _, c := range cases {
		d := LoadWith([]string{main}, Deployment{Parameters: c.files})
		group, code := "", ""
		for _, g := range d.Groups {
			group += g.Name
			if g.FlushConnection != c.flush {
				t.Errorf("%v: flushConnection %t", c.files, g.FlushConnection)
			}
		}
		if len(d.Findings) > 0 {
			code = d.Findings[0].Code
		}
		if group != c.group || code != c.code {
			t.Errorf("%v: group %q, findings %v; want %q and %q", c.files, group, d.Findings, c.group, c.code)
		}
	}
	odd := file("odd.json", `{"contentVersion":"1.0.0.0","parameters":{"value":{"type":"string"}},"resources":[{"type":"Microsoft.Network/networkSecurityGroups","name":"[parameters('value')]"}]}`)
	d := LoadWith([]string{odd}, Deployment{Parameters: []string{file("odd.parameters.json", `{`+schema+`"parameters":{"value":{"value":"v"}}}`)}})
	if len(d.Findings) > 0 || len(d.Groups) != 1 || d.Groups[0].Name != "v" {
		t.Errorf("a parameter called value: %v, findings %v", d.Groups, d.Findings)
	}
	folder := Load([]string{dir})
	skipped := 0
	for _, f := range folder.Findings {
		if f.Code == ParametersSkipped && f.Severity == nsg.Warning {
			skipped++
		}
	}
	if skipped != 2 { // one.parameters.json and odd.parameters.json alone look like one
		t.Errorf("parameter files in a folder: %d of 2, findings %v", skipped, folder.Findings)
	}
	t.Logf("%d deployments", len(cases)+1)
}

// TestScope: ids name the subscription and resource group that are told.
func TestScope(t *testing.T) {
	d := &Documents{deployment: deployment{Deployment: Deployment{Subscription: "s", ResourceGroup: "g"}}}
	Read("t.json", []byte(`{"contentVersion":"1.0.0.0","resources":[{"type":"Microsoft.Network/networkSecurityGroups","name":"[resourceGroup().name]"}]}`), d)
	want := []nsg.Definition{{Name: "g", ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/g", File: "t.json"}}
	if !reflect.DeepEqual(d.Groups, want) || len(d.Findings) > 0 {
		t.Errorf("%+v, findings %v", d.Groups, d.Findings)
	}
	t.Logf("%d group", len(d.Groups))
}

// TestTemplateLimits: a template that is too large, or becomes it, is one error.
func TestTemplateLimits(t *testing.T) {
	long := strings.Repeat("x", 1<<19)
	cases := []struct{ name, sections, resources, code, text string }{
		{"too many values", `"variables":{"v":[` + strings.Repeat("0,", maxTemplateValues) + `0]},`, "", TooLarge, "250000 values"},
		{"it becomes too much", `"variables":{"v":"` + long + `"},`, aGroup + `,"properties":{"copy":[{"name":"securityRules","count":800,"input":{"name":"[variables('v')]"}}]}}`,
			TooLarge, "33554432 bytes"},
		{"it becomes too deep", "", aGroup + `,"properties":{"securityRules":"[reduce(range(0, 200), createArray(), lambda('a', 'b', createArray(lambdaVariables('a'))))]"}}`,
			WrongType, "where an object belongs"},
		{"a long reason", `"variables":{"v":"[` + strings.Repeat("a", 20000) + `()]"},`, aGroup + `,"properties":"[variables('v')]"}`, Unresolved, "is not known here"},
	}
	for _, c := range cases {
		d := readTemplate(c.sections, c.resources)
		if len(d.Findings) == 0 || d.Findings[0].Code != c.code || !strings.Contains(d.Findings[0].Message, c.text) || len(d.Findings[0].Message) > 1000 {
			t.Errorf("%s: findings %.1000v", c.name, d.Findings)
		}
	}
	t.Logf("%d templates", len(cases))
}

// TestTemplatePeerings: a template does not tell what a peering leads to, but another
// network of the documents may.
func TestTemplatePeerings(t *testing.T) {
	network := func(name, space, peer string) string {
		return fmt.Sprintf(`{"type":"Microsoft.Network/virtualNetworks","name":%q,"properties":{"addressSpace":{"addressPrefixes":[%q]}}},
			{"type":"Microsoft.Network/virtualNetworks/virtualNetworkPeerings","name":"%[1]s/to-%[3]s",
			"properties":{"remoteVirtualNetwork":{"id":"[resourceId('Microsoft.Network/virtualNetworks', '%[3]s')]"}}}`, name, space, peer)
	}
	file := filepath.Join(t.TempDir(), "t.json")
	text := `{"contentVersion":"1.0.0.0","resources":[` + network("hub", "10.0.0.0/16", "Spoke") + `,` + network("spoke", "10.1.0.0/16", "lab") + `]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := Load([]string{file})
	var got []string
	for _, n := range d.VirtualNetworks {
		got = append(got, fmt.Sprintf("%s: %v", n.Name, n.Peerings[0].RemoteAddressSpace))
	}
	for _, f := range d.Findings {
		got = append(got, fmt.Sprintf("%s %s %s %s: %s", f.Severity, f.Code, f.Property, short(f.Value), f.Message))
	}
	want := []string{
		"hub: [10.1.0.0/16]", "spoke: []",
		"warning DocumentIncomplete remoteAddressSpace …/virtualNetworks/lab: the peering to-lab of spoke is read as one without addresses: no document has the address space of " +
			"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/unknown-resource-group/providers/Microsoft.Network/virtualNetworks/lab",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	t.Logf("%d networks", len(d.VirtualNetworks))
}

// TestTemplateAndExport: a network that a template makes and its export are the same one.
func TestTemplateAndExport(t *testing.T) {
	dir := t.TempDir()
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
	subnet := func(name, prefix, more string) string {
		return fmt.Sprintf(`{"name":%q,%s"properties":{"addressPrefix":%q}}`, name, more, prefix)
	}
	network := func(more, subnets string) string {
		return `{"type":"Microsoft.Network/virtualNetworks","name":"v",` + more + `"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[` + subnets + `]}}`
	}
	export := network(`"id":"`+id+`",`, subnet("a", "10.0.0.0/24", `"id":"`+id+`/subnets/a",`)+`,`+subnet("b", "10.0.1.0/24", `"id":"`+id+`/subnets/b",`))
	for _, c := range []struct {
		subnets   string
		conflicts int
	}{
		{subnet("b", "10.0.1.0/24", "") + `,` + subnet("A", "10.0.0.0/24", ""), 0},
		{subnet("a", "10.0.0.0/24", ""), 1},
		{subnet("a", "10.0.0.0/24", "") + `,` + subnet("b", "10.0.2.0/24", ""), 1},
	} {
		for name, text := range map[string]string{"export.json": export, "main.json": `{"contentVersion":"1.0.0.0","resources":[` + network("", c.subnets) + `]}`} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := LoadWith([]string{dir}, Deployment{Subscription: "s", ResourceGroup: "g"})
		if len(d.VirtualNetworks) != 1 || len(d.Findings) != c.conflicts {
			t.Errorf("%s: %d networks, findings %v", c.subnets, len(d.VirtualNetworks), d.Findings)
		}
	}
	t.Log("3 pairs")
}
