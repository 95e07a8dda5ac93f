package integration

import (
	"testing"

	"github.com/vnet-cni/vnet-cni/integration/testnet"
)

// TestChainedFault makes one system call of vnet-nsg fail at a time. An ADD succeeds, and
// the pod is judged, or takes back all it did without any DEL; one that finds the pod
// attached leaves it all it has; a DEL succeeds or says why not, and the next one leaves
// nothing.
func TestChainedFault(t *testing.T) {
	t.Parallel()
	docs := lifeDocuments(t)
	for name, w := range map[string]faulty{
		"ADD":          {verb: "ADD", most: someFaults},
		"repeated ADD": {verb: "ADD", attached: true, most: someFaults},
		"DEL":          {verb: "DEL", attached: true, most: someFaults},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newChainedBench(t, docs).warm()
			if w.attached {
				b.must("ADD")
			}
			jobs := faults(t, w, callsOf(t, b.c.node, "vnet-nsg", b.Env(w.verb), b.stdin(w.verb)))
			b.must("DEL")
			var o outcome
			for f := range jobs {
				if w.attached {
					b.must("ADD")
				}
				b.withFault(f, w, &o)
				for _, line := range testnet.Diff(b.node0, testnet.Snapshot(b.c.node)) {
					t.Errorf("%s: left: %s", f, line)
				}
			}
			o.report(t, "faults in vnet-nsg's "+name)
		})
	}
}

func (b *chainedBench) withFault(f fault, w faulty, o *outcome) {
	b.c.t.Helper()
	out := traced(b.c.t, b.c.node, f, "vnet-nsg", b.Env(f.verb), b.stdin(f.verb))
	crashed := o.count(out)
	if !crashed && out.Err != nil && (f.call != "write" || len(out.Stdout) > 0) && (out.Err.Code == 0 || out.Err.Code == 999) {
		b.c.t.Errorf("%s: code %d: %s", f, out.Err.Code, out.Err.Msg)
	}
	if w.verb == "ADD" && (w.attached && !crashed || out.Err == nil) {
		b.must("CHECK")
	}
	switch {
	case w.attached || crashed || out.Err == nil:
		b.must("DEL")
	case rollbackFailed(out):
		o.repaired.Add(1)
		b.must("DEL")
	}
}
