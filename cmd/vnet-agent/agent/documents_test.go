package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// vnetOf is the document of a virtual network.
func vnetOf(name, space string) string {
	return `{"name": "` + name + `", "id": "` + resources + `virtualNetworks/` + name + `", "type": "Microsoft.Network/virtualNetworks",
		"properties": {"addressSpace": {"addressPrefixes": ["` + space + `"]}}}`
}

// What is wrong with a ConfigMap stands in its annotation and its Events, once.
func TestFindings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	wrong := strings.Replace(group("web", "80"), `"priority":100`, `"priority":99`, 1)
	r.cluster.document("good", map[string]string{"a.json": group("api", "80")})
	r.cluster.document("twice", map[string]string{"one": wrong, "two": "{"})
	for range 3 {
		if r.pass() == nil {
			t.Error("ready without any rules")
		}
	}
	found := r.cluster.documents[1].Findings
	for _, words := range []string{`"file":"one"`, `"file":"two"`, `"value":"99"`} {
		if !strings.Contains(found, words) {
			t.Errorf("the findings have no %s: %s", words, found)
		}
	}
	if r.cluster.documents[0].Findings != "" || r.cluster.annotated != 1 || len(r.cluster.about("ConfigMap/twice")) != 2 || len(r.cluster.about("DocumentsRejected")) != 1 {
		t.Errorf("%d annotations, events %q, and about the good one %q", r.cluster.annotated, r.cluster.events, r.cluster.documents[0].Findings)
	}
	// Mended: the annotation goes, though another agent wrote it.
	r.cluster.document("twice", map[string]string{"one": group("web", "80")})
	r.cluster.documents[1].Findings = found
	r.good()
	if r.cluster.documents[1].Findings != "" {
		t.Errorf("mended, and still annotated %s", r.cluster.documents[1].Findings)
	}
	r.added("default/before", "nsg=web")
	r.good()
	events := len(r.cluster.events)
	// A node that cannot write them down does not know, and leaves it to others.
	mend := blocked(t, r.paths.Data)
	r.restart()
	r.cluster.document("twice", map[string]string{"one": wrong})
	r.cluster.documents[1].Findings = "what another agent found"
	if r.pass() == nil || r.cluster.documents[1].Findings != "what another agent found" {
		t.Errorf("annotated %q", r.cluster.documents[1].Findings)
	}
	mend()
	// Broken with good ones before: those stay in force, and pods come.
	r.good()
	r.good()
	if told := r.cluster.about("last good documents stay", "InvalidPriority"); len(told) != 1 {
		t.Errorf("told %q", r.cluster.events[events:])
	}
	pod := r.added("default/p", "nsg=web")
	if r.rules("deny-80") == 0 || len(r.sets(pod.addrs()[0])) == 0 {
		t.Error("the last good rules are not in force")
	}
	t.Log("5 states of the documents")
}

// Keys are documents whatever they are called, and no two become one.
func TestKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	files := map[string]string{"a": group("a", "1"), "a.json": group("b", "2"), "a.json.json": group("c", "3"), "d.jsonc": group("d", "4"), "e.JSON": group("e", "5"), "f.txt": group("f", "6")}
	r.cluster.document("groups", files)
	r.cluster.document("groups.a", map[string]string{"json": group("g", "7")})
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	r.good()
	before := r.files()
	for i, name := range names {
		pod := r.added("default/"+name, "nsg="+name)
		if _, record := pod.lease(); record.Group != key(name) {
			t.Errorf("%s: the record has %q", name, record.Group)
		}
		if n := r.rules("deny-" + string(rune('1'+i))); n == 0 {
			t.Errorf("%s has no rules", name)
		}
	}
	for range 3 { // in whatever order a map is read
		r.good()
	}
	kept := func(path string) bool { return strings.Contains(path, "documents") }
	if now := r.files(); !slices.Equal(slices.DeleteFunc(now, func(p string) bool { return !kept(p) }), slices.DeleteFunc(before, func(p string) bool { return !kept(p) })) {
		t.Error("the same documents were written again")
	}
	t.Logf("%d keys", len(names))
}

// The same group in two ConfigMaps is refused, as it is in two files.
func TestSameGroupTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("one", map[string]string{"a.json": group("web", "80")})
	r.good()
	r.cluster.document("two", map[string]string{"a.json": group("web", "81")})
	for range 2 {
		r.good()
	}
	if len(r.cluster.about("DocumentsRejected", "web")) != 1 || len(r.cluster.about("ConfigMap/")) == 0 {
		t.Errorf("told %q", r.cluster.events)
	}
	r.added("default/p", "nsg=web")
	if r.rules("deny-80") == 0 || r.rules("deny-81") != 0 {
		t.Error("the last good rules are not in force")
	}
	r.cluster.document("one", nil)
	r.good()
	if r.rules("deny-80") != 0 || r.rules("deny-81") == 0 {
		t.Error("the group that is left is not in force")
	}
	t.Log("3 states of the documents")
}

// The virtual network is what its document says, with all nodes and pods.
func TestSpace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inSpace := func(addr string) bool {
		return slices.ContainsFunc(r.vnet().NSG.VirtualNetwork, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(addr)) })
	}
	r.good()
	want := map[string]bool{"10.241.0.1": true, "10.241.9.9": true, "10.244.1.5": true, "10.244.2.5": true, "10.9.0.1": false}
	check := func(when string) {
		for addr, in := range want {
			if inSpace(addr) != in {
				t.Errorf("%s: %s is in the virtual network: %t, in %v", when, addr, !in, r.vnet().NSG.VirtualNetwork)
			}
		}
	}
	check("without a document")
	r.cluster.document("net", map[string]string{"v.json": vnetOf("v", "10.9.0.0/16")})
	want["10.9.0.1"], want["10.241.9.9"] = true, false
	r.good()
	check("with a document")
	r.restart()
	r.good()
	check("another agent")
	r.configure("nsg: {virtualNetwork: [10.8.0.0/16]}")
	want["10.9.0.1"], want["10.8.0.1"] = false, true
	r.good()
	check("configured")
	t.Logf("%d addresses in 4 states", len(want))
}
