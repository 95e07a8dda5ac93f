package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Codes of findings about what route tables mean to security groups; of ours.
const (
	CodeEverything   = "VirtualNetworkIsEverything"
	CodeTableMissing = "RouteTableMissing"
)

// Routes are the routes of the pods' subnet with these documents, and what is wrong
// with its table. One that the network's document names and no document has is as
// good as none, with a warning. An error is a table that is not to be found, or one
// of several.
func (c Config) Routes(d *arm.Documents) (nexthop.Routes, []nsg.Finding, error) {
	table, err := c.table(d)
	var lost []nsg.Finding
	if errors.Is(err, nexthop.ErrNoTable) {
		lost, err = []nsg.Finding{missing(err, nexthop.Home{})}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	routes, findings := nexthop.Effective(c.network(d), table, d.ServiceTags)
	return routes, append(lost, findings...), nil
}

// missing is the finding about a table that no document has.
func missing(err error, h nexthop.Home) nsg.Finding {
	f := nsg.Finding{Severity: nsg.Warning, Code: CodeTableMissing, Property: "routeTable",
		Message: fmt.Sprintf("%v: its routes, and what they add to VirtualNetwork, are not known", err)}
	if h.Network != nil {
		f.File, f.Value = h.Network.File, h.Subnet.RouteTable
	}
	return f
}

// table finds the route table of the pods' subnet.
func (c Config) table(d *arm.Documents) (*arm.RouteTable, error) {
	switch {
	case c.RouteTable == nil:
		return nexthop.TableOf(d, c.Pools...)
	case *c.RouteTable == "":
		return nil, nil
	}
	return d.RouteTable(*c.RouteTable)
}

// network is the one that the pods are in. Where no document tells, the configured
// space and what the node sees stand for it.
func (c Config) network(d *arm.Documents) *arm.VirtualNetwork {
	if list := c.networks(d); len(list) > 0 {
		return list[0]
	}
	return &arm.VirtualNetwork{AddressSpace: slices.Concat(c.VirtualNetwork, c.Uplink, c.Pools)}
}

// Around are the documents with only those of their virtual networks that have subnets
// with the group, and with all where none has. In an export of everything others may
// have the same addresses, and nothing to do with it.
func Around(d *arm.Documents, group *nsg.Definition) *arm.Documents {
	around := *d
	around.VirtualNetworks = slices.DeleteFunc(slices.Clone(d.VirtualNetworks), func(v arm.VirtualNetwork) bool {
		return len(Subnets(&arm.Documents{VirtualNetworks: []arm.VirtualNetwork{v}}, group)) == 0
	})
	if len(around.VirtualNetworks) == 0 {
		return d
	}
	return &around
}

// Subnets are those that have the group by the virtual networks' documents: the
// subnets of a question that is about no pods.
func Subnets(d *arm.Documents, group *nsg.Definition) []arm.Subnet {
	var out []arm.Subnet
	for _, v := range d.VirtualNetworks {
		for _, s := range v.Subnets {
			name := s.NSG[strings.LastIndexByte(s.NSG, '/')+1:]
			if group.ID != "" && strings.EqualFold(s.NSG, group.ID) || group.ID == "" && strings.EqualFold(name, group.Name) {
				out = append(out, s)
			}
		}
	}
	return out
}

// tableFindings is what is wrong, or worth knowing, about the route tables of
// documents and about the subnets that have them.
func tableFindings(d *arm.Documents) []nsg.Finding {
	var out []nsg.Finding
	users := map[string][]string{} // names of the subnets that have a table, by it or by the id of one that is missing
	for _, h := range homes(d) {
		t, err := h.Table(d)
		key := strings.ToLower(h.Subnet.RouteTable)
		if err != nil && users[key] == nil {
			out = append(out, missing(err, h))
		}
		if t != nil {
			key = mark(t)
		}
		users[key] = append(users[key], h.Subnet.Name)
	}
	for i := range d.RouteTables {
		t := &d.RouteTables[i]
		routes, findings := nexthop.Effective(nil, t, d.ServiceTags)
		out = append(append(out, findings...), trap(t, routes, users[mark(t)])...)
	}
	return out
}

// mark tells tables apart: of those without an id, two may have one name.
func mark(t *arm.RouteTable) string { return fmt.Sprintf("%s %s", t.File, keyOf(t.Name, t.ID)) }

// homes are the subnets that have a route table.
func homes(d *arm.Documents) []nexthop.Home {
	var out []nexthop.Home
	for i := range d.VirtualNetworks {
		v := &d.VirtualNetworks[i]
		for k := range v.Subnets {
			if v.Subnets[k].RouteTable != "" {
				out = append(out, nexthop.Home{Network: v, Subnet: &v.Subnets[k]})
			}
		}
	}
	return out
}

// trap warns of the routes that make VirtualNetwork every address: few know that
// AllowVnetInBound lets everybody in then.
func trap(t *arm.RouteTable, routes nexthop.Routes, subnets []string) []nsg.Finding {
	where := "in the subnets that have the table"
	if len(subnets) > 0 {
		where = "in " + strings.Join(subnets, ", ")
	}
	var out []nsg.Finding
	for _, e := range Everything(routes) {
		out = append(out, nsg.Finding{Severity: nsg.Warning, Code: CodeEverything, File: t.File,
			Property: "addressPrefix", Value: e.Prefix.String(),
			Message: fmt.Sprintf("route table %s, route %s: it makes the tag VirtualNetwork every address of its family %s: "+
				"AllowVnetInBound lets in whoever no rule of your own denies", t.Name, e.Names, where)})
	}
	return out
}

// Whole is a family all of whose addresses are in VirtualNetwork by a route table.
type Whole struct {
	Prefix netip.Prefix // of the family: 0.0.0.0/0 or ::/0
	Names  string       // of the route that makes it so, or of those that do together
}

// Everything tells of which families the user's routes make the tag VirtualNetwork
// every address: a route for all, or such as 0.0.0.0/1 and 128.0.0.0/1.
func Everything(routes nexthop.Routes) []Whole {
	var out []Whole
	for _, p := range routes.UserPrefixes() {
		if p.Bits() > 0 {
			continue
		}
		var single, together []string
		for _, r := range routes {
			switch {
			case !r.ExtendsNetwork() || r.Prefix.Addr().Is4() != p.Addr().Is4():
			case r.Prefix == p:
				single = append(single, r.Name)
			default:
				together = append(together, r.Name)
			}
		}
		if len(single) == 0 {
			single = together
		}
		out = append(out, Whole{p, strings.Join(single, ", ")})
	}
	return out
}
