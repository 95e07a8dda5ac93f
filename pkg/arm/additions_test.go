package arm

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// loadAll loads documents from files that are called a.json, b.json and so on.
func loadAll(t *testing.T, with Deployment, texts ...string) *Documents {
	t.Helper()
	t.Chdir(t.TempDir())
	var files []string
	for i, text := range texts {
		file := string(rune('a'+i)) + ".json"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return LoadWith(files, with)
}

func templateOf(resources ...string) string {
	return `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","resources":[` + strings.Join(resources, ",") + `]}`
}

// told is each finding as its severity, code, group and message.
func told(d *Documents) string {
	var lines []string
	for _, f := range d.Findings {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Severity, f.Code, f.NSG, f.Message))
	}
	return strings.Join(lines, "\n")
}

// TestAdditions: what a template adds to resources of other documents is theirs, in
// whichever order the documents are read.
func TestAdditions(t *testing.T) {
	id := func(sub, group, kind, name string) string {
		return "/subscriptions/" + sub + "/resourceGroups/" + group + "/providers/Microsoft.Network/" + kind + "/" + name
	}
	group := func(id, rules string) string {
		return `{"name":"web","id":"` + id + `","securityRules":[` + rules + `]}`
	}
	ssh := `{"name":"ssh","priority":100,"protocol":"Tcp"}`
	web := id("s", "g", "networkSecurityGroups", "web")
	adds := func(name, properties string) string {
		return templateOf(`{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"` + name + `","properties":{` + properties + `}}`)
	}
	cases := []struct {
		name, sub, rg string
		texts         []string
		want          string // the rules of the groups by their priorities
		told          string
	}{
		{"a rule of a group elsewhere", "", "", []string{group(web, ssh), adds("web/http", `"priority":110`)}, "ssh 100, http 110", ""},
		{"the case of names", "", "", []string{group(web, ssh), adds("WEB/http", `"priority":110`)}, "ssh 100, http 110", ""},
		{"a group without an id", "", "", []string{group("", ssh), adds("web/http", `"priority":110`)}, "ssh 100, http 110", ""},
		{"a group of another template", "", "", []string{templateOf(aGroup + `}`), adds("n/http", `"priority":110`)}, "http 110", ""},
		{"the place is told", "s", "g", []string{group(web, ssh), adds("web/http", `"priority":110`)}, "ssh 100, http 110", ""},
		{"half of the place is told", "", "g", []string{group(web, ssh), group(id("s", "other", "networkSecurityGroups", "web"), ""), adds("web/http", `"priority":110`)}, "ssh 100, http 110", ""},
		{"a rule that is there", "", "", []string{group(web, ssh), adds("web/SSH", `"priority":100,"protocol":"tcp"`)}, "ssh 100", ""},
		{
			"a rule that is there otherwise", "", "", []string{group(web, ssh), adds("web/SSH", `"priority":200,"protocol":"tcp"`)}, "SSH 200",
			"warning ResourceReplaced web: resources[0]: web/SSH takes the place of the one in a.json",
		},
		{
			"another place", "s", "elsewhere", []string{group(web, ssh), adds("web/http", `"priority":110`)}, "ssh 100",
			"error PropertyMissing : resources[0]: web/http is part of a resource that is in no document: " + id("s", "elsewhere", "networkSecurityGroups", "web"),
		},
		{
			"one of several", "", "", []string{group(web, ssh), group(id("s", "h", "networkSecurityGroups", "web"), ""), adds("web/http", `"priority":110`)}, "ssh 100",
			"error TemplateScope : resources[0]: web/http may be part of several: " + web + ", " + id("s", "h", "networkSecurityGroups", "web") +
				"; vnetctl is told where the template is deployed by --resource-group and --subscription",
		},
		{
			"two templates disagree", "", "", []string{group(web, ""), adds("web/http", `"priority":110`), adds("web/http", `"priority":111`)}, "http 110",
			"error ResourceConflict web: resources[0]: web/http is here (c.json) with other contents than in b.json",
		},
		{
			"one template disagrees with itself", "", "", []string{group(web, ""), "[]", templateOf(
				`{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"web/http","properties":{"priority":110}}`,
				`{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"web/http","properties":{"priority":111}}`)}, "http 110",
			"error ResourceConflict web: resources[1]: web/http is here (c.json) with other contents than earlier in the same file",
		},
		{
			"the name of a group is not known", "", "", []string{group(web, ""), "[]", adds("[concat(resourceGroup().name, '-nsg/http')]", `"priority":110`)}, "",
			"warning TemplateScope : resources[0]: the name depends on where the template is deployed, or under which name, which is not known; " +
				"vnetctl is told the place by --resource-group and --subscription\n" +
				"error PropertyMissing : resources[0]: unknown-resource-group-nsg/http is part of a resource that is in no document: " +
				id(placeholderSubscription, placeholderGroup, "networkSecurityGroups", "unknown-resource-group-nsg"),
		},
		{
			"a deployment to another resource group", "", "", []string{group(web, ""), group(id("s", "h", "networkSecurityGroups", "web"), ""), templateOf(
				`{"type":"Microsoft.Resources/deployments","name":"d","resourceGroup":"H","properties":{"template":{"resources":[
					{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"web/http","properties":{"priority":110}}]}}}`,
				`{"type":"Microsoft.Resources/deployments","name":"e","subscriptionId":"s","resourceGroup":"g","properties":{"template":{"resources":[
					{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"web/ssh","properties":{"priority":100}}]}}}`)}, "ssh 100, http 110", "",
		},
		{"two templates agree", "", "", []string{group(web, ""), adds("web/http", `"priority":110`), adds("web/http", `"priority":110`)}, "http 110", ""},
		{
			"a value that is not known", "", "", []string{group(web, ssh), adds("web/http", `"priority":"[nope()]"`)}, "ssh 100",
			`error TemplateUnresolved web: resources[0].properties.priority: the value of [nope()] is not known: the function "nope"() is not known here`,
		},
	}
	tried := 0
	for _, c := range cases {
		for _, backwards := range []bool{false, true} {
			texts := slices.Clone(c.texts)
			if backwards && len(texts) == 2 { // the files' names are in what is told
				texts[0], texts[1] = texts[1], texts[0]
				c.told = strings.ReplaceAll(c.told, "a.json", "b.json")
			}
			d := loadAll(t, Deployment{Subscription: c.sub, ResourceGroup: c.rg}, texts...)
			var rules []string
			for _, g := range d.Groups {
				for _, r := range g.Rules {
					rules = append(rules, r.Name+" "+r.Priority)
				}
			}
			if got := strings.Join(rules, ", "); got != c.want || told(d) != c.told {
				t.Errorf("%s (backwards: %t):\n got %s\n%s\nwant %s\n%s", c.name, backwards, got, told(d), c.want, c.told)
			}
			tried++
		}
	}
	t.Logf("%d readings", tried)
}

// TestAddedToNetworks: routes, subnets and peerings are added as rules are, and a peering
// is given its address space when all is read.
func TestAddedToNetworks(t *testing.T) {
	d := loadAll(t, Deployment{},
		templateOf(
			`{"type":"Microsoft.Network/virtualNetworks/subnets","name":"v/s","properties":{"addressPrefix":"10.0.1.0/24","networkSecurityGroup":{"id":"[resourceId('Microsoft.Network/networkSecurityGroups','n')]"}}}`,
			`{"type":"Microsoft.Network/virtualNetworks/virtualNetworkPeerings","name":"v/p","properties":{"remoteVirtualNetwork":{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/w"}}}`,
			`{"type":"Microsoft.Network/routeTables/routes","name":"t/r","properties":{"addressPrefix":"0.0.0.0/0","nextHopType":"None"}}`,
			`{"type":"Microsoft.Network/virtualNetworks/subnets","name":"x/s","properties":{"addressPrefix":"10.0.1.0/24"}}`,
		),
		`{"name":"v","id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v","addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}`,
		`{"name":"w","id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/w","addressSpace":{"addressPrefixes":["10.9.0.0/16"]}}`,
		`{"name":"t","id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/routeTables/t","routes":[]}`,
	)
	v, _ := d.VirtualNetwork("v")
	table, _ := d.RouteTable("t")
	got := fmt.Sprint(v.Subnets, v.Peerings[0].RemoteAddressSpace, table.Routes)
	want := "[{s /subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s [10.0.1.0/24] " +
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n }] [10.9.0.0/16] [{r 0.0.0.0/0 None }]"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if want := "warning ResourceSkipped : resources[3]: x/s is not read: it is part of a virtual network that is in no document: " +
		"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/unknown-resource-group/providers/Microsoft.Network/virtualNetworks/x"; told(d) != want {
		t.Errorf("\n got %s\nwant %s", told(d), want)
	}
	t.Log("3 parts added")
}
