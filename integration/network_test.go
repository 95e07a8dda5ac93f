package integration

import (
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/netconf"
	vnetwork "github.com/vnet-cni/vnet-cni/pkg/network"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// TestRulesBeforePods installs what package network says of a configuration on a
// node without pods. The first ADD then has nothing left to install: it succeeds
// where there is no iptables, and tables and what is in force stay as they are.
func TestRulesBeforePods(t *testing.T) {
	t.Parallel()
	const noUplink = "overlay without any uplink"
	overlay := func(c config) {
		c.plugin["mode"] = "overlay"
		delete(c.plugin, "uplink")
		c.pools(poolOf("10.99.1.0/24"), poolOf("fd00:99:1::/64"))
	}
	masquerade := func(c config) {
		c.plugin["masquerade"] = map[string]any{"except": []string{"10.0.0.0/8", "fd00:99::/32"}}
	}
	part := func(c config) { // of the subnet that the uplink is in
		c.pools(poolOf("10.241.4.0/24", "10.241.4.0/25"), poolOf("fd00:10:241::400/120", "fd00:10:241::400/121"))
	}
	docs := newDocuments(t, restGroup("subnet-nsg", denyIn("*", "9000")), restGroup("web-nsg", denyIn("*", "9001")))
	groups := func(c config) { judged(docs.conf("subnet-nsg"))(c) }
	cases := map[string][]func(config){
		"plain":                        nil,
		"masquerade":                   {masquerade},
		"masquerade in a part":         {masquerade, part},
		"groups in a part":             {groups, masquerade, part},
		"groups":                       {groups},
		"groups and masquerade":        {groups, masquerade},
		"IPv4":                         {groups, masquerade, func(c config) { c.pools(pool4(4)) }},
		"overlay":                      {overlay, masquerade},
		"overlay with groups":          {overlay, masquerade, groups},
		noUplink:                       {overlay, masquerade, groups},
		"groups and no subnet's group": {masquerade, groups, func(c config) { delete(c.plugin["nsg"].(map[string]any), "subnet") }},
	}
	for name, changes := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conf config
			_, nodes := cluster(t, 1, func(c config) {
				for _, change := range changes {
					change(c)
				}
				conf = c
			})
			if name == noUplink {
				if err := nodes[0].NL.LinkDel(link(t, nodes[0].NS, testnet.Uplink)); err != nil {
					t.Fatal(err)
				}
			}
			expectNothingToInstall(t, nodes[0], conf.stdin(t, nil))
		})
	}
	t.Logf("%d configurations", len(cases))
}

func expectNothingToInstall(t *testing.T, node *testnet.Node, stdin []byte) {
	t.Helper()
	if err := node.Do(func() error { return installRules(stdin) }); err != nil {
		t.Fatalf("install: %v", err)
	}
	state := func(sections ...string) testnet.State { return only(testnet.Snapshot(node), sections...) }
	tables := []string{"iptables nft", "iptables legacy", "ip6tables nft", "ip6tables legacy"}
	before, sets := state(tables...), state("ipset")
	if before.Lines() < 10 || sets.Lines() == 0 {
		t.Fatalf("%d lines of rules and %d of sets: nothing was installed", before.Lines(), sets.Lines())
	}
	p := node.NewPod()
	for _, verb := range []string{"ADD", "DEL"} {
		env := p.Env(verb)
		env["PATH"] = "/nonexistent"
		if out := node.Exec("vnet", env, stdin); out.Err != nil {
			t.Fatalf("%s: %+v", verb, out.Err)
		}
		if diff := testnet.Diff(before, state(tables...)); len(diff) > 0 {
			t.Errorf("%s changed rules:\n%s", verb, strings.Join(diff, "\n"))
		}
	}
	if diff := testnet.Diff(sets, state("ipset")); len(diff) > 0 {
		t.Errorf("ADD and DEL changed sets:\n%s", strings.Join(diff, "\n"))
	}
	t.Logf("%d lines of rules and sets", before.Lines()+sets.Lines())
}

// installRules puts the rules of a configuration in force on the node that the
// calling thread is in.
func installRules(stdin []byte) error {
	conf, err := netconf.ParseStrict(netconf.VNet, stdin)
	if err != nil {
		return err
	}
	node, err := attachment.OpenNode()
	if err != nil {
		return err
	}
	defer node.Close()
	up, err := vnetwork.Uplink(node.Host, conf)
	if err != nil {
		return err
	}
	rules := vnetwork.Rules(conf, up)
	if conf.NSG != nil {
		inForce, err := policy.Open(conf.StateDir, conf.Name, vnetwork.Groups(conf, up), attachment.Pods(conf.StateDir, conf.Name))
		if err != nil {
			return err
		}
		rules.Judging = inForce.Judging()
	}
	return node.Firewall.Ensure(rules)
}
