package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// loadTries bounds how often documents are read again that change meanwhile.
const loadTries = 20

// load reads the documents of a configuration, all as they were at one moment: an
// agent may replace them together.
func load(c Config) (index, *contents, error) {
	seen, d, err := readWhole(c.Documents)
	if err == nil {
		err = d.Err()
	}
	if err != nil {
		return index{}, nil, fmt.Errorf("nsg.documents: %w", err)
	}
	i, read, err := loaded(c, d)
	i.Stamps = seen
	return i, read, err
}

func readWhole(paths []string) ([]stamp, *arm.Documents, error) {
	for range loadTries {
		seen, err := stamps(paths)
		if err != nil {
			return nil, nil, err
		}
		d := arm.Load(paths)
		after, err := stamps(paths)
		if err != nil {
			return nil, nil, err
		}
		if slices.Equal(seen, after) {
			return seen, d, nil
		}
	}
	return nil, nil, fmt.Errorf("%v changed each of the %d times that they were read", paths, loadTries)
}

// loaded takes from documents what a configuration asks of them.
func loaded(c Config, d *arm.Documents) (index, *contents, error) {
	i := index{Format: format, Config: c}
	for _, g := range d.Groups {
		i.Groups = append(i.Groups, groupName{Name: g.Name, ID: g.ID, File: g.File})
	}
	if c.Subnet != "" {
		var err error
		if i.Subnet, err = i.key(c.Subnet); err != nil {
			return index{}, nil, fmt.Errorf("nsg.subnet: %w", err)
		}
	}
	routes, findings, err := c.Routes(d)
	if err != nil {
		return index{}, nil, tableError{fmt.Errorf("nsg.routeTable: %w", err)}
	}
	if err := nsg.FirstError("", findings); err != nil {
		return index{}, nil, err
	}
	i.RouteTable, i.Routes = tableName(routes), ways(routes)
	return i, &contents{
		Groups: d.Groups, VirtualNetwork: c.space(d, routes), Services: namedServices(d),
		Effective: routes, RouteWarnings: findings,
	}, nil
}

// tableError is for a route table that is not to be found, or one of several.
type tableError struct{ error }

// namedServices returns the service tags that a rule names, of the thousands that
// there are; nil where no document tells any.
func namedServices(d *arm.Documents) map[string][]netip.Prefix {
	if d.ServiceTags == nil {
		return nil
	}
	out := map[string][]netip.Prefix{}
	for _, g := range d.Groups {
		for _, r := range g.Rules {
			for _, e := range []nsg.EndpointDefinition{r.Source, r.Destination} {
				if prefixes, ok := d.ServiceTags[strings.ToLower(e.Prefix)]; ok {
					out[strings.ToLower(e.Prefix)] = prefixes
				}
			}
		}
	}
	return out
}

// key finds a group by its name or id and returns what stands for it from then
// on: its id, or its name where the documents have none, in lower case.
func (i index) key(nameOrID string) (string, error) {
	names := &arm.Documents{}
	for _, g := range i.Groups {
		names.Groups = append(names.Groups, nsg.Definition{Name: g.Name, ID: g.ID, File: g.File})
	}
	g, err := names.Group(nameOrID)
	if err != nil {
		return "", err
	}
	return keyOf(g.Name, g.ID), nil
}

// has reports whether the group is known; "" asks for none.
func (i index) has(nameOrID string) bool {
	_, err := i.key(nameOrID)
	return nameOrID == "" || err == nil
}

func keyOf(name, id string) string { return strings.ToLower(cmp.Or(id, name)) }

// policy makes the policy of one group, once.
func (c *contents) policy(key string) (*nsg.Policy, error) {
	if p := c.made[key]; p != nil {
		return p, nil
	}
	d := c.definition(key)
	if d == nil {
		return nil, fmt.Errorf("network security group %s is in no document any more", key)
	}
	g, findings := nsg.New(*d)
	if g == nil {
		return nil, nsg.FirstError("network security group "+d.Name, findings)
	}
	p, findings := nsg.NewPolicy(g, c.tags())
	if p == nil {
		return nil, nsg.FirstError("network security group "+d.Name, findings)
	}
	if c.made == nil {
		c.made = map[string]*nsg.Policy{}
	}
	c.made[key] = p
	return p, nil
}

// differs reports whether the group with the key has other rules than the old
// one, or its tags another meaning.
func (c *contents) differs(key string, old *contents, oldKey string) bool {
	now, was := c.definition(key), old.definition(oldKey)
	if now == nil || was == nil {
		return now != was
	}
	return !reflect.DeepEqual(now.Rules, was.Rules) || !slices.Equal(c.VirtualNetwork, old.VirtualNetwork) ||
		!maps.EqualFunc(c.Services, old.Services, slices.Equal)
}

func (c *contents) definition(key string) *nsg.Definition {
	for i := range c.Groups {
		if d := &c.Groups[i]; keyOf(d.Name, d.ID) == key {
			return d
		}
	}
	return nil
}

func (c *contents) tags() nsg.Tags {
	t := nsg.Tags{VirtualNetwork: nsg.NewAddressSet(c.VirtualNetwork...)}
	if c.Services != nil {
		t.Services = make(map[string]nsg.AddressSet, len(c.Services))
	}
	for name, prefixes := range c.Services {
		t.Services[name] = nsg.NewAddressSet(prefixes...)
	}
	return t
}
