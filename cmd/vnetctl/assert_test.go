package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodAssertions = `# comments are fine
- {name: web is open, direction: Inbound, protocol: TCP, local: "10.241.0.4:443", remote: "8.8.8.8:50000", access: Allow, rule: Allow-HTTPS}
- direction: Inbound
  protocol: tcp
  local: 10.241.0.4:443
  remote: 10.241.0.5:1
  access: deny
  rule: securityRules/no-vnet
- &api
  name: api
  direction: Inbound
  protocol: TCP
  local: 10.241.0.4:8080
  remote: 10.241.0.5:1
  localASGs: [web]
  remoteASGs:
  - /x/applicationSecurityGroups/api
  access: Allow
- *api
`

const badAssertions = `
- {name: "closed\e[1m", direction: Inbound, protocol: TCP, local: "10.241.0.4:443", remote: "8.8.8.8:50000", access: Deny}
- {direction: Inbound, protocol: TCP, local: "10.241.0.4:443", remote: "8.8.8.8:50000", access: Allow, rule: allow-web}
- {direction: Outbound, protocol: ICMP, local: 10.241.0.4, remote: 8.8.8.8, access: Allow}
`

const goldenDifferences = "LINE  NAME        FLOW                                 EXPECTED         GOT                              NSG\n" +
	"2     closed\uFFFD[1m  TCP 10.241.0.4:443 <- 8.8.8.8:50000  Deny             Allow securityRules/allow-https  web-nsg\n" +
	"3     -           TCP 10.241.0.4:443 <- 8.8.8.8:50000  Allow allow-web  Allow securityRules/allow-https  web-nsg\n" +
	"\n3 flows, 2 differences\n"

func writeAssertions(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flows.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func assertArgs(path string, more ...string) []string {
	return append(append([]string{"assert", path, "--nsg", "pods-nsg", "--interface-nsg", "web-nsg"}, webDocuments...), more...)
}

func TestAssert(t *testing.T) {
	good := writeAssertions(t, goodAssertions)
	expectText(t, "all hold", vnetctl(assertArgs(good)...).must(t), "4 flows, 0 differences\n")
	expectText(t, "all hold for programs", vnetctl(assertArgs(good, "-o", "json")...).must(t), "[]\n")

	bad := writeAssertions(t, badAssertions)
	a := vnetctl(assertArgs(bad)...)
	if a.status != exitFailed || a.stderr != "" {
		t.Errorf("differences: %+v", a)
	}
	expectText(t, "differences", a.stdout, goldenDifferences)
	a = vnetctl(assertArgs(bad, "-o", "json")...)
	list := decode[[]difference](t, a.stdout)
	if a.status != exitFailed || len(list) != 2 || list[1].Entry != 2 || list[1].Line != 3 || list[1].Expected.Rule != "allow-web" ||
		list[1].Got.RuleName != "securityRules/allow-https" || list[0].Flow.Remote != "8.8.8.8:50000" {
		t.Errorf("differences for programs: %d %+v", a.status, list)
	}
}

func TestBadAssertions(t *testing.T) {
	const flow = "direction: Inbound, protocol: TCP, local: '10.241.0.4:1', remote: '8.8.8.8:1'"
	cases := map[string][]string{
		"":                              {"list of flows"},
		"[]":                            {"list of flows"},
		"a: b":                          {"list of flows"},
		"- a":                           {":1: entry 1", "map"},
		"- {" + flow + "}":              {":1: entry 1", "access", "Deny"},
		"- {" + flow + ", access: Yes}": {"access", `"Yes"`},
		"\n- {" + flow + ", access: Deny, acess: Deny}":      {":2: entry 1", "acess", "unknown"},
		"- {" + flow + ", access: Deny, access: Deny}":       {"access", "twice"},
		"- {" + flow + ", access: Deny, name: [x]}":          {"name", "string"},
		"- {" + flow + ", access: Deny, rule: }":             {"rule", "string"},
		"- {" + flow + ", access: Deny, localASGs: web}":     {"localASGs", `"web"`, "list"},
		"- {" + flow + ", access: Deny, localASGs: [[web]]}": {"localASGs", "string"},
		"- {<<: {a: b}, access: Deny}":                       {"<<", "unknown"},
		"- {direction: Up, access: Deny}":                    {":1: ", "direction", `"Up"`},
		"- {" + flow + ", access: Deny}\n---\n- x":           {"more than one document"},
		"- {" + flow: {"yaml"},
		"- {direction: Inbound, protocol: TCP, local: 10.241.0.4:1, remote: 8.8.8.8, access: Deny}": {"remote", `"8.8.8.8"`, "no port"},
	}
	for text, words := range cases {
		path := writeAssertions(t, text)
		a := vnetctl(assertArgs(path)...)
		a.fails(t, exitFailed, append(words, path)...)
		if a.stdout != "" {
			t.Errorf("%q: %s", text, a.stdout)
		}
	}
	vnetctl(assertArgs("/nowhere/flows.yaml")...).fails(t, exitFailed, "/nowhere/flows.yaml")
	vnetctl("assert", writeAssertions(t, goodAssertions)).fails(t, exitUsage, "--documents", "--pod")
	vnetctl("assert", "x", "--documents", "d", "--virtual-network", "ten").fails(t, exitUsage, "--virtual-network", `"ten"`)
	vnetctl("assert").fails(t, exitUsage, "1 arg")
	if !strings.Contains(vnetctl("assert", "--help").must(t), "flows.yaml") {
		t.Error("help without its example")
	}
	t.Logf("%d bad files", len(cases))
}
