package netconf

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

func (d *decoder) routes(path string, raw json.RawMessage) error {
	list, err := elements(path, raw)
	if err != nil {
		return err
	}
	routes := make([]*types.Route, 0, len(list))
	for i, e := range list {
		r, err := d.route(index(path, i), e)
		if err != nil {
			return err
		}
		routes = append(routes, r)
	}
	d.conf.IPAM.Routes = routes
	return nil
}

// route reads one route object of the CNI specification.
func (d *decoder) route(path string, raw json.RawMessage) (*types.Route, error) {
	r := &types.Route{}
	err := d.object(path, raw, []field{
		{key: "dst", need: "a route has a destination", set: func(path string, raw json.RawMessage) error {
			p, err := prefix(path, raw)
			r.Dst = ipNet(p)
			return err
		}},
		{key: "gw", set: func(path string, raw json.RawMessage) error {
			a, err := address(path, raw)
			r.GW = a.AsSlice()
			return err
		}},
		{key: "mtu", set: number(&r.MTU, maxMTU)},
		{key: "advmss", set: number(&r.AdvMSS, maxMTU)},
		{key: "priority", set: number(&r.Priority, math.MaxUint32)},
		{key: "table", set: optional(&r.Table, math.MaxUint32)},
		{key: "scope", set: optional(&r.Scope, math.MaxUint8)},
	}, false)
	if err != nil {
		return nil, err
	}
	if r.GW != nil && (len(r.GW) != len(r.Dst.IP)) {
		return nil, fault(cnierr.Config, join(path, "gw"), quoted(r.GW.String()), "is not of the family of dst "+r.Dst.String())
	}
	return r, nil
}

// checkGateways refuses gateways that no address of the pools reaches.
func (d *decoder) checkGateways() error {
	for i, r := range d.conf.IPAM.Routes {
		gw, ok := netip.AddrFromSlice(r.GW)
		if ok && !d.inPools(gw) {
			return fault(cnierr.Config, index("ipam.routes", i)+".gw", quoted(gw.String()), "is in the subnet of none of the pools")
		}
	}
	return nil
}

// scopeLink is RT_SCOPE_LINK: from it on, an IPv4 route has no next hop.
const scopeLink = 253

// checkRoutes refuses routes that the main plugin cannot give to a pod, where every
// route leads to the node, and the kernel has one of a kind.
func (d *decoder) checkRoutes() error {
	if d.plugin != VNet {
		return nil
	}
	type place struct {
		dst             string
		table, priority int
	}
	seen := map[place]int{}
	for i, r := range d.conf.IPAM.Routes {
		path := index("ipam.routes", i)
		if r.Scope != nil && *r.Scope >= scopeLink && len(r.Dst.IP) == net.IPv4len {
			return fault(cnierr.Config, path+".scope", json.RawMessage(strconv.Itoa(*r.Scope)),
				fmt.Sprintf("is not below %d: such a route has no next hop, and would not lead to the node", scopeLink))
		}
		if ones, _ := r.Dst.Mask.Size(); ones == 0 && r.Table == nil {
			continue // the default route, which is there anyway
		}
		at := place{r.Dst.String(), tableOf(r), r.Priority}
		if first, twice := seen[at]; twice {
			return fault(cnierr.Config, path+".dst", quoted(at.dst), fmt.Sprintf("is that of %s, too, in the same table with the same priority", index("ipam.routes", first)))
		}
		seen[at] = i
	}
	return nil
}

func tableOf(r *types.Route) int {
	const mainTable = 254 // RT_TABLE_MAIN, which the kernel takes 0 for
	if r.Table == nil || *r.Table == 0 {
		return mainTable
	}
	return *r.Table
}

func (d *decoder) inPools(a netip.Addr) bool {
	for _, p := range d.conf.IPAM.Pools {
		if p.Subnet.Contains(a) {
			return true
		}
	}
	return false
}

func number(to *int, high int) setter {
	return func(path string, raw json.RawMessage) (err error) {
		*to, err = whole(path, raw, 0, high)
		return err
	}
}

// optional is number for keys whose zero is not their absence.
func optional(to **int, high int) setter {
	return func(path string, raw json.RawMessage) error {
		n, err := whole(path, raw, 0, high)
		*to = &n
		return err
	}
}

func ipNet(p netip.Prefix) net.IPNet {
	if !p.IsValid() {
		return net.IPNet{}
	}
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// quoted is a string of harmless letters as a JSON value.
func quoted(s string) json.RawMessage { return json.RawMessage(`"` + s + `"`) }
