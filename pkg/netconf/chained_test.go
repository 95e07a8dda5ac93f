package netconf

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// chainedConf is the least configuration of vnet-nsg, with more keys in it.
func chainedConf(nsg, more string) string {
	return `{"cniVersion":"1.0.0","name":"pods","type":"vnet-nsg","nsg":{"documents":["/etc/vnet"],"virtualNetwork":["10.244.0.0/16"]` + nsg + `}` + more + `}`
}

func TestChained(t *testing.T) {
	c := mustStrict(t, VNetNSG, chainedConf(`,"subnet":"s","sameNode":"azure"`, `,"stateDir":"/tmp/x","capabilities":{"ips":true},
		"runtimeConfig":{"ips":["not for vnet-nsg"],"mac":7,"io.kubernetes.cri.pod-annotations":{"vnet-cni.io/nsg":"web"}},
		"prevResult":{"ips":[{"address":"10.244.0.9/24"}],"x":1}`))
	equal(t, "nsg", c.NSG, &NSG{Documents: []string{"/etc/vnet"}, Subnet: "s", SameNodeFree: true, RouteTable: new(string),
		VirtualNetwork: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}})
	equal(t, "stateDir", c.StateDir, "/tmp/x")
	equal(t, "annotation", c.PodNSG, "web")
	equal(t, "fixed addresses", len(c.FixedIPs), 0)
	equal(t, "pools", len(c.IPAM.Pools), 0)
	equal(t, "version of the result", c.PrevVersion, "1.0.0")
	var document map[string]any
	if err := json.Unmarshal(c.PrevDocument, &document); err != nil || document["x"] != 1.0 || document["cniVersion"] != "1.0.0" {
		t.Errorf("document %s, %v", c.PrevDocument, err)
	}
	whole := `{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.244.0.9/24"}], "x": 2.50}`
	c = mustStrict(t, VNetNSG, chainedConf("", `,"prevResult":`+whole))
	equal(t, "document as it came", string(c.PrevDocument), whole)
	equal(t, "its version", c.PrevVersion, "0.4.0")
	t.Log("3 configurations")
}

func TestBrokenChained(t *testing.T) {
	checkBroken(t, VNetNSG, []brokenRow{
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet-nsg"}`, 7, `nsg`, `missing`},
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet-nsg","nsg":null}`, 6, `nsg`, `null`},
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet-nsg","nsg":{"documents":["/etc/vnet"]}}`, 7, `nsg.virtualNetwork`, `missing`},
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet-nsg","nsg":{"virtualNetwork":["10.244.0.0/16"]}}`, 7, `nsg.documents`, `missing`},
		{`{"cniVersion":"1.0.0","name":"pods","nsg":{"documents":["/etc/vnet"],"virtualNetwork":["10.244.0.0/16"]}}`, 7, `type`, `missing`},
		{`{"cniVersion":"1.0.0","name":"pods","type":"vnet-nsg","nsg":{"documents":["/etc/vnet"],"virtualNetwork":[]}}`, 7, `nsg.virtualNetwork`, `at least one prefix`},
		{chainedConf(`,"routeTable":"rt"`, ""), 2, `"nsg.routeTable"`, `"rt"`},
		{chainedConf("", `,"ipam":{}`), 2, `"ipam"`, `{}`},
		{chainedConf("", `,"uplink":"eth0"`), 2, `"uplink"`, `"eth0"`},
		{chainedConf("", `,"masquerade":{}`), 2, `"masquerade"`, `{}`},
		{chainedConf("", `,"stateDirectory":"/run/vnet"`), 2, `"stateDirectory"`, `"/run/vnet"`},
		{chainedConf(`,"subnets":"x"`, ""), 2, `"nsg.subnets"`, `"x"`},
		{chainedConf("", `,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"vnet-cni.io/asgs":"a,a"}}`), 7, `vnet-cni.io/asgs`, `"a,a"`},
	})
}
