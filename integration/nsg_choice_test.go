package integration

import (
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// choice is what a pod asks for and what becomes of it.
type choice struct {
	name        string
	args        string            // CNI_ARGS besides IgnoreUnknown
	annotations map[string]string // of the pod
	code        uint              // 0: the pod gets it
	say         []string          // what the message has to name
}

func choices() []choice {
	return []choice{
		{name: "permitted by name", args: "K8S_POD_NAMESPACE=shop;VNET_NSG=web-nsg"},
		{name: "permitted in another case", args: "K8S_POD_NAMESPACE=shop;VNET_NSG=Web-NSG"},
		{name: "permitted by id", args: "K8S_POD_NAMESPACE=shop;VNET_NSG=" + groupID("web-nsg")},
		{name: "permitted ASG", args: "K8S_POD_NAMESPACE=shop;VNET_ASGS=front"},
		{name: "permitted by id, asked by name", args: "K8S_POD_NAMESPACE=ids;VNET_NSG=web-nsg"},
		{name: "any", args: "K8S_POD_NAMESPACE=kube-system;VNET_NSG=db-nsg;VNET_ASGS=whatever"},
		{name: "nothing asked for", args: "K8S_POD_NAMESPACE=elsewhere"},
		{name: "no namespace: root", args: "VNET_NSG=db-nsg;VNET_ASGS=front"},
		{name: "permitted annotation", args: "K8S_POD_NAMESPACE=shop", annotations: map[string]string{"vnet-cni.io/nsg": "web-nsg", "vnet-cni.io/asgs": "front"}},

		{name: "refused", args: "K8S_POD_NAMESPACE=shop;VNET_NSG=db-nsg", code: codeForbidden, say: []string{"db-nsg", "shop"}},
		{name: "refused by id", args: "K8S_POD_NAMESPACE=shop;VNET_NSG=" + groupID("db-nsg"), code: codeForbidden, say: []string{"db-nsg", "shop"}},
		{name: "refused ASG", args: "K8S_POD_NAMESPACE=shop;VNET_ASGS=front,back", code: codeForbidden, say: []string{"back", "shop"}},
		{name: "namespace that may nothing", args: "K8S_POD_NAMESPACE=empty;VNET_NSG=web-nsg", code: codeForbidden, say: []string{"web-nsg", "empty"}},
		{name: "namespace that is not listed", args: "K8S_POD_NAMESPACE=elsewhere;VNET_NSG=web-nsg", code: codeForbidden, say: []string{"web-nsg", "elsewhere"}},
		{name: "id of another group", args: "K8S_POD_NAMESPACE=ids;VNET_NSG=db-nsg", code: codeForbidden, say: []string{"db-nsg", "ids"}},
		{name: "refused annotation", args: "K8S_POD_NAMESPACE=shop", annotations: map[string]string{"vnet-cni.io/nsg": "db-nsg"}, code: codeForbidden, say: []string{"db-nsg", "shop"}},
		{name: "refused annotated ASG", args: "K8S_POD_NAMESPACE=shop", annotations: map[string]string{"vnet-cni.io/asgs": "back"}, code: codeForbidden, say: []string{"back", "shop"}},

		{name: "unknown", args: "VNET_NSG=web-nsq", code: codeDocuments, say: []string{"web-nsq", "web-nsg"}},
		{name: "unknown id", args: "VNET_NSG=" + groupID("nobody"), code: codeDocuments, say: []string{"nobody"}},
		{name: "unknown annotation", args: "", annotations: map[string]string{"vnet-cni.io/nsg": "nobody"}, code: codeDocuments, say: []string{"nobody", "web-nsg"}},
		{name: "ambiguous", args: "VNET_NSG=twin", code: codeDocuments, say: []string{"twin", "ambiguous", groupID("twin")}},
		{name: "ambiguous, but permitted to all", args: "K8S_POD_NAMESPACE=kube-system;VNET_NSG=twin", code: codeDocuments, say: []string{"ambiguous"}},
		{name: "by the id, unambiguous", args: "VNET_NSG=" + groupID("twin")},
		{name: "no document of its own is broken for others", args: "VNET_NSG=broken-nsg", code: codeDocuments, say: []string{"broken-nsg", "90000"}},
		{name: "malformed", args: "VNET_NSG=a b", code: 4, say: []string{"VNET_NSG", "a b"}},
	}
}

// TestNSGChoice has pods of several namespaces ask for groups. What is refused is
// named, and nothing of the pod is left.
func TestNSGChoice(t *testing.T) {
	t.Parallel()
	twin := restGroup("twin", denyIn("*", "*"))
	twin["id"] = strings.Replace(groupID("twin"), "/rg/", "/other/", 1)
	docs := newDocuments(t, restGroup("web-nsg", denyIn("*", "9000")), restGroup("db-nsg", denyIn("*", "9001")), restGroup("twin", denyIn("*", "*")))
	docs.put("twin2.json", twin)
	docs.put("broken.json", restGroup("broken-nsg", denyIn("*", "90000")))
	nsg := docs.conf("")
	nsg["allowed"] = map[string][]string{"shop": {"web-nsg", "front"}, "kube-system": {"*"}, "empty": {}, "ids": {groupID("web-nsg")}}
	conf, _, node := judgedNode(t, nsg)
	warm := attachFor(t, conf, node.NewPod(), "web-nsg")
	got := expectChoices(t, conf, node, choices())
	expectHealthy(t, warm, "at the end")
	t.Logf("%d choices granted, %d refused", got, len(choices())-got)
}

// expectChoices attaches a pod for each row and returns how many were to be granted.
func expectChoices(t *testing.T, conf config, node *testnet.Node, rows []choice) int {
	t.Helper()
	got := 0
	for _, c := range rows {
		p := node.NewPod()
		before, inside := testnet.Snapshot(node), testnet.SnapshotPod(p)
		out := node.Exec("vnet", c.env(p), conf.stdin(t, c.extra()))
		if c.code == 0 {
			if got++; out.Err != nil {
				t.Errorf("%s: %+v", c.name, out.Err)
			}
			if out := node.Exec("vnet", p.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
				t.Errorf("%s: DEL: %+v", c.name, out.Err)
			}
			continue
		}
		c.expectRefusal(t, out)
		left := append(testnet.Diff(before, testnet.Snapshot(node)), testnet.Diff(inside, testnet.SnapshotPod(p))...)
		for _, line := range left {
			t.Errorf("%s: left: %s", c.name, line)
		}
	}
	return got
}

func (c choice) env(p *testnet.Pod) map[string]string {
	env := p.Env("ADD")
	env["CNI_ARGS"] = strings.TrimSuffix("IgnoreUnknown=1;"+c.args, ";")
	return env
}

func (c choice) extra() map[string]any {
	if c.annotations == nil {
		return nil
	}
	return map[string]any{"runtimeConfig": map[string]any{annotations: c.annotations}}
}

func (c choice) expectRefusal(t *testing.T, out testnet.Output) {
	t.Helper()
	if out.Err == nil || out.Err.Code != c.code {
		t.Errorf("%s: %+v, want code %d", c.name, out.Err, c.code)
		return
	}
	for _, word := range c.say {
		if !strings.Contains(out.Err.Msg, word) {
			t.Errorf("%s: the message does not name %q: %s", c.name, word, out.Err.Msg)
		}
	}
}
