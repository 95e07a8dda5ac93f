package integration

import (
	"slices"
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestNSGFlows sends what a subnet's group allows and denies between pods, nodes
// and the outside. Servers listen on 8000 and up where both directions are
// allowed, on 7000 where only the way out is, on 9000 where nothing is.
func TestNSGFlows(t *testing.T) {
	t.Parallel()
	subnet := restGroup("subnet-nsg",
		allowIn("*", "8000-8999"), allowIn("Icmp", "*"), denyIn("*", "*"),
		allowOut("*", "7000-8999"), allowOut("Icmp", "*"), denyOut("*", "*"))
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			nsg := newDocuments(t, subnet).conf("subnet-nsg")
			f, nodes := cluster(t, 2, judged(nsg), testnet.WithIptables(backend))
			f.AddOutside()
			f.RouteToPods()
			a, b, c := attach(t, nodes[0]), attach(t, nodes[0]), attach(t, nodes[1])
			out, n1, n2 := outside(f), asPod(nodes[0]), asPod(nodes[1])
			passed, silent := flows(n1, a, 9000), slices.Concat(flows(a, b, 7000), flows(a, c, 7000), flows(out, a, 7000))
			for _, pair := range [][2]pod{{a, b}, {b, a}, {a, c}, {c, a}, {a, out}, {out, a}, {a, n1}, {a, n2}, {n2, a}} {
				passed = slices.Concat(passed, flows(pair[0], pair[1], 8000), pings(pair[0], pair[1]))
				silent = append(silent, flows(pair[0], pair[1], 9000)...)
			}
			for _, to := range []pod{out, n1, n2} {
				passed = append(passed, flows(a, to, 7000)...)
			}
			t.Logf("%d flows passed, %d were silent", expectAll(t, passed), expectSilent(t, silent))
		})
	}
}

// TestNSGOfInterface gives pods a group of their own, by each way of asking, next
// to the subnet's: both have to allow.
func TestNSGOfInterface(t *testing.T) {
	t.Parallel()
	subnet := restGroup("subnet-nsg", allowIn("*", "8000-8999"), allowIn("Icmp", "*"), denyIn("*", "*"))
	web := restGroup("web-nsg", allowIn("*", "8500-9999"), denyIn("*", "*"), denyOut("*", "7000-7999"))
	ways := map[string]testnet.Attach{
		"name":       withNSG("web-nsg"),
		"other case": withNSG("WEB-nsg"),
		"id":         withNSG(groupID("web-nsg")),
		"annotation": annotated("vnet-cni.io/nsg", "web-nsg"),
	}
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			_, nodes := cluster(t, 2, judged(newDocuments(t, subnet, web).conf("subnet-nsg")), testnet.WithIptables(backend))
			plain, client, n2 := attach(t, nodes[0]), attach(t, nodes[1]), asPod(nodes[1])
			passed := slices.Concat(pings(client, plain), flows(client, plain, 8000), flows(client, plain, 8500), flows(plain, n2, 7000))
			silent := flows(client, plain, 9000)
			for _, way := range ways {
				p := attach(t, nodes[0], way)
				passed = slices.Concat(passed, flows(client, p, 8500), flows(plain, p, 8500), flows(p, client, 8000), flows(p, n2, 6000))
				silent = slices.Concat(silent, flows(client, p, 8000), flows(client, p, 9000), flows(plain, p, 8000), pings(client, p), flows(p, n2, 7000))
			}
			t.Logf("%d ways: %d flows passed, %d were silent", len(ways), expectAll(t, passed), expectSilent(t, silent))
		})
	}
}

// TestNSGOfInterfaceOnly has no group for the subnet: pods without one of their
// own are reached by everybody.
func TestNSGOfInterfaceOnly(t *testing.T) {
	t.Parallel()
	_, _, node := judgedNode(t, newDocuments(t, restGroup("web-nsg", denyIn("*", "9000-9999"), denyOut("*", "7000-7999"))).conf(""))
	plain, web := attach(t, node), attach(t, node, withNSG("web-nsg"))
	n := expectAll(t, slices.Concat(flows(web, plain, 9000), flows(plain, web, 8000), pings(plain, web), flows(plain, asPod(node), 7000)))
	silent := expectSilent(t, slices.Concat(flows(plain, web, 9000), flows(web, plain, 7000), flows(web, asPod(node), 7000)))
	t.Logf("%d flows passed, %d were silent", n, silent)
}

// TestNSGApplicationGroups lets only members of one application security group
// reach those of another.
func TestNSGApplicationGroups(t *testing.T) {
	t.Parallel()
	subnet := restGroup("subnet-nsg", allowIn("*", "*").fromASG("front").toASG("back"), denyIn("*", "*"))
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			_, _, node := judgedNode(t, newDocuments(t, subnet).conf("subnet-nsg"), testnet.WithIptables(backend))
			fronts := []pod{attach(t, node, withASGs("front,other")), attach(t, node, annotated("vnet-cni.io/asgs", "Front"))}
			backs := []pod{attach(t, node, withASGs("back")), attach(t, node, withASGs(resources+"applicationSecurityGroups/BACK"))}
			none := attach(t, node)
			var passed, silent []expectation
			for _, front := range fronts {
				for _, back := range backs {
					passed = slices.Concat(passed, flows(front, back, 8000), pings(front, back))
					silent = slices.Concat(silent, flows(back, front, 8000), pings(back, front))
				}
				silent = append(silent, flows(front, none, 8000)...)
			}
			silent = slices.Concat(silent, flows(none, backs[0], 8000), flows(backs[0], backs[1], 8000), flows(fronts[0], fronts[1], 8000))
			t.Logf("%d flows passed, %d were silent", expectAll(t, passed), expectSilent(t, silent))
		})
	}
}

// TestNSGSameNode wants pods of one node to reach each other unjudged with
// sameNode "azure", and only those.
func TestNSGSameNode(t *testing.T) {
	t.Parallel()
	closed := restGroup("closed", denyIn("*", "*"), denyOut("*", "*"))
	for _, sameNode := range []string{"azure", "filter"} {
		t.Run(sameNode, func(t *testing.T) {
			t.Parallel()
			nsg := newDocuments(t, closed).conf("closed")
			nsg["sameNode"] = sameNode
			_, nodes := cluster(t, 2, judged(nsg))
			a, b, c := attach(t, nodes[0]), attach(t, nodes[0], withNSG("closed")), attach(t, nodes[1])
			near := slices.Concat(flows(a, b, 8000), flows(b, a, 8000), pings(a, b))
			silent := slices.Concat(flows(a, c, 8000), flows(c, a, 8000), pings(a, c), flows(a, asPod(nodes[0]), 8000))
			passed := flows(asPod(nodes[0]), a, 8000)
			if sameNode == "azure" {
				passed = append(passed, near...)
			} else {
				silent = append(silent, near...)
			}
			t.Logf("%d flows passed, %d were silent", expectAll(t, passed), expectSilent(t, silent))
		})
	}
}
