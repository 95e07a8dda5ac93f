package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/pkg/arm"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/nexthop"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// hopQuestion is the command line of vnetctl show-next-hop.
type hopQuestion struct {
	documents            []string
	templates            documentFlags
	vnet, subnet, table  string
	tableSet             bool
	pod                  string
	sourceText, destText string
	all                  bool
	source, destination  netip.Addr // invalid where they were not told

	network string       // of a pod
	inForce *policy.View // in that network
	pods    []netip.Addr // of this node, for whom a pod asks
}

// The flags of the question that a source does not have.
const (
	flagVNet     = "vnet"
	flagSubnet   = "subnet"
	flagSourceIP = "source-ip"
	flagDestIP   = "dest-ip"
	flagRoutes   = "routes"
)

func (a *app) nextHopCommand() *cobra.Command {
	var q hopQuestion
	c := &cobra.Command{
		Use:   "show-next-hop",
		Short: "Tell where packets go by the routes of their subnet, and by which route",
		Long: "Tell the next hop of packets by the virtual networks and route tables of documents: longest prefix,\n" +
			"and of equal ones the user's route before the system's. The subnet is the one that holds the source\n" +
			"address. With --pod it is what is in force on this node, which sends and drops by the user's routes\n" +
			"to VirtualAppliance and None; everything else goes as its own routing tables have it.\n" +
			"The flags and the answer for programs are those of az network watcher show-next-hop; with\n" +
			"--routes all routes of the subnet are shown, as az network nic show-effective-route-table does.",
		Example: "  vnetctl show-next-hop --documents docs --source-ip 10.241.0.4 --dest-ip 192.168.1.1\n" +
			"  vnetctl show-next-hop --documents docs --subnet pods --routes",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.showNextHop(c, &q) },
	}
	f := c.Flags()
	f.StringVar(&q.sourceText, flagSourceIP, "", "`ADDRESS` that sends; of a pod, or with --subnet or --route-table, it need not be told")
	f.StringVar(&q.destText, flagDestIP, "", "`ADDRESS` that it sends to")
	f.BoolVar(&q.all, flagRoutes, false, "show all routes of the subnet instead")
	f.StringArrayVar(&q.documents, flagDocuments, nil, "file or folder of Azure documents (repeatable)")
	q.templates.register(c)
	f.StringVar(&q.vnet, flagVNet, "", "name or resource id of the virtual network (default: the one with the subnet, or the only one)")
	f.StringVar(&q.subnet, flagSubnet, "", "name or resource id of the subnet (default: the one that holds --source-ip)")
	f.StringVar(&q.table, flagRouteTable, "", "name or resource id of the route table; \"\" is none (default: the subnet's)")
	f.StringVar(&q.pod, flagPod, "", "container id or namespace/name: the routes in force for this running pod")
	must(c.RegisterFlagCompletionFunc(flagPod, a.completePod))
	must(c.RegisterFlagCompletionFunc(flagVNet, completeFrom(q.read, networkNames)))
	must(c.RegisterFlagCompletionFunc(flagSubnet, completeFrom(q.read, subnetNames)))
	must(c.RegisterFlagCompletionFunc(flagRouteTable, completeFrom(q.read, tableNames)))
	must(c.RegisterFlagCompletionFunc(flagSourceIP, cobra.NoFileCompletions))
	must(c.RegisterFlagCompletionFunc(flagDestIP, cobra.NoFileCompletions))
	return c
}

// check finds mistakes that need no look at anything, and reads the addresses.
func (q *hopQuestion) check(c *cobra.Command) error {
	told := c.Flags().Changed
	q.tableSet = told(flagRouteTable)
	for _, name := range append(q.templates.names(), flagDocuments, flagVNet, flagSubnet, flagRouteTable) {
		if told(flagPod) && told(name) {
			return usageError{fmt.Errorf("--%s and --%s %s: a pod's routes are those of its network", name, flagPod, quoted(q.pod))}
		}
	}
	switch {
	case told(flagPod) && q.pod == "":
		return usageError{fmt.Errorf("--%s %q: it must be a container id or namespace/name", flagPod, q.pod)}
	case !told(flagPod) && len(q.documents) == 0:
		return usageError{fmt.Errorf("--%s or --%s: one of them must be there", flagDocuments, flagPod)}
	case slices.Contains(q.documents, ""):
		return usageError{fmt.Errorf("--%s %q: it must be a file or a folder", flagDocuments, "")}
	case !told(flagPod) && !told(flagSourceIP) && q.subnet == "" && !q.tableSet:
		return usageError{fmt.Errorf("--%s, --%s or --%s: one of them must tell whose routes", flagSourceIP, flagSubnet, flagRouteTable)}
	case q.all == told(flagDestIP):
		return usageError{fmt.Errorf("--%s or --%s: one of the two must be there", flagDestIP, flagRoutes)}
	}
	if err := q.templates.check(); err != nil {
		return err
	}
	return q.parse(c)
}

// read reads the documents.
func (q *hopQuestion) read() *arm.Documents { return q.templates.load(q.documents) }

func (q *hopQuestion) parse(c *cobra.Command) error {
	for _, end := range []struct {
		flag, text string
		into       *netip.Addr
	}{{flagSourceIP, q.sourceText, &q.source}, {flagDestIP, q.destText, &q.destination}} {
		if !c.Flags().Changed(end.flag) {
			continue
		}
		addr, err := netip.ParseAddr(end.text)
		if err != nil || addr.Zone() != "" {
			return usageError{fmt.Errorf("--%s %s: it is not an IP address", end.flag, quoted(end.text))}
		}
		*end.into = addr.Unmap()
	}
	if q.source.IsValid() && q.destination.IsValid() && q.source.Is4() != q.destination.Is4() {
		return usageError{fmt.Errorf("--%s %s: it is not of the family of --%s %s", flagSourceIP, q.source, flagDestIP, q.destination)}
	}
	return nil
}

func (a *app) showNextHop(c *cobra.Command, q *hopQuestion) error {
	if err := q.check(c); err != nil {
		return err
	}
	find := q.ofDocuments
	if q.pod != "" {
		find = q.ofPod
	}
	all, err := find(a)
	if err != nil {
		return err
	}
	if q.all {
		if q.inForce != nil {
			a.note("this node acts by the user's routes to VirtualAppliance and None; what others are for goes as its own routing tables have it")
		}
		return a.printRoutes(all)
	}
	hop := all.NextHop(q.destination)
	if err := q.noteHop(a, hop); err != nil {
		return err
	}
	return a.printHop(hop)
}

// noteHop tells of what the answer is silent about.
func (q *hopQuestion) noteHop(a *app, r nexthop.Route) error {
	const byNode = "this node sends it as its own routing tables have it"
	decided := r.Source == nexthop.User && (r.Type == nexthop.VirtualAppliance || r.Type == nexthop.None)
	switch {
	case decided && routes.Platform(q.destination):
		a.note("%s is the platform's: what is for it takes no user-defined route, whatever the table says", q.destination)
	case decided && slices.Contains(q.pods, q.destination):
		a.note("%s is a pod of this node: it is reached directly, whatever the table says", q.destination)
	case r.Type == nexthop.VirtualNetworkGateway:
		a.note("no document tells whether the network has a gateway; where it has none, Azure drops the packet")
		if q.inForce != nil {
			a.note("%s", byNode)
		}
	case r.Type == nexthop.None && q.inForce != nil && q.inForce.Way(q.destination) == routes.Leave:
		a.note("the route is Azure's own, which drops there; %s", byNode)
	case r.Type == nexthop.VirtualAppliance && q.inForce != nil:
		return q.noteFaults(a, r)
	}
	return nil
}

// noteFaults tells why this node drops what is for the appliance, if it does.
func (q *hopQuestion) noteFaults(a *app, r nexthop.Route) error {
	_, faults, err := attachment.RoutingProblems(a.stateDir, q.network)
	route := routes.Route{Prefix: r.Prefix, Way: routes.Forward, Via: r.Address}
	for _, f := range faults {
		if strings.HasPrefix(f, "route "+route.String()+":") {
			a.note("%s", f)
		}
	}
	return err
}
