package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/nsg"
	"github.com/vnet-cni/vnet-cni/pkg/reach"
)

// reachQuestion is the command line of vnetctl reach.
type reachQuestion struct {
	source
	ends, outside []string
	endsFile      string
	port          string
	protocol      string
	from, to      []string
	html          string
}

// The flags of vnetctl reach.
const (
	flagEnd     = "end"
	flagEnds    = "ends"
	flagOutside = "outside"
	flagPort    = "port"
	flagFrom    = "from"
	flagTo      = "to"
	flagHTML    = "html"
)

func (a *app) reachCommand() *cobra.Command {
	var q reachQuestion
	c := &cobra.Command{
		Use:   "reach",
		Short: "Tell who can talk to whom, and by which rules",
		Long: "Judge all flows between ends, each against each: with --documents the ends that --end and --ends\n" +
			"name, the application security groups that rules name and the subnets of the virtual networks; else\n" +
			"the pods of this node, as they are judged, and their application security groups. Either way the\n" +
			"networks outside that --outside names, and Internet. The exit status does not depend on the answers.",
		Example: "  vnetctl reach --documents docs --end web=10.241.4.0/24 --end 'db=10.241.5.4 asgs=db nsg=db-nsg'\n" +
			"  vnetctl reach --outside office=192.168.40.0/22 --port 443 --protocol TCP\n" +
			"  vnetctl reach --from shop/web-0 --to shop/db-0\n" +
			"  vnetctl reach --documents docs --html reach.html",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.reach(c, &q) },
	}
	q.registerDocuments(c)
	f := c.Flags()
	f.StringArrayVar(&q.ends, flagEnd, nil, "`'NAME=ADDRESSES [asgs=A,B] [nsg=GROUP] [subnetNSG=GROUP]'`: an end in the network (repeatable)")
	f.StringVar(&q.endsFile, flagEnds, "", "YAML or JSON `FILE` of ends")
	f.StringArrayVar(&q.outside, flagOutside, nil, "`NAME=ADDRESSES`: a network that has no security groups (repeatable)")
	f.StringVar(&q.port, flagPort, "", "ask about this destination port, or range of ports, of --protocol")
	f.StringVar(&q.protocol, keyProtocol, "", "ask about this protocol only: TCP, UDP, ICMP, ESP or AH")
	f.StringArrayVar(&q.from, flagFrom, nil, "only flows from this end (repeatable)")
	f.StringArrayVar(&q.to, flagTo, nil, "only flows to this end (repeatable); of one --from and one --to the rules are told")
	f.StringVar(&q.html, flagHTML, "", "write a page for a browser to `FILE`; - is standard output")
	for _, name := range []string{flagEnd, flagOutside, flagPort} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	must(c.RegisterFlagCompletionFunc(flagEnds, cobra.FixedCompletions([]string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt)))
	must(c.RegisterFlagCompletionFunc(flagHTML, cobra.FixedCompletions([]string{"html"}, cobra.ShellCompDirectiveFilterFileExt)))
	must(c.RegisterFlagCompletionFunc(keyProtocol, cobra.FixedCompletions([]string{"TCP", "UDP", "ICMP", "ESP", "AH"}, cobra.ShellCompDirectiveNoFileComp)))
	for _, name := range []string{flagFrom, flagTo} {
		must(c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return a.completeEnd(&q)
		}))
	}
	return c
}

func (a *app) reach(c *cobra.Command, q *reachQuestion) error {
	if err := q.check(c); err != nil {
		return usageError{err}
	}
	asked, err := q.question()
	if err != nil {
		return usageError{err}
	}
	told, err := q.told()
	if err != nil {
		return err
	}
	if err := distinct(told); err != nil {
		return usageError{err}
	}
	ends, err := q.find(a, told)
	if err != nil {
		return err
	}
	m, err := reach.Make(ends, asked)
	if err != nil {
		return err
	}
	if c.Flags().Changed(flagHTML) {
		return a.writeReachPage(q, m)
	}
	s, err := q.selection(m)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(s.output())
	}
	return a.printReach(s)
}

// find returns the ends: of documents, or of this node.
func (q *reachQuestion) find(a *app, told []endText) ([]reach.End, error) {
	if len(q.documents) > 0 {
		return q.ofDocuments(a, told)
	}
	return q.ofNode(a, told)
}

// check finds mistakes that need no look at anything.
func (q *reachQuestion) check(c *cobra.Command) error {
	changed := c.Flags().Changed
	q.routeTableSet = changed(flagRouteTable)
	if !changed(flagDocuments) {
		for _, name := range append(q.templates.names(), flagNSG, flagInterfaceNSG, flagVirtualNetwork, flagRouteTable, flagEnd) {
			if changed(name) {
				return fmt.Errorf("--%s without --%s: the pods of a node and their groups are those in force", name, flagDocuments)
			}
		}
	}
	for _, of := range []struct{ flag, value, what string }{
		{flagEnds, q.endsFile, "a file"}, {flagHTML, q.html, "a file, or - for standard output"}, {flagPort, q.port, "a port"}, {keyProtocol, q.protocol, "a protocol"},
	} {
		if changed(of.flag) && of.value == "" {
			return fmt.Errorf("--%s %q: it must be %s", of.flag, "", of.what)
		}
	}
	if slices.Contains(q.documents, "") {
		return fmt.Errorf("--%s %q: it must be a file or a folder", flagDocuments, "")
	}
	for _, name := range []string{"output", flagFrom, flagTo} {
		if changed(flagHTML) && changed(name) {
			return fmt.Errorf("--%s and --%s: the page has all ends and is neither a table nor JSON", flagHTML, name)
		}
	}
	return errors.Join(q.templates.check(), q.checkSpace())
}

// question reads which flows are asked about.
func (q *reachQuestion) question() (reach.Question, error) {
	asked := reach.Question{Protocol: nsg.AnyProtocol}
	var err error
	if q.protocol != "" {
		if asked.Protocol, err = nsg.ParseProtocol(q.protocol); err != nil || asked.Protocol == nsg.AnyProtocol {
			return asked, fmt.Errorf("--%s %s: it must be TCP, UDP, ICMP, ESP or AH", keyProtocol, quoted(q.protocol))
		}
	}
	if q.port == "" {
		return asked, nil
	}
	if asked.Protocol != nsg.TCP && asked.Protocol != nsg.UDP {
		return asked, fmt.Errorf("--%s %s: it needs --%s TCP or UDP", flagPort, quoted(q.port), keyProtocol)
	}
	r, err := nsg.ParsePorts(q.port)
	if err != nil {
		return asked, fmt.Errorf("--%s %s: it must be a port or a range of ports such as 8000-8080, from 0 to 65535", flagPort, quoted(q.port))
	}
	asked.Ports = []nsg.PortRange{r}
	return asked, nil
}

// told reads the ends that the command line and the file name.
func (q *reachQuestion) told() ([]endText, error) {
	var all []endText
	for _, text := range q.ends {
		e, err := parseEndFlag(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s %s: %w", flagEnd, quoted(text), err)}
		}
		all = append(all, e)
	}
	for _, text := range q.outside {
		e, err := parseEndFlag(text)
		if err == nil {
			e.outside = true
			err = e.check()
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s %s: %w", flagOutside, quoted(text), err)}
		}
		all = append(all, e)
	}
	if q.endsFile != "" {
		more, err := readEnds(q.endsFile)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// distinct refuses a name that is there twice.
func distinct(told []endText) error {
	names := map[string]bool{}
	for _, e := range told {
		if names[e.name] {
			return fmt.Errorf("%s %s: two ends are called so", keyName, quoted(e.name))
		}
		names[e.name] = true
	}
	return nil
}

// completeEnd offers the ends that there are.
func (a *app) completeEnd(q *reachQuestion) ([]string, cobra.ShellCompDirective) {
	silent := *a
	silent.errs = &strings.Builder{}
	told, err := q.told()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ends, err := q.find(&silent, told)
	if err != nil {
		return nil, completed(err)
	}
	var names []string
	for _, e := range ends {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}
