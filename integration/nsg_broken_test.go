package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// TestNSGBrokenDocuments breaks the documents of a node in each way: it goes on
// with the last good rules and says why, and takes the next good ones.
func TestNSGBrokenDocuments(t *testing.T) {
	t.Parallel()
	for name, harm := range documentHarms() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs := newDocuments(t, variant("nsg", true, false))
			conf, _, node := judgedNode(t, docs.conf("nsg"))
			a, b := attach(t, node), attach(t, node)
			harm(t, docs)
			attachFor(t, conf, node.NewPod(), "") // the first one notes that they were rejected
			c := attachFor(t, conf, node.NewPod(), "nsg")
			n := expectAll(t, append(flows(a, c.pod, 8000), flows(c.pod, b, 8000)...))
			t.Logf("%d flows passed, %d were silent", n, expectSilent(t, append(flows(a, b, 9000), flows(a, c.pod, 9000)...)))
			reason := policy.Rejected(node.StateDir(), conf.network)
			if !strings.Contains(reason, docs.dir) && !strings.Contains(reason, "nsg.subnet") {
				t.Errorf("the reason names neither the document nor the key: %q", reason)
			}
			status, _ := node.Shell(testnet.Bin(t, "vnetctl"), "--state-dir", node.StateDir(), "status")
			if !strings.Contains(squeezed(status), squeezed(reason)) || reason == "" {
				t.Errorf("vnetctl status does not say %q:\n%s", reason, status)
			}
			if err := os.RemoveAll(docs.path("nsg.json")); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(docs.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			docs.put("nsg.json", variant("nsg", false, false))
			attachFor(t, conf, node.NewPod(), "")
			expectSilent(t, flows(a, b, 8600))
			expectAll(t, flows(a, b, 8000)[:1])
			if reason := policy.Rejected(node.StateDir(), conf.network); reason != "" {
				t.Errorf("good documents are in force, and yet: %s", reason)
			}
		})
	}
}

// squeezed is a text without its white space, which a table breaks as it likes.
func squeezed(s string) string { return strings.Join(strings.Fields(s), "") }

func documentHarms() map[string]func(*testing.T, documents) {
	put := func(content any) func(*testing.T, documents) {
		return func(_ *testing.T, d documents) { d.put("nsg.json", content) }
	}
	return map[string]func(*testing.T, documents){
		"cut off":         put(`{"name": "nsg", "properties": {"securityRules": [`),
		"empty":           put(""),
		"invalid rule":    put(restGroup("nsg", denyIn("*", "90000"))),
		"conflict":        put(restGroup("nsg", denyIn("*", "90"), denyIn("*", "91").with("protocol", "Carrier"))),
		"another group":   put(restGroup("other", denyIn("*", "*"))),
		"file missing":    func(_ *testing.T, d documents) { _ = os.Remove(d.path("nsg.json")) },
		"folder missing":  func(_ *testing.T, d documents) { _ = os.RemoveAll(d.dir) },
		"unreadable file": unreadable,
	}
}

// unreadable puts a folder in the file's place that has the file's name.
func unreadable(t *testing.T, d documents) {
	t.Helper()
	_ = os.Remove(d.path("nsg.json"))
	if err := os.Symlink(d.path("nsg.json"), filepath.Join(d.dir, "nsg.json")); err != nil {
		t.Fatal(err)
	}
}

// TestNSGFirstDocuments has no good documents from the beginning: ADD says so and
// leaves nothing behind.
func TestNSGFirstDocuments(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t)
	conf, _, node := judgedNode(t, docs.conf("nsg"))
	p := node.NewPod()
	before, inside := testnet.Snapshot(node), testnet.SnapshotPod(p)
	for name, harm := range documentHarms() {
		if err := os.MkdirAll(docs.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		harm(t, docs)
		out := node.Exec("vnet", p.Env("ADD"), conf.stdin(t, nil))
		if out.Err == nil || out.Err.Code != codeDocuments {
			t.Errorf("%s: %+v, want code %d", name, out.Err, codeDocuments)
		}
		t.Logf("%s: %v", name, out.Err)
		left := append(testnet.Diff(before, testnet.Snapshot(node)), testnet.Diff(inside, testnet.SnapshotPod(p))...)
		for _, line := range left {
			t.Errorf("%s: left: %s", name, line)
		}
	}
	_ = os.MkdirAll(docs.dir, 0o755)
	_ = os.Remove(docs.path("nsg.json"))
	docs.put("nsg.json", variant("nsg", true, false))
	a := attachFor(t, conf, p, "")
	t.Logf("%d bad documents; %d flows denied by the good ones", len(documentHarms()), expectSilent(t, flows(attach(t, node), a.pod, 9000)))
}

// TestNSGGroupInUseGoes takes the group of a living pod out of the documents: the
// last good rules stay until the pod is gone.
func TestNSGGroupInUseGoes(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t, someGroup(), restGroup("own", denyIn("*", "8000-8399")))
	conf, _, node := judgedNode(t, docs.conf("some"))
	a, own := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "own")
	docs.put("some.json", restGroup("some", allowIn("*", "7000-8999"), denyIn("*", "*")))
	docs.remove("own.json")
	b := attachFor(t, conf, node.NewPod(), "")
	silent := expectSilent(t, append(flows(a.pod, own.pod, 8000), flows(a.pod, b.pod, 7000)...))
	if reason := policy.Rejected(node.StateDir(), conf.network); !strings.Contains(reason, "own") {
		t.Errorf("the reason does not name the group that is in use: %q", reason)
	}
	if out := node.Exec("vnet", own.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
		t.Fatalf("DEL: %+v", out.Err)
	}
	attachFor(t, conf, node.NewPod(), "")
	passed := expectAll(t, append(flows(a.pod, b.pod, 7000), flows(a.pod, b.pod, 8000)...))
	if reason := policy.Rejected(node.StateDir(), conf.network); reason != "" {
		t.Errorf("nobody has the group any more, and yet: %s", reason)
	}
	t.Logf("%d flows passed, %d were silent", passed, silent)
}

// TestNSGDamagedState damages what the node remembers of the rules in force: it is
// read anew from good documents; without them ADD fails, and living pods stay judged.
func TestNSGDamagedState(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t, someGroup(), restGroup("own", denyIn("*", "8000-8399")))
	conf, _, node := judgedNode(t, docs.conf("some"))
	a, own := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "own")
	state := filepath.Join(node.StateDir(), conf.network+".nsg")
	whole, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	firstLine := strings.IndexByte(string(whole), '\n') + 1
	harms := map[string]string{"empty": "", "noise": strings.Repeat("\x00\xff\n", 100), "half": string(whole[:firstLine/2]),
		"first line only": string(whole[:firstLine]), "half the second line": string(whole[:(firstLine+len(whole))/2]), "other JSON": "{}\n{}\n"}
	n := 0
	for name, text := range harms {
		for _, good := range []bool{true, false} {
			if err := writeFile(state, text); err != nil {
				t.Fatal(err)
			}
			if !good {
				docs.put("own.json", "{")
			}
			p := node.NewPod()
			out := node.Exec("vnet", asking(p, "ADD", "own"), conf.stdin(t, nil))
			if good && out.Err != nil {
				t.Errorf("%s: ADD: %+v", name, out.Err)
			}
			if !good && out.Err != nil && out.Err.Code != codeDocuments {
				t.Errorf("%s: without good documents: %+v, want code %d", name, out.Err, codeDocuments)
			}
			if out := node.Exec("vnet", p.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
				t.Errorf("%s: DEL: %+v", name, out.Err)
			}
			docs.put("own.json", restGroup("own", denyIn("*", "8000-8399")))
			n += expectSilent(t, append(flows(a.pod, own.pod, 8000), flows(a.pod, own.pod, 9000)...))
		}
	}
	last := attachFor(t, conf, node.NewPod(), "own")
	passed := expectAll(t, append(flows(a.pod, last.pod, 8500), flows(last.pod, a.pod, 8000)...))
	expectHealthy(t, own, "at the end")
	t.Logf("%d damages; %d flows passed, %d were silent", 2*len(harms), passed, n)
}
