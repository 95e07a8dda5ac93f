package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// effectiveGroups is the output for programs of vnetctl effective, which is that of
// az network nic list-effective-nsg.
type effectiveGroups struct {
	Value []effectiveGroup `json:"value"`
}

type effectiveGroup struct {
	Group       resourceID          `json:"networkSecurityGroup"`
	Association association         `json:"association"`
	Rules       []effectiveRule     `json:"effectiveSecurityRules"`
	TagMap      map[string][]string `json:"tagMap"` // of the tags that the rules have, by name
}

// resourceID is a reference; ID is "" where no document tells it.
type resourceID struct {
	ID string `json:"id,omitempty"`
}

// association tells what has the group: one of the two.
type association struct {
	Subnet    *resourceID `json:"subnet,omitempty"`
	Interface *resourceID `json:"networkInterface,omitempty"`
}

// effectiveRule has its values in Azure's spelling: "*" of ports is 0-65535, of
// addresses 0.0.0.0/0, of protocols All. The singular properties are null where the
// rule has several values: no source shows such a rule.
type effectiveRule struct {
	Name                string     `json:"name"`
	Protocol            string     `json:"protocol"`
	SourcePort          *string    `json:"sourcePortRange"`
	SourcePorts         []string   `json:"sourcePortRanges"`
	DestinationPort     *string    `json:"destinationPortRange"`
	DestinationPorts    []string   `json:"destinationPortRanges"`
	SourcePrefix        *string    `json:"sourceAddressPrefix"`
	SourcePrefixes      []string   `json:"sourceAddressPrefixes"`
	ExpandedSource      []string   `json:"expandedSourceAddressPrefix"` // null where there is no tag
	DestinationPrefix   *string    `json:"destinationAddressPrefix"`
	DestinationPrefixes []string   `json:"destinationAddressPrefixes"`
	ExpandedDestination []string   `json:"expandedDestinationAddressPrefix"`
	Access              nsg.Access `json:"access"`
	Priority            int        `json:"priority"`

	Direction nsg.Direction `json:"direction"`

	// Not Azure's, which knows the members: names of application security groups.
	SourceASGs      []string `json:"sourceApplicationSecurityGroups,omitempty"`
	DestinationASGs []string `json:"destinationApplicationSecurityGroups,omitempty"`
}

func (a *app) effectiveCommand() *cobra.Command {
	var s source
	c := &cobra.Command{
		Use:   "effective",
		Short: "Show the rules that judge, with the meaning of their tags",
		Long: "Show the rules of the subnet's and of the interface's security group, the default ones included, in\n" +
			"the order of evaluation and with the addresses that their service tags stand for: by documents, or\n" +
			"as in force for a running pod. For programs the answer has the shape of az network nic\n" +
			"list-effective-nsg.",
		Example: "  vnetctl effective --documents docs --nsg web-nsg\n" +
			"  vnetctl effective --pod default/web-0 -o json",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.effective(c, &s) },
	}
	s.registerGroups(a, c)
	return c
}

func (a *app) effective(c *cobra.Command, s *source) error {
	if err := s.check(c); err != nil {
		return err
	}
	j, err := s.judges(a)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(j.effective())
	}
	if len(j.policies()) == 0 {
		return a.printf("no security group\n")
	}
	if err := a.printTable(j.effectiveRows()); err != nil {
		return err
	}
	if err := a.printf("\n"); err != nil {
		return err
	}
	return a.printTable(j.tagRows())
}

// level is a group on the way of flows.
type level struct {
	name   string // "subnet" or "interface"
	policy *nsg.Policy
	has    resourceID // what has the group
}

func (j *judges) levels() []level {
	all := []level{{"subnet", j.subnet, resourceID{j.subnetID}}, {"interface", j.iface, resourceID{j.interfaceID}}}
	return slices.DeleteFunc(all, func(l level) bool { return l.policy == nil })
}

func (j *judges) effective() effectiveGroups {
	out := effectiveGroups{Value: []effectiveGroup{}}
	for _, l := range j.levels() {
		g := effectiveGroup{Group: resourceID{cmp.Or(l.policy.Group.ID, l.policy.Group.Name)}, TagMap: map[string][]string{}}
		if l.name == "subnet" {
			g.Association.Subnet = &l.has
		} else {
			g.Association.Interface = &l.has
		}
		for _, r := range shown(l.policy) {
			g.Rules = append(g.Rules, j.effectiveRule(r))
		}
		for _, t := range tagsOf(l.policy) {
			g.TagMap[t.name] = words(t.addresses.Prefixes())
		}
		out.Value = append(out.Value, g)
	}
	return out
}

// shown are the group's rules by direction and priority. What the platform does
// whatever a group says is in no answer of Azure's.
func shown(p *nsg.Policy) []*nsg.PolicyRule {
	var rules []*nsg.PolicyRule
	for i := range p.Rules {
		if !p.Rules[i].Platform {
			rules = append(rules, &p.Rules[i])
		}
	}
	slices.SortStableFunc(rules, func(a, b *nsg.PolicyRule) int {
		return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Priority, b.Priority))
	})
	return rules
}

func (j *judges) effectiveRule(r *nsg.PolicyRule) effectiveRule {
	e := effectiveRule{
		Name: r.FullName(), Protocol: r.Protocol.String(), Access: r.Access, Priority: r.Priority, Direction: r.Direction,
		SourcePorts: portWords(r.Source.Ports), DestinationPorts: portWords(r.Destination.Ports),
		SourcePrefixes: j.prefixWords(&r.Rule.Source), DestinationPrefixes: j.prefixWords(&r.Rule.Destination),
		ExpandedSource: expanded(&r.Rule.Source, r.Source), ExpandedDestination: expanded(&r.Rule.Destination, r.Destination),
		SourceASGs: r.Source.ASGs, DestinationASGs: r.Destination.ASGs,
	}
	if r.Protocol == nsg.AnyProtocol {
		e.Protocol = "All"
	}
	e.SourcePort, e.DestinationPort = single(e.SourcePorts), single(e.DestinationPorts)
	e.SourcePrefix, e.DestinationPrefix = single(e.SourcePrefixes), single(e.DestinationPrefixes)
	return e
}

func single(list []string) *string {
	if len(list) != 1 {
		return nil
	}
	return &list[0]
}

func portWords(ports []nsg.PortRange) []string {
	if len(ports) == 0 {
		return []string{"0-65535"}
	}
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(int(p.First)) + "-" + strconv.Itoa(int(p.Last))
	}
	return list
}

// prefixWords are the addresses of a side as the rule has them. In the place of
// application security groups Azure has their members: those that are known, which
// are a pod's neighbours.
func (j *judges) prefixWords(e *nsg.Endpoint) []string {
	switch {
	case len(e.ASGs) > 0:
		return words(j.members(e.ASGs))
	case e.Tag != "":
		return []string{e.Tag}
	case len(e.Prefixes) > 0:
		return words(e.Prefixes)
	}
	return []string{"0.0.0.0/0"}
}

func (j *judges) members(asgs []string) []netip.Prefix {
	if j.pod == nil {
		return nil
	}
	var out []netip.Prefix
	for addr, has := range j.pod.asgs {
		if slices.ContainsFunc(has, func(name string) bool { return slices.Contains(asgs, name) }) {
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

// expanded are the addresses of a side's tag; nil without one.
func expanded(e *nsg.Endpoint, m nsg.Match) []string {
	if e.Tag == "" {
		return nil
	}
	return words(m.Addresses.Prefixes())
}

func words(prefixes []netip.Prefix) []string {
	list := make([]string, len(prefixes))
	for i, p := range prefixes {
		list[i] = p.String()
	}
	return list
}

// tagMeaning is what a service tag stands for.
type tagMeaning struct {
	name      string
	addresses nsg.AddressSet
}

// tagsOf are the tags that a group's rules have, in the order of their names. Of
// several spellings it is the default rules', or the first.
func tagsOf(p *nsg.Policy) []tagMeaning {
	known := map[string]tagMeaning{}
	consider := func(r *nsg.PolicyRule, e *nsg.Endpoint, m nsg.Match) {
		key := strings.ToLower(e.Tag)
		if _, twice := known[key]; e.Tag != "" && (!twice || r.Default) {
			known[key] = tagMeaning{e.Tag, m.Addresses}
		}
	}
	for _, r := range shown(p) {
		consider(r, &r.Rule.Source, r.Source)
		consider(r, &r.Rule.Destination, r.Destination)
	}
	out := make([]tagMeaning, 0, len(known))
	for _, t := range known {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b tagMeaning) int { return cmp.Compare(a.name, b.name) })
	return out
}
