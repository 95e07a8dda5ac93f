package template

import (
	"fmt"
	"strings"
	"testing"
)

// lines writes what a template makes and what is wrong with it.
func lines(made []Resource, problems []Problem) string {
	var out strings.Builder
	for _, r := range made {
		fmt.Fprintf(&out, "%s | %s | %s | %s", r.Path, strings.TrimPrefix(r.Type, "Microsoft.Network/"), r.Name, show(r.Properties))
		if r.Parent != "" {
			fmt.Fprintf(&out, " | of %s", r.Parent[strings.LastIndexByte(r.Parent, '/')+1:])
		}
		out.WriteByte('\n')
	}
	for _, p := range problems {
		fmt.Fprintf(&out, "! %s | %s | %s\n", p.Path, p.Property, p.Fault)
	}
	return out.String()
}

const nsgType = `"type":"Microsoft.Network/networkSecurityGroups"`

// TestResources resolves what templates do with resources besides evaluating
// expressions.
func TestResources(t *testing.T) {
	cases := []struct{ name, template, want string }{
		{"other types are not looked at", `{"resources":[
			{"type":"Microsoft.Compute/virtualMachines","name":"[nope()]","copy":{"name":"x","count":"[nope()]"},"condition":"[nope()]"},
			{` + nsgType + `,"name":"n","location":"[nope()]"}]}`,
			"resources[1] | networkSecurityGroups | n | null\n"},
		{"what is not known stays in its place", `{"resources":[{` + nsgType + `,"name":"n","properties":{"a":"[nope()]","b":1}}]}`,
			`resources[0] | networkSecurityGroups | n | error: [nope()]: the function "nope"() is not known here` + "\n"},
		{"conditions", `{"parameters":{"yes":{"type":"bool","defaultValue":true}},"resources":[
			{` + nsgType + `,"name":"a","condition":"[parameters('yes')]"},
			{` + nsgType + `,"name":"b","condition":"[not(parameters('yes'))]","properties":{"x":"[nope()]"}},
			{` + nsgType + `,"name":"c","condition":false},
			{` + nsgType + `,"name":"d","condition":"[nope()]"}]}`,
			"resources[0] | networkSecurityGroups | a | null\n" +
				`! resources[3] | condition | [nope()]: the function "nope"() is not known here` + "\n"},
		{"a loop of resources with a loop of properties in it", `{"resources":[{` + nsgType + `,"name":"[concat('n', copyIndex(1))]",
			"copy":{"name":"groups","count":2},"properties":{"copy":[{"name":"rules","count":"2",
				"input":{"at":"[format('{0}.{1}.{2}', copyIndex(), copyIndex('rules', 10), copyIndex('groups'))]"}}],"other":true}}]}`,
			`resources[0] (copy 0) | networkSecurityGroups | n1 | {"rules":[{"at":"0.10.0"},{"at":"0.11.0"}],"other":true}` + "\n" +
				`resources[0] (copy 1) | networkSecurityGroups | n2 | {"rules":[{"at":"1.10.1"},{"at":"1.11.1"}],"other":true}` + "\n"},
		{"loops of variables", `{"variables":{"copy":[{"name":"top","count":2,"input":"[concat('t', copyIndex('top'))]"}],
			"inner":{"copy":[{"name":"list","count":2,"input":"[copyIndex('list', 5)]"}],"more":1}},
			"resources":[{` + nsgType + `,"name":"n","properties":{"a":"[variables('TOP')]","b":"[variables('inner')]"}}]}`,
			`resources[0] | networkSecurityGroups | n | {"a":["t0","t1"],"b":{"list":[5,6],"more":1}}` + "\n"},
		{"loops in another form", `{"variables":{"copy":[{"name":"v","count":1}],"other":{"copy":["a"]}},"resources":[
			{` + nsgType + `,"name":"a","properties":{"copy":{"name":"rules","count":1,"input":1}}},
			{` + nsgType + `,"name":"b","properties":{"copy":[{"name":"rules","count":1}]}},
			{` + nsgType + `,"name":"c","properties":{"copy":[{"name":"rules","input":1},{"name":"[concat('a')]","count":1,"input":1}]}},
			{` + nsgType + `,"name":"d","properties":"[variables('v')]"},
			{` + nsgType + `,"name":"e","properties":"[variables('other')]"}]}`,
			"resources[0] | networkSecurityGroups | a | fault: copy is an object, where an array of loops belongs\n" +
				"resources[1] | networkSecurityGroups | b | fault: copy[0]: the loop \"rules\" has no input\n" +
				"resources[2] | networkSecurityGroups | c | fault: copy[1]: a loop's name must be a string that is not empty and no expression\n" +
				"resources[3] | networkSecurityGroups | d | fault: [variables('v')]: variables: copy[0]: the loop \"v\" has no input\n" +
				"resources[4] | networkSecurityGroups | e | fault: [variables('other')]: the variable \"other\": variables: copy[0]: the loop \"v\" has no input\n"},
		{"a loop of resources in another form", `{"resources":[{` + nsgType + `,"name":"a","copy":[{"name":"l","count":2}]},{` + nsgType + `,"name":"b","copy":null}]}`,
			"resources[1] | networkSecurityGroups | b | null\n! resources[0] | copy | it is an array, where an object belongs\n"},
		{"a loop and a member of its name", `{"resources":[
			{` + nsgType + `,"name":"a","properties":{"Rules":[1],"copy":[{"name":"rules","count":1,"input":2}]}},
			{` + nsgType + `,"name":"b","properties":{"copy":[{"name":"rules","count":1,"input":2}],"rules":[1]}},
			{` + nsgType + `,"name":"c","properties":{"[concat('a')]":1,"A":2}},
			{` + nsgType + `,"name":"d","properties":"[variables('v')]"},
			{` + nsgType + `,"name":"e","properties":"[createArray(variables('w'), variables('copy'))]"}],
			"variables":{"copy":[{"name":"V","count":1,"input":1},{"name":"copy","count":1,"input":2}],"v":[],"w":{"copy":["a"]}}}`,
			"resources[0] | networkSecurityGroups | a | fault: the key \"rules\" is there twice: which value counts is unclear\n" +
				"resources[1] | networkSecurityGroups | b | fault: the key \"rules\" is there twice: which value counts is unclear\n" +
				"resources[2] | networkSecurityGroups | c | fault: the key \"A\" is there twice: which value counts is unclear\n" +
				"resources[3] | networkSecurityGroups | d | fault: [variables('v')]: the variable \"v\": it is there twice, and made by a loop: which value counts is unclear\n" +
				"resources[4] | networkSecurityGroups | e | [{\"copy\":[\"a\"]},[2]]\n"},
		{"counts that are none", `{"resources":[
			{` + nsgType + `,"name":"a","copy":{"name":"x","count":801}},{` + nsgType + `,"name":"b","copy":{"name":"x","count":-1}},
			{` + nsgType + `,"name":"c","copy":{"name":"x","count":"[nope()]"}},{` + nsgType + `,"name":"d","copy":{"name":"x","count":0}},
			{` + nsgType + `,"name":"e","copy":{"name":"x"}}]}`,
			"! resources[0] | copy | the count of the loop: 801 is not from 0 to 800\n" +
				"! resources[1] | copy | the count of the loop: -1 is not from 0 to 800\n" +
				"! resources[2] | copy | [nope()]: the count of the loop: [nope()]: the function \"nope\"() is not known here\n" +
				"! resources[4] | copy | the count of the loop: it is missing\n"},
		{"children", `{"resources":[{` + nsgType + `,"name":"n","resources":[
			{"type":"securityRules","name":"short","properties":1},
			{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"n/long","properties":2},
			{"type":"providers/locks","name":"x"}]},
			{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"[concat('n', '/own')]","properties":3},
			{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"lonely"}]}`,
			"resources[0] | networkSecurityGroups | n | null\n" +
				"resources[0].resources[0] | networkSecurityGroups/securityRules | n/short | 1 | of n\n" +
				"resources[0].resources[1] | networkSecurityGroups/securityRules | n/long | 2 | of n\n" +
				"! resources[0].resources[2] | name | x: the type \"Microsoft.Network/networkSecurityGroups/providers/locks\" wants 3 names, and there are 2\n" +
				"resources[1] | networkSecurityGroups/securityRules | n/own | 3 | of n\n" +
				"! resources[2] | name | lonely: the type \"Microsoft.Network/networkSecurityGroups/securityRules\" wants 2 names, and there are 1\n"},
		{"children of what is not deployed", `{"resources":[{` + nsgType + `,"name":"n","condition":false,"resources":[{"type":"securityRules","name":"r"},
			{"type":"securityRules","name":"s","condition":false}]}]}`,
			"resources[0].resources[0] | networkSecurityGroups/securityRules | n/r | null | of n\n"},
		{"to a subscription", `{"$schema":"https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#","resources":[
			{` + nsgType + `,"name":"n","properties":{"id":"[resourceId('Microsoft.Network/x', 'x')]","group":"[resourceGroup().name]"}}]}`,
			"resources[0] | networkSecurityGroups | n | error: [resourceGroup().name]: resourceGroup(): the deployment is one to a subscription, which has no resource group\n"},
		{"symbolic names", `{"languageVersion":"2.0","resources":{
			"web":{` + nsgType + `,"name":"n","properties":{"a":"[reference('other').x]","b":"[resourceInfo('there').id]"}},
			"other":{` + nsgType + `,"name":"m","properties":{"x":7}},
			"there":{"existing":true,` + nsgType + `,"name":"old"}}}`,
			`resources.web | networkSecurityGroups | n | {"a":7,"b":"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/old"}` + "\n" +
				`resources.other | networkSecurityGroups | m | {"x":7}` + "\n"},
		{"references to a loop", `{"resources":{"w":{"type":"Microsoft.Compute/x","apiVersion":"1","name":"[format('n{0}', copyIndex())]","copy":{"name":"w","count":2},"properties":{"i":"[copyIndex()]"}},
			"none":{"type":"Microsoft.Compute/x","name":"x","copy":{"name":"none","count":0}},"may":{"type":"Microsoft.Compute/x","name":"y","condition":true,"copy":{"name":"may","count":1}},
			"x":{` + nsgType + `,"name":"x","properties":["[map(references('w'), lambda('r', lambdaVariables('r').i))]","[references('W', 'Full')[1].apiVersion]","[references('none')]"]},
			"y":{` + nsgType + `,"name":"y","properties":"[references('x')]"},"z":{` + nsgType + `,"name":"z","properties":"[references('may')]"}}}`,
			"resources.x | networkSecurityGroups | x | [[0,1],\"1\",[]]\n" +
				"resources.y | networkSecurityGroups | y | fault: [references('x')]: references(): \"x\" is no resource of the template with a symbolic name and a loop\n" +
				"resources.z | networkSecurityGroups | z | fault: [references('may')]: references(): what it says of \"may\", which has a condition, is not documented\n"},
		{"symbolic names of loops", `{"resources":{"w":{` + nsgType + `,"name":"[format('n{0}', copyIndex())]","copy":{"name":"w","count":2},"properties":{"i":"[copyIndex()]"}},
			"x":{` + nsgType + `,"name":"x","properties":{"a":"[reference('w[1]').i]"}}}}`,
			"resources.w (copy 0) | networkSecurityGroups | n0 | {\"i\":0}\nresources.w (copy 1) | networkSecurityGroups | n1 | {\"i\":1}\n" +
				"resources.x | networkSecurityGroups | x | {\"a\":1}\n"},
		{"references", `{"resources":[
			{` + nsgType + `,"name":"n","properties":{"byName":"[reference('ip').a]","byID":"[reference(resourceId('Microsoft.Compute/x', 'ip'), '2024-01-01').a]",
				"full":"[reference('ip', '2024-01-01', 'Full').location]"}},
			{"type":"Microsoft.Compute/x","name":"ip","location":"here","properties":{"a":1,"b":"[nope()]"}},
			{"type":"Microsoft.Compute/y","name":"[nope()]"}]}`,
			`resources[0] | networkSecurityGroups | n | {"byName":1,"byID":1,"full":"here"}` + "\n"},
		{"keys", `{"variables":{"k":"key"},"resources":[{` + nsgType + `,"name":"n","properties":{"[variables('k')]":1,"copy":"no loop"}}]}`,
			`resources[0] | networkSecurityGroups | n | {"key":1,"copy":"no loop"}` + "\n"},
		{"functions", `{"functions":[{"namespace":"contoso","members":{"name":{"parameters":[{"name":"env","type":"string"}],
			"output":{"type":"string","value":"[concat('nsg-', parameters('env'))]"}}}}],
			"resources":[{` + nsgType + `,"name":"[Contoso.Name('web')]"},{` + nsgType + `,"name":"[contoso.name(1)]"},{` + nsgType + `,"name":"[contoso.name()]"}]}`,
			"resources[0] | networkSecurityGroups | nsg-web | null\n" +
				"! resources[1] | name | [contoso.name(1)]: contoso.name(): argument 1: its value is a number, and its type \"string\"\n" +
				"! resources[2] | name | [contoso.name()]: contoso.name() takes 1 arguments, not 0\n"},
		{"no resources", `{"resources":[]}`, ""},
		{"resources that are none", `{"resources":[1,{"type":"[nope()]"},{"name":"x"}]}`,
			"! resources[0] | resources | it is a number, where an object belongs\n" +
				"! resources[1] | type | [nope()]: the function \"nope\"() is not known here\n" +
				"! resources[2] | type | the type is null, where a string belongs that is not empty\n"},
	}
	for _, c := range cases {
		got := lines(Resolve(document(t, c.template), options()))
		if sorted(got) != sorted(c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	t.Logf("%d templates", len(cases))
}

// sorted compares without the order in which resources and problems are told.
func sorted(s string) string {
	var made, problems []string
	for _, l := range strings.SplitAfter(s, "\n") {
		if strings.HasPrefix(l, "!") {
			problems = append(problems, l)
		} else {
			made = append(made, l)
		}
	}
	return strings.Join(made, "") + strings.Join(problems, "")
}

// TestDeployments resolves deployments within templates.
func TestDeployments(t *testing.T) {
	nested := func(options, more string) string {
		return `{"parameters":{"p":{"type":"string","defaultValue":"outer"}},"variables":{"v":"parent"},"resources":[
			{"type":"Microsoft.Resources/deployments","name":"d",` + more + `"properties":{` + options + `
				"parameters":{"p":{"value":"[concat(parameters('p'), '!')]"}},
				"template":{"parameters":{"p":{"type":"string"}},"variables":{"v":"nested"},
					"resources":[{` + nsgType + `,"name":"[concat(variables('v'), '-', parameters('p'))]"}],
					"outputs":{"id":{"type":"string","value":"[resourceId('Microsoft.Network/networkSecurityGroups', variables('v'))]"}}}}},
			{"type":"Microsoft.Network/virtualNetworks","name":"x","properties":{"id":"[reference(resourceId('Microsoft.Resources/deployments', 'd')).outputs.id.value]"}}]}`
	}
	const inner = `"expressionEvaluationOptions":{"scope":"Inner"},`
	const path = "resources[0].properties.template.resources[0]"
	id := func(group, name string) string {
		return `{"id":"/subscriptions/sub/resourceGroups/` + group + `/providers/Microsoft.Network/networkSecurityGroups/` + name + `"}`
	}
	cases := []struct{ name, template, want string }{
		{"outer", nested("", ""), path + " | networkSecurityGroups | parent-outer | null\nresources[1] | virtualNetworks | x | " + id("rg", "parent") + "\n"},
		{"inner", nested(inner, ""), path + " | networkSecurityGroups | nested-outer! | null\nresources[1] | virtualNetworks | x | " + id("rg", "nested") + "\n"},
		{"not deployed", nested(inner, `"condition":false,`),
			"resources[1] | virtualNetworks | x | error: [reference(resourceId('Microsoft.Resources/deployments', 'd')).outputs.id.value]: " +
				"reference(): \"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Resources/deployments/d\" is no resource of the template, and others are known to Azure only\n"},
		{"of other things", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"[nope()]","condition":"[nope()]","copy":{"name":"x","count":"[nope()]"},
			"properties":{"template":{"resources":[{"type":"Microsoft.Compute/x","name":"y"},{"type":"Microsoft.Resources/deployments","name":"z","properties":{"template":{"resources":[]}}}]}}}]}`, ""},
		{"with a name that is not known", `{"resources":{"d":{"type":"Microsoft.Resources/deployments","name":"[uniqueString(deployment().name)]","properties":{
			"expressionEvaluationOptions":{"scope":"inner"},"template":{"resources":[{` + nsgType + `,"name":"n","properties":{"a":"[deployment().name]"}}],
			"outputs":{"o":{"type":"int","value":7}}}}},
			"x":{"type":"Microsoft.Network/virtualNetworks","name":"x","properties":{"o":"[reference('d').outputs.o.value]"}}}}`,
			"resources.d.properties.template.resources[0] | networkSecurityGroups | n | error: [deployment().name]: the deployment's name is known to Azure only\n" +
				"resources.x | virtualNetworks | x | {\"o\":7}\n"},
		{"with the name of the one around it", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"[concat(deployment().name, '-n')]","properties":{
			"expressionEvaluationOptions":{"scope":"inner"},"template":{"resources":[{` + nsgType + `,"name":"[deployment().name]"}]}}}]}`,
			path + " | networkSecurityGroups | main-n | null\n"},
		{"inner by default, with symbolic names", `{"languageVersion":"2.0","parameters":{"p":{"type":"string","defaultValue":"outer"}},"resources":{
			"d":{"type":"Microsoft.Resources/deployments","name":"d","properties":{"parameters":{"p":{"value":"inner"}},
				"template":{"parameters":{"p":{"type":"string"}},"resources":[{` + nsgType + `,"name":"[parameters('p')]"}]}}},
			"e":{"type":"Microsoft.Resources/deployments","name":"e","properties":{"expressionEvaluationOptions":{"scope":"outer"},
				"template":{"resources":[{` + nsgType + `,"name":"[parameters('p')]"}]}}}}}`,
			"resources.d.properties.template.resources[0] | networkSecurityGroups | inner | null\n" +
				"resources.e.properties.template.resources[0] | networkSecurityGroups | outer | null\n"},
		{"with null for a parameter", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"d","properties":{"expressionEvaluationOptions":{"scope":"inner"},
			"parameters":{"default":{"value":null},"both":{"value":null},"none":{"value":null},"needed":{"value":null}},
			"template":{"parameters":{"default":{"type":"string","defaultValue":"n"},"both":{"type":"int","nullable":true,"defaultValue":7},"none":{"type":"int","nullable":true},"needed":{"type":"int"}},
				"resources":[{` + nsgType + `,"name":"[parameters('default')]","properties":"[createArray(parameters('both'), parameters('none'))]"},
				{` + nsgType + `,"name":"[parameters('needed')]"}]}}}]}`,
			path + " | networkSecurityGroups | n | [7,null]\n" +
				"! resources[0].properties.template.resources[1] | name | [parameters('needed')]: the parameter \"needed\": it has no value and no default\n"},
		{"with parameters that are an expression, or elsewhere", `{"variables":{"p":{"a":{"value":"[concat('[', 'x]')]"}}},"resources":[
			{"type":"Microsoft.Resources/deployments","name":"d","properties":{"expressionEvaluationOptions":{"scope":"inner"},"parameters":"[variables('p')]",
				"template":{"parameters":{"a":{"type":"string","defaultValue":"default"}},"resources":[{` + nsgType + `,"name":"[parameters('a')]"}]}}},
			{"type":"Microsoft.Resources/deployments","name":"e","properties":{"expressionEvaluationOptions":{"scope":"inner"},"parametersLink":{"uri":"x"},
				"template":{"parameters":{"a":{"type":"string","defaultValue":"default"}},"resources":[{` + nsgType + `,"name":"[parameters('a')]"}]}}},
			{"type":"Microsoft.Resources/deployments","name":"f","properties":{"expressionEvaluationOptions":{"scope":"inner"},"parameters":[1],
				"template":{"resources":[{` + nsgType + `,"name":"n"}]}}}]}`,
			path + " | networkSecurityGroups | [x] | null\n" +
				"! resources[1] | properties | its parameters are not in the document: it has a parametersLink\n" +
				"! resources[2] | properties | its parameters are an array, where an object belongs\n"},
		{"with outputs of a loop", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"d","properties":{"expressionEvaluationOptions":{"scope":"inner"},
			"template":{"resources":[],"outputs":{"o":{"type":"array","copy":{"count":2,"input":"[format('10.{0}.0.0/16', copyIndex())]"}}}}}},
			{` + nsgType + `,"name":"n","copy":{"name":"l","count":1},"properties":"[reference('d').outputs.o.value]"}]}`,
			"resources[1] (copy 0) | networkSecurityGroups | n | [\"10.0.0.0/16\",\"10.1.0.0/16\"]\n"},
		{"of a subscription to a resource group, and its id", `{"$schema":"https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#","resources":[
			{"type":"Microsoft.Resources/deployments","name":"d","resourceGroup":"rg","properties":{"template":{"resources":[],"outputs":{"o":{"type":"int","value":7}}}}},
			{"type":"Microsoft.Resources/deployments","name":"d","properties":{"template":{"resources":[],"outputs":{"o":{"type":"int","value":8}}}}},
			{"type":"Microsoft.Resources/deployments","name":"e","resourceGroup":"rg","properties":{"template":{"resources":[{` + nsgType + `,"name":"n","properties":[
				"[reference(extensionResourceId(format('/subscriptions/{0}/resourceGroups/{1}', subscription().subscriptionId, 'rg'), 'Microsoft.Resources/deployments', 'd'), '2022-09-01').outputs.o.value]",
				"[reference(subscriptionResourceId('Microsoft.Resources/deployments', 'd')).outputs.o.value]"]}]}}}]}`,
			"resources[2].properties.template.resources[0] | networkSecurityGroups | n | [7,8]\n"},
		{"linked", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"d","properties":{"templateLink":{"uri":"https://example.com"}}}]}`,
			"! resources[0] | properties | the deployment \"d\" is not read: its template is not in the document\n"},
		{"in a loop", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"[concat('d', copyIndex())]","copy":{"name":"l","count":2},
			"properties":{"expressionEvaluationOptions":{"scope":"inner"},"parameters":{"i":{"value":"[copyIndex()]"}},
			"template":{"parameters":{"i":{"type":"int"}},"resources":[{` + nsgType + `,"name":"[concat('n', parameters('i'))]"}]}}}]}`,
			"resources[0] (copy 0).properties.template.resources[0] | networkSecurityGroups | n0 | null\n" +
				"resources[0] (copy 1).properties.template.resources[0] | networkSecurityGroups | n1 | null\n"},
		{"a key vault's value", `{"resources":[{"type":"Microsoft.Resources/deployments","name":"d","properties":{"expressionEvaluationOptions":{"scope":"inner"},
			"parameters":{"s":{"reference":{"keyVault":{"id":"x"},"secretName":"y"}}},
			"template":{"parameters":{"s":{"type":"string"}},"resources":[{` + nsgType + `,"name":"[parameters('s')]"}]}}}]}`,
			"! " + path + " | name | [parameters('s')]: the parameter \"s\": its value is in a key vault, which is known to Azure only\n"},
	}
	for _, c := range cases {
		with := options()
		if strings.Contains(c.name, "around it") {
			with.Deployment = "main"
		}
		if got := lines(Resolve(document(t, c.template), with)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	elsewhere, _ := Resolve(document(t, nested(inner, `"resourceGroup":"[concat('other-', parameters('p'))]",`)), options())
	if len(elsewhere) != 2 || !strings.Contains(elsewhere[0].ID, "/resourceGroups/other-outer/") {
		t.Errorf("in another resource group: %v", elsewhere)
	}
	t.Logf("%d templates", len(cases)+1)
}
