package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// source is where the rules come from that judge flows: documents, or what is in
// force for a running pod.
type source struct {
	documents      []string
	templates      documentFlags
	subnet, iface  string
	virtualNetwork []string
	routeTable     string
	routeTableSet  bool // it was told, be it as none
	localASGs      []string
	remoteASGs     []string
	pod            string
}

// The flags of a source.
const (
	flagDocuments      = "documents"
	flagNSG            = "nsg"
	flagInterfaceNSG   = "interface-nsg"
	flagVirtualNetwork = "virtual-network"
	flagRouteTable     = "route-table"
	flagLocalASGs      = "local-asgs"
	flagRemoteASGs     = "remote-asgs"
	flagPod            = "pod"
)

func (s *source) register(a *app, c *cobra.Command) {
	s.registerGroups(a, c)
	f := c.Flags()
	f.StringSliceVar(&s.localASGs, flagLocalASGs, nil, "application security groups of the local end")
	f.StringSliceVar(&s.remoteASGs, flagRemoteASGs, nil, "application security groups of the remote end")
	must(c.RegisterFlagCompletionFunc(flagLocalASGs, cobra.NoFileCompletions))
	must(c.RegisterFlagCompletionFunc(flagRemoteASGs, cobra.NoFileCompletions))
}

// registerGroups adds the flags that tell which groups, and what their tags mean.
func (s *source) registerGroups(a *app, c *cobra.Command) {
	s.registerDocuments(c)
	c.Flags().StringVar(&s.pod, flagPod, "", "container id or namespace/name: judge as this running pod is judged, instead of by documents")
	must(c.RegisterFlagCompletionFunc(flagPod, a.completePod))
}

// registerDocuments adds those of them that are about documents.
func (s *source) registerDocuments(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&s.documents, flagDocuments, nil, "file or folder of Azure documents (repeatable)")
	s.templates.register(c)
	f.StringVar(&s.subnet, flagNSG, "", "name or resource id of the subnet's group")
	f.StringVar(&s.iface, flagInterfaceNSG, "", "name or resource id of the interface's group")
	s.registerVirtualNetwork(c, completeFrom(s.read, tableNames))
	must(c.RegisterFlagCompletionFunc(flagNSG, completeFrom(s.read, groupNames)))
	must(c.RegisterFlagCompletionFunc(flagInterfaceNSG, completeFrom(s.read, groupNames)))
}

// registerVirtualNetwork adds the flags that tell what the tag VirtualNetwork means.
func (s *source) registerVirtualNetwork(c *cobra.Command, tables cobra.CompletionFunc) {
	f := c.Flags()
	f.StringSliceVar(&s.virtualNetwork, flagVirtualNetwork, nil, "`CIDR`s of the tag VirtualNetwork (default: the VNet document's, and the route table's)")
	f.StringVar(&s.routeTable, flagRouteTable, "", "name or resource id of the subnet's route table, whose routes add to VirtualNetwork; \"\" is none\n"+
		"(default: as the VNet document says for the subnets with the group)")
	must(c.RegisterFlagCompletionFunc(flagVirtualNetwork, cobra.NoFileCompletions))
	must(c.RegisterFlagCompletionFunc(flagRouteTable, tables))
}

// check finds mistakes that need no look at anything.
func (s *source) check(c *cobra.Command) error {
	byPod := c.Flags().Changed(flagPod)
	s.routeTableSet = c.Flags().Changed(flagRouteTable)
	for _, name := range append(s.templates.names(), flagDocuments, flagNSG, flagInterfaceNSG, flagVirtualNetwork, flagRouteTable, flagLocalASGs) {
		if byPod && c.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s and --%s %s: a pod's groups are those in force", name, flagPod, quoted(s.pod))}
		}
	}
	switch {
	case byPod && s.pod == "":
		return usageError{fmt.Errorf("--%s %q: it must be a container id or namespace/name", flagPod, s.pod)}
	case !byPod && len(s.documents) == 0:
		return usageError{fmt.Errorf("--%s or --%s: one of them must be there", flagDocuments, flagPod)}
	case slices.Contains(s.documents, ""):
		return usageError{fmt.Errorf("--%s %q: it must be a file or a folder", flagDocuments, "")}
	}
	if err := s.templates.check(); err != nil {
		return err
	}
	if err := s.checkSpace(); err != nil {
		return err
	}
	for _, asgs := range []struct {
		flag string
		list []string
	}{{flagLocalASGs, s.localASGs}, {flagRemoteASGs, s.remoteASGs}} {
		if _, err := parseASGs("--"+asgs.flag, asgs.list); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// checkSpace finds mistakes in what is told of the tag VirtualNetwork.
func (s *source) checkSpace() error {
	if s.routeTableSet && len(s.virtualNetwork) > 0 {
		return usageError{fmt.Errorf("--%s %s and --%s: what is told of the tag VirtualNetwork is all of it", flagRouteTable, quoted(s.routeTable), flagVirtualNetwork)}
	}
	if _, err := s.space(); err != nil {
		return usageError{err}
	}
	return nil
}

// space reads the prefixes of the virtual network.
func (s *source) space() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range s.virtualNetwork {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %s: it must be prefixes such as 10.241.0.0/16", flagVirtualNetwork, quoted(text))
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("--%s %s: it is an IPv4 prefix written as IPv6; write it as IPv4", flagVirtualNetwork, quoted(text))
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("--%s %s: it has host bits; the prefix is %v", flagVirtualNetwork, quoted(text), p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

// judges finds who judges.
func (s *source) judges(a *app) (*judges, error) {
	find := s.fromDocuments
	if s.pod != "" {
		find = s.fromPod
	}
	j, err := find(a)
	if err != nil {
		return nil, err
	}
	if j.localASGs, err = parseASGs(flagLocalASGs, s.localASGs); err != nil {
		return nil, err
	}
	j.remoteASGs, err = parseASGs(flagRemoteASGs, s.remoteASGs)
	return j, err
}

// view is what documents say to who asks about these groups.
func (s *source) view(a *app, d *arm.Documents) (*policy.View, error) {
	d = s.around(d)
	c, err := s.config(a, d)
	if err != nil {
		return nil, err
	}
	v, err := policy.OfDocuments(c, d)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagDocuments, err)
	}
	return v, nil
}

// around are the documents without the virtual networks that have nothing to do with
// the group of --nsg.
func (s *source) around(d *arm.Documents) *arm.Documents {
	if group, err := d.Group(s.subnet); err == nil {
		return policy.Around(d, group)
	}
	return d
}

func (s *source) fromDocuments(a *app) (*judges, error) {
	d, err := s.templates.whole(a, s.documents)
	if err != nil {
		return nil, err
	}
	v, err := s.view(a, d)
	if err != nil {
		return nil, err
	}
	subnet, err := keyOf(v, flagNSG, s.subnet)
	if err != nil {
		return nil, err
	}
	iface, err := keyOf(v, flagInterfaceNSG, s.iface)
	if err != nil {
		return nil, err
	}
	if subnet == "" && iface == "" {
		a.note("without --%s and --%s no security group judges", flagNSG, flagInterfaceNSG)
	}
	j, err := newJudges(v, subnet, iface)
	if err != nil {
		return nil, err
	}
	if networks := v.Config.Several(s.around(d)); networks != nil {
		a.note("the group of --%s is in virtual networks with different addresses, %s: the tag VirtualNetwork has those of all; --%s tells those of one",
			flagNSG, strings.Join(networks, " and "), flagVirtualNetwork)
	}
	if have := s.subnets(d); len(have) == 1 {
		j.subnetID = have[0].ID
	}
	if j.homeless() {
		a.note("the tag VirtualNetwork has no addresses: the documents have no virtual network, or several; --%s tells it", flagVirtualNetwork)
	}
	return j, nil
}

// read reads the documents.
func (s *source) read() *arm.Documents { return s.templates.load(s.documents) }

// whole returns documents in which nothing is broken, and tells of what is odd.
func (a *app) whole(d *arm.Documents) (*arm.Documents, error) {
	a.noteWarnings(d.Findings)
	return d, d.Err()
}

// noteWarnings tells of the findings that are no errors.
func (a *app) noteWarnings(findings []nsg.Finding) {
	for _, f := range findings {
		switch {
		case f.Severity == nsg.Error:
		case f.File == "":
			a.note("%s", f.Message)
		default:
			a.note("%s: %s", f.File, f.Message)
		}
	}
}

// subnets are those with the group of --nsg.
func (s *source) subnets(d *arm.Documents) []arm.Subnet {
	group, err := d.Group(s.subnet)
	if err != nil { // without a group, or told by whoever needs it
		return nil
	}
	return policy.Subnets(d, group)
}

// meaning is what the flags say about the meaning of tags in these subnets.
func (s *source) meaning(subnets []arm.Subnet) (policy.Config, error) {
	space, err := s.space()
	c := policy.Config{Documents: s.documents, VirtualNetwork: space}
	for _, subnet := range subnets {
		c.Pools = append(c.Pools, subnet.Prefixes...)
	}
	switch none := ""; {
	case len(space) > 0:
		c.RouteTable = &none
	case s.routeTableSet:
		c.RouteTable = &s.routeTable
	}
	return c, err
}

// config is what the flags say, for questions. Where a node knows its pods' subnet,
// here it is those that have the group.
func (s *source) config(a *app, d *arm.Documents) (policy.Config, error) {
	c, err := s.meaning(s.subnets(d))
	if err != nil {
		return c, err
	}
	routes, findings, err := c.Routes(d)
	if err != nil {
		return c, fmt.Errorf("--%s: %w", flagRouteTable, err)
	}
	a.noteWarnings(findings)
	asked := s.subnet != "" || s.iface != ""
	if asked && c.RouteTable == nil && len(c.Pools) == 0 && len(d.RouteTables) > 0 {
		a.note("no subnet of the documents has the group of --%s, and so no route table adds to VirtualNetwork; --%s tells one", flagNSG, flagRouteTable)
	}
	for _, e := range policy.Everything(routes) {
		a.note("the tag VirtualNetwork is %s, every address of the family, because of route %s", e.Prefix, e.Names)
	}
	return c, nil
}

func keyOf(v *policy.View, flag, nameOrID string) (string, error) {
	if nameOrID == "" {
		return "", nil
	}
	key, err := v.Key(nameOrID)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	return key, nil
}

// azurePlatform is in the tag VirtualNetwork in any case.
var azurePlatform = netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32)

// homeless reports whether the tag VirtualNetwork has none but Azure's own
// address. The rule that every group has tells.
func (j *judges) homeless() bool {
	only := nsg.NewAddressSet(azurePlatform)
	return slices.ContainsFunc(j.policies(), func(p *nsg.Policy) bool {
		return slices.ContainsFunc(p.Rules, func(r nsg.PolicyRule) bool {
			return r.Default && r.Name == "AllowVnetInBound" && r.Source.Addresses.Equal(only)
		})
	})
}

// fromPod finds the groups in force for a running pod.
func (s *source) fromPod(a *app) (*judges, error) {
	all, err := a.runningPods()
	if err != nil {
		return nil, err
	}
	p, err := find(all, s.pod)
	if err != nil {
		return nil, err
	}
	if !policy.Exists(a.stateDir, p.network) {
		a.note("network %s has no security groups", p.network)
		j, err := newJudges(nil, "", "")
		if err == nil {
			j.pod = p.end(all, false)
		}
		return j, err
	}
	if p.record.Lost {
		return nil, fmt.Errorf("--%s %s: its lease was rebuilt after the store of network %s was lost, and nobody knows its groups", flagPod, quoted(s.pod), p.network)
	}
	v, err := policy.InForce(a.stateDir, p.network)
	if err != nil {
		return nil, err
	}
	a.noteRejected(p.network)
	j, err := newJudges(v, v.Subnet(), p.record.Group)
	if err != nil {
		return nil, err
	}
	j.pod = p.end(all, v.Config.SameNodeFree)
	j.interfaceID = cmp.Or(p.record.Pod, p.key.ContainerID)
	if v.Config.SameNodeFree {
		a.note("traffic between the pods of this node is not judged")
	}
	return j, nil
}

// noteRejected tells of documents that are not what is in force.
func (a *app) noteRejected(network string) {
	if why := policy.Rejected(a.stateDir, network); why != "" {
		a.note("the documents of network %s were rejected, and the last good ones are in force: %s", network, why)
	}
}

// ofFlag turns the fault of a flow that was given by flags into one of usage.
func ofFlag(err error) error {
	var field *fieldError
	if !errors.As(err, &field) {
		return err
	}
	flags := map[string]string{keyLocalASGs: flagLocalASGs, keyRemoteASGs: flagRemoteASGs}
	name, other := flags[field.field]
	if !other {
		name = field.field
	}
	return usageError{fmt.Errorf("--%s %s: %s", name, quoted(field.value), field.fault)}
}
