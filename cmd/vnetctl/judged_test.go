package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testhost"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

const judgedConf = `{"cniVersion":"1.0.0","name":"vctl","type":"vnet","mode":"vnet","uplink":"up0","stateDir":%q,
 "ipam":{"type":"vnet-ipam","pools":[{"subnet":"10.241.0.0/16","ranges":["10.241.4.0/24"]},
   {"subnet":"fd00:10:241::/64","ranges":["fd00:10:241::400/120"]}]},
 "nsg":{"documents":[%q],"subnet":"pods-nsg","sameNode":%q}}`

// judgedNode is a node whose pods are judged by the groups of testdata/web.json,
// in a folder of its own.
type judgedNode struct {
	testNode
	documents string
	sameNode  string
	names     map[string]string // of the pods' namespaces, by container
}

func newJudgedNode(t testing.TB) judgedNode {
	t.Helper()
	n := judgedNode{newTestNode(t), t.TempDir(), "filter", map[string]string{}}
	for _, name := range []string{"web.json", "vnet.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		n.write(name, string(data))
	}
	return n
}

func (n judgedNode) write(name, text string) {
	n.Helper()
	if err := os.WriteFile(filepath.Join(n.documents, name), []byte(text), 0o600); err != nil {
		n.Fatal(err)
	}
}

// edit replaces a word in the groups' document.
func (n judgedNode) edit(old, new string) {
	n.Helper()
	data, err := os.ReadFile(filepath.Join(n.documents, "web.json"))
	if err != nil || !strings.Contains(string(data), old) {
		n.Fatalf("replace %q: %v", old, err)
	}
	n.write("web.json", strings.ReplaceAll(string(data), old, new))
}

func (n judgedNode) add(id, args string) (hostVeth string) {
	n.Helper()
	name, path := testhost.Beside(n, id)
	n.names[id] = name
	cmd := exec.Command(binDir + "/vnet")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(judgedConf, n.dir, n.documents, n.sameNode))
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_NETNS="+path, "CNI_IFNAME=eth0", "CNI_PATH="+binDir, "CNI_ARGS="+args)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.Fatalf("ADD %s: %v\n%s", id, err, out)
	}
	return link.HostName("vctl", id, "eth0")
}

const (
	webArgs = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;VNET_NSG=web-nsg;VNET_ASGS=web"
	apiArgs = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=api-0;VNET_ASGS=api,jobs"
)

func (n judgedNode) ask(args ...string) flowAnswer {
	n.Helper()
	a := n.vnetctl(append([]string{"test-ip-flow", "-o", "json"}, args...)...)
	if a.status != 0 {
		n.Fatalf("%q: %+v", args, a)
	}
	return decode[flowAnswer](n, a.stdout) // there may be notes on stderr
}

func TestFlowsOfPods(t *testing.T) {
	n := newJudgedNode(t)
	n.add("web", webArgs) // 10.241.4.0
	n.add("api", apiArgs) // 10.241.4.1
	cases := []struct{ pod, flow, rule, group string }{
		{"web", "Inbound TCP :8080 10.241.4.1:5", "api-to-web", "web-nsg"},
		{"shop/web-0", "Inbound TCP 8080 10.241.4.1:*", "api-to-web", "web-nsg"},
		{"shop/web-0", "Inbound TCP [fd00:10:241::400]:8080 [fd00:10:241::401]:5", "api-to-web", "web-nsg"},
		{"web", "Inbound TCP :8080 10.241.4.9:5", "no-vnet", "web-nsg"}, // nobody's ASGs
		{"web", "Inbound TCP :8080 10.241.4.9:5 --remote-asgs api", "api-to-web", "web-nsg"},
		{"api", "Inbound TCP :443 8.8.8.8:5", "allow-web", "pods-nsg"},
		{"api", "Outbound TCP - 8.8.8.8:23", "deny-telnet", "pods-nsg"},
		{"api", "Outbound ICMP - fd00:10:241::5", "AllowVnetOutBound", "pods-nsg"},
	}
	for _, c := range cases {
		w := strings.Fields(c.flow)
		args := append([]string{"--pod", c.pod, "--direction", w[0], "--protocol", w[1], "--remote", w[3]}, w[4:]...)
		if w[2] != "-" {
			args = append(args, "--local", w[2])
		}
		if got := n.ask(args...); !strings.HasSuffix(got.RuleName, "/"+c.rule) || got.NSG != c.group {
			t.Errorf("%s: %s: %+v", c.pod, c.flow, got)
		}
	}
	flow := []string{"test-ip-flow", "--direction", "Inbound", "--protocol", "TCP", "--remote", "8.8.8.8:1", "--pod"}
	n.vnetctl(append(flow, "web", "--local", "10.241.9.9:1")...).fails(t, exitUsage, "--local", "10.241.9.9:1", "10.241.4.0")
	n.vnetctl(append(flow, "shop/none", "--local", ":1")...).fails(t, exitFailed, "--pod", `"shop/none"`)
	n.vnetctl(append(flow, "web")...).fails(t, exitUsage, "--local", "depends on the port")
	n.vnetctl(append(flow, "web", "--documents", "x")...).fails(t, exitUsage, "--documents", "--pod")
	n.flowsOfPod()
	n.expectCompletion()
	t.Logf("%d verdicts", len(cases))
}

// flowsOfPod judges lines and assertions of a pod.
func (n judgedNode) flowsOfPod() {
	n.Helper()
	path := filepath.Join(n.documents, "flows")
	n.write("flows", `{"direction":"Inbound","protocol":"TCP","local":":8080","remote":"10.241.4.1:5"}`+"\n"+
		`{"direction":"Inbound","protocol":"TCP","local":":8080","remote":"10.241.4.1:5","remoteASGs":[]}`+"\n")
	expectText(n, "flows of a pod", n.vnetctl("test-ip-flow", "--pod", "web", "--flows", path).must(n),
		`{"access":"Allow","ruleName":"securityRules/api-to-web","nsg":"web-nsg"}`+"\n"+
			`{"access":"Deny","ruleName":"securityRules/no-vnet","nsg":"web-nsg"}`+"\n")
	file := writeAssertions(n, "- {direction: Inbound, protocol: TCP, local: 8080, remote: '10.241.4.1:5', access: Allow}")
	expectText(n, "assertions of a pod", n.vnetctl("assert", file, "--pod", "shop/web-0").must(n), "1 flow, 0 differences\n")
}

func (n judgedNode) expectCompletion() {
	n.Helper()
	for _, c := range [][]string{
		{"test-ip-flow", "--pod", "", "api", "shop/api-0", "shop/web-0", "web"},
		{"counters", "--network", "", "vctl"},
		{"apply", "--network", "", "vctl"},
	} {
		want := strings.Join(c[3:], "\n") + "\n:"
		if out := vnetctl(append([]string{"__complete", "--state-dir", n.dir}, c[:3]...)...).stdout; !strings.HasPrefix(out, want) {
			n.Errorf("completion of %q: %q", c[:3], out)
		}
	}
}

func TestFlowsOnOneNodeAreFreeAsInAzure(t *testing.T) {
	n := newJudgedNode(t)
	n.sameNode = "azure"
	n.add("web", webArgs)
	n.add("api", apiArgs)
	args := []string{"test-ip-flow", "--pod", "web", "--direction", "Inbound", "--protocol", "TCP", "--local", ":22", "--remote"}
	a := n.vnetctl(append(args, "10.241.4.1:5")...)
	if a.status != 0 || a.stdout != "Allow  no security group\n" || !strings.Contains(a.stderr, "node") {
		t.Errorf("between pods of the node: %+v", a)
	}
	if a := n.vnetctl(append(args, "10.241.4.9:5")...); !strings.HasPrefix(a.stdout, "Deny") {
		t.Errorf("from elsewhere: %+v", a)
	}
}

func TestPodWithoutGroups(t *testing.T) {
	n := newTestNode(t)
	_, path := testhost.Beside(t, "free")
	n.add("free", path)
	a := n.vnetctl("test-ip-flow", "--pod", "free", "--direction", "Inbound", "--protocol", "TCP", "--local", ":22", "--remote", "8.8.8.8:1")
	if a.status != 0 || a.stdout != "Allow  no security group\n" || !strings.Contains(a.stderr, "vctl has no security groups") {
		t.Errorf("pod of a network without groups: %+v", a)
	}
	for _, command := range []string{"counters", "apply"} {
		expectText(t, command, n.vnetctl(command).must(t), "no security groups in force\n")
		expectText(t, command, n.vnetctl(command, "-o", "json").must(t), "[]\n")
		n.vnetctl(command, "--network", "vctl").fails(t, exitFailed, "--network", `"vctl"`, n.dir)
	}
	for _, command := range []string{"pods", "status"} {
		if table := n.vnetctl(command).must(t); strings.Contains(table, "NSG") {
			t.Errorf("%s names groups: %s", command, table)
		}
	}
}

func (n judgedNode) expectApply(result, reason string, status int) {
	n.Helper()
	a := n.vnetctl("apply", "-o", "json")
	list := decode[[]applyEntry](n, a.stdout)
	if a.status != status || a.stderr != "" || len(list) != 1 || list[0].Network != "vctl" || list[0].Result != result ||
		!strings.Contains(list[0].Reason, reason) || (reason == "") != (list[0].Reason == "") {
		n.Errorf("apply: %+v, want %s %q and status %d", a, result, reason, status)
	}
}

// telnet is what the pod's telnet is told, by what is in force.
func (n judgedNode) telnet() string {
	n.Helper()
	return n.ask("--pod", "api", "--direction", "Outbound", "--protocol", "TCP", "--remote", "8.8.8.8:23").Access.String()
}

// telnetRules are those of the chain that has the rule about telnet.
func (n judgedNode) telnetRules() string {
	n.Helper()
	all := sh(n, "iptables -w -t mangle -S")
	for line := range strings.Lines(all) {
		if f := strings.Fields(line); f[0] == "-A" && strings.Contains(line, "deny-telnet") {
			return strings.Join(slices.DeleteFunc(strings.SplitAfter(all, "\n"), func(l string) bool { return !strings.HasPrefix(l, "-A "+f[1]+" ") }), "")
		}
	}
	n.Fatalf("no rule about telnet:\n%s", all)
	return ""
}

func TestApply(t *testing.T) {
	n := newJudgedNode(t)
	n.add("web", webArgs)
	n.add("api", apiArgs)
	n.expectApply(applyUnchanged, "", 0)
	n.edit(`"23"`, `"25"`)
	if n.telnet() != "Deny" {
		t.Error("documents are in force before apply")
	}
	n.expectApply(applyApplied, "", 0)
	n.expectApply(applyUnchanged, "", 0)
	if n.telnet() != "Allow" {
		t.Error("documents are not in force after apply")
	}
	sh(t, "iptables -w -t mangle -F")
	n.expectApply(applyRepaired, "", 0)
	n.expectApply(applyUnchanged, "", 0)
	for _, damage := range []string{"-F %s", "-R %s 1 -j RETURN", "-I %s -j RETURN"} {
		want := n.telnetRules()
		sh(t, "iptables -w -t mangle "+damage, strings.Fields(want)[1])
		n.expectApply(applyRepaired, "", 0)
		n.expectApply(applyUnchanged, "", 0)
		expectText(t, "the rules after "+damage, n.telnetRules(), want)
	}

	n.edit(`"25"`, `"25-"`)
	n.expectApply(applyRejected, "deny-telnet", exitFailed)
	n.expectRejected(t)
	sh(t, "iptables -w -t mangle -F")
	n.expectApply(applyRejected, "25-", exitFailed) // and repaired all the same
	if p := n.pods()["api"]; !p.Healthy || n.telnet() != "Allow" {
		t.Errorf("the last good rules: %+v", p)
	}
	n.edit(`"25-"`, `"23"`)
	expectText(t, "apply", n.vnetctl("apply", "--network", "vctl").must(t), "NETWORK  RESULT\nvctl     applied\n")
	if n.telnet() != "Deny" {
		t.Error("mended documents are not in force")
	}
	n.vnetctl("status").must(t)
	for _, id := range []string{"web", "api"} { // without pods the families are the pools'
		n.vnetctl("ipam", "release", "vctl", id, "--force").must(t)
		n.expectApply(applyUnchanged, "", 0) // what served its group alone is gone, which is no damage
	}
	n.edit(`"23"`, `"25"`)
	n.expectApply(applyApplied, "", 0)
	n.expectApply(applyUnchanged, "", 0)
	if err := os.WriteFile(filepath.Join(n.dir, "vctl.nsg"), []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.expectApply(applyFailed, "vctl", exitFailed)
}

// expectRejected expects that status tells of the rejected documents.
func (n judgedNode) expectRejected(t testing.TB) {
	t.Helper()
	a := n.vnetctl("status", "-o", "json")
	r := decode[statusReport](t, a.stdout)
	if a.status != exitFailed || len(r.Networks) != 1 || len(r.Networks[0].Problems) != 1 || r.Networks[0].Rules != rulesInstalled ||
		!strings.Contains(r.Networks[0].Problems[0], "deny-telnet") {
		t.Errorf("status with rejected documents: %+v", a)
	}
	a = n.vnetctl("apply")
	if a.status != exitFailed || !strings.HasPrefix(a.stdout, "NETWORK  RESULT    REASON\nvctl     rejected  ") {
		t.Errorf("apply for people: %+v", a)
	}
}

func TestStatusAndPodsNameGroups(t *testing.T) {
	n := newJudgedNode(t)
	veth := n.add("web", webArgs)
	n.add("api", apiArgs)
	r := decode[statusReport](t, n.vnetctl("status", "-o", "json").must(t))
	if s := r.Networks[0]; !s.Judged || s.NSG != "pods-nsg" {
		t.Errorf("status: %+v", s)
	}
	if table := n.vnetctl("status").must(t); !strings.Contains(table, "RULES      NSG       PROBLEMS\n") || !strings.Contains(table, "installed  pods-nsg  \n") {
		t.Errorf("table of networks:\n%s", table)
	}
	pods := n.pods()
	if w, a := pods["web"], pods["api"]; w.NSG != "web-nsg" || fmt.Sprint(w.ASGs) != "[web]" || a.NSG != "" || fmt.Sprint(a.ASGs) != "[api jobs]" {
		t.Errorf("pods: %+v", pods)
	}
	table := n.vnetctl("pods").must(t)
	for _, part := range []string{"POD         NSG      ASGS      HOST VETH", "shop/web-0  web-nsg  web       " + veth, "shop/api-0  -        api,jobs  "} {
		if !strings.Contains(table, part) {
			t.Errorf("table of pods lacks %q:\n%s", part, table)
		}
	}
}
