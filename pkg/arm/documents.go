package arm

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// Documents is what the files say. A resource with faults is in its list as far
// as it could be read, so that its other faults can be told as well: nothing of
// Documents whose Err is not nil is fit to be enforced.
type Documents struct {
	Groups          []nsg.Definition
	VirtualNetworks []VirtualNetwork
	ASGs            []ApplicationSecurityGroup
	RouteTables     []RouteTable
	ServiceTags     map[string][]netip.Prefix // by name in lower case; nil without a download file
	Findings        []nsg.Finding             // warnings for what was skipped, errors for what is broken

	places   map[string]int    // where a resource stands in its list, by its identity
	tagFiles map[string]string // which file gave a service tag

	unsettled  []*reader            // of templates that add to resources of other documents
	owners     map[string][]int     // where the resources stand that they may mean, by the id that they have for one
	extensions map[string]*extended // what they added to, by the kind of parts and the resource

	deployment deployment // what templates are resolved with
}

// VirtualNetwork is an address space with its subnets and peerings.
type VirtualNetwork struct {
	Name         string
	ID           string // resource id; "" where the document has none
	File         string // where it was read
	AddressSpace []netip.Prefix
	Subnets      []Subnet
	Peerings     []Peering
}

// Subnet is one subnet of a virtual network.
type Subnet struct {
	Name       string
	ID         string
	Prefixes   []netip.Prefix
	NSG        string // resource id of its network security group, or ""
	RouteTable string // resource id of its route table, or ""
}

// Peering joins another virtual network's addresses to this one's.
type Peering struct {
	Name               string
	ID                 string
	State              string // "Connected", "Initiated", "Disconnected" or, where the document is silent, ""
	AccessDenied       bool   // allowVirtualNetworkAccess is false: the remote space is not part of VirtualNetwork
	RemoteNetwork      string // resource id of the other network, or ""
	RemoteAddressSpace []netip.Prefix
}

// Connected reports whether the peering carries traffic: a document that does not
// tell is of one that does.
func (p Peering) Connected() bool { return p.State == "" || p.State == "Connected" }

// ApplicationSecurityGroup is a name that interfaces join; who its members are
// is in no document.
type ApplicationSecurityGroup struct {
	Name string
	ID   string
	File string
}

// RouteTable holds user-defined routes.
type RouteTable struct {
	Name   string
	ID     string
	File   string
	Routes []Route
}

// Route is one user-defined route, as written.
type Route struct {
	Name             string
	AddressPrefix    string // a CIDR or a service tag
	NextHopType      string // VirtualNetworkGateway, VnetLocal, Internet, VirtualAppliance or None
	NextHopIPAddress string // of a VirtualAppliance
}

// Codes of findings, which are this package's own: Azure has none for files.
const (
	Unreadable        = "DocumentUnreadable"  // the file or folder cannot be read
	Malformed         = "DocumentMalformed"   // it is not JSON, or not in one meaning
	TooLarge          = "DocumentTooLarge"    // it goes beyond a limit of this package
	CutOff            = "DocumentCutOff"      // ConvertTo-Json replaced nested values by text
	Incomplete        = "DocumentIncomplete"  // the list goes on elsewhere, or the rules were left out
	Skipped           = "ResourceSkipped"     // nothing that this package reads
	Unresolved        = "TemplateUnresolved"  // what a template's expression stands for is not known
	ScopeUnknown      = "TemplateScope"       // a name depends on where a template is deployed
	ParametersSkipped = "ParametersSkipped"   // a template's parameter file among documents
	UnknownParameter  = "UnknownParameter"    // a value for a parameter that no template has
	Replaced          = "ResourceReplaced"    // a template changes a part of another document's resource
	Conflict          = "ResourceConflict"    // two documents differ about one resource
	WrongType         = "PropertyWrongType"   // a number where a string belongs, and such
	BadValue          = "PropertyBadValue"    // of the right type, but unusable
	Missing           = "PropertyMissing"     // a resource without its name, a reference without its id
	MoreFindings      = "FindingsLeftOut"     // a document has more than are told
	EmptyFolder       = "FolderHasNoDocument" // no *.json or *.jsonc in it
)

// toldInError is how many findings the text of Err spells out.
const toldInError = 3

// Err returns nil when no document is broken, else one error that says the
// first faults and how many more there are.
func (d *Documents) Err() error {
	var told []string
	count := 0
	for _, f := range d.Findings {
		if f.Severity != nsg.Error {
			continue
		}
		count++
		if count <= toldInError {
			told = append(told, fmt.Sprintf("%s: %s", f.File, f.Message))
		}
	}
	if count == 0 {
		return nil
	}
	text := strings.Join(told, "; ")
	if count > toldInError {
		text += fmt.Sprintf("; and %d more", count-toldInError)
	}
	return errors.New(text)
}
