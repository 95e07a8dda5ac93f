package integration

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNothingOutlivesDEL looks for processes on the node after DEL: the child that
// waits for the kernel ends by itself.
func TestNothingOutlivesDEL(t *testing.T) {
	t.Parallel()
	conf, node := churnNode(t, []string{"10.241.4.8/29"}, []string{"fd00:10:241::408/125"})
	seen := node.Command(nil, "/usr/bin/env", "sleep", "600")
	if err := node.Start(seen); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		_ = seen.Process.Kill()
		_ = seen.Wait()
	})
	t.Cleanup(end)
	awaitProcesses(t, node, 1)
	end()

	const pods = 5
	for range pods {
		p := node.NewPod()
		added(t, node, conf, p)
		if out := node.Exec("vnet", p.Env("DEL"), conf.stdin(t, nil)); out.Err != nil {
			t.Fatalf("DEL: %v", out.Err)
		}
	}
	awaitProcesses(t, node, 0)
	t.Logf("%d DEL", pods)
}

func awaitProcesses(t *testing.T, n *testnet.Node, want int) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); processesOn(t, n) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d processes on the node, want %d", processesOn(t, n), want)
		}
	}
}

// processesOn counts the processes in a node's network namespace. One that has ended
// and waits to be collected is in none.
func processesOn(t *testing.T, n *testnet.Node) (count int) {
	t.Helper()
	want, err := os.Stat(n.Path)
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if have, err := os.Stat(path); err == nil && os.SameFile(have, want) {
			count++
		}
	}
	return count
}
