package arm

import (
	"net/netip"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
)

const vnetID = provider + "virtualNetworks/v"

func space(prefixes ...string) *armnetwork.AddressSpace {
	return &armnetwork.AddressSpace{AddressPrefixes: texts(prefixes...)}
}

func prefixes(values ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, v := range values {
		out = append(out, netip.MustParsePrefix(v))
	}
	return out
}

func sdkNetwork() *armnetwork.VirtualNetwork {
	return &armnetwork.VirtualNetwork{
		ID: to.Ptr(vnetID), Name: to.Ptr("v"), Type: to.Ptr("Microsoft.Network/virtualNetworks"), Location: to.Ptr("westeurope"),
		Properties: &armnetwork.VirtualNetworkPropertiesFormat{
			AddressSpace: space("10.1.0.0/16", "2001:db8:1::/48"),
			Subnets: []*armnetwork.Subnet{
				{ID: to.Ptr(vnetID + "/subnets/one"), Name: to.Ptr("one"), Properties: &armnetwork.SubnetPropertiesFormat{
					AddressPrefix:        to.Ptr("10.1.1.0/24"),
					NetworkSecurityGroup: &armnetwork.SecurityGroup{ID: to.Ptr(provider + "networkSecurityGroups/full")},
					RouteTable:           &armnetwork.RouteTable{ID: to.Ptr(provider + "routeTables/r")},
				}},
				{ID: to.Ptr(vnetID + "/subnets/two"), Name: to.Ptr("two"), Properties: &armnetwork.SubnetPropertiesFormat{
					AddressPrefixes: texts("10.1.2.0/24", "2001:db8:1:2::/64"),
				}},
			},
			VirtualNetworkPeerings: []*armnetwork.VirtualNetworkPeering{{
				ID: to.Ptr(vnetID + "/virtualNetworkPeerings/hub"), Name: to.Ptr("hub"), Properties: &armnetwork.VirtualNetworkPeeringPropertiesFormat{
					PeeringState: to.Ptr(armnetwork.VirtualNetworkPeeringStateConnected), AllowVirtualNetworkAccess: to.Ptr(false),
					RemoteAddressSpace: space("10.2.0.0/16"), RemoteVirtualNetworkAddressSpace: space("10.3.0.0/16"),
				},
			}, {
				Name: to.Ptr("lab"), Properties: &armnetwork.VirtualNetworkPeeringPropertiesFormat{
					PeeringState:                     to.Ptr(armnetwork.VirtualNetworkPeeringStateInitiated),
					RemoteVirtualNetworkAddressSpace: space("10.4.0.0/16"),
				},
			}},
		},
	}
}

func wantNetwork() arm.VirtualNetwork {
	return arm.VirtualNetwork{
		Name: "v", ID: vnetID, File: "sdk.json", AddressSpace: prefixes("10.1.0.0/16", "2001:db8:1::/48"),
		Subnets: []arm.Subnet{
			{Name: "one", ID: vnetID + "/subnets/one", Prefixes: prefixes("10.1.1.0/24"), NSG: provider + "networkSecurityGroups/full", RouteTable: provider + "routeTables/r"},
			{Name: "two", ID: vnetID + "/subnets/two", Prefixes: prefixes("10.1.2.0/24", "2001:db8:1:2::/64")},
		},
		Peerings: []arm.Peering{
			{Name: "hub", ID: vnetID + "/virtualNetworkPeerings/hub", State: "Connected", AccessDenied: true, RemoteAddressSpace: prefixes("10.2.0.0/16")},
			{Name: "lab", State: "Initiated", RemoteAddressSpace: prefixes("10.4.0.0/16")},
		},
	}
}

func TestVirtualNetwork(t *testing.T) {
	d := marshalled(t, sdkNetwork())
	compare(t, "VirtualNetworks", d.VirtualNetworks, []arm.VirtualNetwork{wantNetwork()})
}

func TestApplicationSecurityGroup(t *testing.T) {
	id := provider + "applicationSecurityGroups/web"
	d := marshalled(t, armnetwork.ApplicationSecurityGroup{
		ID: to.Ptr(id), Name: to.Ptr("web"), Type: to.Ptr("Microsoft.Network/applicationSecurityGroups"),
		Properties: &armnetwork.ApplicationSecurityGroupPropertiesFormat{ProvisioningState: to.Ptr(armnetwork.ProvisioningStateSucceeded)},
	})
	compare(t, "ASGs", d.ASGs, []arm.ApplicationSecurityGroup{{Name: "web", ID: id, File: "sdk.json"}})
}

func sdkRoutes(t *testing.T) *armnetwork.RouteTable {
	appliance := &armnetwork.RoutePropertiesFormat{
		AddressPrefix: to.Ptr("0.0.0.0/0"), NextHopType: to.Ptr(armnetwork.RouteNextHopTypeVirtualAppliance), NextHopIPAddress: to.Ptr("10.1.9.4"),
		HasBgpOverride: to.Ptr(false), ProvisioningState: to.Ptr(armnetwork.ProvisioningStateSucceeded),
	}
	everyField(t, appliance)
	return &armnetwork.RouteTable{
		ID: to.Ptr(provider + "routeTables/r"), Name: to.Ptr("r"), Type: to.Ptr("Microsoft.Network/routeTables"),
		Properties: &armnetwork.RouteTablePropertiesFormat{Routes: []*armnetwork.Route{
			{Name: to.Ptr("all"), Properties: appliance},
			{Name: to.Ptr("none"), Properties: &armnetwork.RoutePropertiesFormat{AddressPrefix: to.Ptr("Storage"), NextHopType: to.Ptr(armnetwork.RouteNextHopTypeNone)}},
		}},
	}
}

func wantRoutes() arm.RouteTable {
	return arm.RouteTable{
		Name: "r", ID: provider + "routeTables/r", File: "sdk.json", Routes: []arm.Route{
			{Name: "all", AddressPrefix: "0.0.0.0/0", NextHopType: "VirtualAppliance", NextHopIPAddress: "10.1.9.4"},
			{Name: "none", AddressPrefix: "Storage", NextHopType: "None"},
		},
	}
}

func TestRouteTable(t *testing.T) {
	d := marshalled(t, sdkRoutes(t))
	compare(t, "RouteTables", d.RouteTables, []arm.RouteTable{wantRoutes()})
}

func TestServiceTags(t *testing.T) {
	d := marshalled(t, armnetwork.ServiceTagsListResult{
		ChangeNumber: to.Ptr("17"), Cloud: to.Ptr("Public"), ID: to.Ptr(provider + "serviceTags/Public"), Name: to.Ptr("Public"),
		Type: to.Ptr("Microsoft.Network/serviceTags"),
		Values: []*armnetwork.ServiceTagInformation{{
			ID: to.Ptr("Storage.WestUS"), Name: to.Ptr("Storage.WestUS"), ServiceTagChangeNumber: to.Ptr("17"),
			Properties: &armnetwork.ServiceTagInformationPropertiesFormat{AddressPrefixes: texts("192.0.2.0/24", "2001:db8::/32"), ChangeNumber: to.Ptr("1")},
		}},
	})
	compare(t, "service tag", d.ServiceTags["storage.westus"], prefixes("192.0.2.0/24", "2001:db8::/32"))
	if len(d.ServiceTags) != 1 {
		t.Errorf("got %v", d.ServiceTags)
	}
}
