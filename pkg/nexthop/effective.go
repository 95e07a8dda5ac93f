package nexthop

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Effective returns the routes of a subnet of the network v that has the route
// table, of which either may be nil. tags are the prefixes of service tags by name
// in lower case, as arm.Documents has them. The findings are all that is wrong with
// the table; a route with an error is not among the routes.
func Effective(v *arm.VirtualNetwork, table *arm.RouteTable, tags map[string][]netip.Prefix) (Routes, []nsg.Finding) {
	r := reader{tags: tags}
	if table != nil {
		r.read(table)
	}
	return inOrder(append(r.routes, system(v, r.routes)...)), r.findings
}

// reader makes routes of a table as it is written.
type reader struct {
	tags     map[string][]netip.Prefix
	table    *arm.RouteTable
	routes   []Route
	findings []nsg.Finding

	names    map[string]string // of the routes so far, by name in lower case
	prefixes map[string]string // by what they are for; the value is the route's name
}

func (r *reader) read(t *arm.RouteTable) {
	r.table, r.names, r.prefixes = t, map[string]string{}, map[string]string{}
	tagged := 0
	for i := range t.Routes {
		d := &t.Routes[i]
		if nsg.LooksLikeTag(d.AddressPrefix) {
			tagged++
		}
		r.route(d)
	}
	r.limits(len(t.Routes), tagged)
}

// route reads one route. All its faults are told at once.
func (r *reader) route(d *arm.Route) {
	before := len(r.findings)
	if d.Name != "" { // else pkg/arm has told
		r.unique(d, "name", d.Name, r.names, "the name "+d.Name)
	}
	prefixes, tag := r.destination(d)
	route := Route{Source: User, Name: d.Name, Table: cmp.Or(r.table.ID, r.table.Name), Tag: tag}
	route.Type = r.hop(d)
	route.Address = r.address(d, route.Type)
	if r.failedSince(before) {
		return
	}
	fitting := slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return !fits(route.Address, p) })
	switch {
	case len(fitting) == 0 && tag == "":
		r.fail(d, CodeMixedFamilies, "nextHopIpAddress", d.NextHopIPAddress, "%s is not of the family of %s", route.Address, prefixes[0])
	case len(fitting) == 0 && len(prefixes) > 0:
		r.warn(d, CodeMixedFamilies, "nextHopIpAddress", d.NextHopIPAddress, "no prefix of service tag %s is of the family of %s", tag, route.Address)
	}
	for _, p := range fitting {
		route.Prefix = p
		r.routes = append(r.routes, route)
	}
}

// fits reports whether an appliance at the address can be the next hop of the
// prefix. Of a service tag, which has both families, it gets those of its own: no
// source tells what Azure does with the others.
func fits(appliance netip.Addr, p netip.Prefix) bool {
	return !appliance.IsValid() || appliance.Is4() == p.Addr().Is4()
}

// destination reads what the route is for: a prefix, or the prefixes of a service tag.
func (r *reader) destination(d *arm.Route) (prefixes []netip.Prefix, tag string) {
	const property = "addressPrefix"
	if nsg.LooksLikeTag(d.AddressPrefix) {
		key := strings.ToLower(d.AddressPrefix)
		known, found := r.tags[key]
		switch {
		case found:
			r.unique(d, property, key, r.prefixes, "the service tag "+d.AddressPrefix)
		case r.tags == nil:
			r.fail(d, CodeUnknownTag, property, d.AddressPrefix, "service tag %q needs Azure's service tag file, and there is none", d.AddressPrefix)
		default:
			r.fail(d, CodeUnknownTag, property, d.AddressPrefix, "there is no service tag %q in the service tag file", d.AddressPrefix)
		}
		return known, d.AddressPrefix
	}
	p, err := nsg.ParsePrefix(d.AddressPrefix)
	if err != nil {
		r.fail(d, CodeInvalidPrefix, property, d.AddressPrefix, "%v", err)
		return nil, ""
	}
	r.unique(d, property, p.String(), r.prefixes, "the prefix "+p.String())
	return []netip.Prefix{p}, ""
}

// hop reads the type of the next hop, in any case as Azure does.
func (r *reader) hop(d *arm.Route) Type {
	known := [...]Type{VnetLocal, Internet, VirtualAppliance, VirtualNetworkGateway, None}
	for _, t := range known {
		if strings.EqualFold(d.NextHopType, string(t)) {
			return t
		}
	}
	r.fail(d, CodeInvalidType, "nextHopType", d.NextHopType, "%q is none of %v", d.NextHopType, known)
	return ""
}

// address reads the address of an appliance.
func (r *reader) address(d *arm.Route, t Type) netip.Addr {
	const property = "nextHopIpAddress"
	if t != VirtualAppliance {
		if d.NextHopIPAddress != "" && t != "" {
			r.warn(d, CodeInvalidAddress, property, d.NextHopIPAddress, "only a VirtualAppliance has an address: of %s %q means nothing", t, d.NextHopIPAddress)
		}
		return netip.Addr{}
	}
	if d.NextHopIPAddress == "" {
		r.fail(d, CodeInvalidAddress, property, "", "a VirtualAppliance needs its address")
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(d.NextHopIPAddress)
	if err != nil || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
		r.fail(d, CodeInvalidAddress, property, d.NextHopIPAddress, "%q is not the address of an appliance, such as 10.0.0.4", d.NextHopIPAddress)
		return netip.Addr{}
	}
	return a
}

// unique tells when an earlier route has the same value already.
func (r *reader) unique(d *arm.Route, property, value string, seen map[string]string, what string) {
	key := strings.ToLower(value)
	if other, taken := seen[key]; taken {
		r.fail(d, CodeDuplicate, property, value, "another route, %s, has %s already", other, what)
		return
	}
	seen[key] = d.Name
}

// Azure's limits of a route table. "User-defined routes per route table" are 400,
// and 1000 where Azure Virtual Network Manager keeps them; of those 25 may have
// service tags.
const (
	maxRoutes  = 400
	maxManaged = 1000
	maxTagged  = 25
)

func (r *reader) limits(all, tagged int) {
	const tooMany = "there are %d routes; Azure allows %d, and %d where Virtual Network Manager keeps them"
	whole := &arm.Route{}
	switch {
	case all > maxManaged:
		r.fail(whole, CodeLimit, "routes", strconv.Itoa(all), tooMany, all, maxRoutes, maxManaged)
	case all > maxRoutes:
		r.warn(whole, CodeLimit, "routes", strconv.Itoa(all), tooMany, all, maxRoutes, maxManaged)
	}
	if tagged > maxTagged {
		r.fail(whole, CodeLimit, "routes", strconv.Itoa(tagged), "there are %d routes with service tags; Azure allows %d", tagged, maxTagged)
	}
}
