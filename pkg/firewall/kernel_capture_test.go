package firewall

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// capturer is a socket that sees packets, and how to read them.
type capturer struct {
	fd    int
	parse func([]byte) (crafted, bool)
}

// mark is what tells a packet from all others of a batch.
type mark struct {
	kind kind
	id   uint32
}

// arrival is a captured packet.
type arrival struct {
	at     *end
	packet crafted
	frame  []byte
}

// transmission is a packet on its way, and whether it has to arrive.
type transmission struct {
	from, to *end
	packet   crafted
	arrives  bool
	why      func() string
}

// transmit sends the packets, compares where they arrive with where they should,
// and returns the arrivals.
func (w *world) transmit(v6 bool, list []transmission) map[mark]arrival {
	w.t.Helper()
	ends := w.sendAll(v6, list)
	got := map[mark][]arrival{}
	for _, e := range w.ends() {
		e.read(w.t, v6, ends[e], func(a arrival) {
			m := mark{a.packet.kind, a.packet.id}
			got[m] = append(got[m], a)
		})
	}
	first := map[mark]arrival{}
	for _, x := range list {
		m := mark{x.packet.kind, x.packet.id}
		w.compare(x, got[m])
		if len(got[m]) > 0 {
			first[m] = got[m][0]
		}
	}
	return first
}

// maxFailures is how many differences are enough.
const maxFailures = 10

func (w *world) compare(x transmission, got []arrival) {
	w.t.Helper()
	if !x.arrives && len(got) == 0 || x.arrives && len(got) == 1 && got[0].at == x.to {
		return
	}
	var where []string
	for _, a := range got {
		where = append(where, a.at.name)
	}
	w.t.Errorf("%v\nfrom %s to %s: arrived at %q; has to arrive: %t, because %s", x.packet, x.from.name, x.to.name, where, x.arrives, x.why())
	if w.failures++; w.failures == maxFailures {
		w.t.Fatalf("%d differences are enough", w.failures)
	}
}

// sendAll sends the packets and behind them one to each end that nothing judges:
// when that one arrives, all others have arrived or never will. For this all are
// sent from one processor, on whose queue they stay in their order.
func (w *world) sendAll(v6 bool, list []transmission) (ends map[*end]uint32) {
	w.t.Helper()
	defer onOneProcessor(w.t)()
	for _, x := range list {
		if err := x.from.send(x.packet); err != nil {
			w.t.Fatalf("send %v from %s: %v", x.packet, x.from.name, err)
		}
	}
	ends = map[*end]uint32{}
	for _, e := range w.ends() {
		from := w.outside
		if e.device == from.device || e == w.node {
			from = w.pods[0]
		}
		ends[e] = w.newID()
		must(w.t, from.send(crafted{kind: request, id: ends[e], protocol: nsg.UDP, src: from.marker[v6], dst: e.marker[v6], srcPort: 9, dstPort: 9}))
	}
	return ends
}

func (w *world) newID() uint32 {
	w.lastID++
	return w.lastID
}

// onOneProcessor keeps the calling thread on one until the returned function is
// called.
func onOneProcessor(t *testing.T) (anywhere func()) {
	t.Helper()
	var before, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &before))
	for cpu := 0; one.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	return func() { must(t, unix.SchedSetaffinity(0, &before)) }
}

// read gives everything that was captured before the packet with the id last.
func (e *end) read(t *testing.T, v6 bool, last uint32, take func(arrival)) {
	t.Helper()
	for i, c := range e.sockets[v6] {
		flags := 0
		if i > 0 {
			flags = unix.MSG_DONTWAIT // what is here now is all
		}
		for {
			frame, err := c.next(flags)
			if i > 0 && errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				t.Fatalf("wait for the end of the batch at %s: %v", e.name, err)
			}
			p, ours := c.parse(frame)
			if i == 0 && ours && p.kind == request && p.id == last {
				break
			}
			if ours {
				take(arrival{at: e, packet: p, frame: frame})
			}
		}
	}
}

func (c capturer) next(flags int) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, flags)
		if !errors.Is(err, unix.EINTR) {
			return buf[:max(n, 0)], err
		}
	}
}
