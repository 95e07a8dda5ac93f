package cluster

import (
	_ "embed"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/cluster/testcluster"
)

// conformanceNames are tests of Kubernetes' own end-to-end suite, one a line: those
// which the reference plugins pass, and those of DNS.
//
//go:embed testdata/conformance.txt
var conformanceNames string

// TestHarnessConformance runs Kubernetes' own tests of a network.
func TestHarnessConformance(t *testing.T) {
	c := begin(t, testcluster.Settings{Layout: "routed", Proxy: "nftables", Containerd: "2", Family: "dual"}, testcluster.Overlay)
	if _, err := c.Script("dns"); err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSpace(conformanceNames), "\n")
	var focus []string
	for _, n := range names {
		focus = append(focus, regexp.QuoteMeta(n))
	}
	out, err := c.Script("conformance", strings.Join(focus, "|"))
	results, read := conformanceResults(t, c)
	if read != nil {
		t.Fatalf("run the suite: %v, read its report: %v\n%s", err, read, out)
	}
	passed := 0
	for _, n := range names {
		switch r, ran := results[n]; {
		case !ran:
			t.Errorf("did not run: %s", n)
		case r != "passed":
			t.Errorf("%s: %s", r, n)
		default:
			passed++
		}
	}
	if err != nil && passed == len(names) {
		t.Errorf("the suite fails all the same: %v", err)
	}
	if t.Failed() {
		c.Dump(t, "default")
	}
	t.Logf("%d of %d tests of Kubernetes' own suite passed", passed, len(names))
}

// conformanceResults reads the suite's report: each test's status by its name.
func conformanceResults(t *testing.T, c *testcluster.Cluster) (map[string]string, error) {
	t.Helper()
	folder, err := c.Script("path")
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(folder), "e2e", "junit_01.xml"))
	if err != nil {
		return nil, err
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		return nil, err
	}
	results := map[string]string{}
	for _, s := range report.Suites {
		for _, k := range s.Cases {
			if k.Status == "skipped" { // not in focus
				continue
			}
			_, name, _ := strings.Cut(k.Name, "[It] ")
			for found := true; found; { // labels at the end, which differ from version to version
				if results[name] = k.Status; strings.HasSuffix(name, "]") {
					name, _, found = cutLast(name, " [")
				} else {
					found = false
				}
			}
		}
	}
	return results, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
