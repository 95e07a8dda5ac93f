package integration

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// holders knows who has which address at this moment.
type holders struct {
	mu     sync.Mutex
	byAddr map[string]string
	errs   []string
}

func (h *holders) take(addr, who string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, taken := h.byAddr[addr]; taken {
		h.errs = append(h.errs, fmt.Sprintf("%s given to %s while %s has it", addr, who, other))
	}
	h.byAddr[addr] = who
}

func (h *holders) fail(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errs = append(h.errs, fmt.Sprintf(format, args...))
}

// TestChurn attaches and detaches many pods at the same time.
func TestChurn(t *testing.T) {
	t.Parallel()
	const pods, workers, rounds = 250, 32, 3
	conf, node := churnNode(t, []string{"10.241.4.0/23"}, []string{"fd00:10:241::400/119"})
	before := testnet.Snapshot(node)
	h := &holders{byAddr: map[string]string{}}
	sandboxes := make([]*testnet.Pod, pods)
	for i := range sandboxes {
		sandboxes[i] = node.NewPod()
	}
	start := time.Now()
	for range rounds {
		inParallel(workers, pods, func(i int) { h.add(t, node, conf, sandboxes[i]) })
		if len(h.byAddr) != 2*pods {
			t.Errorf("%d pods hold %d addresses, want two each", pods, len(h.byAddr))
		}
		inParallel(workers, pods, func(i int) { h.del(t, node, conf, sandboxes[i]) })
	}
	// Adds and deletions mixed: what one pod frees another takes at once.
	inParallel(workers, pods, func(i int) {
		h.add(t, node, conf, sandboxes[i])
		h.del(t, node, conf, sandboxes[i])
	})
	for _, e := range h.errs {
		t.Error(e)
	}
	expectNothingLeft(t, before, node)
	t.Logf("%d ADD and %d DEL by %d workers in %v", pods*(rounds+1), pods*(rounds+1), workers, time.Since(start).Round(time.Millisecond))
}

// TestSmallPool serves more pods than it has addresses, one after the other.
func TestSmallPool(t *testing.T) {
	t.Parallel()
	const pods, size = 100, 8
	conf, node := churnNode(t, []string{"10.241.4.8/29"}, []string{"fd00:10:241::408/125"})
	sandbox := node.NewPod()
	last := map[string]int{} // address → number of the pod that had it last
	for i := range pods {
		for _, addr := range added(t, node, conf, sandbox) {
			// With one pod at a time and eight addresses, seven others are
			// older than the one just released.
			if before, used := last[addr]; used && i-before < size {
				t.Errorf("pod %d got %s, which pod %d of %d addresses had", i, addr, before, size)
			}
			last[addr] = i
		}
		if out := node.Exec("vnet", sandbox.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
			t.Fatalf("DEL of pod %d: %v", i, out.Err)
		}
	}
	if len(last) != 2*size {
		t.Errorf("%d different addresses were used, want %d", len(last), 2*size)
	}
	t.Logf("%d pods served with %d addresses", pods, len(last))
}

// TestFullPool wants the code for "try again later", and service again after a
// release.
func TestFullPool(t *testing.T) {
	t.Parallel()
	const size = 4
	conf, node := churnNode(t, []string{"10.241.4.8/30"}, []string{"fd00:10:241::400/120"})
	var all []*testnet.Pod
	for range size {
		p := node.NewPod()
		added(t, node, conf, p)
		all = append(all, p)
	}
	full := testnet.Snapshot(node)
	p := node.NewPod()
	if out := node.Exec("vnet", p.Env("ADD"), conf.stdin(t, nil)); out.Err == nil || out.Err.Code != 11 {
		t.Errorf("ADD to a full pool: %+v, want code 11", out.Err)
	}
	expectNothingLeft(t, full, node)
	if out := node.Exec("vnet", all[0].Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
		t.Fatalf("DEL: %v", out.Err)
	}
	added(t, node, conf, p)
	t.Logf("%d addresses, 1 refusal, 1 served after a release", size)
}

// churnNode is a node whose pools are the given ranges, with one pod behind it.
func churnNode(t *testing.T, v4, v6 []string) (config, *testnet.Node) {
	t.Helper()
	var conf config
	_, nodes := cluster(t, 1, func(c config) {
		c.pools(poolOf("10.241.0.0/16", v4...), poolOf("fd00:10:241::/64", v6...))
		c.plugin["masquerade"] = map[string]any{}
		conf = c
	})
	warmUp(t, nodes[0])
	return conf, nodes[0]
}

func (h *holders) add(t *testing.T, n *testnet.Node, c config, p *testnet.Pod) {
	addrs, err := addresses(n.Exec("vnet", p.Env("ADD"), c.stdin(t, nil)))
	if err != nil {
		h.fail("ADD: %v", err)
	}
	for _, a := range addrs {
		h.take(a, p.Name)
	}
}

// del gives the addresses back before DEL runs, for DEL may free them at any
// moment until it returns.
func (h *holders) del(t *testing.T, n *testnet.Node, c config, p *testnet.Pod) {
	h.mu.Lock()
	for addr, who := range h.byAddr {
		if who == p.Name {
			delete(h.byAddr, addr)
		}
	}
	h.mu.Unlock()
	if out := n.Exec("vnet", p.Env("DEL"), c.stdin(t, nil)); out.Err != nil {
		h.fail("DEL: %v", out.Err)
	}
}

func added(t *testing.T, n *testnet.Node, c config, p *testnet.Pod) []string {
	t.Helper()
	addrs, err := addresses(n.Exec("vnet", p.Env("ADD"), c.stdin(t, nil)))
	if err != nil {
		t.Fatalf("ADD: %v", err)
	}
	return addrs
}

func addresses(out testnet.Output) ([]string, error) {
	if out.Err != nil {
		return nil, fmt.Errorf("code %d: %w", out.Err.Code, out.Err)
	}
	result, err := out.Result()
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, ip := range result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		addrs = append(addrs, a.Unmap().String())
	}
	return addrs, nil
}

// inParallel calls f(0) to f(n-1) with that many workers.
func inParallel(workers, n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		}()
	}
	wg.Wait()
}
