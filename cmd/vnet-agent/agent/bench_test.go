package agent

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// manyRules is a document of an NSG with as many rules as Azure allows, each for a
// network and ports of its own.
func manyRules(t testing.TB, name string) string {
	t.Helper()
	const most = 1000
	rules := make([]any, most)
	for i := range rules {
		rules[i] = map[string]any{"name": fmt.Sprint("rule-", i), "properties": map[string]any{
			"direction": []string{"Inbound", "Outbound"}[i%2], "access": []string{"Allow", "Deny"}[i/2%2], "protocol": []string{"Tcp", "Udp"}[i/4%2],
			"priority": 100 + i, "sourcePortRange": "*", "destinationPortRange": fmt.Sprintf("%d-%d", 1000+i, 1010+i),
			"sourceAddressPrefix": fmt.Sprintf("10.%d.%d.0/24", i/250, i%250), "destinationAddressPrefix": "*",
		}}
	}
	data, err := json.Marshal(map[string]any{"name": name, "id": resources + "networkSecurityGroups/" + name,
		"type": "Microsoft.Network/networkSecurityGroups", "location": "westeurope", "properties": map[string]any{"securityRules": rules}})
	must(t, err)
	return string(data)
}

// BenchmarkPass is a look at a node that is as it should be, with 1000 rules in force
// and ten pods: after a change elsewhere, and the deep one of every five seconds.
// cpu-ms/op is what it costs in all processes together.
func BenchmarkPass(b *testing.B) {
	for _, kind := range []struct {
		name string
		deep bool
	}{{"shallow", false}, {"deep", true}} {
		b.Run(kind.name, func(b *testing.B) {
			r := newRig(b)
			r.cluster.document("groups", map[string]string{"g.json": manyRules(b, "big")})
			r.cluster.namespaces["shop"] = r.cluster.namespaces["default"]
			r.configure("nsg: {subnet: big}")
			r.good()
			for i := range 10 {
				r.added(fmt.Sprint("shop/p", i))
			}
			r.good()
			if n := r.rules("VNET"); n < 1000 {
				b.Fatalf("%d rules are in force", n)
			}
			before := cpu(b)
			b.ResetTimer()
			for b.Loop() {
				if err := r.look(kind.deep); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpu is what this process and those that it waited for have used.
func cpu(t testing.TB) (sum time.Duration) {
	t.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		must(t, syscall.Getrusage(who, &u))
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
