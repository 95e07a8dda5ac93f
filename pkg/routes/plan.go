package routes

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vnet-cni/vnet-cni/pkg/fib"
	"github.com/vnet-cni/vnet-cni/pkg/nlsock"
)

// plan computes the steps from the observed state to the wanted, in an order in which
// no packet passes that must not: a route comes before the rule that leads to it, and
// goes after it. None is for whom the step before failed.
func plan(want desired, have state) [][]nlsock.Request {
	var set, add, remove []nlsock.Request
	replaced := map[place]bool{}
	for _, r := range fib.Missing(want.routes, have.routes) {
		set = append(set, fib.SetRoute(r))
		replaced[placeOf(r)] = true
	}
	for _, r := range fib.Missing(want.rules, have.rules) {
		add = append(add, fib.AddRule(r))
	}
	remove = removals(fib.Missing(have.rules, want.rules))
	for _, r := range fib.Missing(have.routes, want.routes) {
		if !replaced[placeOf(r)] {
			remove = append(remove, fib.RemoveRoute(r))
		}
	}
	return [][]nlsock.Request{set, add, remove}
}

// place is where only one route of a table can be.
type place struct {
	dst    netip.Prefix
	metric uint32
}

func placeOf(r fib.Route) place { return place{r.Dst, r.Metric} }

// removals remove rules, those that lead to a table first: without it, one to the main
// table changes nothing.
func removals(rules []fib.Rule) []nlsock.Request {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b fib.Rule) int { return cmp.Compare(b.Priority, a.Priority) })
	var requests []nlsock.Request
	for _, r := range rules {
		requests = append(requests, fib.RemoveRule(r))
	}
	return requests
}

// differences tells in words what the kernel lacks of the wanted state, and what it has
// beyond it.
func (d desired) differences(have state) []string {
	var list []string
	for _, r := range fib.Missing(d.rules, have.rules) {
		list = append(list, r.String()+" is missing")
	}
	for _, r := range fib.Missing(have.rules, d.rules) {
		if !ofPod(r) || len(d.rules) == 0 {
			list = append(list, r.String()+" should not be there")
		}
	}
	missing := fib.Missing(d.routes, have.routes)
	if len(missing) == 0 && len(d.routes) == len(have.routes) {
		return list // as ever: there may be many
	}
	for _, r := range missing {
		list = append(list, words(r)+" is missing")
	}
	for _, r := range fib.Missing(have.routes, d.routes) {
		list = append(list, words(r)+" should not be there")
	}
	return list
}

// words is a route as `ip route` has it.
func words(r fib.Route) string {
	s := "route "
	switch r.Kind {
	case unix.RTN_BLACKHOLE:
		s += "blackhole "
	case unix.RTN_THROW:
		s += "throw "
	}
	s += r.Dst.String()
	if r.Via.IsValid() {
		s += " via " + r.Via.String()
	}
	s += fmt.Sprintf(" table %d", r.Table)
	if r.Metric == lastMetric {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}
