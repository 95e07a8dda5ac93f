package cnimain

import (
	"io"
	"net"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vnet-cni/vnet-cni/pkg/jsonwrite"
)

// PrintResult writes a result in a version of the CNI spec. For today's versions it
// does so itself: the library's way takes a result to JSON, to maps and to JSON
// again, a twentieth of an ADD.
func PrintResult(w io.Writer, r *types100.Result, version string) error {
	if version != "1.0.0" && version != "1.1.0" {
		converted, err := r.GetAsVersion(version)
		if err != nil {
			return err
		}
		return converted.PrintTo(w)
	}
	o := resultObject(r, version)
	_, err := w.Write(append(o.JSON(), '\n'))
	return err
}

// resultObject has its members in the library's order.
func resultObject(r *types100.Result, version string) (o jsonwrite.Object) {
	o.String("cniVersion", version)
	if !r.DNS.IsEmpty() {
		o.Object("dns", dnsObject(r.DNS))
	}
	o.Objects("interfaces", objects(r.Interfaces, interfaceObject))
	o.Objects("ips", objects(r.IPs, ipObject))
	o.Objects("routes", objects(r.Routes, routeObject))
	return o
}

func objects[T any](list []T, of func(T) jsonwrite.Object) []jsonwrite.Object {
	out := make([]jsonwrite.Object, len(list))
	for i, x := range list {
		out[i] = of(x)
	}
	return out
}

func dnsObject(d types.DNS) (o jsonwrite.Object) {
	o.String("domain", d.Domain)
	o.Strings("nameservers", d.Nameservers)
	o.Strings("options", d.Options)
	o.Strings("search", d.Search)
	return o
}

func interfaceObject(i *types100.Interface) (o jsonwrite.Object) {
	o.String("mac", i.Mac)
	o.Int("mtu", i.Mtu)
	o.String("name", i.Name)
	o.String("pciID", i.PciID)
	o.String("sandbox", i.Sandbox)
	o.String("socketPath", i.SocketPath)
	return o
}

func ipObject(c *types100.IPConfig) (o jsonwrite.Object) {
	o.String("address", c.Address.String())
	o.String("gateway", ipText(c.Gateway))
	o.Number("interface", c.Interface)
	return o
}

func routeObject(r *types.Route) (o jsonwrite.Object) {
	o.Int("advmss", r.AdvMSS)
	o.String("dst", r.Dst.String())
	o.String("gw", ipText(r.GW))
	o.Int("mtu", r.MTU)
	o.Int("priority", r.Priority)
	o.Number("scope", r.Scope)
	o.Number("table", r.Table)
	return o
}

// ipText is "" for no address, where IP.String has words.
func ipText(ip net.IP) string {
	if len(ip) == 0 {
		return ""
	}
	return ip.String()
}
