package netconf

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"slices"

	"github.com/vnet-cni/vnet-cni/pkg/cnierr"
)

const (
	maxDocuments = 64
	anyGroup     = "*" // in nsg.allowed: every NSG and ASG
)

// NSG asks for the filtering of pods by network security groups. What the names
// in it mean is told by the documents, which this package does not read.
type NSG struct {
	Documents      []string       // absolute clean paths of files or folders, 1 to 64
	Subnet         string         // name or resource id of the subnet's NSG; "": it has none
	VirtualNetwork []netip.Prefix // nil: found out; never empty
	RouteTable     *string        // name or resource id; "": none; nil: as the virtual network's document says
	SameNodeFree   bool           // sameNode "azure": pods of one node reach each other unfiltered
	Namespaces     string         // absolute clean path of the folder with a Default for each namespace; "": no defaults

	// Allowed tells for each Kubernetes namespace which NSGs and ASGs its pods
	// may choose, by name or resource id, "*" for any. Nil lets every pod choose
	// freely; a namespace that is absent may choose nothing.
	Allowed map[string][]string
}

func (d *decoder) nsg(path string, raw json.RawMessage) error {
	if isNull(raw) && d.plugin != VNetNSG {
		return nil
	}
	n := &NSG{}
	space := field{key: "virtualNetwork", set: n.setVirtualNetwork}
	routes := []field{{key: "routeTable", set: n.setRouteTable}}
	if d.plugin == VNetNSG {
		space.need = "the pods have another plugin's addresses, and the tag VirtualNetwork has to have them"
		n.RouteTable, routes = new(string), nil // its routes are another plugin's, too
	}
	err := d.object(path, raw, append([]field{
		{key: "documents", set: n.setDocuments, need: "a list of files or folders that hold the network security groups is required"},
		{key: "subnet", set: n.setSubnet},
		space,
		{key: "sameNode", set: n.setSameNode},
		{key: "allowed", set: n.setAllowed},
		{key: "namespaces", set: n.setNamespaces},
	}, routes...), false)
	if err != nil {
		return err
	}
	d.conf.NSG = n
	return nil
}

func (n *NSG) setDocuments(path string, raw json.RawMessage) error {
	list, err := elements(path, raw)
	if err != nil {
		return err
	}
	if len(list) == 0 || len(list) > maxDocuments {
		return fault(cnierr.Config, path, raw, fmt.Sprintf("has %d documents, and 1 to %d can be", len(list), maxDocuments))
	}
	for i, e := range list {
		s, err := cleanPath(index(path, i), e)
		if err != nil {
			return err
		}
		if slices.Contains(n.Documents, s) {
			return fault(cnierr.Config, index(path, i), e, "is there twice")
		}
		n.Documents = append(n.Documents, s)
	}
	return nil
}

// cleanPath reads an absolute path that is written clean.
func cleanPath(key string, raw json.RawMessage) (string, error) {
	s, err := absolutePath(key, raw)
	if err != nil {
		return "", err
	}
	if clean := path.Clean(s); clean != s {
		return "", uncleanFault(key, raw, clean)
	}
	return s, nil
}

func (n *NSG) setSubnet(path string, raw json.RawMessage) (err error) {
	n.Subnet, err = group(path, raw)
	return err
}

// setVirtualNetwork refuses an empty list: a template that filled in nothing
// must not make everything lie outside.
func (n *NSG) setVirtualNetwork(path string, raw json.RawMessage) (err error) {
	n.VirtualNetwork, err = prefixes(path, raw)
	if err == nil && len(n.VirtualNetwork) == 0 {
		err = fault(cnierr.Config, path, raw, "is empty: the key needs at least one prefix")
	}
	return err
}

// setRouteTable takes "" for none: what the documents say is what holds without the key.
func (n *NSG) setRouteTable(path string, raw json.RawMessage) error {
	table, err := text(path, raw)
	if err == nil && table != "" {
		table, err = group(path, raw)
	}
	if err != nil {
		return err
	}
	n.RouteTable = &table
	return nil
}

func (n *NSG) setSameNode(path string, raw json.RawMessage) error {
	s, err := text(path, raw)
	if err != nil {
		return err
	}
	if s != "filter" && s != "azure" {
		return fault(cnierr.Config, path, raw, `is neither "filter" nor "azure"`)
	}
	n.SameNodeFree = s == "azure"
	return nil
}

func (n *NSG) setNamespaces(path string, raw json.RawMessage) (err error) {
	n.Namespaces, err = cleanPath(path, raw)
	return err
}

// setAllowed refuses a null, for an absent object allows everything.
func (n *NSG) setAllowed(path string, raw json.RawMessage) error {
	strict := &decoder{}
	members, err := strict.members(path, raw)
	if err != nil {
		return err
	}
	allowed := make(map[string][]string, len(members))
	for _, m := range members {
		if reason := namespaceFault(m.key); reason != "" {
			return cnierr.Errorf(cnierr.Config, "%s: key %s %s", showPath(path), showString(m.key), reason)
		}
		if allowed[m.key], err = allowedGroups(join(path, m.key), m.value); err != nil {
			return err
		}
	}
	n.Allowed = allowed
	return nil
}

func allowedGroups(path string, raw json.RawMessage) ([]string, error) {
	list, err := texts(path, raw)
	if err != nil {
		return nil, err
	}
	for i, s := range list {
		if s == anyGroup {
			continue
		}
		if reason := groupFault(s); reason != "" {
			return nil, cnierr.Errorf(cnierr.Config, "%s: value %s %s", index(path, i), showString(s), reason)
		}
	}
	return list, nil
}
