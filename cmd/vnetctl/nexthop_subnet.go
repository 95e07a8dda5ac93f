package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// ofDocuments finds the routes of the subnet that the flags are about.
func (q *hopQuestion) ofDocuments(a *app) (nexthop.Routes, error) {
	d, err := q.templates.whole(a, q.documents)
	if err != nil {
		return nil, err
	}
	home, err := q.home(d)
	if err != nil {
		return nil, err
	}
	table, err := q.tableOf(d, home)
	if err != nil {
		return nil, err
	}
	routes, findings := nexthop.Effective(home.Network, table, d.ServiceTags)
	a.noteWarnings(findings)
	return routes, nsg.FirstError("", findings) // an answer without the broken routes would be another's
}

func (q *hopQuestion) tableOf(d *arm.Documents, home nexthop.Home) (*arm.RouteTable, error) {
	switch {
	case q.tableSet && q.table == "":
		return nil, nil
	case q.tableSet:
		t, err := d.RouteTable(q.table)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flagRouteTable, err)
		}
		return t, nil
	}
	t, err := home.Table(d)
	if errors.Is(err, nexthop.ErrNoTable) {
		err = fmt.Errorf("%w; --%s \"\" asks for the system's routes", err, flagRouteTable)
	}
	return t, err
}

// home finds the subnet; where a route table is told, its network will do, or none.
func (q *hopQuestion) home(d *arm.Documents) (nexthop.Home, error) {
	if q.vnet != "" {
		v, err := d.VirtualNetwork(q.vnet)
		if err != nil {
			return nexthop.Home{}, fmt.Errorf("--%s: %w", flagVNet, err)
		}
		d = &arm.Documents{VirtualNetworks: []arm.VirtualNetwork{*v}}
	}
	found, asked := q.candidates(d)
	switch {
	case len(found) == 1:
		return found[0], q.holds(found[0])
	case len(found) > 1:
		return nexthop.Home{}, fmt.Errorf("%s: it is ambiguous, --%s tells: %s", asked, flagVNet, enumerate(found))
	case q.subnet != "" || !q.tableSet:
		return nexthop.Home{}, fmt.Errorf("%s: no virtual network of the documents has such a subnet", asked)
	case len(d.VirtualNetworks) > 1:
		return nexthop.Home{}, usageError{fmt.Errorf("--%s: it must be told, for the documents have %d virtual networks", flagVNet, len(d.VirtualNetworks))}
	case len(d.VirtualNetworks) == 1:
		return nexthop.Home{Network: &d.VirtualNetworks[0]}, nil
	}
	return nexthop.Home{}, nil
}

// candidates are the subnets that may be meant, and the flag that tells.
func (q *hopQuestion) candidates(d *arm.Documents) (found []nexthop.Home, asked string) {
	if q.subnet == "" {
		if !q.source.IsValid() {
			return nil, ""
		}
		return nexthop.HomesOf(d, netip.PrefixFrom(q.source, q.source.BitLen())), fmt.Sprintf("--%s %s", flagSourceIP, q.source)
	}
	for i := range d.VirtualNetworks {
		v := &d.VirtualNetworks[i]
		for k := range v.Subnets {
			s := &v.Subnets[k]
			if strings.EqualFold(s.Name, q.subnet) || s.ID != "" && strings.EqualFold(s.ID, q.subnet) {
				found = append(found, nexthop.Home{Network: v, Subnet: s})
			}
		}
	}
	return found, fmt.Sprintf("--%s %s", flagSubnet, quoted(q.subnet))
}

// holds makes sure that the source is in the subnet.
func (q *hopQuestion) holds(h nexthop.Home) error {
	in := func(p netip.Prefix) bool { return p.Contains(q.source) }
	if q.source.IsValid() && !slices.ContainsFunc(h.Subnet.Prefixes, in) {
		return usageError{fmt.Errorf("--%s %s: it is not in subnet %s", flagSourceIP, q.source, h.Subnet.Name)}
	}
	return nil
}

func enumerate(homes []nexthop.Home) string {
	var names []string
	for _, h := range homes {
		names = append(names, fmt.Sprintf("%s of %s", h.Subnet.Name, cmp.Or(h.Network.ID, h.Network.Name)))
	}
	return strings.Join(names, ", ")
}

// ofPod finds the routes that are in force for a running pod.
func (q *hopQuestion) ofPod(a *app) (nexthop.Routes, error) {
	all, err := a.runningPods()
	if err != nil {
		return nil, err
	}
	p, err := find(all, q.pod)
	if err != nil {
		return nil, err
	}
	if q.source.IsValid() && !slices.Contains(p.addrs, q.source) {
		return nil, usageError{fmt.Errorf("--%s %s: the pod has %s", flagSourceIP, q.source, joined(p.addrs))}
	}
	if attachment.IsChained(p.network) {
		return nil, fmt.Errorf("--%s %s: network %s has its routes from another plugin", flagPod, quoted(q.pod), p.network)
	}
	if !policy.Exists(a.stateDir, p.network) {
		return nil, fmt.Errorf("--%s %s: network %s has no documents", flagPod, quoted(q.pod), p.network)
	}
	q.network = p.network
	if q.inForce, err = policy.InForce(a.stateDir, p.network); err != nil {
		return nil, err
	}
	routes, warnings := q.inForce.Effective()
	if len(routes) == 0 {
		return nil, fmt.Errorf("--%s %s: the routes of network %s were put in force by an earlier version, and are told once its documents change; --%s %s asks by these",
			flagPod, quoted(q.pod), p.network, flagDocuments, strings.Join(q.inForce.Config.Documents, " --"+flagDocuments+" "))
	}
	a.noteRejected(p.network)
	a.noteWarnings(warnings)
	for _, other := range all {
		q.pods = append(q.pods, other.addrs...)
	}
	return routes, nil
}
