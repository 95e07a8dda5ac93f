package main

import (
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
	subnet, iface  string
	virtualNetwork []string
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
	flagLocalASGs      = "local-asgs"
	flagRemoteASGs     = "remote-asgs"
	flagPod            = "pod"
)

func (s *source) register(a *app, c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&s.documents, flagDocuments, nil, "file or folder of Azure documents (repeatable)")
	f.StringVar(&s.subnet, flagNSG, "", "name or resource id of the subnet's group")
	f.StringVar(&s.iface, flagInterfaceNSG, "", "name or resource id of the interface's group")
	f.StringSliceVar(&s.virtualNetwork, flagVirtualNetwork, nil, "`CIDR`s of the tag VirtualNetwork (default: the VNet document's)")
	f.StringSliceVar(&s.localASGs, flagLocalASGs, nil, "application security groups of the local end")
	f.StringSliceVar(&s.remoteASGs, flagRemoteASGs, nil, "application security groups of the remote end")
	f.StringVar(&s.pod, flagPod, "", "container id or namespace/name: judge as this running pod is judged, instead of by documents")
	must(c.RegisterFlagCompletionFunc(flagPod, a.completePod))
	must(c.RegisterFlagCompletionFunc(flagNSG, s.completeGroup))
	must(c.RegisterFlagCompletionFunc(flagInterfaceNSG, s.completeGroup))
	for _, name := range []string{flagVirtualNetwork, flagLocalASGs, flagRemoteASGs} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

// check finds mistakes that need no look at anything.
func (s *source) check(c *cobra.Command) error {
	byPod := c.Flags().Changed(flagPod)
	for _, name := range []string{flagDocuments, flagNSG, flagInterfaceNSG, flagVirtualNetwork, flagLocalASGs} {
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
	if _, err := s.space(); err != nil {
		return usageError{err}
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

// space reads the prefixes of the virtual network.
func (s *source) space() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range s.virtualNetwork {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--%s %s: it must be prefixes such as 10.241.0.0/16", flagVirtualNetwork, quoted(text))
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

func (s *source) fromDocuments(a *app) (*judges, error) {
	space, err := s.space()
	if err != nil {
		return nil, err
	}
	v, findings, err := policy.OfDocuments(policy.Config{Documents: s.documents, VirtualNetwork: space})
	for _, f := range findings {
		if f.Severity != nsg.Error {
			a.note("%s: %s", f.File, f.Message)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagDocuments, err)
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
	if err == nil && j.homeless() {
		a.note("the tag VirtualNetwork has no addresses: the documents have no virtual network, or several; --%s tells it", flagVirtualNetwork)
	}
	return j, err
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
	if why := policy.Rejected(a.stateDir, p.network); why != "" {
		a.note("the documents of network %s were rejected, and the last good rules are in force: %s", p.network, why)
	}
	j, err := newJudges(v, v.Subnet(), p.record.Group)
	if err != nil {
		return nil, err
	}
	j.pod = p.end(all, v.Config.SameNodeFree)
	if v.Config.SameNodeFree {
		a.note("traffic between the pods of this node is not judged")
	}
	return j, nil
}

// find returns the pod that is meant.
func find(all []runningPod, want string) (runningPod, error) {
	var found []runningPod
	for _, p := range all {
		if p.key.ContainerID == want || p.record.Pod != "" && p.record.Pod == want {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return runningPod{}, fmt.Errorf("--%s %s: no lease on this node has that container id or namespace/name", flagPod, quoted(want))
	}
	var words []string
	for _, p := range found {
		words = append(words, fmt.Sprintf("%s %s in network %s", p.key.ContainerID, p.key.IfName, p.network))
	}
	return runningPod{}, fmt.Errorf("--%s %s: it has several interfaces: %s", flagPod, quoted(want), strings.Join(words, "; "))
}

// completeGroup offers the groups of the documents named so far.
func (s *source) completeGroup(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, g := range arm.Load(s.documents).Groups {
		names = append(names, g.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
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
