package nexthop

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

// Home is a subnet in the virtual network that it belongs to.
type Home struct {
	Network *arm.VirtualNetwork
	Subnet  *arm.Subnet
}

// HomesOf finds the subnets that hold all of the prefix. In one virtual network
// there is at most one.
func HomesOf(d *arm.Documents, p netip.Prefix) []Home {
	var homes []Home
	for i := range d.VirtualNetworks {
		v := &d.VirtualNetworks[i]
		for k := range v.Subnets {
			s := &v.Subnets[k]
			if slices.ContainsFunc(s.Prefixes, func(outer netip.Prefix) bool { return holds(outer, p) }) {
				homes = append(homes, Home{v, s})
			}
		}
	}
	return homes
}

// ErrNoTable is for a subnet whose route table is in no document.
var ErrNoTable = errors.New("the route table is in no document")

// TableOf finds the route table of the subnets that hold the prefixes, such as the
// pods' pools, and nil where they have none or no subnet holds them. It is an error
// if subnets with different tables do. For a table that no document has
// errors.Is(err, ErrNoTable) holds.
func TableOf(d *arm.Documents, prefixes ...netip.Prefix) (*arm.RouteTable, error) {
	var homes []Home
	for _, p := range prefixes {
		homes = append(homes, HomesOf(d, p)...)
	}
	if len(homes) == 0 {
		return nil, nil
	}
	first := homes[0]
	for _, h := range homes[1:] {
		if !strings.EqualFold(h.Subnet.RouteTable, first.Subnet.RouteTable) {
			return nil, fmt.Errorf("subnets with different route tables hold %s: %s has %s, %s has %s", joined(prefixes),
				first.Subnet.Name, first.table(), h.Subnet.Name, h.table())
		}
	}
	return first.Table(d)
}

func (h Home) table() string { return cmp.Or(h.Subnet.RouteTable, "none") }

// Table finds the subnet's route table in the documents; nil if it has none. For
// one that no document has errors.Is(err, ErrNoTable) holds.
func (h Home) Table(d *arm.Documents) (*arm.RouteTable, error) {
	id := h.Subnet.RouteTable
	if id == "" {
		return nil, nil
	}
	name := id[strings.LastIndexByte(id, '/')+1:]
	for i := range d.RouteTables {
		t := &d.RouteTables[i]
		if strings.EqualFold(t.ID, id) || t.ID == "" && strings.EqualFold(t.Name, name) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("subnet %s of virtual network %s: %w: %s", h.Subnet.Name, h.Network.Name, ErrNoTable, id)
}

func joined(prefixes []netip.Prefix) string {
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}
