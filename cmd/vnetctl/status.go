package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/collect"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
	"github.com/vnet-cni/vnet-cni/pkg/policy"
	"github.com/vnet-cni/vnet-cni/pkg/routes"
)

// statusReport is the output for programs of vnetctl status.
type statusReport struct {
	OK       bool            `json:"ok"`
	StateDir string          `json:"stateDir"`
	Iptables iptablesStatus  `json:"iptables"`
	Networks []networkStatus `json:"networks"`
}

// iptablesStatus is which of the two kinds of iptables the node's rules are made
// with; recorded once there are any.
type iptablesStatus struct {
	Backend  string   `json:"backend"` // "nf_tables", "legacy" or "" when there is none
	Recorded bool     `json:"recorded"`
	Problems []string `json:"problems"`
}

// networkStatus is one network.
type networkStatus struct {
	Network  string   `json:"network"`
	Leases   int      `json:"leases"`
	Pods     int      `json:"pods"`           // the leases that are of our own main plugin
	Free     *uint64  `json:"free,omitempty"` // how many more the scarcest current pool has room for; nil: no pool is known
	Rules    string   `json:"rules"`          // "installed", "damaged" or "not needed"
	Judged   bool     `json:"judged"`         // by security groups
	NSG      string   `json:"nsg"`            // of the subnet; "": it has none
	Table    string   `json:"routeTable"`     // id or name of the subnet's route table; "": it has none
	Routes   []string `json:"routes"`         // what pods' packets take beside the node's own
	Problems []string `json:"problems"`

	ipv4, ipv6 bool // families of its pools
}

// What networkStatus.Rules can be.
const (
	rulesInstalled = "installed"
	rulesDamaged   = "damaged"
	rulesNotNeeded = "not needed"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show whether stores, rules and iptables are in order",
		Long: "Show for each network whether its lease store can be used and its packet filter rules are\n" +
			"installed, and the iptables that they are made with. The exit status is 1 if something is wrong.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.status() },
	}
}

func (a *app) status() error {
	networks, err := a.networks(nil)
	if err != nil {
		return err
	}
	node, err := openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	report := statusReport{OK: true, StateDir: a.stateDir, Networks: []networkStatus{}}
	for _, n := range networks {
		s, err := a.network(node, n)
		if err != nil {
			return err
		}
		report.OK = report.OK && len(s.Problems) == 0
		report.Networks = append(report.Networks, s)
	}
	if report.Iptables, err = a.iptables(node, report.Networks); err != nil {
		return err
	}
	// A node that serves no network needs no iptables.
	report.OK = report.OK && (len(networks) == 0 || len(report.Iptables.Problems) == 0)
	if err := a.printStatus(report); err != nil {
		return err
	}
	if !report.OK {
		return errReported
	}
	return nil
}

// iptables looks at what the node's rules are made with, or the next ones will
// be, for the families of all networks.
func (a *app) iptables(n *node, networks []networkStatus) (iptablesStatus, error) {
	need := firewall.Network{StateDir: a.stateDir}
	for _, s := range networks {
		need.IPv4 = need.IPv4 || s.ipv4
		need.IPv6 = need.IPv6 || s.ipv6
	}
	need.IPv4 = need.IPv4 || !need.IPv6
	s := iptablesStatus{Problems: []string{}}
	var err error
	if s.Backend, s.Recorded, err = firewall.Backend(a.stateDir); err == nil {
		err = n.Firewall.Usable(need)
	}
	if errors.Is(err, fs.ErrPermission) {
		return s, err
	}
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	return s, nil
}

// network looks at one network. Only what stands in the way of every network is
// an error.
func (a *app) network(n *node, network string) (networkStatus, error) {
	s := networkStatus{Network: network, Rules: rulesNotNeeded, Routes: []string{}, Problems: []string{}}
	store := a.store(network)
	leases, err := store.Leases()
	if err == nil {
		err = store.Check()
	}
	if err == nil {
		err = a.count(&s, leases)
	}
	if errors.Is(err, fs.ErrPermission) {
		return s, err
	}
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	if err := a.judges(&s); err != nil {
		return s, err
	}
	if err := a.routes(&s, leases); err != nil {
		return s, err
	}
	return s, n.judgeRules(&s, collect.RulesFor(network, a.stateDir, leases))
}

// judges tells which security groups judge the network's pods. Documents that
// were rejected are a problem, though the last good ones are in force, and so is a
// route table that is in none: its routes are not taken.
func (a *app) judges(s *networkStatus) error {
	if s.Judged = policy.Exists(a.stateDir, s.Network); !s.Judged {
		return nil
	}
	v, err := policy.InForce(a.stateDir, s.Network)
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
		return nil
	}
	if key := v.Subnet(); key != "" {
		s.NSG = v.Name(key)
	}
	var list []routes.Route
	s.Table, list = v.Routing()
	for _, r := range list {
		s.Routes = append(s.Routes, r.String())
	}
	_, warnings := v.Effective()
	for _, w := range warnings {
		if w.Code == policy.CodeTableMissing {
			s.Problems = append(s.Problems, w.Message)
		}
	}
	if why := policy.Rejected(a.stateDir, s.Network); why != "" {
		s.Problems = append(s.Problems, "documents rejected, the last good ones are in force: "+why)
	}
	return nil
}

// routes compares the routes with what pods need, and tells of those that only drop.
func (a *app) routes(s *networkStatus, leases []ipam.Lease) error {
	if !s.Judged {
		return nil
	}
	var pods []netip.Addr
	for _, l := range leases {
		if len(l.Attachment) > 0 { // of our own main plugin
			pods = append(pods, attachment.Addrs(l)...)
		}
	}
	problems, faults, err := attachment.RoutingProblems(a.stateDir, s.Network, pods...)
	s.Problems = append(append(s.Problems, problems...), faults...)
	return err
}

func (a *app) count(s *networkStatus, leases []ipam.Lease) error {
	pools, err := a.pools([]string{s.Network})
	if err != nil {
		return err
	}
	for _, p := range current(pools, leases) {
		s.ipv4 = s.ipv4 || p.Subnet.Addr().Is4()
		s.ipv6 = s.ipv6 || p.Subnet.Addr().Is6()
		if free := p.Size - min(p.Size, p.Used); s.Free == nil || free < *s.Free {
			s.Free = &free // cooling addresses included: they are leased when no other is left
		}
	}
	s.Leases = len(leases)
	for _, l := range leases {
		if _, ours, err := attachment.Of(l); ours || err != nil {
			s.Pods++
		}
	}
	return nil
}

// current are the pools that the latest lease is from. The store keeps those of
// earlier configurations, because of the leases from them, and cannot tell them
// apart; without a lease from any of them all count.
func current(pools []poolEntry, leases []ipam.Lease) []poolEntry {
	for _, l := range slices.Backward(leases) {
		from := slices.DeleteFunc(slices.Clone(pools), func(p poolEntry) bool {
			return !slices.ContainsFunc(attachment.Addrs(l), p.Subnet.Contains)
		})
		if len(from) > 0 {
			return from
		}
	}
	return pools
}

// judgeRules compares the rules with what the pods need; without pods none.
func (n *node) judgeRules(s *networkStatus, rules firewall.Network) error {
	if !rules.IPv4 && !rules.IPv6 {
		return nil
	}
	problems, err := n.Firewall.Problems(rules)
	if err != nil {
		return err
	}
	s.Rules = rulesInstalled
	if len(problems) > 0 {
		s.Rules = rulesDamaged
		s.Problems = append(s.Problems, problems...)
	}
	return nil
}

func (a *app) printStatus(r statusReport) error {
	if a.json() {
		return a.printJSON(r)
	}
	if err := a.printIptables(r.Iptables); err != nil {
		return err
	}
	if len(r.Networks) == 0 {
		return a.printNothing("networks")
	}
	return a.printTable(statusRows(r.Networks))
}

func (a *app) printIptables(s iptablesStatus) error {
	words := []string{s.Backend}
	if s.Backend == "" {
		words = nil
	} else if s.Recorded {
		words[0] += " (of this node's rules)"
	}
	return a.printf("iptables: %s\n", strings.Join(append(words, s.Problems...), "; "))
}

func statusRows(networks []networkStatus) [][]string {
	rows := [][]string{{"NETWORK", "LEASES", "PODS", "FREE", "RULES", "NSG", "ROUTE TABLE", "PROBLEMS"}}
	for _, s := range networks {
		free := "unknown"
		if attachment.IsChained(s.Network) {
			free = "-" // its addresses are another plugin's
		}
		if s.Free != nil {
			free = strconv.FormatUint(*s.Free, 10)
		}
		rows = append(rows, []string{s.Network, strconv.Itoa(s.Leases), strconv.Itoa(s.Pods), free,
			s.Rules, s.subnetGroup(), cell(s.Table[strings.LastIndexByte(s.Table, '/')+1:], maxNameCell), cell(strings.Join(s.Problems, "; "), 0)})
	}
	return unlessEmpty(unlessEmpty(rows, groupColumn+1), groupColumn)
}

// groupColumn is where the table of networks names the subnet's security group.
const groupColumn = 5

// subnetGroup words who judges; "" is nobody.
func (s networkStatus) subnetGroup() string {
	if s.Judged && s.NSG == "" {
		return "only pods' own"
	}
	return cell(s.NSG, maxNameCell)
}
