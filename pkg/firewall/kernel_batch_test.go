package firewall

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// exchange is a flow's first packet and, where the other end is to answer, what
// may come back.
type exchange struct {
	from, to *end
	request  crafted
	allowed  bool
	why      string
	oneWay   bool
}

// tally is what a number of batches did.
type tally struct {
	flows, allowed, denied        int
	excluded                      int // the kernel would not route them
	redrawn                       int // got the remote address from another rule instead
	betweenPods, masqueraded      int
	answered                      int // allowed flows whose reply and complaint arrived
	replies, segments, complaints int // that no flow had asked for, and that arrived nowhere
}

func (a tally) String() string {
	return fmt.Sprintf("%d flows (%d allowed, %d denied, %d between pods, %d masqueraded), %d excluded, %d with another rule's remote address; a reply and an error to %d; none of %d replies, %d segments and %d errors that nothing had asked for",
		a.flows, a.allowed, a.denied, a.betweenPods, a.masqueraded, a.excluded, a.redrawn, a.answered, a.replies, a.segments, a.complaints)
}

func (a *tally) add(w *world, x *exchange) {
	a.flows++
	if x.allowed {
		a.allowed++
	} else {
		a.denied++
	}
	if slices.Contains(w.pods, x.from) && slices.Contains(w.pods, x.to) {
		a.betweenPods++
	}
}

// forget makes every later flow a new one.
func (w *world) forget() {
	w.t.Helper()
	must(w.t, netlink.ConntrackTableFlush(netlink.ConntrackTable))
}

// run sends the requests, and then what may come back and what may not.
func (w *world) run(v6 bool, list []*exchange, count *tally) {
	w.t.Helper()
	w.forget()
	var requests, answers, complaints, strays []transmission
	for _, x := range list {
		requests = append(requests, transmission{x.from, x.to, x.request, x.allowed, x.because("")})
		count.add(w, x)
	}
	arrived := w.transmit(v6, requests)
	for _, x := range list {
		if x.oneWay {
			continue
		}
		if a, ok := arrived[mark{request, x.request.id}]; ok {
			if x.to == w.outside && a.packet.src != x.request.src {
				count.masqueraded++
			}
			answers = append(answers, transmission{x.to, x.from, a.packet.back(reply), true, x.because("it answers a flow: ")})
			complaints = append(complaints, transmission{x.to, x.from, a.packet.complain(a.frame), true, x.because("it is about a flow: ")})
		} else {
			answers = append(answers, transmission{x.to, x.from, x.request.complain(x.request.bytes()), false, x.because("its flow never was: ")})
			count.complaints++
		}
		strays = append(strays, x.strays(count)...)
	}
	w.transmit(v6, answers)
	w.transmit(v6, complaints)
	count.answered += len(complaints)
	w.forget()
	w.transmit(v6, strays)
}

// because explains a difference.
func (x *exchange) because(of string) func() string {
	return func() string { return of + x.why }
}

// strays are what no flow has asked for.
func (x *exchange) strays(count *tally) []transmission {
	never := func(c crafted) transmission {
		return transmission{x.to, x.from, c, false, x.because("nothing has asked for it; as a request, the other way: ")}
	}
	out := []transmission{never(x.request.complain(x.request.bytes()))}
	count.complaints++
	switch x.request.protocol {
	case nsg.TCP:
		segment := x.request.back(stray)
		segment.flags = [...]byte{ack, fin | ack, rst, rst | ack}[x.request.id%4]
		out = append(out, never(x.request.back(reply)), never(segment))
		count.replies++
		count.segments++
	case nsg.ICMP:
		out = append(out, never(x.request.back(reply)))
		count.replies++
	}
	return out
}
