package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// applier makes a node take notice of documents that changed.
type applier struct {
	name  string
	apply func(t *testing.T, conf config, n *testnet.Node)
}

// appliers are the next ADD, and vnetctl where it can.
func appliers(t *testing.T) []applier {
	t.Helper()
	all := []applier{{"next ADD", func(t *testing.T, conf config, n *testnet.Node) {
		t.Helper()
		extra := attachFor(t, conf, n.NewPod(), "")
		if out := n.Exec("vnet", extra.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
			t.Errorf("DEL: %v", out.Err)
		}
		extra.Delete()
	}}}
	if !hasVnetctlApply(t) {
		return all
	}
	return append(all, applier{"vnetctl apply", func(t *testing.T, _ config, n *testnet.Node) {
		t.Helper()
		if _, err := n.Shell(testnet.Bin(t, "vnetctl"), "--state-dir", n.StateDir(), "apply"); err != nil {
			t.Error(err)
		}
	}})
}

func hasVnetctlApply(t *testing.T) bool {
	t.Helper()
	n := testnet.New(t).AddNode("help")
	help, err := n.Shell(testnet.Bin(t, "vnetctl"), "--help")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(help, "\n  apply ")
}

// variant is one of two groups that are swapped: 8000 and up is allowed by both,
// 9000 and up by none, 8600 only by the first.
func variant(name string, first bool, flush bool) map[string]any {
	rules := []secRule{allowIn("*", "8000-8599"), allowIn("Tcp", "8600-8999").from("10.0.0.0/8"), allowIn("Tcp", "8600-8999").from("fd00::/16")}
	if !first {
		rules = []secRule{denyIn("*", "8600-8999").from("10.0.0.0/9"), denyIn("*", "9000"), allowIn("*", "8000-8599").from("VirtualNetwork")}
	}
	g := restGroup(name, append(rules, denyIn("*", "*"), denyOut("*", "9000-9999"))...)
	if flush {
		g["properties"].(map[string]any)["flushConnection"] = true
	}
	return g
}

// talk is a TCP connection that goes on and on.
type talk struct{ conn net.Conn }

// newTalk connects to an echo server in the other namespace. It listens no longer than
// that, for the ports of a class come again and others may want this one.
func newTalk(t *testing.T, from, to pod, dst netip.Addr, class uint16) talk {
	t.Helper()
	port := portOf(class)
	var ln net.Listener
	err := to.Bind(func() (err error) {
		ln, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan struct{})
	go func() {
		c, err := ln.Accept()
		close(accepted)
		if err == nil {
			defer c.Close()
			_, _ = io.Copy(c, c) // until the client hangs up
		}
	}()
	var conn net.Conn
	err = from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(dst, port).String(), testnet.Patience)
		return err
	})
	if err != nil {
		t.Fatalf("connect to %s: %v", dst, err)
	}
	t.Cleanup(func() { conn.Close() })
	<-accepted
	return talk{conn}
}

// say sends some kilobytes and wants them back in time.
func (c talk) say(within time.Duration) error {
	_ = c.conn.SetDeadline(time.Now().Add(within))
	sent := make([]byte, 8192)
	if _, err := c.conn.Write(sent); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, sent)
	return err
}

// TestNSGRunningFlow changes the rules under a running transfer, which goes on
// although they deny it now, unless the group says flushConnection.
func TestNSGRunningFlow(t *testing.T) {
	t.Parallel()
	for _, by := range appliers(t) {
		for _, flush := range []bool{false, true} {
			for _, backend := range backends {
				t.Run(fmt.Sprintf("%s flushConnection %t %s", by.name, flush, backend), func(t *testing.T) {
					t.Parallel()
					docs := newDocuments(t, variant("nsg", true, flush))
					conf, _, node := judgedNode(t, docs.conf("nsg"), testnet.WithIptables(backend))
					a, b := attach(t, node), attach(t, node)
					n := expectRunning(t, a, b, flush, func() {
						docs.put("nsg.json", variant("nsg", false, flush))
						by.apply(t, conf, node)
					})
					t.Logf("%d running flows", n)
				})
			}
		}
	}
}

func expectRunning(t *testing.T, from, to pod, flush bool, change func()) int {
	t.Helper()
	dst := to.v4 // the second variant denies IPv6 by having no rule for it
	denied, allowed := newTalk(t, from, to, dst, 8600), newTalk(t, from, to, dst, 8000)
	denied6 := newTalk(t, from, to, to.v6, 8600)
	for _, c := range []talk{denied, denied6, allowed} {
		if err := c.say(testnet.Patience); err != nil {
			t.Fatalf("before the change: %v", err)
		}
	}
	change()
	within := testnet.Patience
	if flush {
		within = 700 * time.Millisecond
	}
	for name, c := range map[string]talk{"IPv4": denied, "IPv6": denied6} {
		err := c.say(within)
		if flush && !testnet.IsTimeout(err) {
			t.Errorf("%s: a running flow that is denied now goes on in spite of flushConnection: %v", name, err)
		}
		if !flush && err != nil {
			t.Errorf("%s: a change of rules broke a running flow: %v", name, err)
		}
	}
	if err := allowed.say(testnet.Patience); err != nil {
		t.Errorf("a running flow that is allowed broke: %v", err)
	}
	expectSilent(t, flows(from, to, 8600)) // new ones
	return 3
}

// TestNSGSwaps swaps the rules twenty times while probes of new flows go on: one
// that both allow never fails, one that both deny never passes. No rule and no set
// of the other variant stays.
func TestNSGSwaps(t *testing.T) {
	t.Parallel()
	for _, by := range appliers(t) {
		for _, backend := range backends {
			t.Run(by.name+" "+backend, func(t *testing.T) {
				t.Parallel()
				docs := newDocuments(t, variant("nsg", true, false))
				var conf config
				_, nodes := cluster(t, 2, func(c config) { judged(docs.conf("nsg"))(c); conf = c }, testnet.WithIptables(backend))
				conf = vnetConfig(nodes[0], 0)
				judged(docs.conf("nsg"))(conf)
				a, b := attach(t, nodes[0]), attach(t, nodes[0], withNSG("nsg"))
				swap := func(first bool) testnet.State {
					docs.put("nsg.json", variant("nsg", first, false))
					by.apply(t, conf, nodes[0])
					return onlyRules(nodes[0])
				}
				states := map[bool]testnet.State{true: swap(true), false: swap(false)}
				if len(testnet.Diff(states[true], states[false])) == 0 {
					t.Fatal("the variants have the same rules: nothing is proved")
				}
				probes := startProbes(t, [][2]pod{{asPod(nodes[1]), a}, {a, b}, {b, a}})
				const swaps = 20
				for i := range swaps {
					first := i%2 == 0
					for _, line := range testnet.Diff(states[first], swap(first)) {
						t.Errorf("swap %d: not as the first time: %s", i, line)
					}
				}
				t.Logf("%d swaps, %s", swaps, probes.stop(t))
				expectSilent(t, flows(b, a, 8600))
			})
		}
	}
}

// probing sends new flows until it is stopped, or the test ends: what goes on then would
// be in namespaces that others have by now.
type probing struct {
	end             chan struct{}
	once            sync.Once
	wg              sync.WaitGroup
	passed, denied  atomic.Int64
	mu              sync.Mutex
	broken, leaking []string
}

func startProbes(t *testing.T, pairs [][2]pod) *probing {
	t.Helper()
	p := &probing{end: make(chan struct{})}
	t.Cleanup(p.halt)
	for _, pair := range pairs {
		p.loop(func() {
			// TCP repeats what is lost, but not the UDP that is sent at the same time.
			for _, err := range tryWithin(flows(pair[0], pair[1], 8000), testnet.Patience) {
				if err != nil {
					p.tell(&p.broken, err.Error())
				}
				p.passed.Add(1)
			}
		})
		p.loop(func() {
			denied := flows(pair[0], pair[1], 9000)
			for i, err := range tryWithin(denied, 100*time.Millisecond) {
				if err == nil {
					p.tell(&p.leaking, denied[i].String())
				}
				p.denied.Add(1)
			}
		})
	}
	return p
}

// tryWithin sends all flows at once and returns their errors.
func tryWithin(all []expectation, timeout time.Duration) []error {
	flows := make([]testnet.Flow, len(all))
	for i, e := range all {
		flows[i] = e.Flow
		flows[i].Timeout = timeout
	}
	_, errs := testnet.TryAll(flows)
	return errs
}

func (p *probing) tell(list *[]string, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*list = append(*list, what)
}

func (p *probing) loop(round func()) {
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		for {
			select {
			case <-p.end:
				return
			default:
				round()
			}
		}
	}()
}

func (p *probing) halt() {
	p.once.Do(func() { close(p.end) })
	p.wg.Wait()
}

func (p *probing) stop(t *testing.T) string {
	t.Helper()
	p.halt()
	for _, s := range p.broken {
		t.Errorf("allowed before and after, and failed: %s", s)
	}
	for _, s := range p.leaking {
		t.Errorf("denied before and after, and passed: %s", s)
	}
	if p.passed.Load() == 0 || p.denied.Load() == 0 {
		t.Error("no probe was sent")
	}
	return fmt.Sprintf("%d new flows passed, %d were denied", p.passed.Load(), p.denied.Load())
}
