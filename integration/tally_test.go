package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	counters "github.com/vnet-cni/vnet-cni/pkg/tally"
)

// TestVerbsAreCounted runs verbs that succeed and verbs that fail, and then some
// whose count cannot be kept, which must not matter to them.
func TestVerbsAreCounted(t *testing.T) {
	t.Parallel()
	_, nodes := cluster(t, 1, nil)
	node, conf := nodes[0], vnetConfig(nodes[0], 0)
	stdin := conf.stdin(t, nil)
	pod := node.NewPod()
	verbs := []string{"ADD", "ADD", "STATUS", "DEL", "DEL", "DEL"}
	for _, verb := range verbs {
		if out := node.Exec("vnet", pod.Env(verb), stdin); out.Err != nil {
			t.Fatalf("%s: %+v", verb, out.Err)
		}
	}
	if out := node.Exec("vnet", pod.Env("ADD"), conf.stdin(t, map[string]any{"nobody knows": 1})); out.Err == nil {
		t.Fatal("an unknown key was taken")
	}
	c, err := counters.Read(node.StateDir(), conf.network)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, v := range c.Verbs {
		got += fmt.Sprintf("%v %d %v; ", v.Verb, v.Count, v.Errors)
		if v.Count > 0 && v.Sum <= 0 {
			t.Errorf("%d times %v took %v", v.Count, v.Verb, v.Sum)
		}
	}
	// The first ADD made the state directory while it ran, and is counted.
	if want := "ADD 3 map[2:1]; DEL 3 map[]; CHECK 0 map[]; STATUS 1 map[]; GC 0 map[]; "; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
	path := filepath.Join(node.StateDir(), conf.network+".tally")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"ADD", "DEL"} {
		if out := node.Exec("vnet", pod.Env(verb), stdin); out.Err != nil {
			t.Errorf("%s that cannot be counted: %+v", verb, out.Err)
		}
	}
	t.Logf("%d verbs", len(verbs)+3)
}
