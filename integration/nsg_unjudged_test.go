package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// Ports of the probes: one flow is denied by all rules, the other is allowed and
// shows that the probes work.
const (
	deniedPort  = 9009
	controlPort = 8008
)

// watch counts what arrives in a namespace, by family.
type watch struct {
	denied, control [2]atomic.Int64
	last            atomic.Value // whom the last denied packet was from
}

func newWatch(t *testing.T, ns *testnet.NS) *watch {
	t.Helper()
	w := &watch{}
	for family, network := range []string{"udp4", "udp6"} {
		for port, count := range map[int]*atomic.Int64{deniedPort: &w.denied[family], controlPort: &w.control[family]} {
			pc := listenIn(t, ns, network, port)
			go func() {
				buf := make([]byte, 64)
				for {
					_, from, err := pc.ReadFrom(buf)
					if err != nil {
						return
					}
					count.Add(1)
					if port == deniedPort {
						w.last.Store(from.String())
					}
				}
			}()
		}
	}
	return w
}

func listenIn(t *testing.T, ns *testnet.NS, network string, port int) net.PacketConn {
	t.Helper()
	var pc net.PacketConn
	err := ns.Bind(func() (err error) {
		pc, err = net.ListenPacket(network, fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

func (w *watch) controls() [2]int64 { return [2]int64{w.control[0].Load(), w.control[1].Load()} }

// awaitControl waits until the allowed flow of both families arrived again.
func (w *watch) awaitControl(since [2]int64) error {
	for deadline := time.Now().Add(testnet.Patience); time.Now().Before(deadline); time.Sleep(200 * time.Microsecond) {
		if now := w.controls(); now[0] > since[0] && now[1] > since[1] {
			return nil
		}
	}
	return fmt.Errorf("the allowed flow stopped: %v packets by family, and %v before", w.controls(), since)
}

// barrage sends to both ports of all addresses, every so often, whether or not
// there is an interface or a route. It returns the number of packets sent so far.
func barrage(t *testing.T, stop <-chan struct{}, wg *sync.WaitGroup, from *testnet.NS, to []netip.Addr) *atomic.Int64 {
	t.Helper()
	socks := [2]net.PacketConn{listenIn(t, from, "udp4", 0), listenIn(t, from, "udp6", 0)}
	sent := &atomic.Int64{}
	wg.Add(1)
	go func() {
		defer wg.Done()
		tick := time.NewTicker(400 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for _, dst := range to {
				sock := socks[0]
				if dst.Is6() {
					sock = socks[1]
				}
				for _, port := range []uint16{deniedPort, controlPort} {
					if _, err := sock.WriteTo([]byte("probe"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, port))); err == nil {
						sent.Add(1)
					}
				}
			}
		}
	}()
	return sent
}

// TestNSGNeverUnjudged attaches and detaches a pod over and over, kills every
// other ADD at a random moment, and sends all the while to the pod's addresses and
// out of its namespace: nothing of what the rules deny ever arrives.
func TestNSGNeverUnjudged(t *testing.T) {
	t.Parallel()
	control := fmt.Sprint(controlPort)
	closed := restGroup("closed", allowIn("Udp", control), denyIn("*", "*"), allowOut("Udp", control), denyOut("*", "*"))
	open := restGroup("open", allowIn("*", "*"), allowOut("*", "*"))
	for _, backend := range backends {
		for level, ask := range map[string]string{"subnet": "", "interface": "closed"} {
			t.Run(level+" "+backend, func(t *testing.T) {
				t.Parallel()
				docs, subnet := newDocuments(t, closed, open), "closed"
				if ask != "" {
					subnet = "open"
				}
				s := newSiege(t, docs, subnet, ask, backend)
				s.run(50)
			})
		}
	}
}

// siege is a pod under probes, and those who probe it.
type siege struct {
	t       *testing.T
	docs    documents
	conf    config
	node    *testnet.Node
	far     *testnet.Node
	target  *testnet.Pod
	addrs   []netip.Addr
	ask     string
	random  *rand.Rand
	in, out *watch   // in the pod, and on the other node
	others  []*watch // where the pod sends what nobody may get
	stop    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
	sent    []*atomic.Int64
	killed  int
	took    time.Duration // by the last ADD that was not killed
}

func newSiege(t *testing.T, docs documents, subnet, ask, backend string) *siege {
	t.Helper()
	s := &siege{t: t, docs: docs, ask: ask, random: seeded(t), stop: make(chan struct{})}
	s.addrs = []netip.Addr{netip.MustParseAddr("10.241.4.77"), netip.MustParseAddr("fd00:10:241::477")}
	first := true
	_, nodes := cluster(t, 2, func(c config) {
		if first {
			judged(docs.conf(subnet))(c)
			s.conf, first = c, false
		}
	}, testnet.WithIptables(backend))
	s.node, s.far, s.target = nodes[0], nodes[1], nodes[0].NewPod()
	for _, a := range s.addrs { // packets come whether or not somebody answers for the address
		believe(t, s.far, s.node, a)
		entry := neighbour(t, s.far.NS, testnet.Uplink, a.String(), s.mac())
		if err := s.far.NL.NeighSet(entry); err != nil {
			t.Fatal(err)
		}
	}
	s.in, s.out = newWatch(t, s.target.NS), newWatch(t, s.far.NS)
	s.others = []*watch{newWatch(t, s.node.NS)}
	t.Cleanup(s.end)
	s.sent = append(s.sent, barrage(t, s.stop, &s.wg, s.far.NS, s.addrs),
		barrage(t, s.stop, &s.wg, s.target.NS, []netip.Addr{s.far.IPv4, s.far.IPv6, s.node.IPv4, s.node.IPv6}))
	return s
}

func (s *siege) mac() string {
	mac, err := s.node.MAC(testnet.Uplink)
	if err != nil {
		s.t.Fatal(err)
	}
	return mac.String()
}

func (s *siege) end() {
	s.once.Do(func() { close(s.stop) })
	s.wg.Wait()
}

// run kills the first ADDs, which install the rules, then lets a neighbour join
// in, and goes on for so many rounds.
func (s *siege) run(rounds int) {
	s.t.Helper()
	if soak() {
		rounds *= 20
	}
	for range 3 {
		s.killedADD(150 * time.Millisecond)
	}
	s.wholeADD()
	bystander := s.node.NewPod()
	near := attachFor(s.t, s.conf, s.node.NewPod(), "")
	s.sent = append(s.sent, barrage(s.t, s.stop, &s.wg, near.NS, s.addrs))
	for i := range rounds {
		if i%5 == 0 { // rules without the group that the pod asks for come, and go with its next ADD
			s.docs.put("later.json", restGroup("later", denyIn("*", fmt.Sprint(1000+i))))
			attachFor(s.t, s.conf, bystander, "")
		}
		if i%2 == 0 {
			s.wholeADD()
		} else {
			s.killedADD(s.took)
		}
		if s.t.Failed() {
			break
		}
	}
	s.report(rounds)
	s.openUp()
	s.end()
}

func (s *siege) stdin() []byte {
	ips := []string{s.addrs[0].String() + "/16", s.addrs[1].String() + "/64"}
	return s.conf.stdin(s.t, map[string]any{"runtimeConfig": map[string]any{"ips": ips}})
}

func (s *siege) wholeADD() {
	s.t.Helper()
	start := time.Now()
	out := s.node.Exec("vnet", asking(s.target, "ADD", s.ask), s.stdin())
	if out.Err != nil {
		s.t.Fatalf("ADD: %+v", out.Err)
	}
	s.took = time.Since(start)
	in, outward := s.in.controls(), s.out.controls()
	if err := s.in.awaitControl(in); err != nil {
		s.t.Errorf("to the pod: %v", err)
	}
	if err := s.out.awaitControl(outward); err != nil {
		s.t.Errorf("from the pod: %v", err)
	}
	s.del()
}

// killedADD ends an ADD at a moment within the time, and looks a little later
// what arrives.
func (s *siege) killedADD(within time.Duration) {
	s.t.Helper()
	if addKilledAfter(s.t, s.target, asking(s.target, "ADD", s.ask), s.stdin(), time.Duration(s.random.Int64N(int64(within)))) {
		s.killed++
	}
	time.Sleep(3 * time.Millisecond)
	s.del()
}

func (s *siege) del() {
	s.t.Helper()
	if out := s.node.Exec("vnet", s.target.Env("DEL"), s.stdin()); out.Err != nil {
		s.t.Errorf("DEL: %+v", out.Err)
	}
}

func (s *siege) report(rounds int) {
	s.t.Helper()
	for name, w := range map[string]*watch{"the pod": s.in, "the other node": s.out, "the pod's node": s.others[0]} {
		for family, version := range []string{"IPv4", "IPv6"} {
			if n := w.denied[family].Load(); n > 0 {
				s.t.Errorf("%d denied %s packets arrived at %s, the last from %v", n, version, name, w.last.Load())
			}
		}
	}
	var sent int64
	for _, n := range s.sent {
		sent += n.Load()
	}
	s.t.Logf("%d rounds, %d ADDs killed, %d packets sent; allowed ones arrived: %v at the pod, %v at the other node",
		rounds, s.killed, sent, s.in.controls(), s.out.controls())
	if s.killed == 0 {
		s.t.Error("no ADD was killed")
	}
}

// openUp takes the groups out of the configuration: now the denied flows have to
// arrive, or the probes would have proved nothing.
func (s *siege) openUp() {
	s.t.Helper()
	delete(s.conf.plugin, "nsg")
	if out := s.node.Exec("vnet", s.target.Env("ADD"), s.stdin()); out.Err != nil {
		s.t.Fatalf("ADD without groups: %+v", out.Err)
	}
	for name, w := range map[string]*watch{"to the pod": s.in, "from the pod": s.out} {
		deadline := time.Now().Add(testnet.Patience)
		for (w.denied[0].Load() == 0 || w.denied[1].Load() == 0) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if w.denied[0].Load() == 0 || w.denied[1].Load() == 0 {
			s.t.Errorf("%s: without rules the denied flow does not arrive either", name)
		}
	}
}
