package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// internetName is what the tag's addresses are called, unless somebody names them.
const internetName = "Internet"

// documented finds the ends of documents.
type documented struct {
	source  *source
	docs    *arm.Documents
	view    *policy.View            // of addresses that are in no subnet of the documents
	views   map[string]*policy.View // of a network's subnets with a route table
	space   nsg.AddressSet          // of the virtual network
	subnets []documentedSubnet
	leftOut []documentedSubnet // whose group is in no document
}

// documentedSubnet is a subnet of a virtual network's document.
type documentedSubnet struct {
	name      string
	addresses nsg.AddressSet
	view      *policy.View // what tags mean there
	group     string       // what stands for its group; "" is none that the documents tell
	unknown   error        // why the group is not known
}

func (q *reachQuestion) ofDocuments(a *app, told []endText) ([]reach.End, error) {
	d, err := q.open(a)
	if err != nil {
		return nil, err
	}
	var ends []reach.End
	for i := range told {
		e, err := d.end(&told[i])
		if err != nil {
			return nil, fmt.Errorf("end %s: %w", quoted(told[i].name), err)
		}
		ends = append(ends, e)
	}
	if ends, err = d.members(a, ends); err != nil {
		return nil, err
	}
	for _, s := range d.subnets {
		p, err := d.place(s, nil, "", "")
		if err != nil {
			return nil, err
		}
		ends = appendEnd(ends, reach.End{Name: s.name, Kind: reach.Subnet, Places: []reach.Place{p}})
	}
	return withInternet(ends, d.view.Tags()), nil
}

// open reads the documents and finds the groups that the flags name.
func (q *reachQuestion) open(a *app) (*documented, error) {
	docs, err := q.templates.whole(a, q.documents)
	if err != nil {
		return nil, err
	}
	d := &documented{source: &q.source, docs: docs, views: map[string]*policy.View{}}
	if d.view, err = q.view(a, docs); err != nil {
		return nil, err
	}
	for flag, name := range map[string]string{flagNSG: q.subnet, flagInterfaceNSG: q.iface} {
		if _, err := policyIn(d.view, "--"+flag, name); err != nil {
			return nil, err
		}
	}
	d.space = nsg.NewAddressSet(d.view.Config.Space(docs)...)
	if err := d.findSubnets(a); err != nil {
		return nil, err
	}
	if d.space.IsEmpty() && len(d.subnets) == 0 {
		a.note("the tag VirtualNetwork has no addresses: the documents have no virtual network, or several; --%s tells it", flagVirtualNetwork)
	}
	return d, nil
}

// policyIn finds a group by its name or id; "" and "-" are none.
func policyIn(v *policy.View, field, nameOrID string) (*nsg.Policy, error) {
	if nameOrID == "" || nameOrID == noGroup {
		return nil, nil
	}
	key, err := v.Key(nameOrID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	p, err := v.Policy(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return p, nil
}

// viewIn is what tags mean in a subnet of a network: they depend on it and the route table.
func (d *documented) viewIn(network int, s arm.Subnet) (*policy.View, error) {
	key := fmt.Sprint(network, " ", strings.ToLower(s.RouteTable))
	if v, found := d.views[key]; found {
		return v, nil
	}
	c, err := d.source.meaning([]arm.Subnet{s})
	if err != nil {
		return nil, err
	}
	alone := *d.docs // another network may have the same addresses
	alone.VirtualNetworks = d.docs.VirtualNetworks[network : network+1]
	v, err := policy.OfDocuments(c, &alone)
	if err != nil {
		return nil, fmt.Errorf("subnet %s: %w", s.Name, err)
	}
	d.views[key] = v
	return v, nil
}

// place is a subnet's addresses with what judges them. Where no group is told, the
// document's counts, and then that of the flag.
func (d *documented) place(s documentedSubnet, asgs []string, subnet, iface string) (reach.Place, error) {
	p := reach.Place{Addresses: s.addresses, ASGs: asgs}
	if s.unknown != nil && subnet == "" {
		return p, fmt.Errorf("subnet %s: %w; %s tells it", s.name, s.unknown, keySubnetNSG)
	}
	var err error
	if p.Subnet, err = policyIn(s.view, keySubnetNSG, cmp.Or(subnet, s.group, d.source.subnet)); err != nil {
		return p, err
	}
	p.Interface, err = policyIn(s.view, keyNSG, cmp.Or(iface, d.source.iface))
	return p, err
}

// findSubnets takes the subnets of all virtual networks. One whose group is in no
// document is left out: what it is told, nobody here knows.
func (d *documented) findSubnets(a *app) error {
	count := map[string]int{}
	for _, v := range d.docs.VirtualNetworks {
		for _, s := range v.Subnets {
			count[s.Name]++
		}
	}
	for i, v := range d.docs.VirtualNetworks {
		for _, s := range v.Subnets {
			found := documentedSubnet{name: s.Name, addresses: nsg.NewAddressSet(s.Prefixes...)}
			if count[s.Name] > 1 {
				found.name = v.Name + "/" + s.Name
			}
			if found.addresses.IsEmpty() {
				continue
			}
			var err error
			if found.view, err = d.viewIn(i, s); err != nil {
				return err
			}
			if s.NSG != "" {
				found.group, found.unknown = d.groupOf(&s)
			}
			if found.unknown != nil {
				a.note("subnet %s is left out: %v", found.name, found.unknown)
				d.leftOut = append(d.leftOut, found)
				continue
			}
			d.subnets = append(d.subnets, found)
		}
	}
	return nil
}

// groupOf finds the subnet's group: by its id, or by its name where the document of the
// group has no id.
func (d *documented) groupOf(s *arm.Subnet) (key string, err error) {
	if key, err = d.view.Key(s.NSG); err == nil {
		return key, nil
	}
	for i := range d.docs.Groups {
		if g := &d.docs.Groups[i]; g.ID == "" && slices.ContainsFunc(policy.Subnets(d.docs, g), func(of arm.Subnet) bool { return of.NSG == s.NSG }) {
			return d.view.Key(g.Name)
		}
	}
	return "", err
}

// end makes an end of what is told of it.
func (d *documented) end(t *endText) (reach.End, error) {
	e := reach.End{Name: t.name, Kind: reach.Named}
	addresses, err := t.addressSet()
	if err != nil {
		return e, err
	}
	if t.outside {
		e.Kind = reach.Outside
		e.Places = []reach.Place{{Addresses: addresses}}
		return e, nil
	}
	asgs, err := parseASGs(keyASGs, t.asgs)
	if err != nil {
		return e, err
	}
	e.Places, err = d.places(addresses, asgs, t.subnetNSG, t.nsg)
	return e, err
}

// places puts addresses into the subnets of the documents, each with its group. The
// rest is in a subnet that no document has.
func (d *documented) places(addresses nsg.AddressSet, asgs []string, subnet, iface string) ([]reach.Place, error) {
	var places []reach.Place
	for _, s := range d.homes(addresses) {
		if s.addresses.IsEmpty() {
			continue
		}
		p, err := d.place(s, asgs, subnet, iface)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(places, func(q reach.Place) bool { return q.Subnet == p.Subnet && q.Interface == p.Interface })
		if i < 0 {
			places = append(places, p)
			continue
		}
		places[i].Addresses = places[i].Addresses.Union(p.Addresses)
	}
	return places, nil
}

// homes divides addresses among the subnets. Of networks with the same addresses those
// count whose subnets' groups are known.
func (d *documented) homes(addresses nsg.AddressSet) []documentedSubnet {
	rest := addresses
	homes := slices.Clone(d.subnets)
	for i, s := range homes {
		homes[i].addresses = s.addresses.Intersect(addresses)
		rest = rest.Minus(s.addresses)
	}
	for _, s := range d.leftOut {
		beyond := rest.Minus(s.addresses)
		s.addresses = s.addresses.Intersect(rest)
		homes, rest = append(homes, s), beyond
	}
	return append(homes, documentedSubnet{view: d.view, addresses: rest})
}

// members adds the application security groups that rules name. Their members can
// be anywhere in the subnets; where no document has any, in the virtual network.
func (d *documented) members(a *app, ends []reach.End) ([]reach.End, error) {
	anywhere := d.space
	if len(d.subnets) > 0 {
		anywhere = nsg.AddressSet{}
	}
	for _, s := range d.subnets {
		anywhere = anywhere.Union(s.addresses)
	}
	asgs := d.view.ASGs()
	if anywhere.IsEmpty() && len(asgs) > 0 {
		a.note("application security groups are left out: without a virtual network their members have no addresses")
		return ends, nil
	}
	for _, name := range asgs {
		places, err := d.places(anywhere, []string{name}, "", "")
		if err != nil {
			return nil, err
		}
		ends = appendEnd(ends, reach.End{Name: name, Kind: reach.ASG, Places: places})
	}
	return ends, nil
}

// appendEnd adds an end. If another one has its name, its kind is added to it.
func appendEnd(ends []reach.End, e reach.End) []reach.End {
	taken := func(name string) bool {
		return slices.ContainsFunc(ends, func(other reach.End) bool { return other.Name == name })
	}
	base := e.Name
	if taken(e.Name) {
		e.Name = fmt.Sprintf("%s (%v)", base, e.Kind)
	}
	for n := 2; taken(e.Name); n++ {
		e.Name = fmt.Sprintf("%s (%v %d)", base, e.Kind, n)
	}
	return append(ends, e)
}

// withInternet adds the addresses of the tag Internet that machines can have, unless
// somebody told what is to be called so.
func withInternet(ends []reach.End, tags nsg.Tags) []reach.End {
	addresses, _ := tags.Resolve(internetName) // every network knows it
	addresses = addresses.Minus(nobodys()).Minus(local())
	if slices.ContainsFunc(ends, func(e reach.End) bool { return e.Name == internetName }) {
		return ends
	}
	return append(ends, reach.End{Name: internetName, Kind: reach.Outside, Places: []reach.Place{{Addresses: addresses}}})
}

// local is addresses that no machine elsewhere has, by RFC 6890: "this network",
// loopback, link-local, and what is reserved.
func local() nsg.AddressSet {
	return nsg.NewAddressSet(netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("240.0.0.0/4"))
}
