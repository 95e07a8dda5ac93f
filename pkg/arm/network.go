package arm

import (
	"net/netip"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// virtualNetwork reads a virtual network with its subnets and peerings.
func (r *reader) virtualNetwork(v value) {
	name, id, ok := r.identity(v)
	if !ok {
		return
	}
	res := r.open(v)
	network := VirtualNetwork{Name: name, ID: id, File: r.file, AddressSpace: r.addressSpace("addressSpace", res.get("addressSpace"))}
	network.Subnets = readParts(r, "subnets", res, r.subnet, sameSubnet)
	network.Peerings = readParts(r, "virtualNetworkPeerings", res, r.peering, samePeering)
	r.addNetwork(network)
}

func (r *reader) subnet(v value) Subnet {
	name, id, _ := r.identity(v)
	res := r.open(v)
	s := Subnet{
		Name: name, ID: id,
		NSG:        r.reference("networkSecurityGroup", res.get("networkSecurityGroup")),
		RouteTable: r.reference("routeTable", res.get("routeTable")),
	}
	// Azure repeats a single prefix in the list.
	seen := map[netip.Prefix]bool{}
	for _, key := range []string{"addressPrefix", "addressPrefixes"} {
		for _, p := range r.prefixes(key, res.get(key)) {
			if !seen[p] {
				seen[p] = true
				s.Prefixes = append(s.Prefixes, p)
			}
		}
	}
	return s
}

// peering reads a peering. remoteAddressSpace is what the peering was last
// synchronised with and thus what is routed; PowerShell calls it
// PeeredRemoteAddressSpace.
func (r *reader) peering(v value) Peering {
	name, id, _ := r.identity(v)
	res := r.open(v)
	p := Peering{
		Name: name, ID: id, State: r.text("peeringState", res.get("peeringState")),
		RemoteNetwork: r.placed(strings.Clone(res.get("remoteVirtualNetwork").get("id").plain())), // or an expression that nobody can resolve
	}
	if access := res.get("allowVirtualNetworkAccess"); access.given() {
		p.AccessDenied = !r.truth("allowVirtualNetworkAccess", access)
	}
	for _, key := range []string{"remoteAddressSpace", "peeredRemoteAddressSpace", "remoteVirtualNetworkAddressSpace"} {
		if space := res.get(key); space.given() {
			p.RemoteAddressSpace = r.addressSpace(key, space)
			break
		}
	}
	return p
}

// findPeers gives peerings that do not tell the other network's address space, as templates
// do not, that of the documents. Without it VirtualNetwork would lack a part.
func (d *Documents) findPeers() {
	for i := range d.VirtualNetworks {
		network := &d.VirtualNetworks[i]
		for j := range network.Peerings {
			p := &network.Peerings[j]
			if p.RemoteNetwork == "" || len(p.RemoteAddressSpace) > 0 || p.AccessDenied || !p.Connected() {
				continue
			}
			if p.RemoteAddressSpace = d.spaceOf(p.RemoteNetwork); len(p.RemoteAddressSpace) == 0 {
				d.Findings = append(d.Findings, nsg.Finding{
					Severity: nsg.Warning, Code: Incomplete, File: network.File, Property: "remoteAddressSpace", Value: shorten(p.RemoteNetwork),
					Message: "the peering " + word(p.Name) + " of " + word(network.Name) + " is read as one without addresses: no document has the address space of " +
						word(p.RemoteNetwork),
				})
			}
		}
	}
}

// spaceOf returns the address space of the network with an id.
func (d *Documents) spaceOf(id string) []netip.Prefix {
	at, ok := d.places[placeOf(networkKind, "", id)]
	if !ok {
		return nil
	}
	return d.VirtualNetworks[at].AddressSpace
}

func (r *reader) addressSpace(key string, v value) []netip.Prefix {
	return r.prefixes("addressPrefixes", r.member(key, v).get("addressPrefixes"))
}

func (r *reader) applicationGroup(v value) {
	if name, id, ok := r.identity(v); ok {
		r.addASG(ApplicationSecurityGroup{Name: name, ID: id, File: r.file})
	}
}

func (r *reader) routeTable(v value) {
	name, id, ok := r.identity(v)
	if !ok {
		return
	}
	table := RouteTable{Name: name, ID: id, File: r.file}
	table.Routes = readParts(r, "routes", r.open(v), r.route, sameRoute)
	r.addTable(table)
}

func (r *reader) route(v value) Route {
	name, _, _ := r.identity(v)
	res := r.open(v)
	return Route{
		Name:             name,
		AddressPrefix:    r.text("addressPrefix", res.get("addressPrefix")),
		NextHopType:      r.text("nextHopType", res.get("nextHopType")),
		NextHopIPAddress: r.text("nextHopIpAddress", res.get("nextHopIpAddress")),
	}
}
