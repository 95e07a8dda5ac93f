package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestChainedStorm has many pods judged and let go at the same time, each with one of
// some groups: all are members of their own sets, and nobody of any afterwards.
func TestChainedStorm(t *testing.T) {
	t.Parallel()
	const pods, workers, rounds = 24, 8, 3
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			c := newChain(t, "ptp", lifeDocuments(t).conf("some"), testnet.WithIptables(backend))
			behind(c.node, config{network: "pods", plugin: c.main})
			var all []chainedPod
			for range pods {
				all = append(all, c.add())
			}
			fails := make([][]string, pods)
			call := func(i int, verb string) {
				extra := all[i].withResult()
				extra["runtimeConfig"] = map[string]any{annotations: map[string]string{
					"vnet-cni.io/nsg": lifeGroups[i%len(lifeGroups)], "vnet-cni.io/asgs": fmt.Sprintf("asg-%d,asg-%d", i%4, 4+i%3)}}
				if out := all[i].call(verb, extra); out.Err != nil {
					fails[i] = append(fails[i], fmt.Sprintf("%s: code %d: %s", verb, out.Err.Code, out.Err.Msg))
				}
			}
			for range rounds {
				inParallel(workers, pods, func(i int) { call(i, "ADD") })
				inParallel(workers, pods, func(i int) { call(i, "CHECK") })
				for _, p := range all {
					if n := c.memberships(p); n < 2*7 { // judged, device, network, with a group, group, two ASGs; of two families
						t.Errorf("the pod with %s is a member of %d sets only", p.v4, n)
					}
				}
				inParallel(workers, pods, func(i int) { call(i, "DEL") })
				expectNoMembers(t, c.node, "after all DELs")
			}
			inParallel(workers, pods, func(i int) { call(i, "ADD"); call(i, "DEL") })
			expectNoMembers(t, c.node, "after ADDs and DELs together")
			if failed := slices.Concat(fails...); len(failed) > 0 {
				t.Errorf("%d calls failed: %s", len(failed), strings.Join(failed, "\n"))
			}
			t.Logf("%d ADD, %d CHECK and %d DEL by %d workers", pods*(rounds+1), pods*rounds, pods*(rounds+1), workers)
		})
	}
}
