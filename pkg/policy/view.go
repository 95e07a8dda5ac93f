package policy

import (
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// View is the groups of some documents, for questions about them.
type View struct {
	Config Config

	index    index
	contents *contents
}

// InForce returns what is in force in a network of the node.
func InForce(stateDir, network string) (*View, error) {
	i, c, err := readState(stateDir, network)
	if err != nil {
		return nil, err
	}
	return &View{Config: i.Config, index: i, contents: c}, nil
}

// OfDocuments returns what the documents say to a configuration, whether or not any
// network obeys them.
func OfDocuments(c Config, d *arm.Documents) (*View, error) {
	if err := d.Err(); err != nil {
		return nil, err
	}
	i, read, err := loaded(c, d)
	if err != nil {
		return nil, err
	}
	return &View{Config: c, index: i, contents: read}, nil
}

// Subnet returns the key of the subnet's group; "" when it has none.
func (v *View) Subnet() string { return v.index.Subnet }

// Key finds a group by its name or resource id, and returns what stands for it.
func (v *View) Key(nameOrID string) (string, error) { return v.index.key(nameOrID) }

// Keys returns what stands for each group, in the order of the documents.
func (v *View) Keys() []string {
	var keys []string
	for _, g := range v.index.Groups {
		keys = append(keys, keyOf(g.Name, g.ID))
	}
	return keys
}

// Name returns the name of the group with the key.
func (v *View) Name(key string) string {
	for _, g := range v.index.Groups {
		if keyOf(g.Name, g.ID) == key {
			return g.Name
		}
	}
	return key
}

// Used returns the keys of the groups that interfaces have.
func (v *View) Used() []string { return v.index.Used }

// Policy makes the policy of the group with the key.
func (v *View) Policy(key string) (*nsg.Policy, error) { return v.contents.policy(key) }

// Tags returns what service tags mean to the rules.
func (v *View) Tags() nsg.Tags { return v.contents.tags() }

// Counted returns what rules that are not in the kernel any more had counted.
func (v *View) Counted() []firewall.Count { return v.contents.Counted }

// ASGs returns the application security groups that rules name, in lower case.
func (v *View) ASGs() []string {
	var out []string
	for _, g := range v.contents.Groups {
		for _, r := range g.Rules {
			for _, id := range slices.Concat(r.Source.ASGs, r.Destination.ASGs) {
				out = append(out, strings.ToLower(id[strings.LastIndexByte(id, '/')+1:]))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
