package main

import (
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// webDocuments are the documents of most tests, with both groups.
var webDocuments = []string{"--documents", "testdata/web.json", "--documents", "testdata/vnet.json"}

// flowArgs are the arguments for a flow such as "Inbound TCP 10.0.0.1:1 10.0.0.2:2",
// by the groups of the documents, and more.
func flowArgs(flow string, more ...string) []string {
	words := strings.Fields(flow)
	args := append([]string{"test-ip-flow", "--direction", words[0], "--protocol", words[1], "--local", words[2], "--remote", words[3]}, webDocuments...)
	return append(args, more...)
}

func TestVerdicts(t *testing.T) {
	both := "--nsg pods-nsg --interface-nsg web-nsg"
	cases := []struct{ flow, flags, access, rule, group string }{
		{"Inbound TCP 10.241.0.4:443 8.8.8.8:50000", both, "Allow", "securityRules/allow-https", "web-nsg"},
		{"Inbound TCP 10.241.0.4:80 8.8.8.8:50000", both, "Deny", "defaultSecurityRules/DenyAllInBound", "web-nsg"},
		{"Inbound TCP 10.241.0.4:80 8.8.8.8:50000", "--nsg pods-nsg", "Allow", "securityRules/allow-web", "pods-nsg"},
		{"inbound tcp 10.241.0.4:22 8.8.8.8:50000", both, "Deny", "defaultSecurityRules/DenyAllInBound", "pods-nsg"},
		{"Inbound TCP 10.241.0.4:443 10.241.0.5:1", both, "Deny", "securityRules/no-vnet", "web-nsg"},
		{"Inbound TCP 10.241.0.4:8080 10.241.0.5:1", both + " --local-asgs WEB,x --remote-asgs /x/applicationSecurityGroups/Api", "Allow", "securityRules/api-to-web", "web-nsg"},
		{"Outbound TCP 10.241.0.4:1 8.8.8.8:23", both, "Deny", "securityRules/deny-telnet", "pods-nsg"},
		{"Outbound TCP 10.241.0.4:* 8.8.8.8:443", both, "Allow", "defaultSecurityRules/AllowInternetOutBound", "pods-nsg"},
		{"Outbound TCP 10.241.0.4:* 10.241.0.5:443", both, "Allow", "defaultSecurityRules/AllowVnetOutBound", "pods-nsg"},
		{"Inbound TCP 10.241.0.4:* 8.8.8.8:*", "--interface-nsg /subscriptions/S/resourceGroups/rg/providers/Microsoft.Network/networkSecurityGroups/WEB-nsg --virtual-network 8.0.0.0/8", "Deny", "securityRules/no-vnet", "web-nsg"},
		{"Inbound ICMP 10.241.0.4 8.8.8.8", both, "Deny", "defaultSecurityRules/DenyAllInBound", "pods-nsg"},
		{"Inbound Icmp 10.241.0.4:* 8.8.8.8:5", both, "Deny", "defaultSecurityRules/DenyAllInBound", "pods-nsg"},
		{"Inbound TCP [fd00:10:241::4]:443 [2001:4860:4860::8888]:50000", both, "Allow", "securityRules/allow-https", "web-nsg"},
		{"Outbound ICMP fd00:10:241::4 [fd00:10:241::5]", both, "Allow", "defaultSecurityRules/AllowVnetOutBound", "pods-nsg"},
		{"Outbound TCP [::ffff:10.241.0.4]:5 10.241.0.5:443", both, "Allow", "defaultSecurityRules/AllowVnetOutBound", "pods-nsg"},
		{"Outbound UDP 10.241.0.4:1 168.63.129.16:53", both, "Allow", "platformRules/AllowPlatform", "pods-nsg"},
	}
	for _, c := range cases {
		args := flowArgs(c.flow, strings.Fields(c.flags)...)
		got := decode[flowAnswer](t, vnetctl(append(args, "-o", "json")...).must(t))
		if got.Access.String() != c.access || got.RuleName != c.rule || got.NSG != c.group {
			t.Errorf("%s %s: %+v", c.flow, c.flags, got)
		}
		expectText(t, c.flow, vnetctl(args...).must(t), c.access+"  "+c.rule+"  ("+c.group+")\n")
	}
	t.Logf("%d verdicts", len(cases))
}

func TestWithoutGroups(t *testing.T) {
	flow := "Inbound TCP 10.241.0.4:22 8.8.8.8:1"
	a := vnetctl(flowArgs(flow, "-o", "json")...)
	expectText(t, "no group", a.stdout, "{\n  \"access\": \"Allow\",\n  \"ruleName\": \"\",\n  \"nsg\": \"\"\n}\n")
	if a.status != 0 || !strings.Contains(a.stderr, "--nsg") {
		t.Errorf("no group: %+v", a)
	}
	expectText(t, "no group for people", vnetctl(flowArgs(flow)...).stdout, "Allow  no security group\n")
	a = vnetctl("test-ip-flow", "--documents", "testdata/web.json", "--nsg", "pods-nsg",
		"--direction", "Inbound", "--protocol", "TCP", "--local", "10.241.0.4:22", "--remote", "10.241.0.5:1")
	if a.status != 0 || !strings.Contains(a.stderr, "VirtualNetwork") || !strings.HasPrefix(a.stdout, "Deny") {
		t.Errorf("without a virtual network: %+v", a)
	}
}

const goldenExplanation = `LEVEL      NSG       PRIORITY  RULE                                                ACCESS  PROTOCOL  SOURCE  SOURCE PORT  DESTINATION  DESTINATION PORT  VERDICT
subnet     pods-nsg  -         platformRules/DenyGRE                               Deny    no        yes     yes          yes          yes               -
subnet     pods-nsg  -         platformRules/DenyIPInIP                            Deny    no        yes     yes          yes          yes               -
subnet     pods-nsg  100       securityRules/allow-web                             Allow   yes       yes     yes          yes          yes               matches first
subnet     pods-nsg  65000     defaultSecurityRules/AllowVnetInBound               Allow   yes       no      yes          yes          yes               -
subnet     pods-nsg  65001     defaultSecurityRules/AllowAzureLoadBalancerInBound  Allow   yes       no      yes          yes          yes               -
subnet     pods-nsg  65500     defaultSecurityRules/DenyAllInBound                 Deny    yes       yes     yes          yes          yes               -
interface  web-nsg   -         platformRules/DenyGRE                               Deny    no        yes     yes          yes          yes               -
interface  web-nsg   -         platformRules/DenyIPInIP                            Deny    no        yes     yes          yes          yes               -
interface  web-nsg   100       securityRules/api-to-web                            Allow   yes       no      yes          no           no                -
interface  web-nsg   110       securityRules/no-vnet                               Deny    yes       no      yes          yes          yes               -
interface  web-nsg   120       securityRules/allow-https                           Allow   yes       yes     yes          yes          no                -
interface  web-nsg   65000     defaultSecurityRules/AllowVnetInBound               Allow   yes       no      yes          yes          yes               -
interface  web-nsg   65001     defaultSecurityRules/AllowAzureLoadBalancerInBound  Allow   yes       no      yes          yes          yes               -
interface  web-nsg   65500     defaultSecurityRules/DenyAllInBound                 Deny    yes       yes     yes          yes          yes               answers

Deny  defaultSecurityRules/DenyAllInBound  (web-nsg)
`

func TestExplain(t *testing.T) {
	args := flowArgs("Inbound TCP 10.241.0.4:80 8.8.8.8:1", "--nsg", "pods-nsg", "--interface-nsg", "web-nsg", "--explain")
	expectText(t, "explanation", vnetctl(args...).must(t), goldenExplanation)
	d := decode[diagnostic](t, vnetctl(append(args, "-o", "json")...).must(t))
	if len(d.Results) != 1 {
		t.Fatalf("%+v", d)
	}
	r := d.Results[0]
	groups := r.GroupResult.Groups
	if r.GroupResult.Access != nsg.Deny || len(groups) != 2 || r.Profile.Source.String() != "8.8.8.8" || r.Profile.DestinationPort != "80" {
		t.Fatalf("%+v", r)
	}
	if g := groups[0]; g.AppliedTo != "subnet" || !strings.HasSuffix(g.ID, "/pods-nsg") || len(g.Rules) != 6 ||
		g.MatchedRule != (matchedRule{"securityRules/allow-web", nsg.Allow}) {
		t.Errorf("subnet: %+v", g)
	}
	want := ruleResult{Name: "securityRules/api-to-web", Protocol: true, SourcePort: true}
	if g := groups[1]; g.AppliedTo != "interface" || len(g.Rules) != 8 || g.Rules[2] != want {
		t.Errorf("interface: %+v", g)
	}
	a := vnetctl(flowArgs("Outbound ICMP 10.241.0.4 8.8.8.8", "--explain", "-o", "json")...)
	if d = decode[diagnostic](t, a.stdout); d.Results[0].GroupResult.Access != nsg.Allow || d.Results[0].GroupResult.Groups == nil {
		t.Errorf("nobody judges: %s", a.stdout)
	}
}

func TestFlowUsage(t *testing.T) {
	good := map[string]string{"direction": "Inbound", "protocol": "TCP", "local": "10.241.0.4:80", "remote": "8.8.8.8:1", "nsg": "pods-nsg", "interface-nsg": "web-nsg"}
	cases := []struct{ flag, value, word string }{
		{"direction", "Sideways", "Outbound"}, {"direction", "", "Inbound"},
		{"protocol", "*", "ICMP"}, {"protocol", "SCTP", "UDP"},
		{"local", "10.241.0.4", "no port"}, {"local", "10.241.0.4:", "65535"}, {"local", "10.241.0.4:65536", "65535"},
		{"local", "10.241.0.4:http", "65535"}, {"local", ":80", "no address"}, {"local", "", "no address"}, {"local", "web:80", "IP address"},
		{"local", "[fd00::1]:80", "family"}, {"local", "[fd00::1", "IP address"}, {"local", "[fd00::1]80", "IP address"}, {"local", "10.241.0.4:-1", "65535"},
		{"remote", "8.8.8.8:*", ""}, {"local", "10.241.0.4:*", "depends on the port"}, {"remote", "", "address"}, {"remote", ":5", "no address"},
		{"remote", "2001:db8::1:80", "no port"}, {"remote", "80", "no address"},
		{"virtual-network", "10.0.0.0", "prefixes"}, {"virtual-network", "10.0.0.1/8", "10.0.0.0/8"},
		{"local-asgs", "web/", "no application security group"}, {"remote-asgs", "a,/", "no application security group"},
		{"documents", "", "folder"}, {"pod", "x", "--nsg"}, {"flows", "-", "--"}, {"output", "xml", "json"},
	}
	checked := 0
	for _, c := range cases {
		args := append([]string{"test-ip-flow"}, webDocuments...)
		if c.flag == "pod" {
			args = args[:1]
		}
		for flag, value := range good {
			if flag != c.flag {
				args = append(args, "--"+flag, value)
			}
		}
		a := vnetctl(append(args, "--"+c.flag, c.value)...)
		if c.word == "" {
			a.must(t)
			continue
		}
		a.fails(t, exitUsage, "--"+c.flag, c.word)
		if last := c.value[strings.LastIndexByte(c.value, ',')+1:]; !strings.Contains(a.stderr, last) || a.stdout != "" {
			t.Errorf("--%s %q: %+v", c.flag, c.value, a)
		}
		checked++
	}
	vnetctl("test-ip-flow").fails(t, exitUsage, "--documents", "--pod")
	vnetctl("test-ip-flow", "--documents", "testdata/web.json", "--flows", "").fails(t, exitUsage, "--flows")
	vnetctl("test-ip-flow", "--pod", "").fails(t, exitUsage, "--pod")
	vnetctl("test-ip-flow", "now").fails(t, exitUsage, "now")
	vnetctl(flowArgs("Inbound UDP 10.241.0.4:1 8.8.8.8:1", "--nsg", "pods-ngs")...).fails(t, exitFailed, "--nsg", "pods-ngs", "pods-nsg")
	vnetctl(flowArgs("Inbound UDP 10.241.0.4:1 8.8.8.8:1", "--documents", "testdata/none.json")...).fails(t, exitFailed, "--documents", "none.json")
	// The source port matters to one rule.
	vnetctl(flowArgs("Outbound UDP 10.241.0.4:* 8.8.8.8:123", "--nsg", "pods-nsg")...).fails(t, exitUsage, "--local", "ntp-from-low-ports", "AllowInternetOutBound")
	t.Logf("%d bad values", checked)
}

func TestFlowCompletion(t *testing.T) {
	cases := []struct {
		args []string
		want string
	}{
		{[]string{"test-ip-flow", "--direction", ""}, "Inbound\nOutbound\n"},
		{[]string{"test-ip-flow", "--protocol", ""}, "TCP\nUDP\nICMP\nESP\nAH\n"},
		{[]string{"test-ip-flow", "--documents", "testdata/web.json", "--interface-nsg", ""}, "pods-nsg\nweb-nsg\n"},
		{[]string{"assert", ""}, "yaml\nyml\n"},
	}
	for _, c := range cases {
		if out := vnetctl(append([]string{"__complete"}, c.args...)...).stdout; !strings.HasPrefix(out, c.want) {
			t.Errorf("completion of %q: %q, want %q", c.args, out, c.want)
		}
	}
	t.Logf("%d completions", len(cases))
}
