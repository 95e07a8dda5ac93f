package reach

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// classes sorts ends into classes whose members get the same answers, so that a
// pair of classes is asked about once instead of every pair of ends.
type classes struct {
	policies []*nsg.Policy
	asgs     []string         // those that rules name, sorted
	sets     []nsg.AddressSet // the addresses that rules tell apart from others
	seen     map[netip.Addr]string
}

// newClasses looks at everything that the rules of the ends' groups tell apart.
func newClasses(ends []End) *classes {
	c := &classes{seen: map[netip.Addr]string{}}
	for i := range ends {
		for _, p := range ends[i].Places {
			c.add(p.Subnet)
			c.add(p.Interface)
		}
	}
	slices.Sort(c.asgs)
	c.asgs = slices.Compact(c.asgs)
	return c
}

func (c *classes) add(p *nsg.Policy) {
	if p == nil || slices.Contains(c.policies, p) {
		return
	}
	c.policies = append(c.policies, p)
	known := map[string]bool{}
	for i := range p.Rules {
		for _, side := range [...]*nsg.Match{&p.Rules[i].Source, &p.Rules[i].Destination} {
			c.asgs = append(c.asgs, side.ASGs...)
			if key := setKey(side.Addresses); !known[key] {
				known[key] = true
				c.sets = append(c.sets, side.Addresses)
			}
		}
	}
}

// key is equal for ends of one class. Of a single machine it has no addresses,
// only which of the rules' sets they are in.
func (c *classes) key(e *End) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v|", e.host(), e.Kind == Outside)
	for i := range e.Places {
		p := &e.Places[i]
		fmt.Fprintf(&b, "%d %d %q %q %v %q|", slices.Index(c.policies, p.Subnet), slices.Index(c.policies, p.Interface),
			p.Network, p.Node, p.SameNodeFree, c.named(p.ASGs))
		if !e.host() {
			b.WriteString(setKey(p.Addresses))
			continue
		}
		for _, r := range p.Addresses.Ranges() {
			fmt.Fprintf(&b, "%v %s|", r.First.Is6(), c.signature(r.First))
		}
	}
	return b.String()
}

// named leaves the groups that a rule names, sorted.
func (c *classes) named(asgs []string) []string {
	out := slices.DeleteFunc(slices.Clone(asgs), func(a string) bool {
		_, found := slices.BinarySearch(c.asgs, a)
		return !found
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// signature tells in which of the rules' sets the address is.
func (c *classes) signature(a netip.Addr) string {
	if s, known := c.seen[a]; known {
		return s
	}
	bits := make([]byte, (len(c.sets)+7)/8)
	for i, s := range c.sets {
		if s.Contains(a) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	c.seen[a] = string(bits)
	return c.seen[a]
}

// setKey is equal for equal sets.
func setKey(s nsg.AddressSet) string {
	var b strings.Builder
	for _, r := range s.Ranges() {
		fmt.Fprintf(&b, "%v-%v,", r.First, r.Last)
	}
	return b.String()
}
