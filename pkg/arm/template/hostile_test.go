package template

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestHostile: no template takes more than its share, whatever it asks for.
func TestHostile(t *testing.T) {
	doubling := func(f string) string {
		var b strings.Builder
		for i := 1; i <= 60; i++ {
			fmt.Fprintf(&b, `"v%d":"[`+f+`]",`, i, i-1, i-1)
		}
		return `"variables":{"v0":["x"],"s0":"xxxxxxxxxxxxxxxx",` + b.String() + `"end":0},`
	}
	chain := func(n int) string {
		var b strings.Builder
		for i := 1; i <= n; i++ {
			fmt.Fprintf(&b, `"v%d":"[variables('v%d')]",`, i, i-1)
		}
		return `"variables":{` + b.String() + `"v0":1},`
	}
	strings60 := strings.ReplaceAll(doubling("concat(variables('v%d'), variables('v%d'))"), `["x"]`, `"xxxxxxxx"`)
	cases := []struct{ name, sections, expression, want string }{
		{"strings that double", strings60, "[variables('v60')]", "1048576 bytes, the limit"},
		{"arrays that double", doubling("concat(variables('v%d'), variables('v%d'))"), "[length(variables('v60'))]", "5000000 steps, the limit"},
		{"values within values", doubling("createArray(variables('v%d'), variables('v%d'))"), "[string(variables('v60'))]", "the limit"},
		{"compared values within values", doubling("createArray(variables('v%d'), variables('v%d'))"), "[equals(variables('v60'), variables('v60'))]", "the limit"},
		{"objects within objects", doubling("createObject('a', variables('v%d'), 'b', variables('v%d'))"), "[union(variables('v60'), variables('v60'))]", "the limit"},
		{"maps of maps", "", "[map(range(0, 10000), lambda('x', map(range(0, 10000), lambda('y', length(range(lambdaVariables('y'), 10000))))))]", "5000000 steps, the limit"},
		{"values grown deep", "", "[string(reduce(range(0, 10000), createArray(), lambda('a', 'b', createArray(lambdaVariables('a')))))]", "nested more than 100 deep"},
		{"calls grown deep", "", "[" + strings.Repeat("not(", 3000) + "true()" + strings.Repeat(")", 3000) + "]", "nested more than 100 deep"},
		{"properties of properties", "", "[resourceGroup()" + strings.Repeat(".a", 10000) + "]", "the limit"},
		{"a long expression", "", "['" + strings.Repeat("x", maxExpression) + "']", "24576 letters, the limit"},
		{"replaced to death", "", "[replace(padLeft('', 1000, 'a'), 'a', padLeft('', 100000, 'b'))]", "1048576 bytes, the limit"},
		{"joined to death", "", "[join(range(0, 10000), padLeft('', 1000000))]", "1048576 bytes, the limit"},
		{"formatted to death", "", "[format('{0}{0}{0}{0}', padLeft('', 1000000))]", "1048576 bytes, the limit"},
		{"a chain of variables", chain(2000), "[variables('v2000')]", "2000 deep, the limit"},
		{"a large array looked into often", `"variables":{"v":"[range(0, 10000)]"},`,
			"[length(map(range(0, 10000), lambda('i', variables('v')[lambdaVariables('i')])))]", "10000"},
		{"a chain of as many as Azure allows", chain(512), "[variables('v512')]", "1"},
		{"functions that call themselves", `"functions":[{"namespace":"a","members":{"b":{"parameters":[],"output":{"value":"[a.b()]"}}}}],`, "[a.b()]", "2000 deep, the limit"},
		{"references in a circle", "", "[reference('x').p]", "need themselves"},
	}
	for _, c := range cases {
		if got := expression(t, c.sections, c.expression); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %.300s\nwant %s", c.name, got, c.want)
		}
	}
	t.Logf("%d templates", len(cases))
}

// TestLittleOfMuch: what looks through long strings and large arrays takes its share even
// if little comes of it.
func TestLittleOfMuch(t *testing.T) {
	long := strings.Repeat("Xx", 1<<19)
	of := func(element string) string { return "[" + strings.Repeat(element+",", 9_999) + element + "]" }
	sections := `"variables":{"all":{"many":"[range(0, 10000)]","long":"` + long + `","places":"` + strings.Repeat("{0}", 1<<18) + `","key":{"` + long + `":1},` +
		`"texts":` + of(`""`) + `,"commas":` + of(`","`) + `,"arrays":` + of(`[]`) + `,"objects":` + of(`{}`) + `},"copy":` + of(`{"name":"l","count":1,"input":1}`) + `}`
	functions := `{"functions":[{"namespace":"f","members":{"` + long + `":{},"is":{"parameters":[{"name":"` + long + `","type":"string","allowedValues":["` + long + `","a"]}],` +
		`"output":{"value":true}},"of":{"parameters":[{"name":"all","type":"object"},{"name":"round","type":"int"}],"output":{"value":"[%s]"}}}}]}`
	doc := document(t, `{`+sections+`}`)
	cases := []string{
		"startsWith(all.long, 'a')", "endsWith(all.long, 'a')", "indexOf(all.long, 'a')", "contains(all.long, 'ab')", "length(all.long)", "empty(all.long)",
		"first(all.long)", "format(all.places, '')", "length(split(all.long, all.commas))", "contains(all.key, all.long)", "tryGet(all.key, all.long)",
		"all.key[all.long]", "union(all.key, all.key)", "intersection(all.key, all.key)", "equals(all.key, all.key)", "items(all.key)", "objectKeys(all.key)",
		"createObject(all.long, 1)", "toObject(createArray(all), lambda('x', lambdaVariables('x').long))", "shallowMerge(all.objects)", "flatten(all.arrays)",
		"join(all.texts, '')", "max(all.many)", "f.is('a')", "variables('l')",
	}
	for _, c := range cases {
		call := "f.of(variables('all'), lambdaVariables('j'))"
		if strings.HasPrefix(c, "variables") { // which a function does not see
			call = c
		}
		body := strings.NewReplacer("(all", "(parameters('all')", "[all", "[parameters('all')", " all", " parameters('all')").Replace(" " + c)
		one, properties := document(t, fmt.Sprintf(functions, body)), &Object{}
		for key, v := range doc.All() {
			one.Set(key, v)
		}
		properties.Set("p", "[length(map(range(0, 10000), lambda('i', map(range(0, 10000), lambda('j', "+call+")))))]")
		got := ending(t, c, func() string { return lines(Resolve(withResource(one, properties), options())) })
		if !strings.Contains(got, "5000000 steps, the limit") {
			t.Errorf("%s: got %.300s", c, got)
		}
	}
	t.Logf("%d functions", len(cases))
}

// TestLongTypes: the types of resources take their share as well.
func TestLongTypes(t *testing.T) {
	loop := `"copy":{"name":"l","count":800}`
	one := `{"type":"Microsoft.Compute/` + strings.Repeat("Xx", 1<<19) + `","name":"n",` + loop + `}`
	template := func(resources string) string {
		return `{"type":"Microsoft.Resources/deployments","name":"d",` + loop + `,"properties":{"template":{"resources":[` + resources + `]}}}`
	}
	doc := document(t, `{"resources":[`+template(template(`{`+nsgType+`,"name":"n","condition":false},`+one))+`]}`)
	problems := ending(t, "long types", func() []Problem {
		_, problems := Resolve(doc, options())
		return problems
	})
	if len(problems) != 1 || !strings.Contains(problems[0].Fault.Error(), "5000000 steps, the limit") {
		t.Errorf("problems %.300v", problems)
	}
	t.Log("1 template")
}

// TestFixedCalls: Bicep writes what a loop goes through into each of its properties. It is
// evaluated once, unless it differs from round to round.
func TestFixedCalls(t *testing.T) {
	rules := func(from int) string {
		var b strings.Builder
		for i := from; i < from+250; i++ {
			fmt.Fprintf(&b, `,{"name":"r%d","properties":{"priority":%d}}`, i, i)
		}
		return "[" + b.String()[1:] + "]"
	}
	const all = `union(parameters('base'), parameters('more'))`
	got := lines(Resolve(document(t, `{"parameters":{"base":{"type":"array","defaultValue":`+rules(0)+`},"more":{"type":"array","defaultValue":`+rules(250)+`}},
		"resources":[{`+nsgType+`,"name":"n","properties":{"copy":[{"name":"p","count":"[length(`+all+`)]","input":"[`+all+`[copyIndex('p')].properties.priority]"},
			{"name":"n","count":"[length(`+all+`)]","input":"[`+all+`[copyIndex('n')].name]"},
			{"name":"both","count":2,"input":"[map(range(0, 2), lambda('x', add(length(skip(`+all+`, lambdaVariables('x'))), copyIndex('both'))))]"}]}}]}`), options()))
	if !strings.Contains(got, `"p":[0,1,2,`) || !strings.Contains(got, `498,499],"n":["r0",`) || !strings.HasSuffix(got, `"r499"],"both":[[500,499],[501,500]]}`+"\n") {
		t.Errorf("got %.200s … %s", got, got[max(0, len(got)-200):])
	}
	t.Log("1 template")
}

// TestManyResources: loops within loops make no more resources than the limit.
func TestManyResources(t *testing.T) {
	loop := `"copy":{"name":"%s","count":800},"properties":{"template":{"resources":[%s]}}`
	inner := fmt.Sprintf(`{"type":"Microsoft.Resources/deployments","name":"d",`+loop+`}`, "b", `{`+nsgType+`,"name":"n"}`)
	outer := fmt.Sprintf(`{"resources":[{"type":"Microsoft.Resources/deployments","name":"d",`+loop+`}]}`, "a", inner)
	made, problems := Resolve(document(t, outer), options())
	if len(made) == 0 || len(made) > maxResources || len(problems) != 1 || !strings.Contains(problems[0].Fault.Error(), "10000 resources") {
		t.Errorf("%d resources, problems %v", len(made), problems)
	}
	t.Logf("%d resources", len(made))
}

// TestManyProblems: loops within loops tell no more than the limit, of whatever kind.
func TestManyProblems(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"type":"Microsoft.Compute/x"},`, 1000), ",")
	loop := `{"resources":[{"type":"Microsoft.Resources/deployments","name":"d","copy":{"name":"a","count":800},"properties":{"template":{"resources":[%s]}}}]}`
	for _, c := range []struct{ name, inner, want string }{
		{"names", `{` + nsgType + `,"name":"[nope()]"},{` + nsgType + `,"name":"[nope()]"}`, "1000 problems"},
		{"linked templates", `{"type":"Microsoft.Resources/deployments","name":"l"},{"type":"Microsoft.Resources/deployments","name":"l"}`, "1000 problems"},
		{"other resources", `{` + nsgType + `,"name":"n"},` + many, "5000000 steps"},
	} {
		_, problems := Resolve(document(t, fmt.Sprintf(loop, c.inner)), options())
		if len(problems) == 0 || len(problems) > maxProblems+1 || problems[len(problems)-1].Warning ||
			!strings.Contains(problems[len(problems)-1].Fault.Error(), c.want) {
			t.Errorf("%s: %d problems: %.300v", c.name, len(problems), problems)
		}
	}
	t.Log("3 templates")
}

// TestLongWords: what a template is called, and why it has no value, is told in few words
// and kept in few, however long the template's own are.
func TestLongWords(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	var chain strings.Builder
	for i := range 600 {
		fmt.Fprintf(&chain, `"v%d":"[concat('%s', variables('v%d'))]",`, i, long[:20_000], i+1)
	}
	loop := `"copy":{"name":"l","count":800}`
	for _, c := range []struct{ name, template string }{
		{"causes", `{"variables":{` + chain.String() + `"v600":"[nope()]"},"resources":[{` + nsgType + `,"name":"[variables('v0')]"}]}`},
		{"names", `{"resources":[{` + nsgType + `,"name":"` + long + `",` + loop + `}]}`},
		{"symbols", `{"resources":{"` + long + `":{` + nsgType + `,"name":"n",` + loop + `}}}`},
		{"functions", `{"resources":[{` + nsgType + `,"name":"[` + long[:20_000] + `()]"}]}`},
		{"places", `{"resources":[{` + nsgType + `,"name":"[format('{` + long[:20_000] + `}')]"}]}`},
		{"keys", `{"resources":[{` + nsgType + `,"name":"[createObject('a', 1).` + long[:20_000] + `]"}]}`},
	} {
		made, problems := Resolve(document(t, c.template), options())
		if len(problems) == 0 {
			t.Errorf("%s: no problem", c.name)
		}
		size := 0
		for _, r := range made {
			size += len(r.ID) + len(r.Path)
		}
		for _, p := range problems {
			size += len(p.Path) + len(p.Fault.Error())
		}
		if size > 100<<20 || len(problems[0].Fault.Error()) > 2*maxReason || len(problems[0].Path) > 200 {
			t.Errorf("%s: %d bytes of words, %.3000s", c.name, size, problems[0].Fault)
		}
	}
	t.Log("6 templates")
}

// FuzzParse: whatever the text, parsing ends, and what is read of strings is what was
// written.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"[concat('a', 1)]", "[a.b('it''s')[0].c]", "[ ]", "['']", "[-1]", "[x(y(z()))]", "[']", "[a(]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if isExpression(text) {
			n, err := parse(text)
			if (n == nil) == (err == nil) {
				t.Errorf("%q: %v, %v", text, n, err)
			}
		}
		if !utf8.ValidString(text) || len(text) > 1000 {
			return
		}
		n, err := parse("['" + strings.ReplaceAll(text, "'", "''") + "']")
		if err != nil || n.kind != stringNode || n.text != text {
			t.Errorf("%q: read %v, %v", text, n, err)
		}
	})
}

// FuzzEvaluate: whatever the expression, evaluating it ends with a value or the reason
// why there is none.
func FuzzEvaluate(f *testing.F) {
	for _, seed := range []string{
		"[variables('v')[0].a]", "[map(variables('v'), lambda('x', lambdaVariables('x').a))]", "[format('{0,3:D2}', 1)]", "[reference('x')]",
		"[union(variables('v')[0], createObject('a', 2))]", "[substring('abc', 1, 1)]", "[split(string(variables('v')), ',')]",
		"[cidrSubnet('10.0.0.0/8', 16, 3)]", "[resourceId('a/b', 'c')]", "[json('[1]')]", "[coalesce(null(), padLeft(1, 9))]",
		"[if(equals(1, 1), items(createObject('a', 1)), flatten(createArray(range(1, 2))))]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := &Object{}
		o.Set("p", text)
		doc := document(t, `{"variables":{"v":[{"a":1,"b":[true,null,"x"]}]},"resources":[]}`)
		made, problems := Resolve(withResource(doc, o), options())
		if len(made) != 1 || len(problems) > 0 {
			t.Fatalf("%q: %d resources, %v", text, len(made), problems)
		}
		if made[0].Properties == nil {
			t.Errorf("%q: no properties", text)
		}
	})
}

func withResource(doc, properties *Object) *Object {
	r := &Object{}
	r.Set("type", "Microsoft.Network/x")
	r.Set("name", "x")
	r.Set("properties", properties)
	doc.Set("resources", []Value{r})
	return doc
}
