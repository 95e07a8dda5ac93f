package arm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// writer writes a group as a template whose values are expressions of many kinds.
type writer struct {
	*rand.Rand
	parameters, variables []string
}

// text writes a string as one of the expressions that stand for it.
func (w *writer) text(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	cut := w.IntN(len(s) + 1)
	for cut < len(s) && !utf8.RuneStart(s[cut]) {
		cut++
	}
	parts := fmt.Sprintf("'%s', '%s'", strings.ReplaceAll(s[:cut], "'", "''"), strings.ReplaceAll(s[cut:], "'", "''"))
	escaped := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		escaped = "[" + s
	}
	switch w.IntN(8) {
	case 0:
		return "[concat(" + parts + ")]"
	case 1:
		return "[format('{0}{1}', " + parts + ")]"
	case 2:
		w.parameters = append(w.parameters, fmt.Sprintf(`"p%d":{"type":"string","defaultValue":%s}`, len(w.parameters), asJSON(escaped)))
		return fmt.Sprintf("[parameters('P%d')]", len(w.parameters)-1)
	case 3:
		w.variables = append(w.variables, fmt.Sprintf(`"v%d":{"at":[0,%s]}`, len(w.variables), asJSON("["+quoted+"]")))
		return fmt.Sprintf("[variables('v%d').At[1]]", len(w.variables)-1)
	case 4:
		return "[if(equals(1, 2), 'no', " + quoted + ")]"
	case 5:
		return "[join(createArray(" + parts + "), '')]"
	case 6:
		return "[last(split(concat('x|', " + quoted + "), '|'))]"
	}
	return escaped
}

func asJSON(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

// rules writes the same rules twice: as they are, and with expressions.
func (w *writer) rules(count int) (plain, written []string) {
	words := []string{"Tcp", "*", "web", "it's", "[odd]", "a, b", "10.0.0.0/8", "Größe", "{0}", "80-90", "VirtualNetwork", "\\\"", "[[x]"}
	rule := func(i int, s func(string) string) string {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		word := func() string { return asJSON(s(words[r.IntN(len(words))])) }
		return fmt.Sprintf(`{"name":%s,"properties":{"protocol":%s,"description":%s,"priority":%d,"sourceAddressPrefix":"*","destinationAddressPrefixes":[%s,%s]}}`,
			asJSON(s(fmt.Sprintf("rule-%d", i))), word(), word(), 100+r.IntN(9), word(), word())
	}
	for i := range count {
		plain = append(plain, rule(i, func(s string) string { return s }))
		written = append(written, rule(i, w.text))
	}
	return plain, written
}

// TestTemplateSaysTheSame: a group whose values are written as expressions, some of whose
// rules are resources of their own, is the group that it was.
func TestTemplateSaysTheSame(t *testing.T) {
	const rounds = 300
	for round := range rounds {
		w := &writer{Rand: rand.New(rand.NewPCG(uint64(round), 1))}
		plain, written := w.rules(w.IntN(6))
		listed := w.IntN(len(written) + 1)
		resources := []string{fmt.Sprintf(`{"type":"Microsoft.Network/networkSecurityGroups","name":%s,"properties":{"securityRules":[%s]}}`,
			asJSON(w.text("n")), strings.Join(written[:listed], ","))}
		for i, r := range written[max(0, listed-1):] { // one of them in both places
			name := asJSON(w.text(fmt.Sprintf("n/rule-%d", max(0, listed-1)+i)))
			_, properties, _ := strings.Cut(r, `,"properties"`)
			resources = append(resources, fmt.Sprintf(`{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":%s,"properties"%s`, name, properties))
		}
		sections := fmt.Sprintf(`"parameters":{%s},"variables":{%s},`, strings.Join(w.parameters, ","), strings.Join(w.variables, ","))
		got := readTemplate(sections, strings.Join(resources, ","))
		want := &Documents{}
		Read("r.json", []byte(`{"name":"n","id":"/subscriptions/`+placeholderSubscription+`/resourceGroups/`+placeholderGroup+
			`/providers/Microsoft.Network/networkSecurityGroups/n","properties":{"securityRules":[`+strings.Join(plain, ",")+`]}}`), want)
		if len(got.Findings) > 0 || said(got) != said(want) {
			t.Fatalf("round %d: findings %v, %s\n%s\n%s", round, got.Findings, firstDifference(said(got), said(want)), sections, strings.Join(resources, ","))
		}
	}
	t.Logf("%d templates", rounds)
}
