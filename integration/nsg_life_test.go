package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// membersOf lists who is in a set of ours that pods are members of, by address,
// whichever it is: "set address".
func membersOf(t *testing.T, n *testnet.Node) []string {
	t.Helper()
	var out []string
	for _, line := range testnet.Snapshot(n)["ipset"] {
		f := strings.Fields(line)
		if len(f) >= 3 && f[0] == "add" && strings.HasPrefix(f[1], "vnet-") &&
			!strings.HasPrefix(f[1], "vnet-set-") && !strings.HasPrefix(f[1], "vnet-x-") && !strings.HasPrefix(f[2], "vnet-") {
			out = append(out, f[1]+" "+f[2])
		}
	}
	return out
}

func expectNoMembers(t *testing.T, n *testnet.Node, when string) {
	t.Helper()
	for _, m := range membersOf(t, n) {
		t.Errorf("%s: left in a set: %s", when, m)
	}
}

// lifeDocuments are five groups, two of which speak of application security groups, and
// a route table.
func lifeDocuments(t *testing.T) documents {
	t.Helper()
	groups := []map[string]any{someGroup(),
		restGroup("asgs", allowIn("*", "*").fromASG("asg-1").toASG("asg-2"), denyIn("*", "*")),
		restGroup("asgs-out", allowOut("*", "*").fromASG("asg-3").toASG("asg-1"), denyOut("*", "9000"))}
	for i := range 2 {
		groups = append(groups, restGroup(fmt.Sprintf("plain-%d", i), denyIn("Tcp", fmt.Sprint(9000+i))))
	}
	d := newDocuments(t, groups...)
	d.put("vnet.json", vnetWith("table"))
	d.put("table.json", routeTable("table", drops()...))
	return d
}

var lifeGroups = []string{"some", "asgs", "asgs-out", "plain-0", "plain-1"}

// TestNSGChurn attaches and detaches many pods at the same time, each with one of
// five groups and some application security groups.
func TestNSGChurn(t *testing.T) {
	t.Parallel()
	const pods, workers, rounds = 60, 8, 2
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			conf, _, node := judgedNode(t, lifeDocuments(t).conf("some"), testnet.WithIptables(backend))
			warmUp(t, node)
			before := withoutRules(testnet.Snapshot(node))
			h := &holders{byAddr: map[string]string{}}
			sandboxes := make([]*testnet.Pod, pods)
			for i := range sandboxes {
				sandboxes[i] = node.NewPod()
			}
			start := time.Now()
			add := func(i int) {
				env := asking(sandboxes[i], "ADD", lifeGroups[i%len(lifeGroups)])
				env["CNI_ARGS"] += fmt.Sprintf(";VNET_ASGS=asg-%d,asg-%d", i%4, 4+i%3)
				addrs, err := addresses(addInTurn(node, env, conf.stdin(t, nil)))
				if err != nil {
					h.fail("ADD: %v", err)
				}
				for _, a := range addrs {
					h.take(a, sandboxes[i].Name)
				}
			}
			for range rounds {
				inParallel(workers, pods, add)
				if len(h.byAddr) != 2*pods {
					t.Errorf("%d pods hold %d addresses, want two each", pods, len(h.byAddr))
				}
				if n := len(membersOf(t, node)); n < 2*pods*7 { // pods, judged, network, with a group, group, two ASGs
					t.Errorf("%d pods are members of sets %d times only", pods, n)
				}
				inParallel(workers, pods, func(i int) { h.del(t, node, conf, sandboxes[i]) })
				expectNoMembers(t, node, "after all DELs")
			}
			inParallel(workers, pods, func(i int) { add(i); h.del(t, node, conf, sandboxes[i]) })
			for _, e := range h.errs {
				t.Error(e)
			}
			expectNoMembers(t, node, "after ADDs and DELs together")
			for _, line := range testnet.Diff(before, withoutRules(testnet.Snapshot(node))) {
				t.Errorf("left: %s", line)
			}
			t.Logf("%d ADD and %d DEL by %d workers in %v", pods*(rounds+1), pods*(rounds+1), workers, time.Since(start).Round(time.Millisecond))
		})
	}
}

// withoutRules leaves out what groups leave until the next rules are made.
func withoutRules(s testnet.State) testnet.State {
	s = only(s, "link", "address", "route", "neighbour", "proxy neighbour", "lease", "sysctl", "file")
	// A route table's routes stay with the network's rules.
	s["route"] = slices.DeleteFunc(slices.Clone(s["route"]), func(line string) bool { return strings.Contains(line, " proto 87 ") })
	return s
}

// TestNSGOtherGroup repeats ADD with other groups: the pod is judged by the new
// ones, and a member of the old ones no longer.
func TestNSGOtherGroup(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t, restGroup("first", denyIn("*", "8000-8399")), restGroup("second", denyIn("*", "9000-9399")))
	conf, _, node := judgedNode(t, docs.conf(""))
	client, p := attach(t, node), node.NewPod()
	n := 0
	for _, step := range []struct {
		ask            string
		passed, silent []uint16
	}{
		{"first", []uint16{9000}, []uint16{8000}},
		{"second", []uint16{8000}, []uint16{9000}},
		{"first", []uint16{9000}, []uint16{8000}},
		{"", []uint16{8000, 9000}, nil},
		{"second", []uint16{8000}, []uint16{9000}},
	} {
		at := attachFor(t, conf, p, step.ask)
		for _, class := range step.passed {
			n += expectAll(t, flows(client, at.pod, class))
		}
		for _, class := range step.silent {
			n += expectSilent(t, flows(client, at.pod, class))
		}
		groups := 0
		for _, m := range membersOf(t, node) {
			if set, addr, _ := strings.Cut(m, " "); strings.HasPrefix(set, "vnet-nsg-") && addr == at.v4.String() {
				groups++
			}
		}
		if want := min(1, len(step.ask)); groups != want {
			t.Errorf("with group %q the pod is in the sets of %d groups, want %d", step.ask, groups, want)
		}
		expectHealthy(t, at, "with group "+step.ask)
	}
	t.Logf("%d flows with five choices", n)
}

// ending takes all pods of a node away in some way.
type ending func(*testing.T, config, *testnet.Node, []patient) error

// afterwards is DEL of all pods after something has happened to the node.
func afterwards(happened func(config, *testnet.Node) error) ending {
	return func(t *testing.T, conf config, n *testnet.Node, pods []patient) error {
		t.Helper()
		if err := happened(conf, n); err != nil {
			return err
		}
		return delAll(t, conf, n, pods, nil)
	}
}

func cutStore(size int64) ending {
	return afterwards(func(conf config, n *testnet.Node) error {
		return os.Truncate(filepath.Join(n.StateDir(), conf.network+".db"), size)
	})
}

func endings() map[string]ending {
	return map[string]ending{
		"DEL without anything": func(t *testing.T, conf config, n *testnet.Node, pods []patient) error {
			return delAll(t, conf, n, pods, func(p patient, env map[string]string) {
				p.Delete()
				delete(env, "CNI_NETNS")
			})
		},
		"DEL with a configuration without nsg": afterwards(func(conf config, _ *testnet.Node) error {
			delete(conf.plugin, "nsg")
			return nil
		}),
		"DEL after the documents went": afterwards(func(conf config, _ *testnet.Node) error {
			return os.RemoveAll(conf.plugin["nsg"].(map[string]any)["documents"].([]string)[0])
		}),
		"DEL after the state file went": afterwards(func(conf config, n *testnet.Node) error {
			return os.Remove(filepath.Join(n.StateDir(), conf.network+".nsg"))
		}),
		"DEL with a store cut to nothing":    cutStore(0),
		"DEL with a store cut in the middle": cutStore(8192),
		"vnetctl gc": func(t *testing.T, _ config, n *testnet.Node, pods []patient) error {
			for _, p := range pods {
				p.Delete()
			}
			_, err := n.Shell(testnet.Bin(t, "vnetctl"), "--state-dir", n.StateDir(), "gc")
			return err
		},
		"GC": func(t *testing.T, conf config, n *testnet.Node, _ []patient) error {
			out := n.Exec("vnet", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/"},
				conf.stdin(t, map[string]any{"cni.dev/valid-attachments": []any{}}))
			if out.Err != nil {
				return out.Err
			}
			return nil
		},
	}
}

// TestNSGWaysToEnd detaches pods with groups in every way: nobody stays a member.
func TestNSGWaysToEnd(t *testing.T) {
	t.Parallel()
	for name, end := range endings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf, _, node := judgedNode(t, lifeDocuments(t).conf("some"))
			warmUp(t, node)
			before := withoutRules(testnet.Snapshot(node))
			var pods []patient
			for _, group := range lifeGroups {
				p := node.NewPod()
				env := asking(p, "ADD", group)
				env["CNI_ARGS"] += ";VNET_ASGS=asg-1,asg-3"
				out := node.Exec("vnet", env, conf.stdin(t, nil))
				if out.Err != nil {
					t.Fatalf("ADD: %+v", out.Err)
				}
				pods = append(pods, patient{pod: pod{Pod: p}, raw: json.RawMessage(out.Stdout)})
			}
			members := len(membersOf(t, node))
			if err := end(t, conf, node, pods); err != nil {
				t.Error(err)
			}
			expectNoMembers(t, node, name)
			for _, line := range testnet.Diff(before, withoutRules(testnet.Snapshot(node))) {
				if !strings.Contains(line, "file: ") {
					t.Errorf("left: %s", line)
				}
			}
			t.Logf("%d pods were members %d times", len(pods), members)
		})
	}
}

func delAll(t *testing.T, conf config, n *testnet.Node, pods []patient, change func(patient, map[string]string)) error {
	t.Helper()
	for _, p := range pods {
		env := p.Env("DEL")
		if change != nil {
			change(p, env)
		}
		if out := n.Exec("vnet", env, conf.stdin(t, nil)); out.Err != nil {
			return out.Err
		}
	}
	return nil
}

// TestNSGLostStore damages the store under living pods: they stay judged, also
// after the next ADD has made the store and new documents' rules.
func TestNSGLostStore(t *testing.T) {
	t.Parallel()
	docs := lifeDocuments(t)
	conf, _, node := judgedNode(t, docs.conf("some"))
	a, b := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "plain-0")
	if err := os.Truncate(filepath.Join(node.StateDir(), conf.network+".db"), 0); err != nil {
		t.Fatal(err)
	}
	denied := func() []expectation { return slices.Concat(flows(a.pod, b.pod, 9000), flows(b.pod, a.pod, 9000)) }
	silent := expectSilent(t, denied())
	c := attachFor(t, conf, node.NewPod(), "some")
	silent += expectSilent(t, append(denied(), flows(c.pod, b.pod, 9000)...))
	docs.put("later.json", restGroup("later", denyIn("*", "1")))
	d := attachFor(t, conf, node.NewPod(), "plain-1")
	silent += expectSilent(t, append(denied(), flows(d.pod, b.pod, 9000)...))
	passed := expectAll(t, slices.Concat(flows(c.pod, a.pod, 8000), flows(d.pod, c.pod, 8000)))
	for _, p := range []patient{a, b, c, d} {
		if out := node.Exec("vnet", p.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
			t.Errorf("DEL: %+v", out.Err)
		}
	}
	expectNoMembers(t, node, "after all DELs")
	t.Logf("%d flows passed, %d were silent", passed, silent)
}

// TestNSGLostState takes all that the node remembers from under living pods, one of which
// has a group of its own: they are judged as before, also after the next ADD and by new
// documents.
func TestNSGLostState(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(path string) error{
		"deleted": os.Remove, "emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		for _, subnet := range []string{"", "subnet"} {
			t.Run(strings.TrimSpace(what+" "+subnet), func(t *testing.T) {
				t.Parallel()
				docs := newDocuments(t, restGroup("own", denyIn("*", "9000-9399")),
					restGroup("subnet", denyIn("*", "7000-7399"), denyIn("*", "8800-9199").toASG("back")))
				conf, _, node := judgedNode(t, docs.conf(subnet))
				a, b := attachFor(t, conf, node.NewPod(), "own"), attach(t, node, withASGs("back,other"))
				for _, suffix := range []string{".db", ".nsg"} {
					if err := lose(filepath.Join(node.StateDir(), conf.network+suffix)); err != nil {
						t.Fatal(err)
					}
				}
				passed, silent := 0, 0
				look := func(own uint16, beside ...pod) {
					t.Helper()
					denied := flows(b, a.pod, own)
					allowed := slices.Concat(flows(b, a.pod, 8000), flows(a.pod, b, 8000), pings(b, a.pod))
					for _, c := range beside {
						denied = slices.Concat(denied, flows(c, a.pod, own))
						allowed = slices.Concat(allowed, flows(c, a.pod, 8000), flows(a.pod, c, 9000))
					}
					if subnet != "" {
						denied = slices.Concat(denied, flows(b, a.pod, 7000), flows(a.pod, b, 7000), flows(a.pod, b, 8800))
					}
					passed, silent = passed+expectAll(t, allowed), silent+expectSilent(t, denied)
				}
				look(9000)
				c := attach(t, node)
				look(9000, c)
				docs.put("own.json", restGroup("own", denyIn("*", "6000-6399")))
				look(6000, c, attach(t, node))
				expectHealthy(t, a, "its state was lost")
				t.Logf("%d flows passed, %d were silent", passed, silent)
			})
		}
	}
}

// TestNSGTakenAway goes on with a configuration without groups: the rules go, and
// everything passes; and comes back to one with groups.
func TestNSGTakenAway(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			conf, _, node := judgedNode(t, newDocuments(t, someGroup()).conf("some"), testnet.WithIptables(backend))
			nsg := conf.plugin["nsg"]
			delete(conf.plugin, "nsg")
			attachFor(t, conf, node.NewPod(), "")
			without := onlyRules(node)["iptables "+backend]
			conf.plugin["nsg"] = nsg
			a, b := attachFor(t, conf, node.NewPod(), ""), attachFor(t, conf, node.NewPod(), "some")
			silent := expectSilent(t, flows(a.pod, b.pod, 9000))
			delete(conf.plugin, "nsg")
			attachFor(t, conf, node.NewPod(), "")
			passed := expectAll(t, slices.Concat(flows(a.pod, b.pod, 9000), flows(b.pod, a.pod, 9000), pings(a.pod, b.pod)))
			without = slices.DeleteFunc(without, func(line string) bool { return strings.Contains(line, "mangle :") })
			now := slices.DeleteFunc(onlyRules(node)["iptables "+backend], func(line string) bool { return strings.Contains(line, "mangle :") && !strings.Contains(line, "VNET") })
			for _, line := range testnet.Diff(testnet.State{"rules": without}, testnet.State{"rules": now}) {
				t.Errorf("not as without groups: %s", line)
			}
			conf.plugin["nsg"] = nsg
			attachFor(t, conf, node.NewPod(), "")
			expectAll(t, flows(a.pod, b.pod, 8000))
			silent += expectSilent(t, flows(a.pod, attachFor(t, conf, node.NewPod(), "some").pod, 9000))
			t.Logf("%d flows passed, %d were silent", passed, silent)
		})
	}
}
