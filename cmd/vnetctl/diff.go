package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/flowspace"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
)

// diffQuestion is the command line of vnetctl diff. Of the source it has the groups
// and the virtual network, which are those of both sides.
type diffQuestion struct {
	source
	newSubnet, newIface string // "" : as before
	limit               int
}

// The flags of vnetctl diff that no other command has.
const (
	flagNewNSG          = "new-nsg"
	flagNewInterfaceNSG = "new-interface-nsg"
	flagBoxes           = "boxes"
)

func (a *app) diffCommand() *cobra.Command {
	var q diffQuestion
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell exactly which flows are judged otherwise by changed documents",
		Long: "Compare the security groups of two files or folders of documents and tell which flows one allows\n" +
			"and the other denies, as boxes of direction, protocol, source, destination and ports that have no\n" +
			"flow in common, with a sample of each and the rules that decide. What tags mean counts as well.\n" +
			"Without --nsg and --interface-nsg every group that is in both is compared. The exit status is 0\n" +
			"when no flow changes its verdict, however differently the rules are written, and 1 when some do.",
		Example: "  vnetctl diff nsg.json changed.json\n" +
			"  vnetctl diff /etc/vnet new/ --nsg pods-nsg --interface-nsg web-nsg -o json",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			q.routeTableSet = c.Flags().Changed(flagRouteTable)
			return a.diff(&q, args[0], args[1])
		},
	}
	f := c.Flags()
	f.StringVar(&q.subnet, flagNSG, "", "name or resource id of the subnet's group")
	f.StringVar(&q.iface, flagInterfaceNSG, "", "name or resource id of the interface's group")
	f.StringVar(&q.newSubnet, flagNewNSG, "", "name or resource id of the subnet's group in NEW, if it is another")
	f.StringVar(&q.newIface, flagNewInterfaceNSG, "", "name or resource id of the interface's group in NEW, if it is another")
	q.templates.register(c)
	q.registerVirtualNetwork(c, completeOf(0, tableNames))
	f.IntVar(&q.limit, flagBoxes, 100, "boxes to list of each comparison at the most; changes with more are summed up")
	for flag, side := range map[string]int{flagNSG: 0, flagInterfaceNSG: 0, flagNewNSG: 1, flagNewInterfaceNSG: 1} {
		must(c.RegisterFlagCompletionFunc(flag, completeOf(side, groupNames)))
	}
	must(c.RegisterFlagCompletionFunc(flagBoxes, cobra.NoFileCompletions))
	return c
}

// comparison is what two groups, or pairs of groups, differ in.
type comparison struct {
	subnet, iface string // names, as before; "" is none
	before, after flowspace.Policies
	found         []flowspace.Comparison // of both directions
}

func (a *app) diff(q *diffQuestion, before, after string) error {
	if q.limit < 0 {
		return usageError{fmt.Errorf("--%s %d: it must not be negative", flagBoxes, q.limit)}
	}
	for _, of := range []struct{ flag, value, needs, has string }{
		{flagNewNSG, q.newSubnet, flagNSG, q.subnet}, {flagNewInterfaceNSG, q.newIface, flagInterfaceNSG, q.iface},
	} {
		if of.value != "" && of.has == "" {
			return usageError{fmt.Errorf("--%s %s: it needs --%s", of.flag, quoted(of.value), of.needs)}
		}
	}
	if err := errors.Join(q.templates.check(), q.checkSpace()); err != nil {
		return err
	}
	sides, err := q.sides(a, before, after)
	if err != nil {
		return err
	}
	r, err := q.compare(sides[0], sides[1])
	if err != nil {
		return err
	}
	if r.unknown {
		a.note("the documents have no virtual network, or several: any private address may be in the tag VirtualNetwork or not; --%s tells it", flagVirtualNetwork)
	}
	for side, path := range []string{before, after} {
		if r.homeless[side] {
			a.note("the tag VirtualNetwork has no addresses in %s: the documents have no virtual network, or several; --%s tells it", path, flagVirtualNetwork)
		}
	}
	if err := a.printDiff(r); err != nil {
		return err
	}
	if r.changes() {
		return errReported
	}
	return nil
}

// diffResult is all that is to be told.
type diffResult struct {
	comparisons      []comparison
	onlyOld, onlyNew []string // groups
	unknown          bool     // neither of the documents tells what the tag VirtualNetwork is
	homeless         [2]bool  // only the other one does
	titles           titles
}

// diffSide is the documents before or after.
type diffSide struct {
	source
	app       *app
	documents *arm.Documents
	view      *policy.View // for looking groups up
}

func (q *diffQuestion) sides(a *app, before, after string) (sides [2]*diffSide, err error) {
	paths := [2]string{before, after}
	var found [2][]nsg.Finding
	for i, path := range paths {
		s := &diffSide{source: q.source, app: a}
		s.source.documents, s.subnet = []string{path}, ""
		s.documents = s.read()
		sides[i], found[i] = s, s.documents.Findings
	}
	for i, s := range sides {
		s.documents.Findings = withoutKnown(found[i], found[1-i])
		if _, err := a.whole(s.documents); err != nil {
			return sides, err
		}
		if s.view, err = policy.OfDocuments(policy.Config{}, s.documents); err != nil {
			return sides, fmt.Errorf("%s: %w", paths[i], err)
		}
	}
	return sides, nil
}

// withoutKnown are the findings about one side without those about parameters that a
// template of the other side has: both are given the same ones.
func withoutKnown(findings, other []nsg.Finding) []nsg.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f nsg.Finding) bool {
		return f.Code == arm.UnknownParameter && !slices.Contains(other, f)
	})
}

// policy makes the policy of a group as the subnets with another one mean it.
func (s *diffSide) policy(key, subnet string) (*nsg.Policy, error) {
	meant := s.source
	meant.subnet = subnet
	v, err := meant.view(s.app, s.documents)
	if err != nil {
		return nil, err
	}
	p, err := v.Policy(key)
	if err != nil || v.Config.Several(meant.around(s.documents)) == nil {
		return p, err
	}
	tags := v.Tags()
	tags.VirtualNetwork = nsg.AddressSet{} // nobody can tell which
	p, findings := nsg.NewPolicy(p.Group, tags)
	return p, nsg.FirstError("", findings)
}

// titles are what groups are called: by their names, or by their ids where several
// groups of one side have the name.
type titles struct{ shared map[string]bool } // names in lower case

func titlesOf(sides ...*diffSide) titles {
	t := titles{map[string]bool{}}
	for _, s := range sides {
		for _, g := range s.documents.Groups {
			if _, err := s.documents.Group(g.Name); err != nil {
				t.shared[strings.ToLower(g.Name)] = true
			}
		}
	}
	return t
}

func (t titles) title(name, id string) string {
	if t.shared[strings.ToLower(name)] {
		return cmp.Or(id, name)
	}
	return name
}

func (t titles) of(g *nsg.Group) string { return t.title(g.Name, g.ID) }

// ofKey is the title of the group that the key stands for.
func (t titles) ofKey(s *diffSide, key string) string {
	if g, err := s.documents.Group(key); err == nil {
		return t.title(g.Name, g.ID)
	}
	return s.view.Name(key)
}

// compare compares the groups that are asked for, or all.
func (q *diffQuestion) compare(before, after *diffSide) (*diffResult, error) {
	r := &diffResult{titles: titlesOf(before, after)}
	if q.subnet != "" || q.iface != "" {
		c, err := q.named(r.titles, before, after)
		if err != nil {
			return nil, err
		}
		r.comparisons = append(r.comparisons, c)
	} else if err := r.pairUp(before, after); err != nil {
		return nil, err
	}
	for i := range r.comparisons {
		c := &r.comparisons[i]
		switch old, new := homeless(c.before), homeless(c.after); {
		case old && new:
			r.unknown = true
			c.before, c.after = inAnyNetwork(c.before), inAnyNetwork(c.after)
		case old || new:
			r.homeless = [2]bool{r.homeless[0] || old, r.homeless[1] || new}
		}
		for _, d := range [...]nsg.Direction{nsg.Inbound, nsg.Outbound} {
			c.found = append(c.found, flowspace.Compare(flowspace.All(d), c.before, c.after, q.limit))
		}
	}
	return r, nil
}

// named is the comparison that the flags ask for.
func (q *diffQuestion) named(t titles, before, after *diffSide) (comparison, error) {
	c := comparison{}
	newSubnet := cmp.Or(q.newSubnet, q.subnet)
	for _, level := range []struct {
		flag, newFlag        string
		old, new             string
		name                 *string
		oldPolicy, newPolicy **nsg.Policy
	}{
		{flagNSG, flagNewNSG, q.subnet, newSubnet, &c.subnet, &c.before.Subnet, &c.after.Subnet},
		{flagInterfaceNSG, flagNewInterfaceNSG, q.iface, cmp.Or(q.newIface, q.iface), &c.iface, &c.before.Interface, &c.after.Interface},
	} {
		if level.old == "" {
			continue
		}
		key, err := keyOf(before.view, level.flag, level.old)
		if err != nil {
			return c, fmt.Errorf("OLD: %w", err)
		}
		newFlag := level.newFlag
		if level.new == level.old {
			newFlag = level.flag
		}
		newKey, err := keyOf(after.view, newFlag, level.new)
		if err != nil {
			return c, fmt.Errorf("NEW: %w", err)
		}
		if *level.oldPolicy, err = before.policy(key, q.subnet); err != nil {
			return c, err
		}
		*level.name = t.of((*level.oldPolicy).Group)
		if *level.newPolicy, err = after.policy(newKey, newSubnet); err != nil {
			return c, err
		}
	}
	return c, nil
}

// pairUp finds the groups that are in both documents: by id, else by a name that
// only one group of each has.
func (r *diffResult) pairUp(before, after *diffSide) error {
	taken := map[string]bool{}
	for _, key := range before.view.Keys() {
		newKey, found := counterpart(before.view, after.view, key)
		if !found {
			r.onlyOld = append(r.onlyOld, r.titles.ofKey(before, key))
			continue
		}
		taken[newKey] = true
		var c comparison
		var err error
		if c.before.Subnet, err = before.policy(key, key); err == nil {
			c.after.Subnet, err = after.policy(newKey, newKey)
		}
		if err != nil {
			return err
		}
		c.subnet = r.titles.of(c.before.Subnet.Group)
		r.comparisons = append(r.comparisons, c)
	}
	for _, key := range after.view.Keys() {
		if !taken[key] {
			r.onlyNew = append(r.onlyNew, r.titles.ofKey(after, key))
		}
	}
	if len(r.comparisons) == 0 {
		return fmt.Errorf("no security group is in both: OLD has %s, NEW has %s", orNone(r.onlyOld), orNone(r.onlyNew))
	}
	return nil
}

func counterpart(before, after *policy.View, key string) (string, bool) {
	var named []string
	for _, k := range after.Keys() {
		if k == key {
			return k, true
		}
		if strings.EqualFold(after.Name(k), before.Name(key)) {
			named = append(named, k)
		}
	}
	if len(named) != 1 {
		return "", false
	}
	if k, err := before.Key(before.Name(key)); err != nil || k != key {
		return "", false // before, several have the name
	}
	return named[0], true
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// changes reports whether a verdict changes, or may.
func (r *diffResult) changes() bool {
	for _, c := range r.comparisons {
		for _, f := range c.found {
			if len(f.Changes) > 0 || f.Undivided != nil {
				return true
			}
		}
	}
	return false
}
