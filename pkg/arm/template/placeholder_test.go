package template

import (
	"strings"
	"testing"
)

// TestPlaceholders: what Azure alone knows may be part of the names of resources that are of
// use without one, and of deployments; where it would decide anything it is a fault.
func TestPlaceholders(t *testing.T) {
	const (
		deployment = `{"type":"Microsoft.Resources/deployments","name":"[format('{0}-d', uniqueString(resourceGroup().id, 'd'))]","properties":{
			"expressionEvaluationOptions":{"scope":"inner"},"parameters":{"n":{"value":"[concat('n-', take(guid('a'), 3))]"}},
			"template":{"parameters":{"n":{"type":"string"}},"resources":[{` + nsgType + `,"name":"[parameters('n')]"}],
				"outputs":{"id":{"type":"string","value":"[resourceId('Microsoft.Network/networkSecurityGroups', parameters('n'))]"}}}}}`
		outputs = `"[reference(resourceId('Microsoft.Resources/deployments', format('{0}-d', uniqueString(resourceGroup().id, 'd')))).outputs.id.value]"`
	)
	cases := []struct{ name, template, want string }{
		{"names", `{"parameters":{"at":{"type":"string","defaultValue":"[resourceGroup().location]"}},"resources":[
			{` + nsgType + `,"name":"[toLower(concat('A', uniqueString('x')))]"},{` + nsgType + `,"name":"[concat('a', uniqueString('y'))]"},
			{` + nsgType + `,"name":"[concat('a-', substring(uniqueString('x'), 0, 3), '-', replace(parameters('at'), ' ', ''))]"}]}`,
			"resources[0] | networkSecurityGroups | a9998899119819 | null | unnamed\n" +
				"resources[1] | networkSecurityGroups | a8118981888819 | null | unnamed\n" +
				"resources[2] | networkSecurityGroups | a-999-unknown-location | null | unnamed\n"},
		{"a module's output", `{"resources":[` + deployment + `,
			{"type":"Microsoft.Network/virtualNetworks","name":"v","properties":{"subnets":[{"group":{"id":` + outputs + `}}]}}]}`,
			"resources[0].properties.template.resources[0] | networkSecurityGroups | n-111 | null | unnamed\n" +
				`resources[1] | virtualNetworks | v | {"subnets":[{"group":{"id":"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/n-111"}}]}` + "\n"},
		{"an id in a JSON text", `{"variables":{"n":"[uniqueString('x')]"},"resources":[{"type":"Microsoft.Network/virtualNetworks","name":"v",
			"properties":"[json(concat('{\"id\":\"', resourceId('Microsoft.Network/networkSecurityGroups', variables('n')), '\"}'))]"}]}`,
			`resources[0] | virtualNetworks | v | {"id":"/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/9998899119819"}` + "\n"},
		{"in properties", `{"parameters":{"p":{"type":"string","defaultValue":"[newGuid()]"}},"variables":{"v":"[concat(parameters('p'), 1)]","all":[{"a":"[utcNow('yyyy')]"}]},
			"resources":[{` + nsgType + `,"name":"n","properties":{"a":"[variables('v')]","b":"[variables('all')]"}}]}`,
			`resources[0] | networkSecurityGroups | n | error: [variables('v')]: the variable "v": [concat(parameters('p'), 1)]: the parameter "p": [newGuid()]: newGuid() is different in every deployment` + "\n"},
		{"names that something depends on", `{"resources":[{"type":"Microsoft.Network/applicationSecurityGroups","name":"[uniqueString('x')]"},
			{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"[concat(uniqueString('x'), '/', uniqueString('r'))]"},
			{` + nsgType + `,"name":"n","properties":{"id":"[resourceId('Microsoft.Network/applicationSecurityGroups', uniqueString('x'))]"}}]}`,
			`resources[2] | networkSecurityGroups | n | error: [resourceId('Microsoft.Network/applicationSecurityGroups', uniqueString('x'))]: uniqueString() is a hash that Azure does not publish` + "\n" +
				"! resources[0] | name | [uniqueString('x')]: uniqueString() is a hash that Azure does not publish\n" +
				"! resources[1] | name | [concat(uniqueString('x'), '/', uniqueString('r'))]: uniqueString() is a hash that Azure does not publish\n"},
		{"conditions", `{"variables":{"at":"[resourceGroup().location]","map":{"east":1}},"resources":[
			{` + nsgType + `,"name":"a","condition":"[equals(variables('at'), 'east')]"},
			{` + nsgType + `,"name":"b","condition":"[contains(createArray('east'), variables('at'))]"},
			{` + nsgType + `,"name":"c","condition":"[equals(uniqueString('x'), uniqueString('x'))]"},
			{` + nsgType + `,"name":"d","properties":{"x":"[variables('map')[variables('at')]]"}},
			{` + nsgType + `,"name":"e","properties":{"x":"[tryGet(variables('map'), variables('at'))]"}},
			{` + nsgType + `,"name":"f","properties":{"x":"[if(startsWith(variables('at'), 'e'), 1, 2)]"}},
			{` + nsgType + `,"name":"g","properties":{"x":"[length(variables('at'))]","y":1}},
			{` + nsgType + `,"name":"h","properties":{"x":"[length(uniqueString('x'))]"}}]}`,
			"resources[2] | networkSecurityGroups | c | null\n" +
				"resources[3] | networkSecurityGroups | d | error: [variables('map')[variables('at')]]: LOCATION\n" +
				"resources[4] | networkSecurityGroups | e | error: [tryGet(variables('map'), variables('at'))]: tryGet(): LOCATION\n" +
				"resources[5] | networkSecurityGroups | f | error: [if(startsWith(variables('at'), 'e'), 1, 2)]: if(): startsWith(): LOCATION\n" +
				"resources[6] | networkSecurityGroups | g | error: [length(variables('at'))]: length(): LOCATION\n" +
				`resources[7] | networkSecurityGroups | h | {"x":13}` + "\n" +
				"! resources[0] | condition | [equals(variables('at'), 'east')]: equals(): LOCATION\n" +
				"! resources[1] | condition | [contains(createArray('east'), variables('at'))]: contains(): LOCATION\n"},
	}
	with := options()
	with.Nameless = func(kind string) bool {
		return kind == "Microsoft.Network/networkSecurityGroups" || kind == "Microsoft.Network/virtualNetworks"
	}
	for _, c := range cases {
		made, problems := Resolve(document(t, c.template), with)
		got := lines(made, problems)
		want := strings.ReplaceAll(c.want, "LOCATION", "the location that is deployed to is known to Azure only")
		for _, r := range made {
			if unnamed := strings.Contains(want, " | "+r.Name+" | null | unnamed\n"); unnamed != (r.Unnamed != nil) {
				t.Errorf("%s: %s: unnamed: %v", c.name, r.Name, r.Unnamed)
			}
		}
		if want = strings.ReplaceAll(want, " | unnamed", ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
	}
	t.Logf("%d templates", len(cases))
}

// TestPlaceholdersEnd: telling where an unknown value comes from ends, however often it is asked
// for and even if a variable names itself.
func TestPlaceholdersEnd(t *testing.T) {
	for name, v := range map[string]string{
		"a variable that names itself":   `"a":"[if(true(), uniqueString('x'), variables('a'))]"`,
		"variables that name each other": `"a":"[if(true(), uniqueString('x'), variables('b'))]","b":"[if(true(), concat(variables('a')), variables('b'))]"`,
		"one among many":                 `"a":"[variables('b')[9999]]","b":[` + strings.Repeat(`"x",`, 9_999) + `"[uniqueString('x')]"]`,
	} {
		doc := document(t, `{"variables":{`+v+`},"resources":[{`+nsgType+`,"name":"n","properties":{"r":[`+
			strings.Repeat(`"[variables('a')]",`, 9_999)+`1]}}]}`)
		made := ending(t, name, func() []Resource {
			made, _ := Resolve(doc, options())
			return made
		})
		if got := show(made[0].Properties); !strings.HasPrefix(got, "error: [variables('a')]: the variable \"a\"") {
			t.Errorf("%s: %.200s", name, got)
		}
	}
	t.Log("3 templates")
}
