package template

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedFunctions: the functions that the documentation lists are known here.
func TestDocumentedFunctions(t *testing.T) {
	page, err := os.ReadFile("../../../docs/vnetctl-nsg.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "- for ") {
			continue
		}
		for i, name := range strings.Split(line, "`") {
			if i%2 == 0 {
				continue
			}
			count++
			if out := expression(t, "", "["+name+"()]"); strings.Contains(out, "is not known here") {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
	if count < 70 {
		t.Errorf("the page lists %d functions", count)
	}
	t.Logf("%d functions", count)
}
