package testnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// State is what a namespace holds, in readable lines by section. What comes
// and goes by itself is not in it: counters, learnt neighbours, lifetimes.
type State map[string][]string

// Snapshot takes the state of the node: links, addresses, routes of all
// tables and the rules that choose one, permanent and proxy neighbours,
// sysctls that plugins change, the rules of both iptables backends, ipsets
// with members, files and leases.
func Snapshot(n *Node) State {
	n.t.Helper()
	s := State{}
	s.addNetwork(n, n.NS, "")
	s.addSysctls(n)
	s.addRules(n)
	s.addSets(n)
	s.addFiles(n)
	s.addLeases(n)
	return s.sorted()
}

// SnapshotPod takes the links, addresses, routes, rules and neighbours of a pod.
func SnapshotPod(p *Pod) State {
	p.Node.t.Helper()
	s := State{}
	s.addNetwork(p.Node, p.NS, "pod ")
	return s.sorted()
}

// Diff tells what is in only one of two states, one line each, "+" for what
// came and "-" for what went.
func Diff(before, after State) []string {
	var out []string
	for _, section := range sections(before, after) {
		out = append(out, diffLines("+ "+section+": ", after[section], before[section])...)
		out = append(out, diffLines("- "+section+": ", before[section], after[section])...)
	}
	return out
}

func sections(states ...State) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range states {
		for name := range s {
			if !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	sort.Strings(out)
	return out
}

// diffLines gives the lines of a that b lacks, as often as it lacks them.
func diffLines(prefix string, a, b []string) []string {
	have := map[string]int{}
	for _, line := range b {
		have[line]++
	}
	var out []string
	for _, line := range a {
		if have[line] > 0 {
			have[line]--
			continue
		}
		out = append(out, prefix+line)
	}
	return out
}

// Lines counts the lines of all sections.
func (s State) Lines() (n int) {
	for _, lines := range s {
		n += len(lines)
	}
	return n
}

func (s State) sorted() State {
	for _, lines := range s {
		sort.Strings(lines)
	}
	return s
}

func (s State) add(section, format string, args ...any) {
	s[section] = append(s[section], fmt.Sprintf(format, args...))
}

func (s State) addNetwork(n *Node, ns *NS, prefix string) {
	n.t.Helper()
	Settle(n.t, ns)
	links, err := Whole(ns.NL.LinkList)
	must(n.t, "list links of "+ns.Name, err)
	for _, l := range links {
		a := l.Attrs()
		s.add(prefix+"link", "%s %s mtu %d mac %s up %t", a.Name, l.Type(), a.MTU, a.HardwareAddr, a.RawFlags&unix.IFF_UP != 0)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		addrs, err := Whole(func() ([]netlink.Addr, error) { return ns.NL.AddrList(nil, family) })
		must(n.t, "list addresses of "+ns.Name, err)
		for _, a := range addrs {
			s.add(prefix+"address", "%s dev %s scope %d", a.IPNet, ns.linkName(a.LinkIndex), a.Scope)
		}
		routes, err := Whole(func() ([]netlink.Route, error) {
			return ns.NL.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		})
		must(n.t, "list routes of "+ns.Name, err)
		for _, r := range routes {
			s.add(prefix+"route", "%s", routeLine(ns, r))
		}
		rules, err := Whole(func() ([]netlink.Rule, error) { return ns.NL.RuleList(family) })
		must(n.t, "list rules of "+ns.Name, err)
		for _, r := range rules {
			s.add(prefix+"rule", "%d from %v table %d suppress %d proto %d", r.Priority, r.Src, r.Table, r.SuppressPrefixlen, r.Protocol)
		}
		s.addNeighbours(n, ns, prefix, family)
	}
}

// Whole repeats a listing that the kernel interrupted, because the table changed
// under it, until it is one picture.
func Whole[T any](list func() ([]T, error)) ([]T, error) {
	const attempts = 100
	for range attempts {
		all, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return nil, fmt.Errorf("the table changed during each of %d listings", attempts)
}

func routeLine(ns *NS, r netlink.Route) string {
	dst := "default"
	if r.Dst != nil {
		dst = r.Dst.String()
	}
	return fmt.Sprintf("%s via %v dev %s table %d proto %d scope %d type %d src %v metric %d mtu %d",
		dst, r.Gw, ns.linkName(r.LinkIndex), r.Table, int(r.Protocol), int(r.Scope), r.Type, r.Src, r.Priority, r.MTU)
}

func (s State) addNeighbours(n *Node, ns *NS, prefix string, family int) {
	n.t.Helper()
	neighs, err := Whole(func() ([]netlink.Neigh, error) { return ns.NL.NeighList(0, family) })
	must(n.t, "list neighbours of "+ns.Name, err)
	for _, e := range neighs {
		if e.State&unix.NUD_PERMANENT != 0 {
			s.add(prefix+"neighbour", "%s dev %s lladdr %s", e.IP, ns.linkName(e.LinkIndex), e.HardwareAddr)
		}
	}
	proxies, err := Whole(func() ([]netlink.Neigh, error) { return ns.NL.NeighProxyList(0, family) })
	must(n.t, "list proxy neighbours of "+ns.Name, err)
	for _, e := range proxies {
		s.add(prefix+"proxy neighbour", "%s dev %s", e.IP, ns.linkName(e.LinkIndex))
	}
}

// addSysctls takes the switches of forwarding, of the uplink, and of the
// families' defaults.
func (s State) addSysctls(n *Node) {
	n.t.Helper()
	keys := []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter"}
	for _, conf := range []string{"default", Uplink} {
		for _, key := range []string{"ipv4/conf/%s/proxy_arp", "ipv4/conf/%s/rp_filter", "ipv4/neigh/%s/proxy_delay",
			"ipv6/conf/%s/accept_ra", "ipv6/conf/%s/proxy_ndp", "ipv6/conf/%s/forwarding", "ipv6/neigh/%s/proxy_delay"} {
			keys = append(keys, fmt.Sprintf(key, conf))
		}
	}
	must(n.t, "read sysctls of "+n.Name, n.Do(func() error {
		for _, key := range keys {
			raw, err := os.ReadFile("/proc/sys/net/" + key)
			if errors.Is(err, os.ErrNotExist) { // neigh/default is the first namespace's
				continue
			}
			if err != nil {
				return err
			}
			s.add("sysctl", "%s = %s", key, strings.TrimSpace(string(raw)))
		}
		return nil
	}))
}

var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// addRules dumps the rules of both families and of every installed backend.
// Order matters in a chain, so each line carries its place.
func (s State) addRules(n *Node) {
	n.t.Helper()
	dumps := 0
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, backend := range []string{"nft", "legacy"} {
			program := family + "-" + backend + "-save"
			if _, err := exec.LookPath(program); err != nil {
				continue
			}
			out, err := n.Shell(program)
			must(n.t, "dump rules", err)
			s.addRuleLines(family+" "+backend, out)
			dumps++
		}
	}
	if dumps < 2 {
		n.t.Fatal("neither iptables-nft-save nor iptables-legacy-save is installed: no snapshot of rules is possible")
	}
}

func (s State) addRuleLines(section, dump string) {
	table := ""
	place := map[string]int{}
	for _, line := range strings.Split(dump, "\n") {
		line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
		switch {
		case line == "" || line == "COMMIT" || line[0] == '#':
		case line[0] == '*':
			table = line[1:]
		case strings.HasPrefix(line, "-A "):
			chain := strings.Fields(line)[1]
			place[chain]++
			s.add(section, "%s %d %s", table, place[chain], line)
		default:
			s.add(section, "%s %s", table, line)
		}
	}
}

// volatile are the parts of a set that the kernel draws or adapts by itself.
var volatile = regexp.MustCompile(` (initval|hashsize|bucketsize|timeout) \S+`)

func (s State) addSets(n *Node) {
	n.t.Helper()
	out, err := n.Shell("ipset", "save")
	must(n.t, "dump ipsets", err)
	for _, line := range strings.Split(out, "\n") {
		if line != "" {
			s.add("ipset", "%s", volatile.ReplaceAllString(line, ""))
		}
	}
}

// counts ends the names of files in which every verb is counted.
const counts = ".tally"

// addFiles lists what lies below the state directory and in the runtime's
// cache, without counters, and with sizes left out: a store may keep its space.
func (s State) addFiles(n *Node) {
	n.t.Helper()
	for _, root := range []string{n.StateDir(), n.CacheDir()} {
		must(n.t, "walk "+root, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !d.IsDir() && !strings.HasSuffix(path, counts) {
				rel, _ := filepath.Rel(n.dir, path)
				s.add("file", "%s", rel)
			}
			return nil
		}))
	}
}
