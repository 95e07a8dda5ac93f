package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNSGStorm attaches and detaches pods with several groups while documents are
// swapped and, where there is one, vnetctl applies them: no verb fails, no probe is
// judged wrongly, and what is left is what a quiet node has.
func TestNSGStorm(t *testing.T) {
	t.Parallel()
	const pods, workers = 40, 4
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			docs := lifeDocuments(t)
			docs.put("some.json", variant("some", true, false))
			conf, _, node := judgedNode(t, docs.conf("some"), testnet.WithIptables(backend))
			a, b := attach(t, node), attach(t, node, withNSG("plain-1"))
			quiet := onlyRules(node)
			probes := startProbes(t, [][2]pod{{a, b}})
			h := &holders{byAddr: map[string]string{}}
			stop, swaps := make(chan struct{}), make(chan int)
			go swapUntil(t, docs, appliers(t), conf, node, stop, swaps)
			inParallel(workers, pods, func(i int) {
				p := node.NewPod()
				env := asking(p, "ADD", lifeGroups[i%len(lifeGroups)])
				env["CNI_ARGS"] += fmt.Sprintf(";VNET_ASGS=asg-%d", i%5)
				if out := addInTurn(node, env, conf.stdin(t, nil)); out.Err != nil {
					h.fail("ADD: %+v", out.Err)
				}
				h.del(t, node, conf, p)
				p.Delete()
			})
			close(stop)
			n := <-swaps
			for _, e := range h.errs {
				t.Error(e)
			}
			told := probes.stop(t)
			docs.put("some.json", variant("some", true, false))
			appliers(t)[0].apply(t, conf, node)
			for _, line := range testnet.Diff(quiet, onlyRules(node)) {
				t.Errorf("after the storm: %s", line)
			}
			t.Logf("%d ADD and DEL, %d swaps; %s", pods, n, told)
		})
	}
}

// addInTurn runs an ADD that has to change rules beside others that have to. Each may
// take seconds on a busy machine, and who waited for a minute is told to try again, as a
// runtime does.
func addInTurn(n *testnet.Node, env map[string]string, stdin []byte) testnet.Output {
	out := n.Exec("vnet", env, stdin)
	for try := 1; try < 5 && out.Err != nil && out.Err.Code == codeTryAgain && strings.Contains(out.Err.Msg, "the lock is held by another process"); try++ {
		out = n.Exec("vnet", env, stdin)
	}
	return out
}

func swapUntil(t *testing.T, docs documents, by []applier, conf config, node *testnet.Node, stop <-chan struct{}, swaps chan<- int) {
	n := 0
	defer func() { swaps <- n }()
	for ; ; n++ {
		select {
		case <-stop:
			return
		default:
			docs.put("some.json", variant("some", n%2 == 1, false))
			if how := by[n%len(by)]; how.name != "next ADD" {
				how.apply(t, conf, node)
			}
			time.Sleep(30 * time.Millisecond)
		}
	}
}

// TestNSGNewGroupBesideOld attaches two pods at the same time: one asks for a group
// whose rules are there though no pod has it any more, one for a group whose rules
// have to be made, which takes away those of groups that no pod has.
func TestNSGNewGroupBesideOld(t *testing.T) {
	t.Parallel()
	rounds := 20
	if soak() {
		rounds *= 10
	}
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			var groups []map[string]any
			for i := range 4 {
				groups = append(groups, restGroup(fmt.Sprintf("g%d", i), denyIn("*", "9000-9399")))
			}
			conf, _, node := judgedNode(t, newDocuments(t, groups...).conf(""), testnet.WithIptables(backend))
			client, r := attach(t, node), seeded(t)
			var took time.Duration
			flowsSeen := 0
			for i := range rounds {
				old, made := node.NewPod(), node.NewPod()
				start := time.Now()
				outs := bothAdded(conf, t, []*testnet.Pod{made, old}, []int{i + 1, i}, time.Duration(r.Int64N(int64(took)+1)))
				took = time.Since(start)
				for k, p := range []*testnet.Pod{made, old} {
					if outs[k].Err != nil {
						t.Fatalf("round %d: ADD: %+v", i, outs[k].Err)
					}
					flowsSeen += expectAlive(t, conf, client, p, outs[k], fmt.Sprintf("round %d, pod %d", i, k))
				}
				for _, p := range []*testnet.Pod{made, old} {
					node.Exec("vnet", p.Env("DEL"), conf.stdin(t, nil))
					p.Delete()
				}
				if t.Failed() {
					break
				}
			}
			t.Logf("%d rounds, %d flows passed", rounds, flowsSeen)
		})
	}
}

// bothAdded calls ADD for two pods, the second so much later.
func bothAdded(conf config, t *testing.T, pods []*testnet.Pod, groups []int, delay time.Duration) [2]testnet.Output {
	t.Helper()
	var outs [2]testnet.Output
	var wg sync.WaitGroup
	for k, p := range pods {
		wg.Add(1)
		go func() {
			defer wg.Done()
			time.Sleep(time.Duration(k) * delay)
			outs[k] = p.Node.Exec("vnet", asking(p, "ADD", fmt.Sprintf("g%d", groups[k]%4)), conf.stdin(t, nil))
		}()
	}
	wg.Wait()
	return outs
}

// expectAlive wants CHECK to be content and what the pod's group allows to pass.
func expectAlive(t *testing.T, conf config, client pod, p *testnet.Pod, added testnet.Output, who string) int {
	t.Helper()
	addrs, err := addresses(added)
	if err != nil {
		t.Fatal(err)
	}
	at := pod{Pod: p}
	at.v4, at.v6 = split(addrs)
	out := p.Node.Exec("vnet", p.Env("CHECK"), conf.stdin(t, map[string]any{"prevResult": json.RawMessage(added.Stdout)}))
	if out.Err != nil {
		t.Errorf("%s: CHECK: %v", who, out.Err)
	}
	return expectAll(t, append(pings(client, at), pings(at, client)...))
}

// TestNSGKilledSwaps kills ADDs that put changed documents in force at a random
// moment: living pods stay judged by one variant or the other, and the next ADD
// completes what was begun.
func TestNSGKilledSwaps(t *testing.T) {
	t.Parallel()
	rounds := 15
	if soak() {
		rounds *= 20
	}
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			docs := newDocuments(t, variant("some", true, false), restGroup("own", denyIn("*", "9000-9999")))
			conf, _, node := judgedNode(t, docs.conf("some"), testnet.WithIptables(backend))
			a, b, r := attach(t, node), attach(t, node, withNSG("own")), seeded(t)
			before := onlyRules(node)
			probes := startProbes(t, [][2]pod{{a, b}})
			took, killed := 300*time.Millisecond, 0
			for i := range rounds {
				docs.put("some.json", variant("some", i%2 == 1, false))
				victim := node.NewPod()
				if addKilledAfter(t, victim, victim.Env("ADD"), conf.stdin(t, nil), time.Duration(r.Int64N(int64(took)))) {
					killed++
				}
				if i%3 != 2 {
					continue
				}
				start := time.Now()
				whole := attachFor(t, conf, node.NewPod(), "own")
				took = time.Since(start)
				expectHealthy(t, whole, "after a killed swap")
				node.Exec("vnet", whole.Env("DEL"), conf.stdin(t, nil))
			}
			told := probes.stop(t)
			docs.put("some.json", variant("some", true, false))
			appliers(t)[0].apply(t, conf, node)
			node.Exec("vnet", map[string]string{"CNI_COMMAND": "GC", "CNI_PATH": "/"}, conf.stdin(t, map[string]any{
				"cni.dev/valid-attachments": []any{attachmentOf(a), attachmentOf(b)}}))
			for _, line := range testnet.Diff(before, onlyRules(node)) {
				t.Errorf("after killed swaps: %s", line)
			}
			if killed == 0 {
				t.Error("no ADD was killed")
			}
			t.Logf("%d swaps, %d killed; %s", rounds, killed, told)
		})
	}
}

func attachmentOf(p pod) map[string]string {
	return map[string]string{"containerID": p.ContainerID(), "ifname": "eth0"}
}

// addKilledAfter ends an ADD after some time and tells whether it was still running.
func addKilledAfter(t *testing.T, p *testnet.Pod, env map[string]string, stdin []byte, after time.Duration) bool {
	t.Helper()
	path := p.Node.StateDir() + "-" + p.Name
	if err := writeFile(path, string(stdin)); err != nil {
		t.Fatal(err)
	}
	cmd := p.Node.Command(env, "/bin/sh", "-c", `exec "$0" <"$1"`, testnet.Bin(t, "vnet"), path)
	if err := p.Node.Start(cmd); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	return cmd.Wait() != nil
}
