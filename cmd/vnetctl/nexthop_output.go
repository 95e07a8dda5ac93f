package main

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
)

// nextHop is the output for programs of vnetctl show-next-hop, which is that of az
// network watcher show-next-hop.
type nextHop struct {
	Address *netip.Addr  `json:"nextHopIpAddress"` // null where it is no appliance
	Type    nexthop.Type `json:"nextHopType"`
	Table   string       `json:"routeTableId"` // systemRoute where no user's route decides
}

// systemRoute is what Azure answers in the place of a route table's id.
const systemRoute = "System Route"

// effectiveRoutes is the output for programs of --routes, which is that of az network
// nic show-effective-route-table.
type effectiveRoutes struct {
	Value []effectiveRoute `json:"value"`
}

type effectiveRoute struct {
	Name        *string        `json:"name"` // null of a system route
	Source      nexthop.Source `json:"source"`
	State       string         `json:"state"`
	Prefixes    []netip.Prefix `json:"addressPrefix"`
	Tags        []string       `json:"destinationServiceTags"`
	Type        nexthop.Type   `json:"nextHopType"`
	Addresses   []netip.Addr   `json:"nextHopIpAddress"`
	NoBGP       bool           `json:"disableBgpRoutePropagation"`
	BGPOverride bool           `json:"hasBgpOverride"`
}

func (a *app) printHop(r nexthop.Route) error {
	if a.json() {
		h := nextHop{Type: r.Type, Table: cmp.Or(r.Table, systemRoute)}
		if r.Address.IsValid() {
			h.Address = &r.Address
		}
		return a.printJSON(h)
	}
	words := []string{string(r.Type)}
	if r.Address.IsValid() {
		words = append(words, r.Address.String())
	}
	route := strings.TrimSpace(r.Prefix.String() + " " + cell(r.Name, 0))
	return a.printf("%s  %s  (%s)\n", strings.Join(words, " "), route, cmp.Or(cell(r.Table, 0), systemRoute))
}

func state(r nexthop.Route) string {
	if r.Invalid {
		return "Invalid"
	}
	return "Active"
}

func (a *app) printRoutes(routes nexthop.Routes) error {
	if !a.json() {
		return a.printTable(routeRows(routes))
	}
	out := effectiveRoutes{Value: []effectiveRoute{}}
	for _, r := range routes {
		e := effectiveRoute{Source: r.Source, State: state(r), Prefixes: []netip.Prefix{r.Prefix}, Tags: []string{}, Type: r.Type, Addresses: []netip.Addr{}}
		if r.Source == nexthop.User {
			e.Name = &r.Name
		}
		if r.Tag != "" {
			e.Tags = []string{r.Tag}
		}
		if r.Address.IsValid() {
			e.Addresses = []netip.Addr{r.Address}
		}
		out.Value = append(out.Value, e)
	}
	return a.printJSON(out)
}

func routeRows(routes nexthop.Routes) [][]string {
	rows := [][]string{{"SOURCE", "STATE", "ADDRESS PREFIX", "NEXT HOP TYPE", "NEXT HOP IP", "NAME", "SERVICE TAG"}}
	for _, r := range routes {
		address := ""
		if r.Address.IsValid() {
			address = r.Address.String()
		}
		rows = append(rows, []string{string(r.Source), state(r), r.Prefix.String(), string(r.Type), orDash(address),
			orDash(cell(r.Name, maxNameCell)), cell(r.Tag, maxNameCell)})
	}
	return unlessEmpty(rows, 6)
}
