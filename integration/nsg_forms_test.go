package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// asShown is the form of `az network nsg show`: nothing is nested in properties,
// and what a rule does not use is an empty list.
func asShown(rest map[string]any) map[string]any {
	out := flattened(rest)
	out["resourceGroup"] = "rg"
	var list []any
	for _, r := range out["securityRules"].([]any) {
		flat := flattened(r.(map[string]any))
		for _, key := range []string{"sourceAddressPrefixes", "destinationAddressPrefixes", "sourcePortRanges", "destinationPortRanges",
			"sourceApplicationSecurityGroups", "destinationApplicationSecurityGroups"} {
			if flat[key] == nil {
				flat[key] = []any{}
			}
		}
		flat["provisioningState"] = "Succeeded"
		list = append(list, flat)
	}
	out["securityRules"], out["defaultSecurityRules"], out["subnets"] = list, []any{}, nil
	return out
}

func flattened(m map[string]any) map[string]any {
	out := maps.Clone(m)
	maps.Copy(out, m["properties"].(map[string]any))
	delete(out, "properties")
	return out
}

// asConverted is the form of PowerShell's ConvertTo-Json.
func asConverted(rest map[string]any) map[string]any {
	out := pascal(asShown(rest)).(map[string]any)
	for _, r := range out["SecurityRules"].([]any) {
		rule := r.(map[string]any)
		for _, key := range []string{"SourceAddressPrefix", "DestinationAddressPrefix", "SourcePortRange", "DestinationPortRange"} {
			plural := strings.Replace(key+"s", "Prefixs", "Prefixes", 1)
			list, _ := rule[plural].([]any)
			if one, ok := rule[key]; ok {
				list = append(list, one)
			}
			rule[key] = list
			delete(rule, plural)
		}
	}
	return out
}

func pascal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			out[strings.ToUpper(key[:1])+key[1:]] = pascal(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = pascal(e)
		}
		return out
	}
	return v
}

// TestNSGForms has the same rules in every form in which people have them: the
// node's rules are the same.
func TestNSGForms(t *testing.T) {
	t.Parallel()
	rest := restGroup("nsg",
		allowIn("Tcp", "8000-8999").from("VirtualNetwork").with("destinationPortRange", nil).with("destinationPortRanges", []any{"8000-8399", "8443"}),
		denyIn("*", "*").from("203.0.113.0/24"), allowIn("udp", "53").fromASG("front").toASG("back"),
		denyIn("TCP", "*"), denyOut("Tcp", "25").to("Internet").named("no-mail"))
	forms := map[string]any{
		"az nsg show": asShown(rest), "az nsg list": []any{asShown(rest)}, "az nsg create": map[string]any{"NewNSG": asShown(rest)},
		"REST list": map[string]any{"value": []any{rest}}, "PowerShell": asConverted(rest), "PowerShell list": []any{asConverted(rest)},
	}
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			f := testnet.New(t)
			want := mangleOf(t, f, backend, "REST", rest)
			if n := strings.Count(want, "\n"); n < 40 {
				t.Fatalf("only %d rules:\n%s", n, want)
			}
			for name, form := range forms {
				got := mangleOf(t, f, backend, name, form)
				for _, line := range testnet.Diff(testnet.State{name: strings.Split(want, "\n")}, testnet.State{name: strings.Split(got, "\n")}) {
					t.Error(line)
				}
			}
			t.Logf("%d forms give the same %d lines", len(forms)+1, strings.Count(want, "\n"))
		})
	}
}

// mangleOf is what a node makes of a document, for both families.
func mangleOf(t *testing.T, f *testnet.Fabric, backend, form string, document any) string {
	t.Helper()
	docs := newDocuments(t)
	docs.put(form+".json", document)
	n := f.AddNode(fmt.Sprintf("n%d", len(f.Nodes)+1), testnet.WithIptables(backend))
	conf := vnetConfig(n, 0)
	judged(docs.conf("nsg"))(conf)
	if out := n.Exec("vnet", asking(n.NewPod(), "ADD", "nsg"), conf.stdin(t, nil)); out.Err != nil {
		t.Errorf("%s: %+v", form, out.Err)
	}
	var out strings.Builder
	for _, program := range families {
		text, err := n.Shell(program, "-w", "-t", "mangle", "-S")
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(text)
	}
	return out.String()
}

// hostileNames are names of rules that Azure would never give, each of which some
// file has.
var hostileNames = []string{
	`a "quoted" name`, `it's 'quoted'`, "with\nnewline", "with\r\ttab", `-j ACCEPT`, `" -j ACCEPT "`, `\" -j ACCEPT`, "x\n-A FORWARD -j ACCEPT\nCOMMIT\n*mangle",
	`x" -g ACCEPT -m comment --comment "`, strings.Repeat("long", 25), strings.Repeat("ü", 300), "Üñïçødé 規則 🚫", `$(touch /tmp/x) ${IFS} %s %n`, `\`, `#`, "!", "-", "\u2028\u202e",
}

// TestNSGHostileNames names the rule that denies a port in every hostile way: it is
// installed, denies, and its name ends nowhere but in its comment.
func TestNSGHostileNames(t *testing.T) {
	t.Parallel()
	var rules []secRule
	for i, name := range hostileNames {
		rules = append(rules, denyIn("*", fmt.Sprint(9000+i)).named(name))
	}
	hostile := append(rules, allowIn("*", "*"))
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			docs := newDocuments(t, restGroup("nsg", hostile...))
			conf, _, node := judgedNode(t, docs.conf("nsg"), testnet.WithIptables(backend))
			a, b := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "nsg")
			var denied, passed []expectation
			for i := range hostileNames {
				for _, f := range flows(a.pod, b.pod, 9500) {
					passed = append(passed, f)
					f.ServerPort = uint16(9000 + i)
					denied = append(denied, f)
				}
			}
			n, silent := expectAll(t, passed[:8]), expectSilent(t, denied)
			t.Logf("%d names: %d flows passed, %d were silent, %d comments", len(hostileNames), n, silent, expectTameRules(t, node))
			expectSameWithPlainNames(t, node, rules)
		})
	}
}

var (
	tameComment = regexp.MustCompile(`^"?[A-Za-z0-9_./%~:-]+"?$`)
	comments    = regexp.MustCompile(`--comment ("[^"]*"|\S+)`)
)

// expectTameRules wants nothing in our table but our own chains, and comments that
// need no quoting. It returns how many different ones there are.
func expectTameRules(t *testing.T, n *testnet.Node) int {
	t.Helper()
	seen := map[string]bool{}
	for _, program := range families {
		out, err := n.Shell(program, "-w", "-t", "mangle", "-S")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			if !strings.HasPrefix(line, "-P ") && !strings.HasPrefix(line, "-N VNET-") && !strings.HasPrefix(line, "-A ") {
				t.Errorf("a line that no rule of ours makes: %q", line)
			}
			for _, c := range comments.FindAllStringSubmatch(line, -1) {
				seen[c[1]] = true
				if !tameComment.MatchString(c[1]) {
					t.Errorf("a comment with more than a name: %q", line)
				}
			}
			if rest := comments.ReplaceAllString(line, ""); strings.Contains(rest, "ACCEPT") && !strings.HasPrefix(line, "-P ") {
				t.Errorf("a rule accepts: %q", line)
			}
		}
	}
	if len(seen) < len(hostileNames) {
		t.Errorf("%d comments for %d names", len(seen), len(hostileNames))
	}
	return len(seen)
}

// expectSameWithPlainNames compares the rules with those of plain names: but for the
// comments they have to be the same.
func expectSameWithPlainNames(t *testing.T, n *testnet.Node, rules []secRule) {
	t.Helper()
	hostile := withoutComments(t, n)
	var tame []secRule
	for i, r := range rules {
		tame = append(tame, r.named(fmt.Sprintf("plain-%d", i)))
	}
	raw, err := json.Marshal(restGroup("nsg", append(tame, allowIn("*", "*"))...))
	if err != nil {
		t.Fatal(err)
	}
	_ = os.MkdirAll(filepath.Join(n.StateDir(), "docs"), 0o755)
	if err := writeFile(filepath.Join(n.StateDir(), "docs", "nsg.json"), string(raw)); err != nil {
		t.Fatal(err)
	}
	conf := vnetConfig(n, 0)
	judged(map[string]any{"documents": []string{filepath.Join(n.StateDir(), "docs")}, "subnet": "nsg"})(conf)
	attachFor(t, conf, n.NewPod(), "")
	for _, line := range testnet.Diff(testnet.State{"rules": withoutComments(t, n)}, testnet.State{"rules": hostile}) {
		t.Errorf("against plain names: %s", line)
	}
}

func withoutComments(t *testing.T, n *testnet.Node) []string {
	t.Helper()
	var out []string
	for _, program := range families {
		text, err := n.Shell(program, "-w", "-t", "mangle", "-S")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(text, "\n") {
			out = append(out, program+" "+comments.ReplaceAllString(line, ""))
		}
	}
	return out
}
