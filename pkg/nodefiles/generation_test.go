package nodefiles

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

// documents are what readers of the generation find.
func documents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(dir, current))
	must(t, err)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, current, e.Name()))
		must(t, err)
		found[e.Name()] = string(content)
	}
	return found
}

func contents(files map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for name, content := range files {
		out[name] = []byte(content)
	}
	return out
}

func TestGeneration(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "lib", "documents")
	var was string
	steps := []struct {
		what    string
		files   map[string]string
		do      func()
		changed bool
	}{
		{"first", map[string]string{"a.json": "1", "b.json": "2"}, nil, true},
		{"the same", map[string]string{"a.json": "1", "b.json": "2"}, nil, false},
		{"another content", map[string]string{"a.json": "1", "b.json": "3"}, nil, true},
		{"another name", map[string]string{"a.json": "1", "c.json": "3"}, nil, true},
		{"one less", map[string]string{"a.json": "1"}, nil, true},
		{"damage", map[string]string{"a.json": "1"}, func() { write(t, filepath.Join(dir, current, "a.json"), "x", 0o644) }, true},
		{"a file too many", map[string]string{"a.json": "1"}, func() { write(t, filepath.Join(dir, current, "b.json"), "x", 0o644) }, true},
		{"a link to nowhere", map[string]string{"a.json": "1"}, func() { must(t, os.RemoveAll(filepath.Join(dir, was))) }, true},
		{"none at all", map[string]string{}, nil, true},
		{"still none", map[string]string{}, nil, false},
	}
	for _, s := range steps {
		if s.do != nil {
			s.do()
		}
		changed, err := WriteGeneration(dir, contents(s.files))
		if err != nil || changed != s.changed {
			t.Fatalf("%s: changed %v, %v", s.what, changed, err)
		}
		if got := documents(t, dir); !reflect.DeepEqual(got, s.files) {
			t.Errorf("%s: %q, want %q", s.what, got, s.files)
		}
		now, err := os.Readlink(filepath.Join(dir, current))
		must(t, err)
		if _, err := os.Stat(filepath.Join(dir, was)); changed && was != "" && s.do == nil && err != nil {
			t.Errorf("%s: the generation before is gone already: %v", s.what, err)
		}
		if left := generations(t, dir); len(left) > 2 || !changed && len(left) != 1 {
			t.Errorf("%s: generations %q", s.what, left)
		}
		was = now
	}
	if err := RemoveAll(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("after the removal: %v", err)
	}
	must(t, RemoveAll(dir))
	t.Logf("%d cases", len(steps))
}

// generations are the entries of the folder besides the link.
func generations(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		if e.Name() != current {
			names = append(names, e.Name())
		}
	}
	return names
}

// At no step does a reader find anything but one of the two, whole.
func TestGenerationKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "documents")
	before := map[string]string{"a.json": "1", "b.json": "2"}
	after := map[string]string{"a.json": "one", "c.json": "3"}
	begin := func() {
		must(t, os.RemoveAll(dir))
		for _, files := range []map[string]string{{"old.json": "0"}, before} { // one is left to be swept
			if _, err := WriteGeneration(dir, contents(files)); err != nil {
				t.Fatal(err)
			}
		}
	}
	deaths := atEachStep(t, func(d disk) error {
		_, err := d.generation(dir, contents(after))
		return err
	}, begin, func() {
		if got := documents(t, dir); !reflect.DeepEqual(got, before) && !reflect.DeepEqual(got, after) {
			t.Errorf("after a death: %q", got)
		}
	}, func() {
		if got := documents(t, dir); !reflect.DeepEqual(got, after) {
			t.Errorf("at the end: %q", got)
		}
		if _, err := WriteGeneration(dir, contents(after)); err != nil || len(generations(t, dir)) != 1 {
			t.Errorf("left at the end: %q, %v", generations(t, dir), err)
		}
	})
	t.Logf("%d deaths", deaths)
}

// Readers of documents go through the link.
func TestGenerationIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	group := func(name string) []byte {
		return fmt.Appendf(nil, `{"name":%q,"type":"Microsoft.Network/networkSecurityGroups","properties":{"securityRules":[]}}`, name)
	}
	var stamped []string
	for _, name := range []string{"web", "db"} {
		files := map[string][]byte{DocumentName("team.a", "nsg.json"): group(name)}
		if _, err := WriteGeneration(dir, files); err != nil {
			t.Fatal(err)
		}
		d := arm.Load([]string{filepath.Join(dir, current)})
		if err := d.Err(); err != nil || len(d.Groups) != 1 || d.Groups[0].Name != name {
			t.Fatalf("read %+v, %v; want the group %s", d.Groups, err, name)
		}
		stamped = append(stamped, d.Groups[0].File)
	}
	if want := filepath.Join(dir, current, "team.a_nsg.json"); stamped[0] != want || stamped[1] != want {
		t.Errorf("read from %q, want %s", stamped, want)
	}
	t.Logf("%d generations", len(stamped))
}

func TestFileNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "team.nsg.json", "A-b_c.jsonc", strings.Repeat("x", maxName)} {
		if got := FileName(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
	long := DocumentName(strings.Repeat("n", 253), strings.Repeat("k", 248)+".json")
	if len(long) != maxName || filepath.Ext(long) != ".json" {
		t.Errorf("a long name became %q", long)
	}
	if a, b := DocumentName("a.b", "c.json"), DocumentName("a", "b.c.json"); a == b {
		t.Errorf("two documents are both %q", a)
	}
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[./a]{0,4}(\.json)?`), rapid.StringN(200, 600, -1)).Draw(t, "text")
		name := FileName(text)
		if name == "" || len(name) > maxName || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\x00") || FileName(name) != name {
			t.Fatalf("%q became %q", text, name)
		}
		if ending := filepath.Ext(text); slices.Contains([]string{".json", ".jsonc"}, ending) && filepath.Ext(name) != ending {
			t.Fatalf("%q became %q", text, name)
		}
		if other := rapid.String().Draw(t, "other"); other != text && FileName(other) == name {
			t.Fatalf("%q and %q are both %q", text, other, name)
		}
	})
	t.Logf("%d names", count)
}

// Names that would be one file are refused, not lost.
func TestSameFileTwice(t *testing.T) {
	t.Parallel()
	files := contents(map[string]string{"a/b.json": "1", FileName("a/b.json"): "2"})
	if _, err := WriteGeneration(t.TempDir(), files); err == nil {
		t.Error("two contents for one file were taken")
	}
	t.Logf("%d names", len(files))
}
