package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/cmd/vnet-agent/kube"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
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

// What was found in a ConfigMap is not said of the one that came in its place
// meanwhile.
func TestFindingsOfBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", map[string]string{"a.json": group("web", "80")})
	r.good()
	r.cluster.document("groups", map[string]string{"a.json": "{"})
	r.cluster.meanwhile = func() { r.cluster.document("groups", map[string]string{"a.json": group("web", "81")}) }
	r.good()
	if found := r.cluster.documents[0].Findings; found != "" || len(r.cluster.about("ConfigMap/groups")) > 0 {
		t.Errorf("the mended document is annotated %s, events %q", found, r.cluster.events)
	}
	r.good()
	if r.cluster.annotated > 0 {
		t.Errorf("%d annotations", r.cluster.annotated)
	}
	t.Log("1 change")
}

// Two agents that find different things in one document, as during an upgrade, do not
// write over each other for ever; what somebody removed comes back.
func TestFindingsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{"{", group("web", "80")} {
		r := newRig(t)
		r.cluster.document("good", map[string]string{"a.json": group("api", "80")})
		r.good()
		r.cluster.document("groups", map[string]string{"a.json": doc})
		r.good()
		own := r.cluster.documents[1].Findings
		write := func(found string) {
			r.cluster.change(func() {
				r.cluster.documents[1].Findings, r.cluster.documents[1].ResourceVersion = found, r.cluster.version()
			})
		}
		before := r.cluster.annotated
		for range 5 {
			write("what another finds")
			r.good()
		}
		if n := r.cluster.annotated - before; n > 1 {
			t.Errorf("%s: written over %d times", doc, n)
		}
		write("")
		r.good()
		if r.cluster.documents[1].Findings != own {
			t.Errorf("%s: removed, and does not come back", doc)
		}
		r.restart()
		write("what another finds")
		r.good()
		if r.cluster.documents[1].Findings != own {
			t.Errorf("%s: the agent that comes last does not write what it finds", doc)
		}
	}
	t.Log("2 documents")
}

// ruled is the document of a group whose inbound rules have these names and priorities.
func ruled(name string, rules ...string) string {
	var list []string
	for _, r := range rules {
		rule, priority, _ := strings.Cut(r, " ")
		list = append(list, fmt.Sprintf(`{"name": "%s", "properties": {"direction": "Inbound", "access": "Deny", "protocol": "Tcp", "priority": %s,
			"sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "sourcePortRange": "*", "destinationPortRange": "80"}}`, rule, priority))
	}
	return fmt.Sprintf(`{"name": "%s", "type": "Microsoft.Network/networkSecurityGroups", "properties": {"securityRules": [%s]}}`, name, strings.Join(list, ","))
}

// However much is wrong with a document, and however long its names are, Kubernetes
// takes the annotation, and what keeps a document from being used is in it.
func TestManyFindings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := strings.Repeat("<", 2000)
	var names, priorities []string
	for i := range 2 * maxFindings {
		names = append(names, fmt.Sprintf("-%d %d", i, 100+i))
		priorities = append(priorities, fmt.Sprintf("%s%d %d", long, i, i))
	}
	r.cluster.document("long", map[string]string{"a.json": ruled(long, priorities...)})
	r.cluster.document("names", map[string]string{"a.json": ruled("web", append(names, "last 99")...)})
	r.good()
	found := func(i int) (list []nsg.Finding) {
		must(t, json.Unmarshal([]byte(r.cluster.documents[i].Findings), &list))
		return list
	}
	if n := len(r.cluster.documents[0].Findings); n > maxAnnotation || len(found(0)) < 5 || len(found(0)[0].NSG) > maxText+len("…") {
		t.Errorf("%d findings in %d bytes", len(found(0)), n)
	}
	list := found(1)
	if len(list) != maxFindings || list[0].Rule != "last" || list[0].Severity != nsg.Error || list[1].Rule != "-0" || list[1].Severity != nsg.Warning {
		t.Errorf("%d findings, which begin with %+v", len(list), list[:2])
	}
	if told := r.cluster.about("ConfigMap/names", "rule last"); len(told) != 1 {
		t.Errorf("told %q", told)
	}
	t.Logf("%d findings", len(found(0))+len(list))
}

// Documents for which there is no room do not keep the pods of a new namespace waiting.
func TestDocumentsWithoutRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cluster.document("groups", groups())
	r.good()
	must(t, os.RemoveAll(filepath.Join(r.paths.Data, "documents")))
	mend := blocked(t, filepath.Join(r.paths.Data, "documents"))
	r.cluster.change(func() { r.cluster.namespaces["new"] = kube.Choice{NSG: "api"} })
	if err := r.pass(); err == nil || !strings.Contains(err.Error(), "write the documents") {
		t.Errorf("ready says %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.paths.Data, "namespaces", "new")); err != nil {
		t.Error(err)
	}
	mend()
	r.good()
	r.added("new/p")
	t.Log("1 namespace")
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
	r.cluster.document("net", map[string]string{"v.json": strings.Replace(vnetOf("v", "10.9.0.0/16"), `"properties": {`,
		`"properties": {"subnets": [{"name": "pods", "addressPrefix": "10.244.0.0/16", "routeTable": {"id": "/rt/r"}}], `, 1)})
	want["192.168.7.7"] = false
	r.good()
	check("a route table that no document has")
	r.cluster.document("routes", map[string]string{"r.json": `{"name": "r", "id": "/rt/r", "type": "Microsoft.Network/routeTables", "routes": [
		{"name": "by-firewall", "addressPrefix": "192.168.0.0/16", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.9.0.4"}]}`})
	want["192.168.7.7"] = true
	r.good()
	check("with a route table")
	r.configure("nsg: {virtualNetwork: [10.8.0.0/16]}")
	want["10.9.0.1"], want["10.8.0.1"], want["192.168.7.7"] = false, true, false
	r.good()
	check("configured")
	t.Logf("%d addresses in 6 states", len(want))
}
