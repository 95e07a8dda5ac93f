package integration

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNSGAddressReused gives an address that packets of a flow are sent to, to a
// pod whose group denies everything, and which sends from the port that they are
// for: whether the flow is a running one of a pod that had the address before, or
// one to nobody so far, none of it arrives in either direction.
func TestNSGAddressReused(t *testing.T) {
	t.Parallel()
	const rounds = 3
	cases := map[string]reuse{
		"flow of another pod":                   {before: true},
		"flow of another pod that goes on":      {before: true, on: true},
		"flow to nobody":                        {on: true},
		"flow of a neighbour to nobody":         {on: true, near: true},
		"flow of another pod with a neighbour":  {before: true, near: true},
		"flow that goes on, with the neighbour": {before: true, on: true, near: true},
	}
	for name, r := range cases {
		for _, backend := range backends {
			t.Run(name+" "+backend, func(t *testing.T) {
				t.Parallel()
				r := r
				r.prepare(t, backend)
				flows := 0
				for range rounds {
					flows += r.round(t)
				}
				t.Logf("%d rounds, %d flows", rounds, flows)
			})
		}
	}
}

// reuse is an address that goes from hand to hand, and who sends to it.
type reuse struct {
	before bool // another pod has the address first, and talks
	on     bool // the peer sends on while nobody has the address
	near   bool // the peer is a pod of the same node

	conf  config
	node  *testnet.Node
	addrs []netip.Addr
	peer  pod
}

func (r *reuse) prepare(t *testing.T, backend string) {
	t.Helper()
	closed := restGroup("closed", denyIn("*", "*"), denyOut("*", "*"))
	conf, f, node := judgedNode(t, newDocuments(t, closed).conf(""), testnet.WithIptables(backend))
	r.conf, r.node = conf, node
	r.addrs = []netip.Addr{netip.MustParseAddr("10.241.4.88"), netip.MustParseAddr("fd00:10:241::488")}
	if r.near {
		r.peer = attach(t, node)
		return
	}
	r.peer = asPod(f.AddNode("far"))
	mac, err := node.MAC(testnet.Uplink)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range r.addrs { // as where a route leads to the node, or the neighbour was known
		if err := r.peer.NL.NeighSet(neighbour(t, r.peer.NS, testnet.Uplink, a.String(), mac.String())); err != nil {
			t.Fatal(err)
		}
	}
}

// pair is a UDP flow with fixed ports, both of whose ends send all the time. The peer
// does not count what is still on its way from a pod that had the address before.
type pair struct {
	mark     string
	ends     [2]net.PacketConn // the pod's, the peer's
	received [2]atomic.Int64
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
}

const reusedPort = 7777

var pairs atomic.Int64

// newPair opens the pod's end with the wildcard address: the pod may have none yet.
func newPair(t *testing.T, inPod, atPeer *testnet.NS, podAddr, peerAddr netip.Addr) *pair {
	t.Helper()
	network := "udp6"
	if podAddr.Is4() {
		network = "udp4"
	}
	p := &pair{mark: fmt.Sprint(pairs.Add(1)), done: make(chan struct{}), ends: [2]net.PacketConn{listenIn(t, inPod, network, reusedPort), listenIn(t, atPeer, network, reusedPort)}}
	t.Cleanup(p.close)
	for i, to := range []netip.Addr{peerAddr, podAddr} {
		p.wg.Add(2)
		go func() {
			defer p.wg.Done()
			for buf := make([]byte, 32); ; {
				n, _, err := p.ends[i].ReadFrom(buf)
				if err != nil {
					return
				}
				if i == 0 || string(buf[:n]) == p.mark {
					p.received[i].Add(1)
				}
			}
		}()
		go func() {
			defer p.wg.Done()
			for dst := net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, reusedPort)); ; time.Sleep(300 * time.Microsecond) {
				select {
				case <-p.done:
					return
				default:
					_, _ = p.ends[i].WriteTo([]byte(p.mark), dst)
				}
			}
		}()
	}
	return p
}

func (p *pair) close() {
	p.once.Do(func() { close(p.done) })
	for _, e := range p.ends {
		e.Close()
	}
	p.wg.Wait()
}

// round has one pod talk and go, and another one come in its place.
func (r *reuse) round(t *testing.T) int {
	t.Helper()
	old, heir := r.node.NewPod(), r.node.NewPod()
	defer old.Delete()
	defer heir.Delete()
	if r.before {
		r.verb(t, old, "ADD", "")
		talks := r.talks(t, old)
		for _, p := range talks {
			p.await(t)
		}
		if !r.on {
			closeAll(talks)
		}
		r.verb(t, old, "DEL", "")
		if r.on {
			closeAll(talks)
		}
	}
	var talks []*pair
	if r.on {
		talks = r.talks(t, heir)
		time.Sleep(2 * time.Millisecond)
	}
	r.verb(t, heir, "ADD", "closed")
	if !r.on {
		talks = r.talks(t, heir)
	}
	time.Sleep(5 * time.Millisecond)
	r.verb(t, heir, "DEL", "closed")
	closeAll(talks)
	for i, p := range talks {
		if in, out := p.received[0].Load(), p.received[1].Load(); in+out > 0 {
			t.Errorf("%s: %d packets of the flow came to the closed pod, %d from it", r.addrs[i], in, out)
		}
	}
	return len(talks)
}

func (r *reuse) verb(t *testing.T, p *testnet.Pod, verb, group string) {
	t.Helper()
	fixed := map[string]any{"runtimeConfig": map[string]any{"ips": []string{r.addrs[0].String() + "/16", r.addrs[1].String() + "/64"}}}
	if out := r.node.Exec("vnet", asking(p, verb, group), r.conf.stdin(t, fixed)); out.Err != nil {
		t.Fatalf("%s: %+v", verb, out.Err)
	}
}

func (r *reuse) talks(t *testing.T, p *testnet.Pod) []*pair {
	t.Helper()
	var all []*pair
	for _, a := range r.addrs {
		all = append(all, newPair(t, p.NS, r.peer.NS, a, r.peer.like(a)))
	}
	return all
}

func closeAll(all []*pair) {
	for _, p := range all {
		p.close()
	}
}

// await waits until both ends have heard of each other.
func (p *pair) await(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(testnet.Patience); p.received[0].Load() < 3 || p.received[1].Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no talk between the pod and its peer: %d and %d packets", p.received[0].Load(), p.received[1].Load())
		}
	}
}
