package arm

import "net/netip"

// virtualNetwork reads a virtual network with its subnets and peerings.
func (r *reader) virtualNetwork(v value) {
	name, id, ok := r.identity(v)
	if !ok {
		return
	}
	res := r.open(v)
	network := VirtualNetwork{Name: name, ID: id, File: r.file, AddressSpace: r.addressSpace("addressSpace", res.get("addressSpace"))}
	for _, item := range r.objects("subnets", res.get("subnets")) {
		network.Subnets = append(network.Subnets, r.subnet(item))
	}
	for _, item := range r.objects("virtualNetworkPeerings", res.get("virtualNetworkPeerings")) {
		network.Peerings = append(network.Peerings, r.peering(item))
	}
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
	p := Peering{Name: name, ID: id, State: r.text("peeringState", res.get("peeringState"))}
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
	for _, item := range r.objects("routes", r.open(v).get("routes")) {
		name, _, _ := r.identity(item)
		res := r.open(item)
		table.Routes = append(table.Routes, Route{
			Name:             name,
			AddressPrefix:    r.text("addressPrefix", res.get("addressPrefix")),
			NextHopType:      r.text("nextHopType", res.get("nextHopType")),
			NextHopIPAddress: r.text("nextHopIpAddress", res.get("nextHopIpAddress")),
		})
	}
	r.addTable(table)
}
