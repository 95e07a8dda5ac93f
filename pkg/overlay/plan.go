package overlay

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
)

// observed is what the kernel holds.
type observed struct {
	state
	// foreign says what has the device's name and is no VXLAN device; "": nothing.
	foreign string
	// others are routes that are not ours, at places where ours are wanted.
	others map[place]route
}

// verb is what a change does.
type verb string

const (
	add     verb = "add"
	replace verb = "replace"
	remove  verb = "remove"
)

// change is one step from the observed state to the wanted.
type change struct {
	verb verb
	what thing
	node string // whom it is for; "": nobody any more
}

func (c change) String() string { return string(c.verb) + " " + c.what.String() }

// planned is the way from one state to another.
type planned struct {
	changes []change
	skipped []string
	err     error
}

// plan computes the changes in an order in which no packet goes astray: what a
// route needs comes before it, and what it needed before goes after it.
func plan(want desired, have observed) planned {
	p := planned{}
	if want.device != nil && have.foreign != "" {
		p.err = fmt.Errorf("there is %s, which is not ours: %d nodes cannot be reached through it", have.foreign, len(want.fdb))
		want.state = want.without()
	}
	want.routes = p.giveWay(want, have)
	p.device(want, &have)
	added(&p, want, have.addrs, want.addrs)
	added(&p, want, have.fdb, want.fdb)
	added(&p, want, have.neighs, want.neighs)
	added(&p, want, have.rules, want.rules)
	removed(&p, p.routes(want, have))
	removed(&p, fib.Missing(have.rules, want.rules))
	if want.device == nil {
		if have.device != nil { // all that is on it goes with it
			removed(&p, []device{*have.device})
		}
		return p
	}
	removed(&p, slices.DeleteFunc(fib.Missing(have.neighs, want.neighs), func(n neighbour) bool { return want.leads(n.addr) }))
	removed(&p, slices.DeleteFunc(fib.Missing(have.fdb, want.fdb), func(f forward) bool { return want.forwards(f.mac) }))
	removed(&p, fib.Missing(have.addrs, want.addrs))
	return p
}

// without is the state without the device and all that needs it.
func (s state) without() state {
	onDevice := func(r route) bool { return r.dev == DeviceName }
	return state{routes: slices.DeleteFunc(slices.Clone(s.routes), onDevice)}
}

// giveWay drops the wanted routes whose place somebody else's has, whatever its
// metric: which of two is used must not depend on who came first.
func (p *planned) giveWay(want desired, have observed) []route {
	return slices.DeleteFunc(slices.Clone(want.routes), func(r route) bool {
		other, found := have.others[r.place()]
		if found {
			p.skipped = append(p.skipped, fmt.Sprintf("node %s: %s: another program's route is there, %s", want.owner[r], r, other.foreign()))
		}
		return found
	})
}

// device makes the device, makes it anew if what cannot be changed is not as
// wanted, or puts right what can. have loses what goes with an old one.
func (p *planned) device(want desired, have *observed) {
	if want.device == nil {
		return
	}
	switch {
	case have.device == nil:
		p.changes = append(p.changes, change{add, *want.device, ""})
	case have.outlived(want):
		removed(p, []device{*have.device})
		p.changes = append(p.changes, change{add, *want.device, ""})
		have.routes = have.without().routes
		have.addrs, have.fdb, have.neighs = nil, nil, nil
	case *have.device != *want.device:
		p.changes = append(p.changes, change{replace, *want.device, ""})
	}
}

// minMTU6 is the least MTU of a link with IPv6 (RFC 8200 section 5).
const minMTU6 = 1280

// outlived tells whether the device has to be made anew: besides what cannot be
// changed, the kernel removes all routes through a link with its last IPv4 address
// (fib_disable_ip), and gives one that has grown to IPv6's least MTU addresses of
// its own making (addrconf_notify).
func (o observed) outlived(want desired) bool {
	return o.device.tunnel != want.device.tunnel ||
		o.ipv4() && !want.ipv4() ||
		o.device.mtu < minMTU6 && want.device.mtu >= minMTU6
}

// ipv4 tells whether the device has an IPv4 address.
func (s state) ipv4() bool {
	return slices.ContainsFunc(s.addrs, func(a address) bool { return a.addr.Is4() })
}

// forwards tells whether frames to m go somewhere: a wrong entry for it was
// replaced then, for a unicast address has only one.
func (s state) forwards(m mac) bool {
	return slices.ContainsFunc(s.fdb, func(f forward) bool { return f.mac == m })
}

// leads tells whether a is a neighbour: a wrong entry for it was replaced then.
func (s state) leads(a netip.Addr) bool {
	return slices.ContainsFunc(s.neighs, func(n neighbour) bool { return n.addr == a })
}

// routes adds what is missing and removes what is wrong at the same places. A
// single wrong route is replaced in one step. It returns what it left to be
// removed.
func (p *planned) routes(want desired, have observed) (gone []route) {
	wrong := map[place][]route{}
	for _, r := range fib.Missing(have.routes, want.routes) {
		wrong[r.place()] = append(wrong[r.place()], r)
	}
	done := map[place]bool{}
	for _, r := range fib.Missing(want.routes, have.routes) {
		c := change{add, r, want.owner[r]}
		old := wrong[r.place()]
		if len(old) == 1 && old[0].metric == r.metric {
			c.verb = replace
		} else {
			removed(p, old)
		}
		p.changes = append(p.changes, c)
		done[r.place()] = true
	}
	return slices.DeleteFunc(fib.Missing(have.routes, want.routes), func(r route) bool { return done[r.place()] })
}

func added[T interface {
	comparable
	thing
}](p *planned, want desired, have, wanted []T) {
	for _, t := range fib.Missing(wanted, have) {
		p.changes = append(p.changes, change{add, t, want.owner[t]})
	}
}

func removed[T thing](p *planned, list []T) {
	for _, t := range list {
		p.changes = append(p.changes, change{remove, t, ""})
	}
}
