package review

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Ports that nobody means to open to the Internet.
const (
	portSSH = 22
	portRDP = 3389
)

// open finds the rules through which the Internet reaches SSH, remote desktops, or
// every port: the flows that earlier rules leave to them.
func (r *reviewer) open() {
	for i, rule := range r.least {
		if r.gone[i] || !r.own(i) || rule.Access != nsg.Allow || !r.fromInternet(rule) {
			continue
		}
		value, boxes := r.openPorts(i)
		if len(boxes) == 0 {
			continue
		}
		port := "port " + value
		switch {
		case value == "*":
			port = "every port"
		case strings.Contains(value, ","):
			port = "ports " + value
		}
		sample := boxes[0].Sample()
		example := flowWords(sample)
		if !r.certain(i) {
			example += fmt.Sprintf(" where %v is in %s", sample.Local, VirtualNetwork)
		}
		r.warn(i, CodeInternet, "destinationPortRange", value, "the rule lets the Internet in to %s: %s; for example %s",
			port, boxWords(boxes, r.most[i]), example)
	}
}

// fromInternet reports whether all of the Internet, of one family at least, is among
// the rule's sources.
func (r *reviewer) fromInternet(rule *nsg.PolicyRule) bool {
	if len(rule.Source.ASGs) > 0 {
		return false
	}
	return slices.ContainsFunc([]bool{false, true}, func(ipv6 bool) bool {
		internet := r.internet.Family(ipv6)
		return !internet.IsEmpty() && internet.Minus(rule.Source.Addresses).IsEmpty()
	})
}

// openPorts returns what of the ports the rule lets in, and the flows.
func (r *reviewer) openPorts(i int) (value string, boxes []flowspace.Box) {
	if everyPort(r.least[i]) {
		return "*", r.decided(i, flowspace.TCP|flowspace.UDP, nil)
	}
	var values []string
	for _, port := range []struct {
		number    uint16
		protocols flowspace.Protocols
	}{{portSSH, flowspace.TCP}, {portRDP, flowspace.TCP | flowspace.UDP}} {
		some := r.decided(i, port.protocols, []nsg.PortRange{{First: port.number, Last: port.number}})
		if len(some) > 0 {
			values = append(values, fmt.Sprint(port.number))
			boxes = append(boxes, some...)
		}
	}
	return strings.Join(values, ","), boxes
}

// everyPort reports whether the rule is for all ports of TCP or UDP.
func everyPort(r *nsg.PolicyRule) bool {
	all := flowspace.All(r.Direction)
	all.Protocols = flowspace.ProtocolsOf(r.Protocol, false) & (flowspace.TCP | flowspace.UDP)
	whole := *r
	whole.Source, whole.Destination = nsg.Match{Addresses: nsg.AllAddresses(), Ports: r.Source.Ports}, nsg.Match{Addresses: nsg.AllAddresses(), Ports: r.Destination.Ports}
	return all.Protocols != 0 && flowspace.Covered(all, []*nsg.PolicyRule{&whole}, &flowspace.Work{Left: reviewWork})
}

// decided returns the flows from the Internet to the ports that the i-th rule
// decides whatever the unknown addresses of earlier ones are.
func (r *reviewer) decided(i int, p flowspace.Protocols, ports []nsg.PortRange) []flowspace.Box {
	within := r.all()
	within.Protocols, within.Source.Addresses, within.Destination.Ports = p, r.internet, ports
	var before []*nsg.PolicyRule
	for _, earlier := range r.most[:i] {
		before = append(before, withAccess(earlier, nsg.Deny))
	}
	before = append(before, withAccess(r.most[i], nsg.Allow), r.last())
	c := flowspace.CompareRules(within, before, []*nsg.PolicyRule{r.last()}, openBoxes)
	var boxes []flowspace.Box
	for _, ch := range c.Changes {
		if ch.Boxes == nil {
			boxes = append(boxes, ch.Hull)
			continue
		}
		boxes = append(boxes, ch.Boxes...)
	}
	if !r.certain(i) && !r.whichever(i, c.Changes) {
		return nil
	}
	return boxes
}

// whichever reports whether some of the flows that the i-th rule decides are for the
// virtual network, whichever private addresses it has.
func (r *reviewer) whichever(i int, decided []flowspace.Change) bool {
	if !strings.EqualFold(r.most[i].Rule.Destination.Tag, VirtualNetwork) {
		return false
	}
	missing := PrivateAddresses().Family(false) // every network has some of IPv4
	for _, ch := range decided {
		for _, b := range ch.Boxes {
			missing = missing.Minus(b.Destination.Addresses)
		}
	}
	return missing.IsEmpty()
}

// openBoxes is how many boxes are looked for.
const openBoxes = 100

func withAccess(r *nsg.PolicyRule, a nsg.Access) *nsg.PolicyRule {
	rule, out := *r.Rule, *r
	rule.Access = a
	out.Rule = &rule
	return &out
}

// shownBoxes is how many boxes a message words.
const shownBoxes = 2

// boxWords tells where flows of the rule go.
func boxWords(boxes []flowspace.Box, of *nsg.PolicyRule) string {
	tag := func(s nsg.AddressSet) string {
		if s.Equal(of.Destination.Addresses) {
			return of.Rule.Destination.Tag
		}
		return ""
	}
	var words []string
	for _, b := range boxes[:min(len(boxes), shownBoxes)] {
		words = append(words, fmt.Sprintf("%v to %s", b.Protocols, b.Destination.Describe(tag)))
	}
	text := strings.Join(words, " and ")
	if more := len(boxes) - shownBoxes; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// flowWords is a flow in one line.
func flowWords(f nsg.Flow) string {
	local := endWords(f.Local, f.LocalPort, f.Protocol, f.LocalASGs)
	remote := endWords(f.Remote, f.RemotePort, f.Protocol, f.RemoteASGs)
	if f.Direction == nsg.Inbound {
		return fmt.Sprintf("%v %s -> %s", f.Protocol, remote, local)
	}
	return fmt.Sprintf("%v %s -> %s", f.Protocol, local, remote)
}

func endWords(a netip.Addr, port uint16, p nsg.Protocol, asgs []string) string {
	text := a.String()
	if p == nsg.TCP || p == nsg.UDP {
		text = netip.AddrPortFrom(a, port).String()
	}
	if len(asgs) > 0 {
		text += " (in " + strings.Join(asgs, ", ") + ")"
	}
	return text
}
