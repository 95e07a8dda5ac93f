package integration

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// someDocuments are groups of which the pods of these tests get "some".
func someDocuments(t *testing.T) documents {
	t.Helper()
	return newDocuments(t, restGroup("some", denyIn("*", "9000-9399"), denyOut("*", "9400-9799")), restGroup("other", denyIn("*", "8000-8399")))
}

// TestChainedLeaving calls vnet-nsg's DEL alone, as it comes before the main plugin's,
// while the pod still runs: it reaches nobody, and nobody it, not even by what was
// allowed before. The next pod with the address works at once.
func TestChainedLeaving(t *testing.T) {
	eachMain(t, func(t *testing.T, main, backend string) {
		c := newChain(t, main, someDocuments(t).conf("some"), testnet.WithIptables(backend))
		oneAddress(c)
		a, b := c.add(), c.add()
		runs := newTalk(t, b.pod, a.pod, a.v4, 10000)
		if err := runs.say(testnet.Patience); err != nil {
			t.Fatal(err)
		}
		n := expectAll(t, slices.Concat(flows(a.pod, b.pod, 8000), flows(b.pod, a.pod, 8000), flows(a.pod, c.gateway(), 8000)))
		if out := a.call("DEL", nil); out.Err != nil {
			t.Fatalf("DEL of vnet-nsg: %+v", out.Err)
		}
		if err := runs.say(silence); err == nil {
			t.Error("a flow that runs goes on")
		}
		reached := 0
		w := newWatch(t, c.node.NS)
		for _, target := range append(a.addrs(), b.addrs()...) {
			for _, class := range []uint16{8000, 9000} {
				f := testnet.Flow{Proto: testnet.UDP, From: b.NS, To: a.NS, Dst: target, ServerPort: portOf(class), Timeout: silence}
				if slices.Contains(b.addrs(), target) {
					f.From, f.To = a.NS, b.NS
				}
				if _, err := f.Try(); err == nil {
					t.Errorf("%s passed", f)
				}
				reached++
			}
		}
		sendFrom(t, a.NS, c.gateway().v4)
		time.Sleep(silence)
		if got := w.denied[0].Load() + w.denied[1].Load(); got > 0 {
			t.Errorf("%d packets came to the node", got)
		}
		if left := c.memberships(a); left > 0 {
			t.Errorf("it is still a member of %d sets", left)
		}
		a.del()
		next := c.add()
		b.forgetNeighbours()
		if main != "vnet" && next.v4 != a.v4 {
			t.Errorf("the next pod has %s, not %s", next.v4, a.v4)
		}
		n += expectAll(t, slices.Concat(flows(next.pod, b.pod, 8000), flows(b.pod, next.pod, 8000)))
		s := expectSilent(t, flows(b.pod, next.pod, 9000))
		t.Logf("%d flows passed, %d were silent, %d tried to and from the leaving pod", n, s, reached)
	})
}

// oneAddress leaves two addresses to pods, so that the next one gets the one that is free.
func oneAddress(c *chain) {
	if c.main["type"] == "vnet" {
		return
	}
	c.main["ipam"].(map[string]any)["ranges"] = []any{
		[]any{map[string]any{"subnet": "10.244.0.0/24", "rangeStart": "10.244.0.10", "rangeEnd": "10.244.0.11"}},
		[]any{map[string]any{"subnet": "fd00:10:244::/64", "rangeStart": "fd00:10:244::10", "rangeEnd": "fd00:10:244::11"}}}
	c.write()
}

// chainedEndings are ways in which the judgement of all pods can end.
func chainedEndings() map[string]func(*testing.T, *chain, []chainedPod) {
	dels := func(happened func(c *chain), extra func(p chainedPod) map[string]any) func(*testing.T, *chain, []chainedPod) {
		return func(t *testing.T, c *chain, pods []chainedPod) {
			t.Helper()
			happened(c)
			for _, p := range pods {
				for range 2 {
					if out := p.call("DEL", extra(p)); out.Err != nil {
						t.Errorf("DEL: %+v", out.Err)
					}
				}
			}
		}
	}
	nothing := func(chainedPod) map[string]any { return nil }
	result := chainedPod.withResult
	store := func(c *chain) string { return filepath.Join(c.node.StateDir(), "pods+nsg.db") }
	return map[string]func(*testing.T, *chain, []chainedPod){
		"DEL without prevResult": dels(func(*chain) {}, nothing),
		"DEL without anything": func(t *testing.T, c *chain, pods []chainedPod) {
			for _, p := range pods {
				p.Delete()
				env := p.Env("DEL")
				delete(env, "CNI_NETNS")
				if out := c.node.Exec("vnet-nsg", env, c.nsg.stdin(t, nil)); out.Err != nil {
					t.Errorf("DEL: %+v", out.Err)
				}
			}
		},
		"DEL with another configuration": dels(func(c *chain) {
			c.nsg.plugin["nsg"] = map[string]any{"documents": "no list", "what": 7}
			c.nsg.plugin["more"] = true
		}, nothing),
		"DEL without nsg":               dels(func(c *chain) { delete(c.nsg.plugin, "nsg") }, nothing),
		"DEL after the documents went":  dels(func(c *chain) { os.RemoveAll(c.nsg.plugin["nsg"].(map[string]any)["documents"].([]string)[0]) }, nothing),
		"DEL after the state file went": dels(func(c *chain) { os.Remove(filepath.Join(c.node.StateDir(), "pods+nsg.nsg")) }, nothing),
		"DEL after the record was lost": dels(func(c *chain) { os.Remove(store(c)) }, result),
		"DEL after the record was lost and the pod went": func(t *testing.T, c *chain, pods []chainedPod) {
			os.Remove(store(c))
			for _, p := range pods {
				p.Delete()
				if out := p.call("DEL", p.withResult()); out.Err != nil {
					t.Errorf("DEL: %+v", out.Err)
				}
			}
		},
		"DEL after the record was broken": dels(func(c *chain) { os.Truncate(store(c), 8192) }, result),
		"GC": func(t *testing.T, c *chain, _ []chainedPod) {
			out := c.node.Exec("vnet-nsg", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/"},
				c.nsg.stdin(t, map[string]any{"cni.dev/valid-attachments": []any{}}))
			if out.Err != nil {
				t.Errorf("GC: %+v", out.Err)
			}
		},
		"GC after the record was lost": func(t *testing.T, c *chain, _ []chainedPod) {
			os.Remove(store(c))
			out := c.node.Exec("vnet-nsg", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/"},
				c.nsg.stdin(t, map[string]any{"cni.dev/valid-attachments": []any{}}))
			if out.Err != nil {
				t.Errorf("GC: %+v", out.Err)
			}
		},
		"vnetctl gc": func(t *testing.T, c *chain, pods []chainedPod) {
			for _, p := range pods {
				p.Delete()
				awaitGone(t, p) // while a process is there that it may not look at, gc keeps who has a link
			}
			c.ctl("gc")
		},
		"vnetctl ipam release": func(_ *testing.T, c *chain, pods []chainedPod) {
			for _, p := range pods {
				c.ctl("ipam", "release", "--force", "pods+nsg", p.ContainerID())
			}
		},
	}
}

// TestChainedWaysToEnd ends the judgement of pods in every way: nobody stays a member,
// and no record.
func TestChainedWaysToEnd(t *testing.T) {
	t.Parallel()
	for _, main := range []string{"bridge", "ptp"} {
		for name, end := range chainedEndings() {
			t.Run(main+", "+name, func(t *testing.T) {
				t.Parallel()
				c := newChain(t, main, someDocuments(t).conf("some"))
				pods := []chainedPod{c.add(), c.add(annotated("vnet-cni.io/nsg", "other", "vnet-cni.io/asgs", "x,y"))}
				members := len(membersOf(t, c.node))
				end(t, c, pods)
				expectNoMembers(t, c.node, name)
				var left struct{ Leases []any }
				if err := json.Unmarshal([]byte(c.ctl("pods", "-o", "json")), &left.Leases); err != nil || len(left.Leases) > 0 {
					t.Errorf("%d records are left, %v", len(left.Leases), err)
				}
				t.Logf("%d pods were members %d times", len(pods), members)
			})
		}
	}
}

// TestChainedGC lets GC keep who is valid, and everybody without a list.
func TestChainedGC(t *testing.T) {
	t.Parallel()
	c := newChain(t, "ptp", someDocuments(t).conf("some"))
	a, b := c.add(), c.add()
	gc := func(extra map[string]any) {
		t.Helper()
		out := c.node.Exec("vnet-nsg", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/"}, c.nsg.stdin(t, extra))
		if out.Err != nil {
			t.Errorf("GC: %+v", out.Err)
		}
	}
	of := c.memberships
	whole := of(a)
	gc(nil)
	if of(a) != whole || of(b) != whole {
		t.Error("GC without a list took somebody")
	}
	valid := map[string]any{"cni.dev/valid-attachments": []any{map[string]string{"containerID": a.ContainerID(), "ifname": "eth0"}}}
	gc(valid)
	if of(a) != whole || of(b) != 0 {
		t.Errorf("GC left the valid pod %d of %d memberships, and the other %d", of(a), whole, of(b))
	}
	if err := os.Remove(filepath.Join(c.node.StateDir(), "pods+nsg.db")); err != nil {
		t.Fatal(err)
	}
	c.add() // makes the store anew
	gc(valid)
	if of(a) != whole {
		t.Error("GC took a pod whose record was lost, and which may be the valid one")
	}
	if pods := c.ctl("pods", "pods+nsg"); !strings.Contains(pods, "lost") {
		t.Errorf("vnetctl pods does not tell:\n%s", pods)
	}
	if out := c.ctl("gc"); !strings.Contains(out, "kept") || of(a) != whole {
		t.Errorf("vnetctl gc: %s", out)
	}
	t.Log("5 collections")
}

// TestChainedSuccessor gives a pod the address of one whose DEL never came: it is
// judged by its own groups, and the late DEL of the old one takes nothing from it.
func TestChainedSuccessor(t *testing.T) {
	t.Parallel()
	for _, main := range []string{"bridge", "ptp"} {
		t.Run(main, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, main, someDocuments(t).conf(""))
			oneAddress(c)
			client, old := c.add(), c.add(annotated("vnet-cni.io/nsg", "some"))
			s := expectSilent(t, flows(client.pod, old.pod, 9000))
			old.Delete() // with its links; the main plugin's records go with its folder
			awaitGone(t, old)
			if err := os.RemoveAll(filepath.Join(c.node.CacheDir(), "networks", "pods", old.v4.String())); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(c.node.CacheDir(), "networks", "pods", old.v6.String())); err != nil {
				t.Fatal(err)
			}
			young := c.add(annotated("vnet-cni.io/nsg", "other"))
			client.forgetNeighbours()
			if young.v4 != old.v4 {
				t.Fatalf("the new pod has %s, not %s", young.v4, old.v4)
			}
			n := expectAll(t, flows(client.pod, young.pod, 9000))
			s += expectSilent(t, flows(client.pod, young.pod, 8000))
			if out := old.call("DEL", old.withResult()); out.Err != nil {
				t.Errorf("late DEL: %+v", out.Err)
			}
			n += expectAll(t, flows(client.pod, young.pod, 9000))
			s += expectSilent(t, flows(client.pod, young.pod, 8000))
			if err := c.node.Check(young.Pod); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			t.Logf("%d flows passed, %d were silent", n, s)
		})
	}
}

// awaitGone waits until the kernel, which ends a namespace in its own time, has taken
// the pod's link away: until then the pod answers who asks in the bridge for its address,
// and ptp takes a route that is there for its own.
func awaitGone(t *testing.T, p chainedPod) {
	t.Helper()
	name := hostEndOf(p)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		_, err := p.c.node.NL.LinkByName(name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return
		}
		if err != nil {
			t.Fatalf("look for %s on %s: %v", name, p.c.node.Name, err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node still has %s, the end of a pod that is gone", name)
		}
	}
}

// TestChainedAgain repeats ADD with other groups, which apply from then on, and with
// the same: a flow that runs goes on.
func TestChainedAgain(t *testing.T) {
	t.Parallel()
	c := newChain(t, "bridge", someDocuments(t).conf(""))
	a, b := c.add(), c.add(annotated("vnet-cni.io/nsg", "some"))
	runs := newTalk(t, a.pod, b.pod, b.v4, 10000)
	n, s := 0, 0
	for _, group := range []string{"other", "some", "some", ""} {
		extra := b.withResult()
		if group != "" {
			extra["runtimeConfig"] = map[string]any{annotations: map[string]string{"vnet-cni.io/nsg": group}}
		}
		if out := b.call("ADD", extra); out.Err != nil {
			t.Fatalf("ADD with %q: %+v", group, out.Err)
		}
		if err := runs.say(testnet.Patience); err != nil {
			t.Errorf("with %q: %v", group, err)
		}
		switch group {
		case "other":
			n, s = n+expectAll(t, flows(a.pod, b.pod, 9000)), s+expectSilent(t, flows(a.pod, b.pod, 8000))
		case "some":
			n, s = n+expectAll(t, flows(a.pod, b.pod, 8000)), s+expectSilent(t, flows(a.pod, b.pod, 9000))
		default:
			n += expectAll(t, slices.Concat(flows(a.pod, b.pod, 8000), flows(a.pod, b.pod, 9000)))
		}
	}
	t.Logf("%d flows passed, %d were silent", n, s)
}
