package cnimain

import (
	"bytes"
	"encoding/json"
	"net"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"pgregory.net/rapid"
)

// What is written is what the library writes, but for white space, in all versions.
func TestResultIsTheLibrarys(t *testing.T) {
	versions := Versions.SupportedVersions()
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		r := drawResult(t)
		version := rapid.SampledFrom(versions).Draw(t, "version")
		converted, err := r.GetAsVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		var got, want bytes.Buffer
		if err := converted.PrintTo(&want); err != nil {
			t.Fatal(err)
		}
		if err := PrintResult(&got, r, version); err != nil {
			t.Fatal(err)
		}
		if g, w := compact(t, got.Bytes()), compact(t, want.Bytes()); g != w {
			t.Errorf("%s\nwant\n%s", g, w)
		}
	})
	if err := PrintResult(&bytes.Buffer{}, &types100.Result{}, "9.9.9"); err == nil {
		t.Error("a result of an unknown version was written")
	}
	t.Logf("%d results, %d versions", count, len(versions))
}

func compact(t *rapid.T, raw []byte) string {
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return out.String()
}

func drawResult(t *rapid.T) *types100.Result {
	text := rapid.StringN(0, 8, -1)
	number := rapid.IntRange(0, 3)
	some := func(name string) []int { return make([]int, rapid.IntRange(0, 2).Draw(t, name)) }
	r := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	for range some("interfaces") {
		r.Interfaces = append(r.Interfaces, &types100.Interface{
			Name: "e" + text.Draw(t, "name"), Mac: text.Draw(t, "mac"), Mtu: number.Draw(t, "mtu"), Sandbox: text.Draw(t, "sandbox"),
			SocketPath: text.Draw(t, "socketPath"), PciID: text.Draw(t, "pciID"),
		})
	}
	for range some("ips") {
		r.IPs = append(r.IPs, &types100.IPConfig{
			Address: drawNet(t), Gateway: drawIP(t, true), Interface: rapid.Ptr(number, true).Draw(t, "interface"),
		})
	}
	for range some("routes") {
		r.Routes = append(r.Routes, &types.Route{
			Dst: drawNet(t), GW: drawIP(t, true), MTU: number.Draw(t, "mtu"), AdvMSS: number.Draw(t, "advmss"), Priority: number.Draw(t, "priority"),
			Table: rapid.Ptr(number, true).Draw(t, "table"), Scope: rapid.Ptr(number, true).Draw(t, "scope"),
		})
	}
	list := rapid.SliceOfN(text, 0, 2)
	r.DNS = types.DNS{Nameservers: list.Draw(t, "nameservers"), Domain: text.Draw(t, "domain"), Search: list.Draw(t, "search"), Options: list.Draw(t, "options")}
	return r
}

func drawIP(t *rapid.T, optional bool) net.IP {
	size := rapid.SampledFrom([]int{0, net.IPv4len, net.IPv6len}).Draw(t, "family")
	if size == 0 && !optional {
		size = net.IPv6len
	}
	return rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "ip")
}

func drawNet(t *rapid.T) net.IPNet {
	ip := drawIP(t, false)
	return net.IPNet{IP: ip, Mask: net.CIDRMask(rapid.IntRange(0, 8*len(ip)).Draw(t, "bits"), 8*len(ip))}
}
