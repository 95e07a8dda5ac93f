package arm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// FuzzRead: whatever the bytes, Read ends, its findings are in order, reading
// the same again changes no resource, and encoding/json takes the same bytes
// for the same document.
func FuzzRead(f *testing.F) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range files {
		if data, err := os.ReadFile("testdata/" + e.Name()); err == nil && isDocument(e.Name()) {
			f.Add(data)
		}
	}
	for _, h := range hostileDocuments() {
		if len(h.data) < 1<<12 {
			f.Add([]byte(h.data))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &Documents{}
		Read("f.json", data, d)
		checkFindings(t, d)
		groups := len(d.Groups)
		Read("f.json", data, d)
		if len(d.Groups) != groups {
			t.Errorf("%d groups, read again %d", groups, len(d.Groups))
		}
		compareWithStandard(t, data)
	})
}

// FuzzTemplate: whatever a template says, reading it ends, and says the same each time.
func FuzzTemplate(f *testing.F) {
	files, err := filepath.Glob("testdata/template*/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no templates: %v", err)
	}
	more, err := filepath.Glob("testdata/template*.json")
	if err != nil || len(more) == 0 {
		f.Fatalf("no templates: %v", err)
	}
	for _, file := range append(files, more...) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := treeOf(data)
		if err != nil || !isTemplate(value{tree, 0}) {
			return
		}
		one, two := &Documents{}, &Documents{}
		Read("f.json", data, one)
		Read("f.json", data, two)
		checkFindings(t, one)
		if render(one) != render(two) {
			t.Errorf("read once %s\nread again %s", render(one), render(two))
		}
	})
}

func checkFindings(t *testing.T, d *Documents) {
	failed := false
	for _, f := range d.Findings {
		failed = failed || f.Severity == nsg.Error
		if f.Code == "" || f.File == "" || f.Message == "" || f.Severity != nsg.Error && f.Severity != nsg.Warning {
			t.Errorf("finding %+v", f)
		}
	}
	if (d.Err() != nil) != failed {
		t.Errorf("Err %v, findings %v", d.Err(), d.Findings)
	}
	for _, g := range d.Groups {
		if g.Name == "" {
			t.Errorf("a group without a name: %+v", g)
		}
	}
}

// compareWithStandard holds the parser against encoding/json. It may refuse
// more (equal keys, escapes that stand for nothing), and take more (comments).
func compareWithStandard(t *testing.T, data []byte) {
	tree, err := parse(string(data))
	var want any
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	standard := dec.Decode(&want)
	if err != nil || !utf8.Valid(data) || !json.Valid(data) {
		if err == nil && utf8.Valid(data) && !strings.Contains(string(data), "/") {
			t.Errorf("accepted what encoding/json refuses: %q", data)
		}
		return
	}
	if got := (value{tree, 0}).standard(); standard != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %v, encoding/json %v (%v)", data, got, want, standard)
	}
}

// standard builds what encoding/json would.
func (v value) standard() any {
	switch v.kind() {
	case stringKind:
		return v.string()
	case numberKind:
		return json.Number(v.raw())
	case boolKind:
		return v.raw() == "true"
	case listKind:
		out := []any{}
		for item := range v.items() {
			out = append(out, item.standard())
		}
		return out
	case objectKind:
		out := map[string]any{}
		for key, member := range v.members() {
			out[key.string()] = member.standard()
		}
		return out
	}
	return nil
}

func TestPath(t *testing.T) {
	tree, err := parse(`{"value":[1,{"properties":{"a b":[true,{"x":"here"}]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for at := range tree.nodes {
		v := value{tree, uint32(at)}
		if v.kind() == stringKind && v.string() == "here" {
			count++
			if got := v.path(); got != `value[1].properties["a b"][1].x` {
				t.Errorf("got %s", got)
			}
		}
	}
	if got := (value{tree, 0}).path(); got != "the document" {
		t.Errorf("got %s", got)
	}
	t.Logf("%d paths", count+1)
	if count != 1 {
		t.Errorf("%d values, not 1", count)
	}
}
