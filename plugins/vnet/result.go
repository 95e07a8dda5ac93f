package main

import (
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
	"github.com/vnet-cni/vnet-cni/pkg/cnimain"
	"github.com/vnet-cni/vnet-cni/pkg/link"
)

// print tells the runtime the result.
func (a *addition) print() error {
	if err := cnimain.PrintResult(os.Stdout, a.result(), a.Conf.CNIVersion); err != nil {
		return cnierr.Errorf(cnierr.IO, "write the result: %w", err)
	}
	return nil
}

// result is what the runtime and the chained plugins are told: both ends of the
// pair, the addresses on the pod's end, and the pod's routes.
func (a *addition) result() *types100.Result {
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: a.hostVeth(), Mac: link.HostMAC.String(), Mtu: a.mtu},
			{Name: a.Key.IfName, Mac: a.podMAC().String(), Mtu: a.mtu, Sandbox: a.Netns},
		},
		DNS: a.dns,
	}
	const podEnd = 1
	for _, addr := range a.addrs {
		r.IPs = append(r.IPs, &types100.IPConfig{
			Interface: types100.Int(podEnd),
			Address:   ipNet(netip.PrefixFrom(addr, addr.BitLen())),
			Gateway:   link.Gateway(addr).AsSlice(),
		})
	}
	for _, route := range link.PodRoutes(a.addrs, a.record.Routes) {
		if route.Via.IsValid() { // not the one to the gateway itself
			r.Routes = append(r.Routes, cniRoute(route))
		}
	}
	return r
}

func cniRoute(r link.Route) *types.Route {
	route := &types.Route{
		Dst: ipNet(r.Dst), GW: r.Via.AsSlice(),
		MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority,
	}
	if r.Table != 0 {
		route.Table = &r.Table
	}
	if r.Scope != 0 {
		scope := int(r.Scope)
		route.Scope = &scope
	}
	return route
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
