package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vnet-cni/vnet-cni/ipam"
	"github.com/vnet-cni/vnet-cni/pkg/attachment"
	"github.com/vnet-cni/vnet-cni/pkg/firewall"
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
	Free     *uint64  `json:"free,omitempty"` // how many more the scarcest pool has room for; nil: no pool is known
	Rules    string   `json:"rules"`          // "installed", "damaged" or "not needed"
	Problems []string `json:"problems"`
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
	if report.Iptables, err = a.iptables(node); err != nil {
		return err
	}
	for _, n := range networks {
		s, err := a.network(node, n)
		if err != nil {
			return err
		}
		report.OK = report.OK && len(s.Problems) == 0
		report.Networks = append(report.Networks, s)
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

// iptables looks at the backend of the node's rules, else at that of the first
// iptables on PATH, which the next rules will be made with.
func (a *app) iptables(n *node) (iptablesStatus, error) {
	s := iptablesStatus{Problems: []string{}}
	record, err := os.ReadFile(filepath.Join(a.stateDir, "iptables"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("read the recorded iptables backend: %w", err)
	}
	s.Backend = strings.TrimSpace(string(record))
	s.Recorded = s.Backend != ""
	if !s.Recorded {
		s.Backend = firstBackend()
	}
	err = n.Firewall.Usable(firewall.Network{StateDir: a.stateDir, IPv4: true})
	if errors.Is(err, fs.ErrPermission) {
		return s, err
	}
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	return s, nil
}

// firstBackend returns "" without an iptables: what is wrong then, Usable says.
func firstBackend() string {
	out, err := exec.Command("iptables", "--version").Output()
	switch {
	case err != nil:
		return ""
	case strings.Contains(string(out), "nf_tables"):
		return "nf_tables"
	}
	return "legacy"
}

// network looks at one network. Only what stands in the way of every network is
// an error.
func (a *app) network(n *node, network string) (networkStatus, error) {
	s := networkStatus{Network: network, Rules: rulesNotNeeded, Problems: []string{}}
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
	return s, n.judgeRules(&s, rulesFor(network, a.stateDir, leases))
}

func (a *app) count(s *networkStatus, leases []ipam.Lease) error {
	pools, err := a.pools([]string{s.Network})
	if err != nil {
		return err
	}
	for _, p := range pools {
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

// judgeRules compares the rules with what the pods need; without pods none.
func (n *node) judgeRules(s *networkStatus, rules firewall.Network) error {
	if !rules.IPv4 && !rules.IPv6 {
		return nil
	}
	problems, err := n.Firewall.Problems(rules, netip.Addr{})
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
	rows := [][]string{{"NETWORK", "LEASES", "PODS", "FREE", "RULES", "PROBLEMS"}}
	for _, s := range networks {
		free := "unknown"
		if s.Free != nil {
			free = strconv.FormatUint(*s.Free, 10)
		}
		rows = append(rows, []string{s.Network, strconv.Itoa(s.Leases), strconv.Itoa(s.Pods), free,
			s.Rules, strings.Join(s.Problems, "; ")})
	}
	return rows
}
