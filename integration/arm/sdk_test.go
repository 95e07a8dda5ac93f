package arm

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

const provider = "/subscriptions/00000000-0000-0000-0000-0000000000aa/resourceGroups/rg/providers/Microsoft.Network/"

// marshalled reads what the SDK writes; a finding fails the test.
func marshalled(t *testing.T, v any) *arm.Documents {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := &arm.Documents{}
	arm.Read("sdk.json", data, d)
	for _, f := range d.Findings {
		t.Errorf("%T: %+v", v, f)
	}
	return d
}

// same compares field by field and returns how many fields it compared. Fields
// that the wanted value leaves empty were not asked of the SDK's type.
func same(t *testing.T, path string, got, want reflect.Value) int {
	t.Helper()
	switch {
	case want.Type() == reflect.TypeFor[netip.Prefix]():
		if got.Interface() != want.Interface() {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
		return 1
	case want.Kind() == reflect.Struct:
		count := 0
		for i := range want.NumField() {
			if want.Type().Field(i).IsExported() {
				count += same(t, path+"."+want.Type().Field(i).Name, got.Field(i), want.Field(i))
			}
		}
		return count
	case want.Kind() == reflect.Slice:
		if got.Len() != want.Len() {
			t.Errorf("%s: %d elements, want %d: %v", path, got.Len(), want.Len(), got)
			return 1
		}
		count := 0
		for i := range want.Len() {
			count += same(t, fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i))
		}
		return max(count, 1)
	}
	if !reflect.DeepEqual(got.Interface(), want.Interface()) {
		t.Errorf("%s: got %#v, want %#v", path, got, want)
	}
	return 1
}

func compare[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	t.Logf("%d fields of %s", same(t, what, reflect.ValueOf(got), reflect.ValueOf(want)), what)
}

// everyField fails when a field of the SDK's struct is not set: a property that
// a new version adds is to be looked at.
func everyField(t *testing.T, v any, leaving ...string) {
	t.Helper()
	s := reflect.ValueOf(v).Elem()
	left := map[string]bool{}
	for _, name := range leaving {
		left[name] = true
	}
	for i := range s.NumField() {
		if name := s.Type().Field(i).Name; s.Field(i).IsZero() && !left[name] {
			t.Errorf("%T.%s is not set: does it mean something to a packet?", v, name)
		}
	}
}

func texts(values ...string) []*string { return to.SliceOfPtrs(values...) }

func asgs(names ...string) []*armnetwork.ApplicationSecurityGroup {
	var out []*armnetwork.ApplicationSecurityGroup
	for _, n := range names {
		out = append(out, &armnetwork.ApplicationSecurityGroup{ID: to.Ptr(provider + "applicationSecurityGroups/" + n), Location: to.Ptr("westeurope")})
	}
	return out
}

// sdkRule sets all that a rule can have, the singular beside the plural, which
// Azure would refuse and a reader must pass on.
func sdkRule(t *testing.T) *armnetwork.SecurityRule {
	r := &armnetwork.SecurityRule{
		ID: to.Ptr(provider + "networkSecurityGroups/full/securityRules/r1"), Name: to.Ptr("r1"),
		Type: to.Ptr("Microsoft.Network/networkSecurityGroups/securityRules"), Etag: to.Ptr("W/\"1\""),
		Properties: &armnetwork.SecurityRulePropertiesFormat{
			Access: to.Ptr(armnetwork.SecurityRuleAccessAllow), Direction: to.Ptr(armnetwork.SecurityRuleDirectionOutbound),
			Priority: to.Ptr[int32](123), Protocol: to.Ptr(armnetwork.SecurityRuleProtocolTCP), Description: to.Ptr("described"),
			SourceAddressPrefix: to.Ptr("192.0.2.0/25"), SourceAddressPrefixes: texts("192.0.2.128/26", "192.0.2.192/26"),
			SourcePortRange: to.Ptr("1024-2048"), SourcePortRanges: texts("3000", "4000-5000"),
			SourceApplicationSecurityGroups: asgs("web", "api"),
			DestinationAddressPrefix:        to.Ptr("Storage"), DestinationAddressPrefixes: texts("2001:db8::/32"),
			DestinationPortRange: to.Ptr("443"), DestinationPortRanges: texts("80", "8080-8090"),
			DestinationApplicationSecurityGroups: asgs("db"),
			ProvisioningState:                    to.Ptr(armnetwork.ProvisioningStateSucceeded),
		},
	}
	everyField(t, r)
	everyField(t, r.Properties)
	return r
}

func wantRule() nsg.RuleDefinition {
	asg := provider + "applicationSecurityGroups/"
	return nsg.RuleDefinition{
		Name: "r1", Description: "described", Protocol: "Tcp", Access: "Allow", Direction: "Outbound", Priority: "123",
		Source: nsg.EndpointDefinition{
			Prefix: "192.0.2.0/25", Prefixes: []string{"192.0.2.128/26", "192.0.2.192/26"}, ASGs: []string{asg + "web", asg + "api"},
			Port: "1024-2048", Ports: []string{"3000", "4000-5000"},
		},
		Destination: nsg.EndpointDefinition{
			Prefix: "Storage", Prefixes: []string{"2001:db8::/32"}, ASGs: []string{asg + "db"}, Port: "443", Ports: []string{"80", "8080-8090"},
		},
	}
}

func sdkGroup(t *testing.T, name string) *armnetwork.SecurityGroup {
	g := &armnetwork.SecurityGroup{
		ID: to.Ptr(provider + "networkSecurityGroups/" + name), Name: to.Ptr(name), Type: to.Ptr("Microsoft.Network/networkSecurityGroups"),
		Location: to.Ptr("westeurope"), Etag: to.Ptr("W/\"1\""), Tags: map[string]*string{"team": to.Ptr("shop")},
		Properties: &armnetwork.SecurityGroupPropertiesFormat{
			FlushConnection: to.Ptr(true), SecurityRules: []*armnetwork.SecurityRule{sdkRule(t)},
			DefaultSecurityRules: []*armnetwork.SecurityRule{{Name: to.Ptr("DenyAllInBound"), Properties: &armnetwork.SecurityRulePropertiesFormat{Priority: to.Ptr[int32](65500)}}},
			FlowLogs:             []*armnetwork.FlowLog{{ID: to.Ptr(provider + "networkWatchers/w/flowLogs/f")}},
			NetworkInterfaces:    []*armnetwork.Interface{{ID: to.Ptr(provider + "networkInterfaces/i")}},
			ProvisioningState:    to.Ptr(armnetwork.ProvisioningStateSucceeded), ResourceGUID: to.Ptr("guid"),
			Subnets: []*armnetwork.Subnet{{ID: to.Ptr(provider + "virtualNetworks/v/subnets/s")}},
		},
	}
	everyField(t, g)
	everyField(t, g.Properties)
	return g
}

func wantGroup(name string) nsg.Definition {
	return nsg.Definition{
		Name: name, ID: provider + "networkSecurityGroups/" + name, File: "sdk.json", FlushConnection: true,
		Rules: []nsg.RuleDefinition{wantRule()},
	}
}

func TestSecurityGroup(t *testing.T) {
	d := marshalled(t, sdkGroup(t, "full"))
	compare(t, "Groups", d.Groups, []nsg.Definition{wantGroup("full")})
}

func TestLists(t *testing.T) {
	d := marshalled(t, armnetwork.SecurityGroupListResult{Value: []*armnetwork.SecurityGroup{sdkGroup(t, "one"), sdkGroup(t, "two")}})
	compare(t, "Groups", d.Groups, []nsg.Definition{wantGroup("one"), wantGroup("two")})

	data, err := json.Marshal(armnetwork.SecurityGroupListResult{Value: []*armnetwork.SecurityGroup{sdkGroup(t, "one")}, NextLink: to.Ptr("https://example.com/2")})
	if err != nil {
		t.Fatal(err)
	}
	paged := &arm.Documents{}
	arm.Read("page.json", data, paged)
	if len(paged.Findings) != 1 || paged.Findings[0].Code != arm.Incomplete || len(paged.Groups) != 1 {
		t.Errorf("a page of several: %+v", paged.Findings)
	}

	lists := marshalled(t, armnetwork.VirtualNetworkListResult{Value: []*armnetwork.VirtualNetwork{sdkNetwork()}})
	compare(t, "VirtualNetworks", lists.VirtualNetworks, []arm.VirtualNetwork{wantNetwork()})
	lists = marshalled(t, armnetwork.RouteTableListResult{Value: []*armnetwork.RouteTable{sdkRoutes(t)}})
	compare(t, "RouteTables", lists.RouteTables, []arm.RouteTable{wantRoutes()})
	lists = marshalled(t, armnetwork.ApplicationSecurityGroupListResult{Value: asgs("web", "api")})
	if len(lists.ASGs) != 2 || lists.ASGs[1].Name != "api" {
		t.Errorf("application security groups: %+v", lists.ASGs)
	}
	t.Log("6 lists")
}
