package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/ipam"
)

// TestInteropVersions speaks each version of the CNI specification.
func TestInteropVersions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	versions := []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			speak := map[string]any{"cniVersion": version}
			out := b.node.Exec("vnet", b.pod.Env("ADD"), b.conf.stdin(t, speak))
			if out.Err != nil {
				t.Fatalf("ADD: %+v", out.Err)
			}
			expectVersion(t, version, out.Stdout)
			speak["prevResult"] = json.RawMessage(out.Stdout)
			if version != "0.3.1" {
				if out := b.node.Exec("vnet", b.pod.Env("CHECK"), b.conf.stdin(t, speak)); out.Err != nil {
					t.Errorf("CHECK: %+v", out.Err)
				}
			}
			if out := b.node.Exec("vnet", b.pod.Env("DEL"), b.conf.stdin(t, speak)); out.Err != nil {
				t.Errorf("DEL: %+v", out.Err)
			}
			b.expectClean("version " + version)
		})
	}
	out := b.node.Exec("vnet", map[string]string{"CNI_COMMAND": "VERSION", "CNI_PATH": "/nowhere"}, []byte(`{"cniVersion":"1.1.0"}`))
	for _, version := range versions {
		if !strings.Contains(string(out.Stdout), `"`+version+`"`) {
			t.Errorf("VERSION does not name %s: %s", version, out.Stdout)
		}
	}
	t.Logf("%d versions", len(versions))
}

// expectVersion wants a result of the version, with what that version has: a
// family with each address until 1.0.0, the MTU since 1.1.0. The CNI library
// leaves the MTU in results of 1.0.0, whose readers ignore it.
func expectVersion(t *testing.T, version string, raw []byte) {
	t.Helper()
	var r struct {
		CNIVersion string
		Interfaces []map[string]any
		IPs        []map[string]any
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if r.CNIVersion != version || len(r.IPs) != 2 || len(r.Interfaces) != 2 {
		t.Fatalf("the result is %s", raw)
	}
	if _, has := r.IPs[0]["version"]; has != (version < "1") {
		t.Errorf("an address of version %s has a family: %t", version, has)
	}
	if _, has := r.Interfaces[0]["mtu"]; version != "1.0.0" && has != (version >= "1.1") {
		t.Errorf("an interface of version %s has an MTU: %t", version, has)
	}
}

// TestInteropGC collects with cnitool, as libcni does, and by hand.
func TestInteropGC(t *testing.T) {
	t.Parallel()
	n := testnet.New(t).AddNode("n1")
	c := vnetConfig(n, 0)
	n.Write(c.network, map[string]any{"cniVersion": "1.1.0", "name": c.network, "plugins": []any{c.plugin}})
	warmUp(t, n)
	before := testnet.Snapshot(n)
	if err := n.Status(); err != nil {
		t.Errorf("STATUS: %v", err)
	}
	keep, drop := attach(t, n), attach(t, n)
	valid := []any{map[string]any{"containerID": keep.ContainerID(), "ifname": "eth0"}}
	out := n.Exec("vnet", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/nowhere"}, c.stdin(t, map[string]any{"cni.dev/valid-attachments": valid}))
	if out.Err != nil {
		t.Errorf("GC: %+v", out.Err)
	}
	if err := n.Check(keep.Pod); err != nil {
		t.Errorf("CHECK of the valid attachment: %v", err)
	}
	if n.Check(drop.Pod) == nil {
		t.Error("CHECK of the attachment that is not valid passes")
	}
	if err := n.GC(); err != nil {
		t.Errorf("cnitool gc: %v", err)
	}
	expectNothingLeft(t, before, n)
}

// TestInteropNetworks keeps two networks in one state directory and gives one
// pod an interface of each.
func TestInteropNetworks(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		f := testnet.New(t)
		n, other := f.AddNode("n1", testnet.WithIptables(backend)), f.AddNode("n2")
		for i, name := range []string{"blue", "green"} {
			c := vnetConfig(n, i)
			c.network = name
			c.plugin["masquerade"] = map[string]any{"except": []string{"10.0.0.0/8"}}
			behind(n, c)
		}
		blue, green := testnet.Attach{Network: "blue"}, testnet.Attach{Network: "green"}
		second := testnet.Attach{Network: "green", IfName: "eth1"}
		warmUp(t, n, blue)
		warmUp(t, n, green)
		before := testnet.Snapshot(n)
		b, g := attach(t, n, blue), attach(t, n, green)
		extra := attachTo(t, b.Pod, second)
		flows := append(everyProto(b, g, 0), everyProto(g, b, 0)...)
		flows = append(append(flows, toNode(b, other)...), toNode(g, other)...)
		count := expectAll(t, flows)
		for _, check := range []struct {
			p  pod
			at testnet.Attach
		}{{b, blue}, {g, green}, {extra, second}} {
			if err := n.Check(check.p.Pod, check.at); err != nil {
				t.Errorf("CHECK in %v: %v", check.at, err)
			}
		}
		if err := n.Del(b.Pod, blue); err != nil {
			t.Errorf("DEL: %v", err)
		}
		for at, p := range map[string]pod{"eth0": g, "eth1": extra} {
			if err := n.Check(p.Pod, testnet.Attach{Network: "green", IfName: at}); err != nil {
				t.Errorf("CHECK of green's %s after blue's DEL: %v", at, err)
			}
		}
		expectNetworks(t, n, "blue", "green")
		for _, err := range []error{n.Del(g.Pod, green), n.Del(b.Pod, second)} {
			if err != nil {
				t.Errorf("DEL: %v", err)
			}
		}
		expectNothingLeft(t, before, n)
		t.Logf("%d flows in two networks", count)
	})
}

func expectNetworks(t *testing.T, n *testnet.Node, want ...string) {
	t.Helper()
	got, err := ipam.Networks(n.StateDir())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the state directory has the networks %v, %v; want %v", got, err, want)
	}
	for _, name := range want {
		if _, err := os.Stat(filepath.Join(n.StateDir(), name+".db")); err != nil {
			t.Error(err)
		}
	}
}
