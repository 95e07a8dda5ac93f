package kube

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func entry(nsg string, asgs []string, addrs ...string) PodEntry {
	p := PodEntry{NSG: nsg, ASGs: asgs}
	for _, a := range addrs {
		p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
	}
	return p
}

func TestPublish(t *testing.T) {
	t.Parallel()
	f := furnished(t, true)
	c := f.start(t)
	pods := []PodEntry{
		entry("", []string{"y", "x", "y"}, "10.244.1.9"),
		entry("web", nil, "10.244.1.5", "fd00::5"),
		entry("web", nil),
		entry("", []string{"x", "y"}, "10.244.1.9"),
	}
	const want = `{"apiVersion":"vnet-cni.io/v1alpha1","kind":"NodePods","metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"a","uid":"ua"}]},` +
		`"pods":[{"addresses":["10.244.1.5","fd00::5"],"nsg":"web"},{"addresses":["10.244.1.9"],"asgs":["x","y"]}]}`
	publish := func(what string, pods []PodEntry, writes int) {
		t.Helper()
		before := f.count(&f.writes)
		if err := c.Publish(t.Context(), pods); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := f.count(&f.writes) - before; got != writes {
			t.Errorf("%s: %d writes, want %d", what, got, writes)
		}
	}
	seen := func(what, want string) {
		t.Helper()
		var o object
		if err := json.Unmarshal([]byte(want), &o); err != nil {
			t.Fatal(err)
		}
		got := maps.Clone(f.get("nodepods", "a"))
		got["metadata"] = maps.Clone(got["metadata"].(object))
		delete(got["metadata"].(object), "resourceVersion")
		if !reflect.DeepEqual(got, o) {
			t.Errorf("%s: have %v, want %v", what, got, o)
		}
		eventually(t, what+" is heard of", func() bool {
			now, has := c.members.get("a")
			return has && len(now.Pods) == len(o["pods"].([]any))
		})
	}
	publish("first", pods, 1)
	seen("first", want)
	if !slices.Equal(pods[0].ASGs, []string{"y", "x", "y"}) {
		t.Error("the caller's pods are sorted")
	}
	slices.Reverse(pods)
	publish("the same in another order", pods, 0)
	f.set(func() { f.conflicts = 2 })
	publish("against conflicts", pods[:1], 3)
	seen("against conflicts", strings.Replace(want, `{"addresses":["10.244.1.5","fd00::5"],"nsg":"web"},`, "", 1))
	publish("none", nil, 1)
	seen("none", want[:strings.Index(want, `"pods":`)]+`"pods":[]}`)
	publish("none again", []PodEntry{}, 0)

	f.put(t, "nodepods", `{"metadata":{"name":"a","ownerReferences":[{"uid":"ua"}]},"pods":[{"addresses":["nonsense"]}]}`)
	eventually(t, "somebody's nonsense", func() bool { now, _ := c.members.get("a"); return len(now.Faults) == 1 })
	publish("over nonsense", nil, 1)
	seen("over nonsense", want[:strings.Index(want, `"pods":`)]+`"pods":[]}`)

	f.put(t, "nodes", node("a", "again", "192.0.2.1", "10.244.1.0/24"))
	eventually(t, "the node is a new one", func() bool { n, _ := c.nodes.get("a"); return n.UID == "again" })
	publish("for a new Node", nil, 1)
	if len(c.Members()) != 1 {
		t.Errorf("own pods are among the members: %v", c.Members())
	}
	f.set(func() { f.conflicts = 100 })
	if err := c.Publish(t.Context(), pods); err == nil {
		t.Error("conflicts without end are no error")
	}
	f.remove("nodes", "a")
	eventually(t, "the node is gone", func() bool { return len(c.Nodes()) == 1 })
	if err := c.Publish(t.Context(), nil); err == nil {
		t.Error("a node that does not exist publishes")
	}
	for range 2 {
		if err := c.Unpublish(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if f.get("nodepods", "a") != nil || f.get("nodepods", "b") == nil {
		t.Error("not this node's object was removed")
	}
	t.Logf("%d cases", 11)
}

func TestAnnotate(t *testing.T) {
	t.Parallel()
	f := furnished(t, true)
	c, other := f.start(t), f.start(t)
	annotate := func(by *running, findings string, want bool) {
		t.Helper()
		if wrote, err := by.Annotate(t.Context(), by.Documents()[0], findings); wrote != want || err != nil {
			t.Errorf("annotating %q: wrote %v, %v", findings, wrote, err)
		}
		eventually(t, "both hear of it", func() bool {
			is := f.get("configmaps", "vnet-system/docs")["metadata"].(object)["resourceVersion"]
			return c.Documents()[0].ResourceVersion == is && other.Documents()[0].ResourceVersion == is
		})
	}
	annotate(c, "", false)
	annotate(c, "[1]", true)
	annotate(other, "[1]", false)
	annotate(other, "[2]", true)
	annotate(c, "", true)
	annotate(c, "", false)
	if o := f.get("configmaps", "vnet-system/docs"); o["data"].(object)["a.json"] != "{}" || len(o["metadata"].(object)["annotations"].(object)) > 0 {
		t.Errorf("left with %v", o)
	}
	now := c.Documents()[0]
	for _, judged := range []Document{
		{Name: "other"}, {Name: "none"},
		{Name: now.Name, UID: "another", ResourceVersion: now.ResourceVersion},
		{Name: now.Name, UID: now.UID, ResourceVersion: "0"},
	} {
		annotated := f.get("configmaps", "vnet-system/docs")
		if wrote, err := c.Annotate(t.Context(), judged, "x"); wrote || err != nil || !reflect.DeepEqual(f.get("configmaps", "vnet-system/docs"), annotated) {
			t.Errorf("annotating %+v: wrote %v, %v", judged, wrote, err)
		}
	}
	// Of two that know of the same version only one writes.
	wrote := make(chan bool)
	judged := c.Documents()[0]
	for _, c := range []*running{c, other} {
		go func() {
			w, _ := c.Annotate(t.Context(), judged, "[3]")
			wrote <- w
		}()
	}
	if a, b := <-wrote, <-wrote; a == b {
		t.Errorf("both: %v", a)
	}
	t.Logf("%d cases", 11)
}

func TestEvent(t *testing.T) {
	t.Parallel()
	f := furnished(t, true)
	c := f.start(t)
	long := strings.Repeat("ä", 600)
	for range 3 {
		c.Event(NodeRef("a", "X"), true, "PoolExhausted", "no address left")
	}
	c.Event(PodRef(c.Pods()["shop/p"]), true, "Refused", long)
	c.Event(DocumentRef(c.Documents()[0]), false, "Read", "two groups")
	events := func() map[string]object {
		f.mu.Lock()
		defer f.mu.Unlock()
		out := map[string]object{}
		for _, o := range f.objects["events"] {
			out[o["reason"].(string)] = o
		}
		return out
	}
	eventually(t, "all are sent", func() bool { return len(events()) == 3 && events()["PoolExhausted"]["count"] == 3.0 })
	for reason, want := range map[string][]any{
		"PoolExhausted": {"Warning", "default", object{"kind": "Node", "apiVersion": "v1", "name": "a", "uid": "ua"}},
		"Refused":       {"Warning", "shop", object{"kind": "Pod", "apiVersion": "v1", "namespace": "shop", "name": "p", "uid": "up"}},
		"Read":          {"Normal", "vnet-system", object{"kind": "ConfigMap", "apiVersion": "v1", "namespace": "vnet-system", "name": "docs", "uid": "ud"}},
	} {
		e := events()[reason]
		if got := []any{e["type"], e["metadata"].(object)["namespace"], e["involvedObject"]}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: have %v, want %v", reason, got, want)
		}
	}
	if got := events()["Refused"]["message"].(string); len(got) > maxMessage || len(got) < maxMessage-4 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("a message of %d bytes became one of %d", len(long), len(got))
	}
	t.Logf("%d cases", 5)
}

const manifests = "../../../conf/kubernetes/base/"

// documentsOf reads a manifest of several documents.
func documentsOf(t *testing.T, file string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(manifests + file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for part := range strings.SplitSeq(string(data), "\n---\n") {
		out = append(out, []byte(part))
	}
	return out
}

// TestRights compares what is asked of the API server with what the agent may do.
func TestRights(t *testing.T) {
	t.Parallel()
	f := furnished(t, false)
	c := f.start(t)
	for range 2 {
		c.Event(NodeRef("a", ""), true, "Tested", "twice")
	}
	if err := c.Publish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Annotate(t.Context(), c.Documents()[0], "x"); err != nil {
		t.Fatal(err)
	}
	if err := c.Unpublish(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the events are sent, and the last watch has begun", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.used["events patch"] && len(f.queries) == len(allResources)
	})
	may := map[string]bool{}
	for _, doc := range documentsOf(t, "rbac.yaml") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal(doc, &role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					may[resource+" "+verb] = true
				}
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used["nodepods create"] = true // server-side apply of what does not exist asks for it
	if !maps.Equal(f.used, may) {
		t.Errorf("asked for %v, allowed are %v", slices.Sorted(maps.Keys(f.used)), slices.Sorted(maps.Keys(may)))
	}
	if got := f.queries["pods"].Get("fieldSelector") + f.queries["configmaps"].Get("labelSelector"); got != "spec.nodeName=a,status.phase!=Succeeded,status.phase!=Failed"+LabelDocuments {
		t.Errorf("selectors are %s", got)
	}
	t.Logf("%d cases", len(may))
}

func TestDefinition(t *testing.T) {
	t.Parallel()
	var crd struct {
		Metadata struct{ Name string }
		Spec     struct {
			Group, Scope string
			Names        struct{ Kind, ListKind, Plural string }
			Versions     []struct{ Name string }
		}
	}
	if err := yaml.Unmarshal(documentsOf(t, "crd.yaml")[0], &crd); err != nil {
		t.Fatal(err)
	}
	s := crd.Spec
	got := []string{crd.Metadata.Name, s.Group, s.Scope, s.Names.Kind, s.Names.ListKind, s.Names.Plural, s.Versions[0].Name}
	want := []string{nodePodsResource + "." + nodePodsGV.Group, nodePodsGV.Group, "Cluster", nodePodsKind, nodePodsKind + "List", nodePodsResource, nodePodsGV.Version}
	if !slices.Equal(got, want) {
		t.Errorf("the definition says %v, the code %v", got, want)
	}
	t.Logf("%d cases", len(got))
}

// TestDefinitionTakesKeys: one pod with a group whose id Azure would not give would keep
// all pods of its node from being known.
func TestDefinitionTakesKeys(t *testing.T) {
	t.Parallel()
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema definition }
			}
		}
	}
	if err := yaml.Unmarshal(documentsOf(t, "crd.yaml")[0], &crd); err != nil {
		t.Fatal(err)
	}
	nsg := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["pods"].Items.Properties["nsg"]
	if nsg.Type != "string" {
		t.Fatalf("pods[].nsg is %+v", nsg)
	}
	keys := []string{"", "web", "/subscriptions/0/resourcegroups/my rg, old/providers/microsoft.network/networksecuritygroups/web", "/" + strings.Repeat("x", 2000)}
	for _, key := range keys {
		if fits, err := regexp.MatchString(nsg.Pattern, key); err != nil || !fits || len(key) > nsg.MaxLength {
			t.Errorf("%q is refused: %+v, %v", key, nsg, err)
		}
	}
	t.Logf("%d cases", len(keys))
}

// definition is what the test needs of a schema.
type definition struct {
	Type, Pattern string
	MaxLength     int
	Items         *definition
	Properties    map[string]definition
}
