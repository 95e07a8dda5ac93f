package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

const goldenEffective = `LEVEL      NSG      DIRECTION  PRIORITY  RULE                                                ACCESS  PROTOCOL  SOURCE             SOURCE PORT  DESTINATION     DESTINATION PORT
interface  web-nsg  Inbound    100       securityRules/api-to-web                            Allow   Tcp       ASG api            *            ASG web         8080
interface  web-nsg  Inbound    110       securityRules/no-vnet                               Deny    *         VirtualNetwork     *            *               *
interface  web-nsg  Inbound    120       securityRules/allow-https                           Allow   Tcp       *                  *            *               443
interface  web-nsg  Inbound    65000     defaultSecurityRules/AllowVnetInBound               Allow   *         VirtualNetwork     *            VirtualNetwork  *
interface  web-nsg  Inbound    65001     defaultSecurityRules/AllowAzureLoadBalancerInBound  Allow   *         AzureLoadBalancer  *            *               *
interface  web-nsg  Inbound    65500     defaultSecurityRules/DenyAllInBound                 Deny    *         *                  *            *               *
interface  web-nsg  Outbound   65000     defaultSecurityRules/AllowVnetOutBound              Allow   *         VirtualNetwork     *            VirtualNetwork  *
interface  web-nsg  Outbound   65001     defaultSecurityRules/AllowInternetOutBound          Allow   *         *                  *            Internet        *
interface  web-nsg  Outbound   65500     defaultSecurityRules/DenyAllOutBound                Deny    *         *                  *            *               *

TAG                ADDRESSES
AzureLoadBalancer  168.63.129.16/32
Internet           0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 and 58 more
VirtualNetwork     10.0.0.0/16 10.250.0.0/16 168.63.129.16/32 172.16.0.0/16 192.168.0.0/16
`

func effectiveArgs(more ...string) []string {
	return append(append([]string{"effective"}, routedDocuments...), more...)
}

func effectiveOf(t testing.TB, more ...string) effectiveGroups {
	t.Helper()
	return decode[effectiveGroups](t, vnetctl(effectiveArgs(append(more, "-o", "json")...)...).must(t))
}

func TestEffective(t *testing.T) {
	expectText(t, "for people", vnetctl(effectiveArgs("--interface-nsg", "web-nsg", "--route-table", "spoke-rt")...).must(t), goldenEffective)

	both := effectiveOf(t, "--nsg", "pods-nsg", "--interface-nsg", "web-nsg")
	if len(both.Value) != 2 || both.Value[0].Association.Subnet == nil || both.Value[1].Association.Interface == nil {
		t.Fatalf("%+v", both)
	}
	subnet := both.Value[0]
	if !strings.HasSuffix(subnet.Group.ID, "/networkSecurityGroups/pods-nsg") || !strings.HasSuffix(subnet.Association.Subnet.ID, "/spoke/subnets/pods") {
		t.Errorf("%+v of %+v", subnet.Group, subnet.Association.Subnet)
	}
	space := "[10.0.0.0/16 10.250.0.0/16 168.63.129.16/32 172.16.0.0/16 192.168.0.0/16]"
	if got := fmt.Sprint(subnet.TagMap["VirtualNetwork"]); got != space || len(subnet.TagMap) != 3 {
		t.Errorf("tags %s of %d", got, len(subnet.TagMap))
	}
	rules := map[string]string{
		"securityRules/allow-web":                    "Tcp 0-65535 [0-65535] - [80-80 443-443] Internet [Internet] 0.0.0.0/0 [0.0.0.0/0] Allow 100 Inbound",
		"securityRules/deny-telnet":                  "Tcp 0-65535 [0-65535] 23-23 [23-23] 0.0.0.0/0 [0.0.0.0/0] 0.0.0.0/0 [0.0.0.0/0] Deny 200 Outbound",
		"defaultSecurityRules/AllowVnetInBound":      "All 0-65535 [0-65535] 0-65535 [0-65535] VirtualNetwork [VirtualNetwork] VirtualNetwork [VirtualNetwork] Allow 65000 Inbound",
		"defaultSecurityRules/DenyAllOutBound":       "All 0-65535 [0-65535] 0-65535 [0-65535] 0.0.0.0/0 [0.0.0.0/0] 0.0.0.0/0 [0.0.0.0/0] Deny 65500 Outbound",
		"securityRules/ntp-from-low-ports":           "Udp 0-1023 [0-1023] 123-123 [123-123] 0.0.0.0/0 [0.0.0.0/0] 0.0.0.0/0 [0.0.0.0/0] Deny 300 Outbound",
		"defaultSecurityRules/AllowInternetOutBound": "All 0-65535 [0-65535] 0-65535 [0-65535] 0.0.0.0/0 [0.0.0.0/0] Internet [Internet] Allow 65001 Outbound",
	}
	seen := 0
	for _, r := range subnet.Rules {
		want, asked := rules[r.Name]
		got := fmt.Sprint(r.Protocol, " ", one(r.SourcePort), " ", r.SourcePorts, " ", one(r.DestinationPort), " ", r.DestinationPorts, " ", one(r.SourcePrefix), " ",
			r.SourcePrefixes, " ", one(r.DestinationPrefix), " ", r.DestinationPrefixes, " ", r.Access, " ", r.Priority, " ", r.Direction)
		if asked && got != want {
			t.Errorf("%s:\n%s\nwant\n%s", r.Name, got, want)
		}
		if asked {
			seen++
		}
		if (r.ExpandedSource != nil) != (one(r.SourcePrefix) == "Internet" || one(r.SourcePrefix) == "VirtualNetwork" || one(r.SourcePrefix) == "AzureLoadBalancer") {
			t.Errorf("%s expands %s to %v", r.Name, one(r.SourcePrefix), r.ExpandedSource)
		}
	}
	if seen != len(rules) {
		t.Errorf("%d of %d rules", seen, len(rules))
	}
	asg := both.Value[1].Rules[0]
	if fmt.Sprint(asg.SourceASGs, asg.DestinationASGs, asg.SourcePrefixes) != "[api] [web] []" || asg.SourcePrefix != nil {
		t.Errorf("a rule with application security groups: %+v", asg)
	}
	t.Logf("%d rules", seen)
}

func one(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// TestEffectiveMeansTheSame judges flows by nothing but the output for programs, as
// somebody would who reads it, and compares with test-ip-flow.
func TestEffectiveMeansTheSame(t *testing.T) {
	group := effectiveOf(t, "--nsg", "pods-nsg").Value[0]
	d, err := (&source{documents: []string{"testdata/web.json", "testdata/spoke.json"}, subnet: "pods-nsg"}).judges(&app{errs: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	addrs := []string{"10.250.0.4", "10.0.3.3", "192.168.1.1", "172.16.0.1", "172.17.0.1", "8.8.8.8", "100.64.0.1", "203.0.113.9"}
	count := map[string]int{}
	for range 20000 {
		f := nsg.Flow{Direction: pick(r, nsg.Inbound, nsg.Outbound), Protocol: pick(r, nsg.TCP, nsg.UDP),
			Local: netip.MustParseAddr("10.250.0.9"), Remote: netip.MustParseAddr(pick(r, addrs...)),
			LocalPort: pick[uint16](r, 0, 22, 80, 443, 1023, 1024, 65535), RemotePort: pick[uint16](r, 0, 22, 23, 24, 80, 123, 65535)}
		got := firstOf(group, f)
		if want := nsg.Evaluate(f, d.subnet, nil).Rule.FullName(); got != want {
			t.Fatalf("%+v: %s, want %s", f, got, want)
		}
		count[got]++
	}
	if len(count) != len(group.Rules)-1 { // no probe comes from AzureLoadBalancer
		t.Errorf("rules that decided: %v", count)
	}
	t.Logf("20000 flows, decided by %d rules", len(count))
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

func firstOf(g effectiveGroup, f nsg.Flow) string {
	source, sourcePort, destination, destinationPort := f.Local, f.LocalPort, f.Remote, f.RemotePort
	if f.Direction == nsg.Inbound {
		source, sourcePort, destination, destinationPort = f.Remote, f.RemotePort, f.Local, f.LocalPort
	}
	for _, r := range g.Rules {
		if r.Direction == f.Direction && (r.Protocol == "All" || r.Protocol == f.Protocol.String()) &&
			inPorts(r.SourcePorts, sourcePort) && inPorts(r.DestinationPorts, destinationPort) &&
			inPrefixes(r.SourcePrefixes, r.ExpandedSource, source) && inPrefixes(r.DestinationPrefixes, r.ExpandedDestination, destination) {
			return r.Name
		}
	}
	return ""
}

func inPorts(ranges []string, port uint16) bool {
	return slices.ContainsFunc(ranges, func(text string) bool {
		var first, last uint16
		n, err := fmt.Sscanf(text, "%d-%d", &first, &last)
		return n == 2 && err == nil && first <= port && port <= last
	})
}

func inPrefixes(prefixes, expanded []string, a netip.Addr) bool {
	if expanded != nil {
		prefixes = expanded
	}
	return slices.ContainsFunc(prefixes, func(text string) bool { return netip.MustParsePrefix(text).Contains(a) })
}

func TestEffectiveWithoutGroups(t *testing.T) {
	a := vnetctl(effectiveArgs("-o", "json")...)
	expectText(t, "no group", a.stdout, "{\n  \"value\": []\n}\n")
	expectText(t, "no group for people", vnetctl(effectiveArgs()...).stdout, "no security group\n")
	if a.status != 0 || !strings.Contains(a.stderr, "--nsg") {
		t.Errorf("no group: %+v", a)
	}
	vnetctl("effective").fails(t, exitUsage, "--documents", "--pod")
	vnetctl("effective", "--documents", "testdata/web.json", "--nsg", "pods").fails(t, exitFailed, "--nsg", `"pods"`)
	vnetctl("effective", "--documents", "testdata/web.json", "--local-asgs", "web").fails(t, exitUsage, "--local-asgs")
	out := vnetctl("__complete", "effective", "--documents", "testdata/web.json", "--nsg", "").stdout
	if !strings.HasPrefix(out, "pods-nsg\nweb-nsg\n") {
		t.Errorf("completion: %q", out)
	}
	t.Log("6 command lines")
}

func TestEffectiveOfPods(t *testing.T) {
	n := newJudgedNode(t)
	n.add("web", webArgs) // 10.241.4.0
	n.add("api", apiArgs) // 10.241.4.1
	got := decode[effectiveGroups](t, n.vnetctl("effective", "--pod", "shop/web-0", "-o", "json").must(t))
	if len(got.Value) != 2 || got.Value[1].Association.Interface == nil || got.Value[1].Association.Interface.ID != "shop/web-0" {
		t.Fatalf("%+v", got)
	}
	rule := got.Value[1].Rules[0]
	if fmt.Sprint(rule.SourcePrefixes, rule.DestinationPrefixes) != "[10.241.4.1/32 fd00:10:241::401/128] [10.241.4.0/32 fd00:10:241::400/128]" {
		t.Errorf("members of application security groups: %+v", rule)
	}
	got = decode[effectiveGroups](t, n.vnetctl("effective", "--pod", "api", "-o", "json").must(t))
	if len(got.Value) != 1 || fmt.Sprint(got.Value[0].TagMap["VirtualNetwork"]) != "[10.241.0.0/16 168.63.129.16/32 fd00:10:241::/48]" {
		t.Errorf("%+v", got)
	}
	t.Log("2 pods")
}
