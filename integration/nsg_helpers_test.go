package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// Codes of the plugin that are about security groups.
const (
	codeCheck     = 107
	codeDocuments = 109
	codeForbidden = 110
)

const annotations = "io.kubernetes.cri.pod-annotations"

// secRule is the properties of a security rule, as in Azure's REST documents.
type secRule map[string]any

func ruleOf(direction, access, protocol, ports string) secRule {
	return secRule{"direction": direction, "access": access, "protocol": protocol,
		"sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "sourcePortRange": "*", "destinationPortRange": ports}
}

func allowIn(protocol, ports string) secRule  { return ruleOf("Inbound", "Allow", protocol, ports) }
func denyIn(protocol, ports string) secRule   { return ruleOf("Inbound", "Deny", protocol, ports) }
func allowOut(protocol, ports string) secRule { return ruleOf("Outbound", "Allow", protocol, ports) }
func denyOut(protocol, ports string) secRule  { return ruleOf("Outbound", "Deny", protocol, ports) }

func (r secRule) with(key string, value any) secRule {
	out := maps.Clone(r)
	out[key] = value
	return out
}

func (r secRule) from(prefix string) secRule { return r.with("sourceAddressPrefix", prefix) }
func (r secRule) to(prefix string) secRule   { return r.with("destinationAddressPrefix", prefix) }

func (r secRule) named(name string) secRule { return r.with("name", name) }

// fromASG and toASG put application security groups in the place of a prefix.
func (r secRule) fromASG(name string) secRule { return r.asg("source", name) }
func (r secRule) toASG(name string) secRule   { return r.asg("destination", name) }

func (r secRule) asg(side, name string) secRule {
	out := r.with(side+"ApplicationSecurityGroups", []any{map[string]any{"id": resources + "applicationSecurityGroups/" + name}})
	delete(out, side+"AddressPrefix")
	return out
}

const resources = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Network/"

func groupID(name string) string { return resources + "networkSecurityGroups/" + name }

// restGroup is a group's document in the form of Azure's REST interface. Rules
// have the priorities of their order.
func restGroup(name string, rules ...secRule) map[string]any {
	var list []any
	for i, r := range rules {
		properties := map[string]any(maps.Clone(r))
		properties["priority"] = 100 + i
		ruleName := fmt.Sprintf("rule-%d", i)
		if own, ok := r["name"]; ok {
			ruleName = own.(string)
			delete(properties, "name")
		}
		list = append(list, map[string]any{"name": ruleName, "id": groupID(name) + "/securityRules/" + ruleName, "properties": properties})
	}
	return map[string]any{"name": name, "id": groupID(name), "type": "Microsoft.Network/networkSecurityGroups",
		"location": "westeurope", "properties": map[string]any{"securityRules": list}}
}

// documents is a folder of Azure's documents.
type documents struct {
	t   *testing.T
	dir string
}

// newDocuments writes each group into a file of its own.
func newDocuments(t *testing.T, groups ...map[string]any) documents {
	t.Helper()
	d := documents{t: t, dir: t.TempDir()}
	for _, g := range groups {
		d.put(g["name"].(string)+".json", g)
	}
	return d
}

// put writes a document, text or a value to encode, in one step, so that nobody
// reads half of it.
func (d documents) put(file string, content any) {
	d.t.Helper()
	raw, isText := content.(string)
	if !isText {
		encoded, err := json.Marshal(content)
		if err != nil {
			d.t.Fatal(err)
		}
		raw = string(encoded)
	}
	draft := filepath.Join(d.t.TempDir(), file)
	if err := writeFile(draft, raw); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(draft, d.path(file)); err != nil {
		d.t.Fatal(err)
	}
}

func (d documents) remove(file string) {
	d.t.Helper()
	if err := os.Remove(d.path(file)); err != nil {
		d.t.Fatal(err)
	}
}

func (d documents) path(file string) string { return filepath.Join(d.dir, file) }

// conf is the object nsg of a configuration, subnet "" for none.
func (d documents) conf(subnet string) map[string]any {
	c := map[string]any{"documents": []string{d.dir}}
	if subnet != "" {
		c["subnet"] = subnet
	}
	return c
}

// judged turns a configuration into one with security groups.
func judged(nsg map[string]any) func(config) {
	return func(c config) {
		c.plugin["nsg"] = nsg
		c.plugin["capabilities"] = map[string]bool{"ips": true, "mac": true, annotations: true}
	}
}

// judgedNode is one node and its configuration.
func judgedNode(t *testing.T, nsg map[string]any, opts ...testnet.NodeOption) (config, *testnet.Fabric, *testnet.Node) {
	t.Helper()
	var conf config
	f, nodes := cluster(t, 1, func(c config) { judged(nsg)(c); conf = c }, opts...)
	return conf, f, nodes[0]
}

// withNSG asks for a group, and withASGs for application security groups, as a
// runtime that sets CNI_ARGS does.
func withNSG(group string) testnet.Attach {
	return testnet.Attach{Args: "IgnoreUnknown=1;VNET_NSG=" + group}
}

func withASGs(groups string) testnet.Attach {
	return testnet.Attach{Args: "IgnoreUnknown=1;VNET_ASGS=" + groups}
}

// annotated asks by the annotations of a pod: key, value, key, value.
func annotated(pairs ...string) testnet.Attach {
	given := map[string]string{"example.com/other": "1"}
	for i := 0; i < len(pairs); i += 2 {
		given[pairs[i]] = pairs[i+1]
	}
	return testnet.Attach{Caps: map[string]any{annotations: given}}
}

// classWidth is how many server ports a class has that the tests name by their
// first: flows to one class share a verdict, and each has a server of its own.
const classWidth = 400

var lastPort atomic.Uint32

// portOf gives a port of a class. Those of newWatch may have their server already.
func portOf(class uint16) uint16 {
	for {
		port := class + uint16(lastPort.Add(1)%classWidth)
		if port != deniedPort && port != controlPort {
			return port
		}
	}
}

// flows are TCP and UDP to a port of a class, to each address of the other end.
func flows(from, to pod, class uint16) []expectation {
	var out []expectation
	for _, proto := range []testnet.Proto{testnet.TCP, testnet.UDP} {
		for _, dst := range to.addrs() {
			out = append(out, expectation{testnet.Flow{Proto: proto, From: from.NS, To: to.NS, Dst: dst, ServerPort: portOf(class)}, from.like(dst)})
		}
	}
	return out
}

// pings are echoes to each address of the other end.
func pings(from, to pod) []expectation {
	var out []expectation
	for _, dst := range to.addrs() {
		out = append(out, expectation{testnet.Flow{Proto: testnet.ICMP, From: from.NS, To: to.NS, Dst: dst}, from.like(dst)})
	}
	return out
}

// silence is how long a denied flow is waited for: what passes takes a millisecond.
const silence = 250 * time.Millisecond

// expectSilent sends all flows at once and wants none answered nor refused. It
// returns how many there were.
func expectSilent(t *testing.T, denied []expectation) int {
	t.Helper()
	if len(denied) == 0 {
		t.Fatal("no flow to send: the test would prove nothing")
	}
	flows := make([]testnet.Flow, len(denied))
	for i, d := range denied {
		flows[i] = d.Flow
		flows[i].Timeout = silence
	}
	_, errs := testnet.TryAll(flows)
	for i, err := range errs {
		switch {
		case err == nil:
			t.Errorf("passed, and is denied: %s port %d", flows[i], flows[i].ServerPort)
		case !testnet.IsTimeout(err):
			t.Errorf("not silent: port %d: %v", flows[i].ServerPort, err)
		}
	}
	return len(denied)
}

// split gives the IPv4 and the IPv6 address among an attachment's.
func split(addrs []string) (v4, v6 netip.Addr) {
	for _, text := range addrs {
		if a := netip.MustParseAddr(text); a.Is4() {
			v4 = a
		} else {
			v6 = a
		}
	}
	return v4, v6
}
