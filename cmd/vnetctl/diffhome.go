package main

import (
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/review"
)

// homeless reports whether the tag VirtualNetwork has no addresses for the policies.
func homeless(p flowspace.Policies) bool {
	return (&judges{subnet: p.Subnet, iface: p.Interface}).homeless()
}

// inAnyNetwork returns homeless policies for any network that there may be: each
// private address is in the tag VirtualNetwork or not, as with the members of an
// application security group. Azure's own address is in it anyway.
func inAnyNetwork(p flowspace.Policies) flowspace.Policies {
	return flowspace.Policies{Subnet: inAny(p.Subnet), Interface: inAny(p.Interface)}
}

func inAny(p *nsg.Policy) *nsg.Policy {
	if p == nil {
		return nil
	}
	out := &nsg.Policy{Group: p.Group}
	sides := func(e *nsg.Endpoint, m nsg.Match) []nsg.Match {
		if !strings.EqualFold(e.Tag, review.VirtualNetwork) {
			return []nsg.Match{m}
		}
		return []nsg.Match{m, {Addresses: review.PrivateAddresses(), ASGs: []string{review.VirtualNetwork}, Ports: m.Ports}}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		for _, source := range sides(&r.Rule.Source, r.Source) {
			for _, destination := range sides(&r.Rule.Destination, r.Destination) {
				out.Rules = append(out.Rules, nsg.PolicyRule{Rule: r.Rule, Source: source, Destination: destination})
			}
		}
	}
	return out
}

// privateName names private addresses, with Azure's own or without it; "" if the set is
// another one.
func privateName(s nsg.AddressSet) string {
	const name = "private addresses"
	own := nsg.NewAddressSet(azurePlatform)
	for _, private := range [...]nsg.AddressSet{review.PrivateAddresses(), review.PrivateAddresses().Family(false)} {
		switch {
		case s.Equal(private):
			return name
		case s.Equal(private.Union(own)):
			return name + "," + azurePlatform.Addr().String()
		}
	}
	return ""
}
