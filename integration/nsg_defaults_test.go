package integration

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// codeTryAgain is the CNI specification's.
const codeTryAgain = 11

// withDefaults is documents' configuration with defaults by namespace, and the
// folder that holds them: a file for each namespace, content by name.
func withDefaults(t *testing.T, docs documents, files map[string]string) (map[string]any, documents) {
	t.Helper()
	defaults := documents{t: t, dir: t.TempDir()}
	for namespace, content := range files {
		defaults.put(namespace, content)
	}
	nsg := docs.conf("")
	nsg["namespaces"] = defaults.dir
	return nsg, defaults
}

// inNamespace asks for what is given as CNI_ARGS for a pod of the namespace.
func inNamespace(namespace string, args ...string) testnet.Attach {
	return testnet.Attach{Args: strings.Join(append([]string{"IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace}, args...), ";")}
}

func annotatedIn(namespace string, pairs ...string) testnet.Attach {
	at := annotated(pairs...)
	at.Args = inNamespace(namespace).Args
	return at
}

// TestNSGDefaults has pods of namespaces with and without defaults, that choose
// something themselves or not. The first packet that each of them gets is one that
// only the right groups drop. Ports from 8000 tell of the ASG front, from 9000 of
// web-nsg, from 7000 of db-nsg.
func TestNSGDefaults(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t,
		restGroup("web-nsg", denyIn("*", "9000-9999"), allowIn("*", "8000-8999").fromASG("front"), denyIn("*", "8000-8999")),
		restGroup("db-nsg", denyIn("*", "7000-7999"), allowIn("*", "8000-8999").fromASG("front"), denyIn("*", "8000-8999")))
	nsg, defaults := withDefaults(t, docs, map[string]string{
		"shop": `{"nsg":"web-nsg","asgs":"` + resources + `applicationSecurityGroups/Front,other"}`,
		"bank": `{"nsg":"` + groupID("DB-nsg") + `"}`, "asgs": `{"asgs":"front"}`, "none": `{}`,
	})
	_, _, node := judgedNode(t, nsg)
	web, db, front := []uint16{9000}, []uint16{7000}, true
	rows := []struct {
		what   string
		at     testnet.Attach
		closed []uint16
		front  bool
	}{
		{"both defaults", inNamespace("shop"), web, front},
		{"default NSG, by its id", inNamespace("bank"), db, false},
		{"default ASGs", inNamespace("asgs"), nil, front},
		{"no defaults", inNamespace("none"), nil, false},
		{"no namespace", testnet.Attach{}, nil, false},
		{"own NSG by annotation", annotatedIn("shop", "vnet-cni.io/nsg", "db-nsg"), db, front},
		{"own ASGs by annotation", annotatedIn("shop", "vnet-cni.io/asgs", "back"), web, false},
		{"both by annotation", annotatedIn("shop", "vnet-cni.io/nsg", "db-nsg", "vnet-cni.io/asgs", "back"), db, false},
		{"own NSG by CNI_ARGS", inNamespace("shop", "VNET_NSG=db-nsg"), db, front},
		{"own ASGs by CNI_ARGS", inNamespace("shop", "VNET_ASGS=back"), web, false},
		{"own ASGs beside a default NSG", inNamespace("bank", "VNET_ASGS=front"), db, front},
		{"both defaults again", inNamespace("shop"), web, front},
	}
	client, server := attach(t, node), attach(t, node, inNamespace("shop"))
	passed, silent := 0, 0
	for _, row := range rows {
		p := attach(t, node, row.at)
		for _, port := range row.closed {
			silent += expectSilent(t, flows(client, p, port))
		}
		open := slices.DeleteFunc([]uint16{7000, 9000}, func(port uint16) bool { return slices.Contains(row.closed, port) })
		for _, port := range open {
			passed += expectAll(t, flows(client, p, port))
		}
		if row.front {
			passed += expectAll(t, flows(p, server, 8000))
		} else {
			silent += expectSilent(t, flows(p, server, 8000))
		}
		expectHealthyAt(t, p, row.at, row.what)
		if t.Failed() {
			t.Fatalf("so far with %s", row.what)
		}
	}
	expectChangedDefault(t, node, client, defaults)
	t.Logf("%d pods, %d flows passed, %d were silent", len(rows), passed, silent)
}

// expectChangedDefault changes a namespace's default under a pod: it stays as it is
// and healthy, and a repeated ADD gives it the new one.
func expectChangedDefault(t *testing.T, node *testnet.Node, client pod, defaults documents) {
	t.Helper()
	at := inNamespace("shop")
	p := attach(t, node, at)
	defaults.put("shop", `{"nsg":"db-nsg"}`)
	expectHealthyAt(t, p, at, "after the default changed")
	expectSilent(t, flows(client, p, 9000))
	again := attachTo(t, p.Pod, at)
	if again.v4 != p.v4 || again.v6 != p.v6 {
		t.Errorf("a repeated ADD gave %s, not %s", again.addrs(), p.addrs())
	}
	expectHealthyAt(t, again, at, "after a repeated ADD")
	expectSilent(t, flows(client, p, 7000))
	expectAll(t, flows(client, p, 9000))
	defaults.remove("shop")
	expectHealthyAt(t, again, at, "without the default")
	if err := node.Del(p.Pod, at); err != nil {
		t.Errorf("DEL without the default: %v", err)
	}
}

// TestNSGDefaultRefused has defaults that cannot be had: nothing of the pod is left.
func TestNSGDefaultRefused(t *testing.T) {
	t.Parallel()
	broken := map[string]string{
		"empty": ``, "half": `{"nsg":"web-`, "list": `["web-nsg"]`, "twice": `{"nsg":"web-nsg","nsg":"web-nsg"}`, "tail": `{} {}`,
		"misspelt": `{"nsgs":"web-nsg"}`, "case": `{"NSG":"web-nsg"}`, "cni": `{"cni.dev/nsg":"web-nsg"}`, "null": `{"nsg":null}`, "blank": `{"nsg":""}`,
		"space": `{"nsg":"web nsg"}`, "number": `{"asgs":5}`, "double": `{"asgs":"front,FRONT"}`, "binary": "{\"nsg\":\"\xff\"}",
		"unknown": `{"nsg":"web-nsq"}`,
	}
	files := map[string]string{
		"shop": `{"nsg":"web-nsg"}`, "bank": `{"nsg":"db-nsg"}`, "front": `{"nsg":"web-nsg","asgs":"front,back"}`, "free": `{"nsg":"db-nsg"}`, "stranger": `{"asgs":"front"}`,
	}
	maps.Copy(files, broken)
	nsg, defaults := withDefaults(t, newDocuments(t, restGroup("web-nsg", denyIn("*", "9000")), restGroup("db-nsg", denyIn("*", "9001"))), files)
	nsg["allowed"] = map[string][]string{"shop": {"web-nsg"}, "bank": {"web-nsg"}, "front": {"web-nsg", "front"}, "free": {"*"}, "unknown": {"*"}}
	if err := os.Mkdir(defaults.path("folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	rows := []choice{
		{name: "permitted", args: "K8S_POD_NAMESPACE=shop"},
		{name: "everything is permitted", args: "K8S_POD_NAMESPACE=free"},
		{name: "own instead of a forbidden default", args: "K8S_POD_NAMESPACE=bank;VNET_NSG=web-nsg"},
		{name: "no namespace", args: "K8S_POD_NAME=shop"},
		{name: "forbidden default NSG", args: "K8S_POD_NAMESPACE=bank", code: codeForbidden, say: []string{"db-nsg", "bank"}},
		{name: "forbidden default ASG", args: "K8S_POD_NAMESPACE=front", code: codeForbidden, say: []string{"back", "front"}},
		{name: "forbidden default of a namespace that is not listed", args: "K8S_POD_NAMESPACE=stranger", code: codeForbidden, say: []string{"front", "stranger"}},
		{name: "a folder", args: "K8S_POD_NAMESPACE=folder", code: codeDocuments, say: []string{defaults.path("folder"), "namespace folder"}},
		{name: "outside of the folder", args: "K8S_POD_NAMESPACE=../" + filepath.Base(defaults.dir) + "/shop", code: 4, say: []string{"K8S_POD_NAMESPACE", "../"}},
		{name: "the folder itself", args: "K8S_POD_NAMESPACE=.", code: 4, say: []string{"K8S_POD_NAMESPACE", `"."`}},
	}
	for namespace, content := range broken {
		row := choice{name: "broken: " + content, args: "K8S_POD_NAMESPACE=" + namespace, code: codeDocuments, say: []string{"namespace " + namespace}}
		if namespace != "unknown" {
			row.say = append(row.say, defaults.path(namespace))
		}
		rows = append(rows, row)
	}
	conf, _, node := judgedNode(t, nsg)
	warmUp(t, node)
	got := expectChoices(t, conf, node, rows)
	t.Logf("%d defaults granted, %d refused", got, len(rows)-got)
}

// TestNSGDefaultAwaited has pods of namespaces that nobody knows yet: one waits and
// gets the default that comes, one gets none and is told to come again.
func TestNSGDefaultAwaited(t *testing.T) {
	t.Parallel()
	nsg, defaults := withDefaults(t, newDocuments(t, restGroup("web-nsg", denyIn("*", "9000-9999"))), nil)
	conf, _, node := judgedNode(t, nsg)
	warmUp(t, node)
	client, state := attach(t, node), testnet.Snapshot(node)
	p := node.NewPod()
	row := choice{name: "never", args: "K8S_POD_NAMESPACE=never", code: codeTryAgain, say: []string{"namespace never", defaults.dir}}
	out := node.Exec("vnet", row.env(p), conf.stdin(t, nil))
	row.expectRefusal(t, out)
	for _, line := range testnet.Diff(state, testnet.Snapshot(node)) {
		t.Errorf("left: %s", line)
	}

	p = node.NewPod()
	out = addBeforeDefault(t, conf, p, defaults)
	for try := 1; try < 5 && out.Err != nil && out.Err.Code == codeTryAgain; try++ {
		defaults.remove("shop") // a busy machine: it came when the ADD had given up
		out = addBeforeDefault(t, conf, p, defaults)
	}
	addrs, err := addresses(out)
	if err != nil {
		t.Fatalf("ADD that waited: %v", err)
	}
	attached := pod{Pod: p}
	attached.v4, attached.v6 = split(addrs)
	n := expectSilent(t, flows(client, attached, 9000))
	n += expectAll(t, flows(client, attached, 8000))
	t.Logf("1 ADD waited in vain, 1 for its default; %d flows", n)
}

// addBeforeDefault puts a default for the namespace shop where an ADD of a pod of it has
// been waiting.
func addBeforeDefault(t *testing.T, conf config, p *testnet.Pod, defaults documents) testnet.Output {
	t.Helper()
	const before = 200 * time.Millisecond // much more than an ADD takes that does not wait
	done, start := make(chan testnet.Output, 1), time.Now()
	go func() {
		done <- p.Node.Exec("vnet", choice{args: "K8S_POD_NAMESPACE=shop"}.env(p), conf.stdin(t, nil))
	}()
	select {
	case out := <-done:
		if took := time.Since(start); took < before || out.Err == nil {
			t.Fatalf("ADD did not wait: %v, %+v", took, out.Err)
		}
		done <- out
	case <-time.After(before):
	}
	defaults.put("shop", `{"nsg":"web-nsg"}`)
	return <-done
}

// TestNSGDefaultsFolder wants STATUS to miss the folder, and nothing that ends a
// pod to need it.
func TestNSGDefaultsFolder(t *testing.T) {
	t.Parallel()
	nsg, defaults := withDefaults(t, newDocuments(t, restGroup("web-nsg", denyIn("*", "9000"))), map[string]string{"shop": `{"nsg":"web-nsg"}`})
	conf, _, node := judgedNode(t, nsg)
	at := inNamespace("shop")
	first, second := attach(t, node, at), attach(t, node, at)
	status := func() testnet.Output {
		return node.Exec("vnet", map[string]string{"CNI_COMMAND": "STATUS", "CNI_PATH": "/nowhere"}, conf.stdin(t, nil))
	}
	if out := status(); out.Err != nil {
		t.Errorf("STATUS with the folder: %+v", out.Err)
	}
	defaults.remove("shop")
	for _, make := range []func() error{
		func() error { return nil }, // there is none
		func() error { return writeFile(defaults.dir, "no folder") },
	} {
		if err := os.RemoveAll(defaults.dir); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if out := status(); out.Err == nil || out.Err.Code != 50 || !strings.Contains(out.Err.Msg, "nsg.namespaces") || !strings.Contains(out.Err.Msg, defaults.dir) {
			t.Errorf("STATUS without the folder: %+v", out.Err)
		}
	}
	expectHealthyAt(t, first, at, "without the folder")
	if err := node.Del(first.Pod, at); err != nil {
		t.Errorf("DEL: %v", err)
	}
	gc := map[string]any{"cni.dev/valid-attachments": []any{}}
	if out := node.Exec("vnet", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/nowhere"}, conf.stdin(t, gc)); out.Err != nil {
		t.Errorf("GC: %+v", out.Err)
	}
	if leases := testnet.Snapshot(node)["lease"]; len(leases) > 0 {
		t.Errorf("left: %q", leases)
	}
	t.Logf("3 times STATUS, 1 CHECK, 1 DEL, 1 GC of %s", second.ContainerID())
}
