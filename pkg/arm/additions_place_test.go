package arm

import (
	"fmt"
	"testing"
)

// TestAddedByTheExport: what is added again by a template that is not told its place is what
// the export has, and so are the resources that it refers to there.
func TestAddedByTheExport(t *testing.T) {
	const place = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/"
	const export = `[
		{"name":"web","id":"` + place + `networkSecurityGroups/web","securityRules":[{"name":"jump","priority":100,"sourceApplicationSecurityGroups":[{"id":"` + place + `applicationSecurityGroups/jump"}]}]},
		{"name":"t","id":"` + place + `routeTables/t","routes":[]},
		{"name":"v","type":"Microsoft.Network/virtualNetworks","id":"` + place + `virtualNetworks/v/","addressSpace":{"addressPrefixes":["10.0.0.0/16"]},
			"subnets":[{"name":"s","addressPrefix":"10.0.1.0/24","networkSecurityGroup":{"id":"` + place + `networkSecurityGroups/web"},"routeTable":{"id":"` + place + `routeTables/t"}}],
			"virtualNetworkPeerings":[{"name":"p","peeringState":"Disconnected","remoteVirtualNetwork":{"id":"` + place + `virtualNetworks/w"},"remoteAddressSpace":{"addressPrefixes":["10.9.0.0/16"]}}]}]`
	ref := func(kind, name string) string {
		return `{"id":"[resourceId('Microsoft.Network/` + kind + `','` + name + `')]"}`
	}
	rule := `{"type":"Microsoft.Network/networkSecurityGroups/securityRules","name":"web/jump","properties":{"priority":100,"sourceApplicationSecurityGroups":[` + ref("applicationSecurityGroups", "jump") + `]}}`
	subnet := func(group string) string {
		return `{"type":"Microsoft.Network/virtualNetworks/subnets","name":"v/s","properties":{"addressPrefix":"10.0.1.0/24","networkSecurityGroup":` +
			ref("networkSecurityGroups", group) + `,"routeTable":` + ref("routeTables", "t") + `}}`
	}
	peering := func(remote string) string {
		return `{"type":"Microsoft.Network/virtualNetworks/virtualNetworkPeerings","name":"v/p","properties":{"remoteVirtualNetwork":` + ref("virtualNetworks", remote) + `}}`
	}
	replaced := func(i int, what string) string {
		return fmt.Sprintf("warning ResourceReplaced : resources[%d]: v/%s takes the place of the one in a.json", i, what)
	}
	const old = "[{p  Disconnected false " + place + "virtualNetworks/w [10.9.0.0/16]}]"
	for _, c := range []struct{ name, template, told, nsg, peerings string }{
		{"the same", templateOf(rule, subnet("web"), peering("w")), "", place + "networkSecurityGroups/web", old},
		{
			"a group that the template makes", templateOf(aGroup+`}`, subnet("n")), replaced(1, "s"),
			"/subscriptions/" + placeholderSubscription + "/resourceGroups/" + placeholderGroup + "/providers/Microsoft.Network/networkSecurityGroups/n", old,
		},
		{
			"a peering to another network", templateOf(peering("x")), replaced(0, "p") + "\n" +
				"warning DocumentIncomplete : the peering p of v is read as one without addresses: no document has the address space of " + place + "virtualNetworks/x",
			place + "networkSecurityGroups/web", "[{p " + place + "virtualNetworks/v/virtualNetworkPeerings/p  false " + place + "virtualNetworks/x []}]",
		},
	} {
		d := loadAll(t, Deployment{}, export, c.template)
		v := &d.VirtualNetworks[0]
		if got := fmt.Sprint(v.Peerings); told(d) != c.told || v.Subnets[0].NSG != c.nsg || got != c.peerings {
			t.Errorf("%s:\n got %s %s\n%s\nwant %s %s\n%s", c.name, v.Subnets[0].NSG, got, told(d), c.nsg, c.peerings, c.told)
		}
	}
	t.Log("3 templates")
}
