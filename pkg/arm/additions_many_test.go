package arm

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestManyAdditions: a template's 10,000 additions, each to another one of 10,000 groups,
// all to one, or each to a group that may be any of 2000. More than linear cost would take
// minutes.
func TestManyAdditions(t *testing.T) {
	const loops, rounds = 12, 800
	groups := func(count int, id func(i int) string) string {
		var list []string
		for i := range count {
			list = append(list, `{"id":"/subscriptions/s/resourceGroups/`+id(i)+`","securityRules":[]}`)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	many := func(entry string) string {
		var list []string
		for i := range loops {
			list = append(list, fmt.Sprintf(strings.ReplaceAll(entry, "LOOP", `"copy":{"name":"c","count":%[2]d}`), i, rounds))
		}
		return templateOf(list...)
	}
	const rule = `{"type":"Microsoft.Network/networkSecurityGroups/securityRules","properties":{},LOOP,"name":`
	kind := "/providers/Microsoft.Network/networkSecurityGroups/"
	named := func(i int) string { return fmt.Sprintf("g%sa-network-security-group-%d", kind, i) }
	for _, c := range []struct {
		name, groups, template string
		rules                  int
		failed                 bool
	}{
		{"each to another", groups(loops*rounds, named), many(rule + `"[format('a-network-security-group-{0}/r', add(copyIndex(), mul(%[1]d, %[2]d)))]"}`), loops * rounds, false},
		{"all to one", groups(1, named), many(rule + `"[format('a-network-security-group-0/r{0}', add(copyIndex(), mul(%[1]d, %[2]d)))]"}`), loops * rounds, false},
		{"to any of many", groups(2000, func(i int) string { return fmt.Sprintf("g%d%sweb", i, kind) }), many(rule + `"[format('web/r{0}', add(copyIndex(), mul(%[1]d, %[2]d)))]"}`), 0, true},
		{"to none", groups(loops*rounds, named), many(rule + `"[format('network-security-group-a-{0}/r', add(copyIndex(), mul(%[1]d, %[2]d)))]"}`), 0, true},
	} {
		d := loadAll(t, Deployment{}, c.groups, c.template)
		rules := 0
		for _, g := range d.Groups {
			rules += len(g.Rules)
		}
		if rules != c.rules || (d.Err() != nil) != c.failed || len(d.Findings) > toldOfDocument+1 {
			t.Errorf("%s: %d rules, %d findings: %.300v", c.name, rules, len(d.Findings), d.Err())
		}
	}
	t.Log("4 templates")
}

// TestAdditionsAlone: until all documents are read, of a template that adds to them nothing
// but the additions is kept.
func TestAdditionsAlone(t *testing.T) {
	const size = 4 << 20
	var before, after runtime.MemStats
	d := &Documents{}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 8 {
		d.read("t.json", []byte(templateOf(`{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"web/r","properties":{"priority":100}}`,
			`{"type":"Microsoft.Network/routeTables","name":"t","comments":"`+strings.Repeat("x", size)+`"}`)))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 2*size {
		t.Errorf("of 8 templates of %d bytes %d bytes are kept", size, kept)
	}
	if len(d.unsettled) != 8 {
		t.Errorf("%d templates have additions", len(d.unsettled))
	}
	runtime.KeepAlive(d)
	t.Log("8 templates")
}
