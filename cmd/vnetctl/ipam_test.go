package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
)

// fillStores makes two networks: one dual-stack with two leases and a released
// one, one of another main plugin.
func fillStores(t testing.TB, dir string) {
	t.Helper()
	v4 := mustPool(t, "10.241.0.0/16", "10.241.4.0/24")
	v6 := mustPool(t, "fd00:10:241::/64", "fd00:10:241::400/120")
	lease(t, dir, "pods", ipam.Key{ContainerID: "aaaa", IfName: "eth0"}, nil, 26*time.Hour, v4, v6)
	lease(t, dir, "pods", ipam.Key{ContainerID: "bbbb", IfName: "net1"}, nil, 3*time.Minute+12*time.Second, v4, v6)
	gone := lease(t, dir, "pods", ipam.Key{ContainerID: "cccc", IfName: "eth0"}, nil, time.Second, v4, v6)
	if _, _, err := ipam.New(ipam.Options{Dir: dir, Network: "pods"}).Release(gone.Key); err != nil {
		t.Fatal(err)
	}
	lease(t, dir, "bridged", ipam.Key{ContainerID: "dddd", IfName: "eth0"}, nil, 0, mustPool(t, "192.168.7.0/28"))
}

// Of the leases of another main plugin's network the kernel shows nothing: to look at
// their damaged store must not make an empty one of it.
func TestDamagedStoreOfAnotherMainPlugin(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	lease(t, dir, "bridged", ipam.Key{ContainerID: "dddd", IfName: "eth0"}, nil, 0, mustPool(t, "192.168.7.0/28"))
	path := filepath.Join(dir, "bridged.db")
	for _, noise := range []string{"", "noise"} {
		if err := os.WriteFile(path, []byte(noise), 0o600); err != nil {
			t.Fatal(err)
		}
		commands := []string{"status", "ipam", "ipam bridged", "ipam -o json", "ipam release bridged dddd", "ipam release bridged dddd --force"}
		for _, c := range commands {
			a := vnetctl(append(strings.Fields(c), "--state-dir", dir)...)
			if a.status != exitFailed || !strings.Contains(a.stdout+a.stderr, path) || !strings.Contains(a.stdout+a.stderr, "damaged") {
				t.Errorf("%s of %q: %+v", c, noise, a)
			}
		}
		for _, c := range []string{"pods", "gc"} {
			vnetctl(c, "--state-dir", dir).must(t)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != noise {
			t.Errorf("%q became %d bytes, %v", noise, len(got), err)
		}
		t.Logf("%d commands", len(commands))
	}
}

const goldenTable = `NETWORK  SUBNET            SIZE  USED  FREE  COOLING
bridged  192.168.7.0/28    11    1     10    0
pods     10.241.0.0/16     256   2     253   1
pods     fd00:10:241::/64  256   2     253   1

NETWORK  ADDRESS                      CONTAINER  INTERFACE  AGE
bridged  192.168.7.4                  dddd       eth0       0s
pods     10.241.4.0,fd00:10:241::400  aaaa       eth0       1d2h
pods     10.241.4.1,fd00:10:241::401  bbbb       net1       3m12s
`

const goldenJSON = `{
  "pools": [
    {
      "network": "bridged",
      "subnet": "192.168.7.0/28",
      "size": 11,
      "used": 1,
      "free": 10,
      "cooling": 0
    }
  ],
  "leases": [
    {
      "network": "bridged",
      "containerID": "dddd",
      "ifName": "eth0",
      "address": "192.168.7.4",
      "since": "2026-03-01T12:00:00Z"
    }
  ]
}
`

func TestIPAMOutput(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	fillStores(t, dir)
	expectText(t, "table", vnetctl("ipam", "--state-dir", dir).must(t), goldenTable)
	expectText(t, "json", vnetctl("ipam", "bridged", "-o", "json", "--state-dir", dir).must(t), goldenJSON)

	all := decode[ipamEntries](t, vnetctl("ipam", "-ojson", "--state-dir", dir).must(t))
	if len(all.Pools) != 3 || len(all.Leases) != 5 {
		t.Errorf("%d pools and %d leased addresses, want 3 and 5", len(all.Pools), len(all.Leases))
	}
	t.Logf("%d pools, %d leased addresses", len(all.Pools), len(all.Leases))
}

// A pod's name is for people, and only where there is one.
func TestPodColumn(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	pool := mustPool(t, "10.241.0.0/24")
	record := attachment.Record{HostVeth: "vnet1", Sandbox: "/run/netns/vctl-no", Pod: "default/web-0"}
	lease(t, dir, "pods", ipam.Key{ContainerID: "aaaa", IfName: "eth0"}, record, time.Second, pool)
	lease(t, dir, "pods", ipam.Key{ContainerID: "bbbb", IfName: "eth0"}, nil, 0, pool)
	tables := map[string][]string{
		"ipam": {"INTERFACE  POD            AGE", "eth0       default/web-0  1s", "eth0       -              0s"},
		"pods": {"INTERFACE  POD            HOST VETH", "eth0       default/web-0  vnet1"},
	}
	for command, lines := range tables {
		table := vnetctl(command, "--state-dir", dir).must(t)
		for _, line := range lines {
			if !strings.Contains(table, line) {
				t.Errorf("%s lacks %q:\n%s", command, line, table)
			}
		}
		if out := vnetctl(command, "-o", "json", "--state-dir", dir).must(t); strings.Contains(out, "web-0") {
			t.Errorf("%s for programs names the pod: %s", command, out)
		}
	}
	t.Logf("%d tables", len(tables))
}

// The room in a pool that is no longer configured says nothing.
func TestFreeOfTheCurrentPools(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	old, now := mustPool(t, "10.241.0.0/29"), mustPool(t, "10.242.0.0/24")
	for i, id := range []string{"a", "b", "c"} { // all that a /29 has
		lease(t, dir, "pods", ipam.Key{ContainerID: id, IfName: "eth0"}, nil, time.Hour-time.Duration(i), old)
	}
	expectFree(t, dir, 0)
	lease(t, dir, "pods", ipam.Key{ContainerID: "d", IfName: "eth0"}, nil, 0, now)
	expectFree(t, dir, 250)
}

func expectFree(t *testing.T, dir string, want uint64) {
	t.Helper()
	r := decode[statusReport](t, vnetctl("status", "-o", "json", "--state-dir", dir).must(t))
	if len(r.Networks) != 1 || r.Networks[0].Free == nil || *r.Networks[0].Free != want {
		t.Errorf("status %+v, want room for %d more", r.Networks, want)
	}
}

// nothing is what each command says where there is nothing.
var nothing = []struct{ command, table, json string }{
	{"ipam", "no leases", "{\n  \"pools\": [],\n  \"leases\": []\n}\n"},
	{"pods", "no pods", "[]\n"},
	{"gc", "no leftovers to remove", "{\n  \"dryRun\": false,\n  \"removed\": [],\n  \"kept\": []\n}\n"},
}

func TestNothingThere(t *testing.T) {
	inNode(t)
	empty := t.TempDir()
	missing := filepath.Join(empty, "missing")
	for _, n := range nothing {
		expectText(t, n.command, vnetctl(n.command, "--state-dir", empty).must(t), n.table+"\n")
		expectText(t, n.command, vnetctl(n.command, "--state-dir", missing).must(t), n.table+": "+missing+" does not exist\n")
		for _, dir := range []string{empty, missing} {
			expectText(t, n.command, vnetctl(n.command, "-o", "json", "--state-dir", dir).must(t), n.json)
		}
	}
	for _, command := range []string{"ipam", "pods"} {
		vnetctl(command, "web", "--state-dir", missing).must(t)
		vnetctl(command, "web", "--state-dir", empty).fails(t, exitFailed, `"web"`, empty)
	}
	report := decode[statusReport](t, vnetctl("status", "-o", "json", "--state-dir", missing).must(t))
	if !report.OK || len(report.Networks) != 0 || report.Networks == nil || report.Iptables.Backend == "" {
		t.Errorf("status of nothing: %+v", report)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("looking made the state directory")
	}
	t.Logf("%d commands on an empty and a missing state directory", len(nothing)+1)
}

func TestReleaseWithoutAttachment(t *testing.T) {
	inNode(t)
	dir := t.TempDir()
	fillStores(t, dir)
	vnetctl("ipam", "release", "pods", "nobody", "--state-dir", dir).fails(t, exitFailed, "pods", "nobody", "eth0")
	vnetctl("ipam", "release", "pods", "bbbb", "--state-dir", dir).fails(t, exitFailed, "bbbb", "eth0")
	vnetctl("ipam", "release", "web", "bbbb", "--state-dir", dir).fails(t, exitFailed, "web")
	if _, err := os.Stat(filepath.Join(dir, "web.db")); err == nil {
		t.Error("a failed release made a store")
	}
	vnetctl("ipam", "release", "pods", "bbbb", "net1", "--state-dir", dir).fails(t, exitFailed, "bbbb", "another main plugin", "--force")
	out := vnetctl("ipam", "release", "pods", "bbbb", "net1", "--force", "--state-dir", dir).must(t)
	expectText(t, "release", out, "released 10.241.4.1,fd00:10:241::401 of container bbbb, interface net1, in network pods\n")
	left := decode[ipamEntries](t, vnetctl("ipam", "pods", "-ojson", "--state-dir", dir).must(t))
	if len(left.Leases) != 2 || left.Pools[0].Cooling != 2 {
		t.Errorf("after the release: %+v", left)
	}
}
