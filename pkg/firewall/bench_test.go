package firewall

import "testing"

// BenchmarkPod is what a verb pays when the rules are in place: one IPv4
// network without masquerade.
func BenchmarkPod(b *testing.B) {
	f := inNamespace(b)
	n := Network{Name: "pods", StateDir: b.TempDir(), IPv4: true}
	ensure(b, f, n)
	for b.Loop() {
		if err := f.Ensure(n); err != nil {
			b.Fatal(err)
		}
		if err := f.AddPod(n, podOf(pod4)); err != nil {
			b.Fatal(err)
		}
		if err := f.RemovePod(n.Name, podOf(pod4)); err != nil {
			b.Fatal(err)
		}
	}
}
