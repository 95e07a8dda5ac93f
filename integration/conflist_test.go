package integration

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// sampleConf is what a conflist in conf/ is for, proven with packets.
type sampleConf struct {
	attach testnet.Attach
	keeps  string // a link that its main plugin leaves on the node
	prove  func(t *testing.T, node, other *testnet.Node, outside *testnet.NS, p pod) []expectation
}

var samples = map[string]sampleConf{
	"vnet-ipv4.conflist": {
		attach: testnet.Attach{Caps: map[string]any{"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}}},
		prove: func(_ *testing.T, node, other *testnet.Node, _ *testnet.NS, p pod) []expectation {
			mapped := testnet.Flow{Proto: testnet.TCP, From: other.NS, To: p.NS, Dst: node.IPv4, Port: 8080, ServerPort: 80}
			return slices.Concat(flat(node, other, p), []expectation{{mapped, other.IPv4}})
		},
	},
	"vnet-dual-stack.conflist": {
		attach: testnet.Attach{Caps: map[string]any{"ips": []string{"10.241.9.15", "fd00:10:241::4ff"}, "mac": "02:00:00:00:09:15"}},
		prove: func(t *testing.T, node, other *testnet.Node, _ *testnet.NS, p pod) []expectation {
			mac := link(t, p.NS, "eth0").Attrs().HardwareAddr.String()
			if p.v4.String() != "10.241.9.15" || p.v6.String() != "fd00:10:241::4ff" || mac != "02:00:00:00:09:15" {
				t.Errorf("asked for 10.241.9.15, fd00:10:241::4ff and 02:00:00:00:09:15, got %s, %s and %s", p.v4, p.v6, mac)
			}
			return flat(node, other, p)
		},
	},
	"overlay.conflist": {
		prove: func(_ *testing.T, node, _ *testnet.Node, outside *testnet.NS, p pod) []expectation {
			return append(masqueraded(node, outside, p), everyProto(p, asPod(node).only(p), 0)...)
		},
	},
	"vnet-nsg.conflist": {
		attach: testnet.Attach{Caps: map[string]any{"io.kubernetes.cri.pod-annotations": map[string]string{"vnet-cni.io/asgs": "jump"}}},
		prove: func(t *testing.T, node, other *testnet.Node, _ *testnet.NS, p pod) []expectation {
			for _, port := range []uint16{8080, 8081} {
				f := testnet.Flow{Proto: testnet.TCP, From: other.NS, To: p.NS, Dst: p.v4, Port: port, ServerPort: port}
				if port == 8080 {
					f.Timeout = time.Second
				}
				if _, err := f.Try(); (err == nil) != (port == 8081) {
					t.Errorf("port %d from the subnet: %v", port, err)
				}
			}
			return flat(node, other, p)
		},
	},
	"bridge-nsg.conflist": {
		attach: testnet.Attach{Caps: map[string]any{"io.kubernetes.cri.pod-annotations": map[string]string{"vnet-cni.io/asgs": "jump"}}},
		keeps:  "cni0",
		prove: func(t *testing.T, node, _ *testnet.Node, outside *testnet.NS, p pod) []expectation {
			q := attach(t, node, testnet.Attach{Network: "bridged"})
			defer func() {
				if err := node.Del(q.Pod, testnet.Attach{Network: "bridged"}); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}()
			for _, from := range []pod{p, q} { // only the member of jump may
				f := testnet.Flow{Proto: testnet.TCP, From: from.NS, To: q.NS, Dst: q.v4, Port: 8080, ServerPort: 8080}
				if from.Pod == q.Pod {
					f.To, f.Dst, f.Timeout = p.NS, p.v4, time.Second
				}
				if _, err := f.Try(); (err == nil) != (from.Pod == p.Pod) {
					t.Errorf("port 8080 from the pod with %s: %v", from.v4, err)
				}
			}
			return masqueraded(node, outside, p)
		},
	},
	"bridge-vnet-ipam.conflist": {
		keeps: "cni0",
		prove: func(_ *testing.T, node, _ *testnet.Node, outside *testnet.NS, p pod) []expectation {
			return masqueraded(node, outside, p)
		},
	},
}

// flat wants the pod to be reachable from another node and from its own.
func flat(node, other *testnet.Node, p pod) []expectation {
	return slices.Concat(everyProto(asPod(other).only(p), p, 0), everyProto(p, asPod(other).only(p), 0), everyProto(p, asPod(node).only(p), 0))
}

// masqueraded wants the outside to see the node's address instead of the pod's.
func masqueraded(node *testnet.Node, outside *testnet.NS, p pod) []expectation {
	var out []expectation
	for _, proto := range allProtos {
		out = append(out, expectation{testnet.Flow{Proto: proto, From: p.NS, To: outside, Dst: testnet.Outside4}, node.IPv4})
	}
	return out
}

// TestSampleConflists attaches pods with every file of conf/ as it is, but for
// the state directory and /etc/vnet, and wants what the file promises.
func TestSampleConflists(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root(t), "conf", "*.conflist"))
	if err != nil || len(files) != len(samples) {
		t.Fatalf("conf/ holds %d conflists, %d are known here (%v)", len(files), len(samples), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, known := samples[filepath.Base(file)]
			if !known {
				t.Fatalf("%s promises nothing that is tested", file)
			}
			trySample(t, file, s)
		})
	}
	t.Logf("%d sample conflists", len(files))
}

func trySample(t *testing.T, file string, s sampleConf) {
	fabric := testnet.New(t)
	node, other, outside := fabric.AddNode("n1"), fabric.AddNode("n2"), fabric.AddOutside()
	s.attach.Network = writeSample(t, node, file)
	warmUp(t, node, s.attach)
	before := testnet.Snapshot(node)

	a, b := attach(t, node, s.attach), attach(t, node, testnet.Attach{Network: s.attach.Network})
	n := expectAll(t, append(everyProto(a, b, 0), everyProto(b, a, 0)...))
	n += expectAll(t, s.prove(t, node, other, outside, a))
	for verb, err := range map[string]error{"CHECK": node.Check(a.Pod, s.attach), "STATUS": node.Status(s.attach)} {
		if err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
	for _, err := range []error{node.Del(a.Pod, s.attach), node.Del(b.Pod, testnet.Attach{Network: s.attach.Network})} {
		if err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	for _, line := range testnet.Diff(before, testnet.Snapshot(node)) {
		if s.keeps == "" || !strings.Contains(line, s.keeps) {
			t.Errorf("left on %s: %s", node.Name, line)
		}
	}
	t.Logf("%d flows", n)
}

// only leaves out the families that q does not have.
func (p pod) only(q pod) pod {
	if !q.v4.IsValid() {
		p.v4 = netip.Addr{}
	}
	if !q.v6.IsValid() {
		p.v6 = netip.Addr{}
	}
	return p
}

// writeSample gives the node a conflist with its own state directory.
func writeSample(t *testing.T, n *testnet.Node, file string) (network string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		CNIVersion  string           `json:"cniVersion"`
		CNIVersions []string         `json:"cniVersions"`
		Name        string           `json:"name"`
		Plugins     []map[string]any `json:"plugins"`
	}
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for i, plugin := range list.Plugins {
		if nsg, ok := plugin["nsg"].(map[string]any); ok {
			nsg["documents"] = []string{filepath.Join(root(t), "conf", "nsg")} // /etc/vnet is the node's own
		}
		if i == 0 || plugin["type"] == "vnet-nsg" {
			plugin["stateDir"] = n.StateDir()
		}
	}
	n.Write(list.Name, list)
	return list.Name
}

// TestChain attaches a pod with the meta plugins that docs/configuration.md
// names behind ours, and wants all of them to leave it whole.
func TestChain(t *testing.T) {
	t.Parallel()
	fabric := testnet.New(t)
	node, other := fabric.AddNode("n1"), fabric.AddNode("n2")
	plugins := []map[string]any{
		vnetConfig(node, 0).plugin,
		{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		{"type": "bandwidth", "ingressRate": 1e9, "ingressBurst": 1e9, "egressRate": 1e9, "egressBurst": 1e9},
		{"type": "tuning", "sysctl": map[string]string{"net.core.somaxconn": "500"}, "mtu": 1400},
		{"type": "firewall"},
	}
	node.Write("pods", map[string]any{"cniVersion": "1.0.0", "cniVersions": []string{"1.0.0", "1.1.0"}, "name": "pods", "plugins": plugins})
	warmUp(t, node)
	before := testnet.Snapshot(node)
	p := attach(t, node)
	n := expectAll(t, flat(node, other, p))
	if mtu := link(t, p.NS, "eth0").Attrs().MTU; mtu != 1400 {
		t.Errorf("MTU %d, want the 1400 of tuning", mtu)
	}
	if err := node.Check(p.Pod); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if err := node.Del(p.Pod); err != nil {
		t.Errorf("DEL: %v", err)
	}
	expectNothingLeft(t, before, node)
	t.Logf("%d plugins, %d flows", len(plugins), n)
}
