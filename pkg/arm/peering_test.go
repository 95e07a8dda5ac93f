package arm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A template that makes a peering tells which network it is with, and not that
// network's addresses: its own document does.
func TestPeeringOfATemplate(t *testing.T) {
	const vnets = `{"type": "Microsoft.Network/virtualNetworks", "name": "spoke", "properties": {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}},
		{"type": "Microsoft.Network/virtualNetworks", "name": "hub", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16", "fd00::/48"]}}},
		{"type": "Microsoft.Network/virtualNetworks/virtualNetworkPeerings", "name": "spoke/to-hub", "properties": {"remoteVirtualNetwork": {"id": %q}%s}}`
	cases := []struct{ id, more, space, finding string }{
		{"[resourceId('Microsoft.Network/virtualNetworks', 'HUB')]", "", "[10.0.0.0/16 fd00::/48]", ""},
		{"[resourceId('Microsoft.Network/virtualNetworks', 'hub')]", `, "remoteAddressSpace": {"addressPrefixes": ["10.0.0.0/17"]}`, "[10.0.0.0/17]", ""},
		{"[resourceId('Microsoft.Network/virtualNetworks', 'far')]", "", "[]", "virtualNetworks/far"},
		{"[parameters('hub')]", "", "[]", "no document has the address space of [parameters('hub')]"},
		{"/x/far", `, "peeringState": "Disconnected"`, "[]", ""},
	}
	for _, c := range cases {
		file := filepath.Join(t.TempDir(), "template.json")
		text := `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
			"parameters": {"hub": {"type": "string"}}, "resources": [` + fmt.Sprintf(vnets, c.id, c.more) + `]}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d := Load([]string{file})
		if len(d.VirtualNetworks) != 2 || len(d.VirtualNetworks[0].Peerings) != 1 {
			t.Fatalf("%s: %+v, %v", c.id, d.VirtualNetworks, d.Findings)
		}
		if got := fmt.Sprint(d.VirtualNetworks[0].Peerings[0].RemoteAddressSpace); got != c.space {
			t.Errorf("%s: %s, want %s", c.id, got, c.space)
		}
		told := fmt.Sprint(d.Findings)
		if d.Err() != nil || (len(d.Findings) > 0) != (c.finding != "") || !strings.Contains(told, c.finding) {
			t.Errorf("%s: findings %s", c.id, told)
		}
	}
	t.Logf("%d peerings", len(cases))
}
