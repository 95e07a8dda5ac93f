package arm

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

type hostile struct {
	name string
	data string
	code string // of its first error
	text string // in that error's message
}

func hostileDocuments() []hostile {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	manyKeys := func(last string) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, `"key%d":1,`, i)
		}
		return "{" + b.String() + `"` + last + `":2}`
	}
	return []hostile{
		{"empty", "", Malformed, "empty"},
		{"blank", " \n\t", Malformed, "line 2"},
		{"comment only", "// nothing", Malformed, "empty"},
		{"BOM only", "\uFEFF", Malformed, "empty"},
		{"truncated", `{"name":"n","securityRules":[{"name":"a"`, Malformed, "ends before"},
		{"truncated string", `{"name":"n`, Malformed, "without an end"},
		{"truncated after colon", `{"name":`, Malformed, "ends where a value belongs"},
		{"trailing garbage", "{}\n{}", Malformed, "line 2, column 1"},
		{"NUL", "{\"name\":\"a\x00b\"}", Malformed, "NUL"},
		{"escaped NUL", `{"name":"a\u0000b"}`, Malformed, "escape"},
		{"invalid UTF-8", "{\"name\":\"\xff\"}", Malformed, "UTF-8"},
		{"overlong UTF-8", "{\"name\":\"\xc0\xaf\"}", Malformed, "UTF-8"},
		{"half a surrogate", `{"name":"\ud800"}`, Malformed, "escape"},
		{"same key twice", `{"name":"a","name":"b"}`, Malformed, `"name" twice`},
		{"same key in another case", `{"name":"a","x":[{"NAME":1,"Name":2}]}`, Malformed, `"NAME" twice (as "Name" too)`},
		{"same key escaped", `{"name":"a","n\u0061me":"b"}`, Malformed, `"name" twice`},
		{"same key among many", manyKeys("KEY500"), Malformed, "twice"},
		{"too deep", deep(101), TooLarge, "100"},
		{"far too deep", strings.Repeat(`{"a":`, 1<<20), TooLarge, "100"},
		{"too large", strings.Repeat(" ", MaxFile+1), TooLarge, "67108864"},
		{"too many values", "[" + strings.Repeat("0,", maxValues) + "0]", TooLarge, "10000000"},
		{"odd UTF-16", "\xff\xfe{\x00}", Malformed, "UTF-16"},
		{"UTF-16 half pair", "\xff\xfe\"\x00\x00\xd8\"\x00", Malformed, "surrogate"},
		{"UTF-32", "\xff\xfe\x00\x00{\x00\x00\x00", Malformed, "NUL"},
		{"open comment", `{} /* `, Malformed, "comment"},
		{"lone slash", `{} / `, Malformed, "slash"},
		{"trailing comma", `{"value":[1,]}`, Malformed, "after a comma"},
		{"no comma", `[1 2]`, Malformed, "comma"},
		{"leading zero", `[01]`, Malformed, "number"},
		{"lone minus", `[-]`, Malformed, "number"},
		{"NaN", `[NaN]`, Malformed, "where a value belongs"},
		{"single quotes", `{'name':'a'}`, Malformed, "key in quotes"},
		{"raw line break", "{\"name\":\"a\nb\"}", Malformed, "control character"},
		{"YAML", "name: a\nsecurityRules: []\n", Malformed, "line 1, column 1"},
		{"a string", `"nsg"`, Malformed, "a string"},
		{"null", `null`, Malformed, "null"},
		{"binary", "\x7fELF\x02\x01\x01", Malformed, "line 1"},
	}
}

func TestHostile(t *testing.T) {
	documents := hostileDocuments()
	for _, h := range documents {
		d := &Documents{}
		Read("hostile.json", []byte(h.data), d)
		if len(d.Findings) != 1 || d.Err() == nil {
			t.Errorf("%s: findings %v", h.name, d.Findings)
			continue
		}
		f := d.Findings[0]
		if f.Code != h.code || f.File != "hostile.json" || !strings.Contains(f.Message, h.text) || len(f.Message) > 1000 {
			t.Errorf("%s: %+v lacks %q", h.name, f, h.text)
		}
		if len(d.Groups) != 0 {
			t.Errorf("%s: gave %v", h.name, d.Groups)
		}
	}
	t.Logf("%d documents", len(documents))
}

// TestManyRules: a group beyond Azure's limits is for validation to refuse.
func TestManyRules(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, `%s{"name":"r%d","priority":%d,"destinationPortRange":"%d"}`, comma(i), i, i, i)
	}
	g := only(t, "many", `{"name":"many","securityRules":[`+b.String()+`]}`)
	if len(g.Rules) != 5000 || g.Rules[4999].Destination.Port != "4999" {
		t.Errorf("%d rules", len(g.Rules))
	}
	t.Logf("%d rules", len(g.Rules))
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// TestManyFindings: one document's faults are bounded, an error among what is
// left out keeps being one, and the next document's are told in full.
func TestManyFindings(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, `{"type":"Unknown.Type%d/x","name":"x"},`, i)
	}
	d := &Documents{}
	Read("many.json", []byte(`[{"name":"g","securityRules":[`+strings.Repeat("1,", 150)+`1]},`+b.String()+`{"name":"h","securityRules":[]}]`), d)
	last := d.Findings[len(d.Findings)-1]
	if len(d.Findings) != toldOfDocument+1 || last.Code != MoreFindings || last.Severity != nsg.Error || !strings.Contains(last.Message, "251") {
		t.Errorf("%d findings, the last %+v", len(d.Findings), last)
	}
	if len(d.Groups) != 2 {
		t.Errorf("%d groups", len(d.Groups))
	}
	Read("next.json", []byte(`[]x`), d)
	if f := d.Findings[len(d.Findings)-1]; f.File != "next.json" {
		t.Errorf("the next document: %+v", f)
	}
	t.Logf("%d findings of 351", len(d.Findings)-2)
}

// TestLarge reads shapes that would show a cost beyond the linear, of 1 MB, or of 6 and
// two of them of 50 MB with VNET_SOAK. Times are told, not judged.
func TestLarge(t *testing.T) {
	size, full := 1<<20, 1<<20
	if os.Getenv("VNET_SOAK") != "" {
		size, full = 6<<20, 50<<20
	}
	fillTo := func(size int, before, after string, item func(i int) string) string {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < size; i++ {
			b.WriteString(comma(i) + item(i))
		}
		return b.String() + after
	}
	fill := func(before, after string, item func(i int) string) string { return fillTo(size, before, after, item) }
	id := "/subscriptions/s/providers/Microsoft.Network/networkSecurityGroups/n"
	shapes := []struct {
		name, data string
		ok         bool
	}{
		{"one tag", fillTo(full, `{"cloud":"Public","values":[{"name":"T","properties":{"addressPrefixes":[`, `]}}]}`, func(i int) string {
			return fmt.Sprintf(`"10.%d.%d.%d/32"`, i>>16&255, i>>8&255, i&255)
		}), true},
		{"tags", fill(`{"cloud":"Public","values":[`, `]}`, func(i int) string {
			return fmt.Sprintf(`{"name":"T%d","properties":{"addressPrefixes":["10.0.0.0/8"]}}`, i)
		}), true},
		{"groups", fill(`[`, `]`, func(i int) string { return fmt.Sprintf(`{"name":"g%d","securityRules":[]}`, i) }), true},
		{"one group again and again", fill(`[`, `]`, func(int) string { return `{"id":"` + id + `","securityRules":[{"name":"a"}]}` }), true},
		{"rules", fillTo(full, `{"name":"g","securityRules":[`, `]}`, func(i int) string {
			return fmt.Sprintf("\n      {\n        \"name\": \"r%d\",\n        \"properties\": {\n          \"priority\": 100,\n          \"sourceAddressPrefix\": \"*\"\n        }\n      }", i)
		}), true},
		{"broken rules", fill(`{"name":"g","securityRules":[`, `]}`, func(int) string { return `{"name":7,"priority":[]}` }), false},
		{"unknown types", fill(`[`, `]`, func(i int) string { return fmt.Sprintf(`{"type":"T%d"}`, i) }), true},
		{"keys", fill(`{"name":"g","securityRules":[],"tags":{`, `}}`, func(i int) string { return fmt.Sprintf(`"%d":0`, i) }), true},
		{"a string", `{"name":"g","securityRules":[],"x":"` + strings.Repeat(`\u0041`, size/6) + `"}`, true},
		{"comments", `{"name":"g",` + strings.Repeat("/**/", size/4) + `"securityRules":[]}`, true},
		{"spaces", `{"name":"g","securityRules":[]` + strings.Repeat(" ", size) + `}`, true},
	}
	for _, s := range shapes {
		d, began := &Documents{}, time.Now()
		Read(s.name, []byte(s.data), d)
		t.Logf("%-26s %4d MB in %v", s.name, len(s.data)>>20, time.Since(began).Round(time.Millisecond))
		if (d.Err() == nil) != s.ok {
			t.Errorf("%s: %v", s.name, d.Err())
		}
	}
	t.Logf("%d documents", len(shapes))
}
