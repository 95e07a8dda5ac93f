package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

var families = []string{"iptables", "ip6tables"}

// strangers are the rules of other programs, one per line, for both families.
var strangers = map[string]string{
	"an ACCEPT first": `-t filter -I FORWARD 1 -j ACCEPT
		-t filter -I INPUT 1 -j ACCEPT`,
	"a Docker-like DROP": `-t filter -N DOCKER-USER
		-t filter -A DOCKER-USER -j RETURN
		-t filter -A FORWARD -j DOCKER-USER
		-t filter -A FORWARD -i docker0 -o docker0 -j ACCEPT
		-t filter -P FORWARD DROP`,
	"chains like kube-proxy's": `-t nat -N KUBE-MARK-MASQ
		-t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
		-t nat -N KUBE-SERVICES
		-t nat -A PREROUTING -j KUBE-SERVICES
		-t nat -A KUBE-SERVICES -p tcp -j KUBE-MARK-MASQ
		-t nat -N KUBE-POSTROUTING
		-t nat -A POSTROUTING -j KUBE-POSTROUTING
		-t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
		-t nat -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
		-t filter -N KUBE-FORWARD
		-t filter -I FORWARD 1 -m comment --comment kubernetes -j KUBE-FORWARD
		-t filter -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
		-t filter -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
		-t filter -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
	"rules in our table": `-t mangle -N QOS
		-t mangle -A FORWARD -j QOS
		-t mangle -A QOS -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
		-t mangle -A INPUT -j MARK --set-mark 7`,
}

// someGroup allows what has a server on 8000 and up, and pings.
func someGroup() map[string]any {
	return restGroup("some", allowIn("*", "8000-8999"), allowIn("Icmp", "*"), denyIn("*", "*"), denyOut("*", "9000-9999"))
}

// TestNSGAmongStrangers has other programs' rules on the node, which neither let
// pass what is denied nor are touched.
func TestNSGAmongStrangers(t *testing.T) {
	t.Parallel()
	for name, rules := range strangers {
		for _, backend := range backends {
			t.Run(name+" "+backend, func(t *testing.T) {
				t.Parallel()
				_, nodes := cluster(t, 2, judged(newDocuments(t, someGroup()).conf("some")), testnet.WithIptables(backend))
				plant(t, nodes[0], rules)
				before := foreignRules(t, nodes[0])
				a, b, c := attach(t, nodes[0]), attach(t, nodes[0], withNSG("some")), attach(t, nodes[1])
				passed, silent := expectVerdicts(t, nodes[0], a, b, c)
				if err := nodes[0].Del(b.Pod, withNSG("some")); err != nil {
					t.Errorf("DEL: %v", err)
				}
				expectSameRules(t, before, foreignRules(t, nodes[0]))
				t.Logf("%d flows passed, %d were silent, %d foreign rules", passed, silent, len(before))
			})
		}
	}
}

// plant adds rules for both families.
func plant(t *testing.T, n *testnet.Node, rules string) {
	t.Helper()
	for _, program := range families {
		for _, line := range strings.Split(rules, "\n") {
			if _, err := n.Shell(program, append([]string{"-w"}, strings.Fields(line)...)...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func expectVerdicts(t *testing.T, n *testnet.Node, a, b, c pod) (passed, silent int) {
	t.Helper()
	node := asPod(n)
	passed = expectAll(t, slices.Concat(flows(a, b, 8000), flows(c, a, 8000), flows(a, c, 8000), pings(c, b), flows(a, node, 8000), flows(node, a, 9000)))
	silent = expectSilent(t, slices.Concat(flows(a, b, 9000), flows(c, a, 9000), flows(a, c, 9000), flows(a, node, 9000), flows(c, a, 7000)))
	return passed, silent
}

// foreignRules are all rules and policies on the node that are not ours.
func foreignRules(t *testing.T, n *testnet.Node) []string {
	t.Helper()
	state := testnet.Snapshot(n)
	var out []string
	for _, section := range []string{"iptables nft", "iptables legacy", "ip6tables nft", "ip6tables legacy"} {
		for _, line := range state[section] {
			if strings.Contains(strings.ToLower(line), "vnet") || strings.Contains(line, " ACCEPT") && !strings.Contains(line, "-A ") {
				continue // ours, or a chain as the kernel made it
			}
			fields := strings.Fields(line)
			if strings.Contains(line, "-A ") {
				fields = slices.Delete(fields, 1, 2) // the place, which ours may change
			}
			out = append(out, section+" "+strings.Join(fields, " "))
		}
	}
	return out
}

func expectSameRules(t *testing.T, before, after []string) {
	t.Helper()
	for _, line := range testnet.Diff(testnet.State{"rules": before}, testnet.State{"rules": after}) {
		t.Errorf("rules of others: %s", line)
	}
}

// floods are ways in which somebody clears the packet filter.
var floods = map[string][]string{
	"all tables flushed": {"-t filter -F", "-t nat -F", "-t mangle -F", "-t raw -F"},
	"flushed and chains removed": {"-t filter -F", "-t filter -X", "-t nat -F", "-t nat -X",
		"-t mangle -F", "-t mangle -X", "-t raw -F", "-t raw -X"},
	"only mangle FORWARD": {"-t mangle -F FORWARD"},
}

// TestNSGFlushed clears the packet filter under living pods: CHECK of a pod tells,
// and the next ADD brings all rules back.
func TestNSGFlushed(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		for name, commands := range floods {
			t.Run(name+" "+backend, func(t *testing.T) {
				t.Parallel()
				testFlushed(t, backend, func(n *testnet.Node) error {
					for _, program := range families {
						for _, c := range commands {
							if _, err := n.Shell(program, append([]string{"-w"}, strings.Fields(c)...)...); err != nil {
								return err
							}
						}
					}
					return nil
				})
			})
		}
	}
	t.Run("nft flush ruleset", func(t *testing.T) {
		t.Parallel()
		testFlushed(t, "nft", func(n *testnet.Node) error {
			_, err := n.Shell("nft", "flush", "ruleset")
			return err
		})
	})
}

func testFlushed(t *testing.T, backend string, flush func(*testnet.Node) error) {
	t.Helper()
	conf, _, node := judgedNode(t, newDocuments(t, someGroup()).conf("some"), testnet.WithIptables(backend))
	conf.plugin["masquerade"] = map[string]any{} // rules in the table nat as well
	a, b := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "some")
	before := onlyRules(node)
	denied := flows(b.pod, a.pod, 9000)
	silent := expectSilent(t, denied)
	if err := flush(node); err != nil {
		t.Fatal(err)
	}
	for _, d := range denied { // or the test would prove nothing
		if d.ServerPort, d.Timeout = portOf(9000), testnet.Patience; d.Dst.Is4() {
			if _, err := d.Try(); err != nil {
				t.Errorf("denied in spite of the flush: %v", err)
			}
		}
	}
	for _, p := range []patient{a, b} {
		msg := awaitCheckFailure(t, p)
		if !strings.Contains(msg, "vnet-judged-") && !strings.Contains(msg, "vnet-entry-") {
			t.Errorf("CHECK does not name what is missing: %s", msg)
		}
	}
	extra := attachFor(t, conf, node.NewPod(), "some")
	silent += expectSilent(t, append(flows(b.pod, a.pod, 9000), flows(a.pod, extra.pod, 9000)...))
	passed := expectAll(t, append(flows(b.pod, a.pod, 8000), flows(a.pod, extra.pod, 8000)...))
	for _, p := range []patient{a, b, extra} {
		expectHealthy(t, p, "after the next ADD")
	}
	node.Exec("vnet", extra.Env("DEL"), conf.stdin(t, nil))
	for _, line := range testnet.Diff(before, onlyRules(node)) {
		t.Errorf("not as before the flush: %s", line)
	}
	t.Logf("%d flows passed, %d were silent, %d lines of rules healed", passed, silent, before.Lines())
}

func onlyRules(n *testnet.Node) testnet.State {
	return only(testnet.Snapshot(n), "iptables nft", "iptables legacy", "ip6tables nft", "ip6tables legacy", "ipset")
}

// attachFor attaches a pod by a direct call with the group of its own that it
// asks for, "" for none, and keeps the result for CHECK.
func attachFor(t *testing.T, conf config, p *testnet.Pod, group string) patient {
	t.Helper()
	out := p.Node.Exec("vnet", asking(p, "ADD", group), conf.stdin(t, nil))
	addrs, err := addresses(out)
	if err != nil {
		t.Fatalf("ADD with group %q: %v", group, err)
	}
	result, err := out.Result()
	if err != nil {
		t.Fatal(err)
	}
	attached := patient{pod: pod{Pod: p, result: result}, conf: conf, raw: json.RawMessage(out.Stdout)}
	attached.v4, attached.v6 = split(addrs)
	attached.host = hostVeth(t, attached.pod)
	return attached
}

func asking(p *testnet.Pod, verb, group string) map[string]string {
	env := p.Env(verb)
	if group != "" {
		env["CNI_ARGS"] = "IgnoreUnknown=1;VNET_NSG=" + group
	}
	return env
}

// awaitCheckFailure waits for CHECK to fail, for rules of the nf_tables backend let
// go of their sets a moment after they are gone, and returns its message.
func awaitCheckFailure(t *testing.T, p patient) string {
	t.Helper()
	stdin := p.conf.stdin(t, map[string]any{"prevResult": p.raw})
	var last string
	for deadline := time.Now().Add(testnet.Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		out := p.Node.Exec("vnet", p.Env("CHECK"), stdin)
		if out.Err != nil && out.Err.Code == codeCheck {
			return out.Err.Msg
		}
		last = fmt.Sprint(out.Err)
	}
	t.Errorf("CHECK does not notice: %s", last)
	return ""
}
