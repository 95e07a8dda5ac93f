// Package routes makes the packets of this node's pods take the routes that a user
// gave to their subnet, beside the node's own.
//
// A pod is known by its source address. Rules lead packets from the pods of a network
// first to the main table, as far as that has a route for exactly one address: what
// the node itself has, its pods above all, is reached directly, as in Azure, where such
// traffic never leaves the machine. What is left goes to a table of the network's own,
// in which the longest prefix decides as in Azure. It holds the user's routes, and
// "throw" for what goes as without any: the virtual network's own prefixes, which a
// shorter route of the user must not capture, and what the user leaves to the network.
//
// What is wanted is computed as data (render), compared with what the kernel holds
// (plan), and only the difference is written: routes before the rule that leads to
// them, and rules before the routes that they needed. An appliance's route goes with
// the link that it leads through; below each stands one that drops, so that such
// traffic then goes nowhere instead of past the appliance.
//
// It knows rtnetlink. It must not know documents, leases, CNI or configuration formats.
package routes

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// The rules come after that which leads to other nodes. Those of single pods have
// numbers of their own, by which they are found when the pod goes.
const (
	directPriority    = fib.TableOfNodes + 1
	tablePriority     = fib.TableOfNodes + 2
	podDirectPriority = fib.TableOfNodes + 3
	podTablePriority  = fib.TableOfNodes + 4
)

// Table is the number of the network's table. Two names have the same one with a
// probability of one to sixteen million; Clash tells.
func Table(network string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(network))
	sum := h.Sum32()
	return tables | (sum>>24^sum)&maxTable
}

// The tables of all networks are 24 bits above a number that is above those which people
// and programs choose.
const (
	tables   = uint32('v') << 24
	maxTable = 1<<24 - 1
)

// Clash is an error if two networks have the same table.
func Clash(network string, others ...string) error {
	for _, o := range others {
		if o != network && Table(o) == Table(network) {
			return fmt.Errorf("networks %s and %s have the same routing table, %d: rename one", network, o, Table(network))
		}
	}
	return nil
}

// Config is what a network wants.
type Config struct {
	Network string
	Sources []netip.Prefix // of the network's pods on this node, and of nobody else
	Pods    []netip.Addr   // of which those outside the Sources get rules of their own
	Routes  []Route        // at most one for a prefix; without one that is not Leave there is nothing to do
}

// Mixed tells in words why pods of the network take another one's routes, or that one's
// pods its; "" where they do not. The kernel knows a pod by its source address alone.
func (c Config) Mixed(other Config) string {
	if slices.Equal(c.Routes, other.Routes) || !c.needed() && !other.needed() {
		return ""
	}
	for _, p := range c.from() {
		for _, q := range other.from() {
			if p.Overlaps(q) && (c.neededFor(p.Addr().Is4()) || other.neededFor(p.Addr().Is4())) {
				return fmt.Sprintf("pods in %s take routes of network %s as well, whose pods are in %s and have other routes: "+
					"networks of one node need ranges apart, and vnetctl gc removes one that is out of use", p, other.Network, q)
			}
		}
	}
	return ""
}

// from are the prefixes of all that the network's rules are about.
func (c Config) from() []netip.Prefix {
	list := slices.Clone(c.Sources)
	for _, a := range c.Pods {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// Report is what Apply found and did.
type Report struct {
	Changed int      // rules and routes made, changed or removed
	Faults  []string // why routes drop what is for an appliance, in words for people
}

// Kernel is a conversation with the network namespace that it was opened in.
type Kernel struct{ conn *nlsock.Conn }

// Open opens one in the calling thread's network namespace.
func Open() (*Kernel, error) {
	c, err := nlsock.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &Kernel{c}, nil
}

// Close releases the socket.
func (k *Kernel) Close() { k.conn.Close() }

// Apply brings rules and routes of a network to what c wants. It is for one caller at
// a time.
func (k *Kernel) Apply(c Config) (Report, error) {
	want, err := k.wanted(c)
	if err != nil {
		return Report{}, err
	}
	have, err := k.observe(c.Network, want, true)
	if err != nil {
		return Report{}, err
	}
	report := Report{Faults: want.faults}
	for _, step := range plan(want, have) {
		if err := k.conn.Do(step...); err != nil {
			return report, fmt.Errorf("routes of network %s: %w", c.Network, err)
		}
		report.Changed += len(step)
	}
	return report, nil
}

// Holds tells in two requests, or in one for a network without routes, whether the kernel
// has what c wants. It believes the kernel which link an appliance is on, and which pods
// other nodes have: where it says no, Problems may still find nothing wrong.
func (k *Kernel) Holds(c Config) (bool, error) {
	var want desired
	var table []fib.Route
	if c.needed() {
		var err error
		if table, err = fib.RoutesOf(k.conn, Table(c.Network), 0); err != nil {
			return false, err
		}
		want = render(c, hopsIn(table), nodesIn(table))
	}
	rules, err := fib.Rules(k.conn)
	return len(want.differences(state{rulesOf(c.Network, rules, want.rules), table})) == 0, err
}

// Problems tells in words for people what is missing or wrong of the network's rules
// and routes. Rules of pods that c does not name are right: there are more than its
// caller may know. Faults are those that Apply would report.
func (k *Kernel) Problems(c Config) (problems, faults []string, err error) {
	want, err := k.wanted(c)
	if err != nil {
		return nil, nil, err
	}
	have, err := k.observe(c.Network, want, len(want.routes) > 0)
	if err != nil {
		return nil, nil, err
	}
	return want.differences(have), want.faults, nil
}

// wanted computes the wanted state, for which it looks up the appliances and lists the
// routes to other nodes' pods. For a network without routes it asks nothing.
func (k *Kernel) wanted(c Config) (desired, error) {
	if !c.needed() {
		return desired{}, nil
	}
	hops := map[netip.Addr]hop{}
	for _, r := range c.Routes {
		if _, known := hops[r.Via]; known || r.Way != Forward {
			continue
		}
		entry, found, err := fib.Find(k.conn, r.Via)
		if err != nil {
			return desired{}, err
		}
		hops[r.Via] = hopTo(r.Via, entry, found, within(r.Via, c.Sources) || slices.Contains(c.Pods, r.Via))
	}
	nodes, err := fib.RoutesOf(k.conn, unix.RT_TABLE_MAIN, fib.ToNodes)
	if err != nil {
		return desired{}, err
	}
	return render(c, hops, nodes), nil
}

// observe lists what is the network's: our rules that lead to its table, those to the
// main table that belong to it or to nobody, and all that is in its table.
func (k *Kernel) observe(network string, want desired, withRoutes bool) (state, error) {
	rules, err := fib.Rules(k.conn)
	if err != nil {
		return state{}, err
	}
	s := state{rules: rulesOf(network, rules, want.rules)}
	if withRoutes || len(s.rules) > 0 {
		s.routes, err = fib.RoutesOf(k.conn, Table(network), 0)
	}
	return s, err
}

// Present reports whether anything of the network is there; of any network with "".
func (k *Kernel) Present(network string) (bool, error) {
	s, err := k.all(network)
	return len(s.rules)+len(s.routes) > 0, err
}

// Remove takes away everything of the network, or of all networks with "". Nothing
// there is success.
func (k *Kernel) Remove(network string) error {
	s, err := k.all(network)
	if err != nil {
		return err
	}
	return k.conn.Do(slices.Concat(plan(desired{}, s)...)...)
}

// all is everything of the network, or of all networks with "".
func (k *Kernel) all(network string) (state, error) {
	if network != "" {
		return k.observe(network, desired{}, true)
	}
	var s state
	var err error
	if s.rules, err = fib.Rules(k.conn); err != nil {
		return s, err
	}
	s.rules = slices.DeleteFunc(s.rules, func(r fib.Rule) bool { return r.Protocol != fib.ToAppliances })
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		routes, err := fib.Routes(k.conn, family)
		if err != nil {
			return s, err
		}
		s.routes = append(s.routes, slices.DeleteFunc(routes, func(r fib.Route) bool { return r.Table&^maxTable != tables })...)
	}
	return s, nil
}

// Forget removes the rules of single pods, whichever network they were of. An address
// without is success.
func (k *Kernel) Forget(addrs ...netip.Addr) error {
	rules, err := fib.Rules(k.conn)
	if err != nil {
		return err
	}
	rules = slices.DeleteFunc(rules, func(r fib.Rule) bool {
		return !ofPod(r) || !slices.Contains(addrs, r.From.Addr())
	})
	return k.conn.Do(removals(rules)...)
}
