package arm

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

// answers asks the built vnetctl about the documents of its own tests.
type answers struct {
	*testing.T
	vnetctl string
}

func newAnswers(t *testing.T) answers {
	t.Helper()
	a := answers{t, filepath.Join(t.TempDir(), "vnetctl")}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", a.vnetctl, "./cmd/vnetctl")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build vnetctl: %v\n%s", err, out)
	}
	return a
}

func (a answers) ask(line string) []byte {
	a.Helper()
	const docs = " --documents ../../cmd/vnetctl/testdata/web.json --documents ../../cmd/vnetctl/testdata/spoke.json -o json"
	out, err := exec.Command(a.vnetctl, strings.Fields(line+docs)...).Output()
	if err != nil {
		a.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// TestAnswers holds the answers for programs that have Azure's shape against the
// types of its SDK: each property that we write arrives in the field that it is for,
// with its value.
func TestAnswers(t *testing.T) {
	a := newAnswers(t)
	fields := a.same("effective", groups(a, a.ask("effective --nsg pods-nsg --interface-nsg web-nsg")))
	fields += a.same("show-next-hop", decoded[armnetwork.NextHopResult](a, a.ask("show-next-hop --source-ip 10.250.0.4 --dest-ip 192.168.3.4")))
	fields += a.same("show-next-hop --routes", decoded[armnetwork.EffectiveRouteListResult](a, a.ask("show-next-hop --subnet pods --routes")))
	t.Logf("%d values", fields)
}

// answer is what vnetctl wrote, and what the SDK made of it and writes again.
type answer struct{ ours, theirs any }

func decoded[T any](a answers, data []byte) answer {
	a.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		a.Fatalf("%T: %v\n%s", v, err, data)
	}
	again, err := json.Marshal(v)
	if err != nil {
		a.Fatal(err)
	}
	return answer{a.tree(data), a.tree(again)}
}

func (a answers) tree(data []byte) any {
	a.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		a.Fatal(err)
	}
	return v
}

// groups decodes without tagMap. Azure's interface answers an object, and so does
// vnetctl; the SDK declares text, and fails on both. It is looked at apart.
func groups(a answers, data []byte) answer {
	a.Helper()
	tree := a.tree(data).(map[string]any)
	for i, g := range tree["value"].([]any) {
		tags, err := json.Marshal(g.(map[string]any)["tagMap"])
		if err != nil {
			a.Fatal(err)
		}
		var m map[string][]string
		if err := json.Unmarshal(tags, &m); err != nil || len(m["VirtualNetwork"]) == 0 || len(m["Internet"]) == 0 || len(m["AzureLoadBalancer"]) == 0 {
			a.Errorf("tagMap of group %d: %v, %s", i, err, tags)
		}
		delete(g.(map[string]any), "tagMap")
	}
	rest, err := json.Marshal(tree)
	if err != nil {
		a.Fatal(err)
	}
	return decoded[armnetwork.EffectiveNetworkSecurityGroupListResult](a, rest)
}

// extra are properties that the SDK has no field for: those of az, and ours.
var extra = map[string]bool{
	"sourceApplicationSecurityGroups": true, "destinationApplicationSecurityGroups": true, // ours
	"destinationServiceTags": true, "hasBgpOverride": true, // az shows them
}

// same returns how many values both have.
func (a answers) same(path string, b answer) int {
	a.Helper()
	switch ours := b.ours.(type) {
	case map[string]any:
		theirs, ok := b.theirs.(map[string]any)
		if !ok {
			a.Errorf("%s: the SDK has %v", path, b.theirs)
			return 0
		}
		count := 0
		for key, value := range ours {
			if !extra[key] && value != nil { // the SDK does not write what is null
				count += a.same(path+"."+key, answer{value, theirs[key]})
			}
		}
		return count
	case []any:
		theirs, ok := b.theirs.([]any)
		if !ok || len(theirs) != len(ours) {
			a.Errorf("%s: the SDK has %v, want %v", path, b.theirs, ours)
			return 0
		}
		count := 0
		for i := range ours {
			count += a.same(fmt.Sprintf("%s[%d]", path, i), answer{ours[i], theirs[i]})
		}
		return count
	}
	if b.ours != b.theirs {
		a.Errorf("%s: the SDK has %v, want %v", path, b.theirs, b.ours)
	}
	return 1
}
