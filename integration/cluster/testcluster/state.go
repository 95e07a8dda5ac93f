package testcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// NodeState is what a node's kernel and its leases have of pods.
type NodeState struct {
	Leases  []netip.Addr
	Veths   []string
	Routes  []netip.Addr // to pods of this node
	Proxied []netip.Addr // answered for on the uplink
	Members []netip.Addr // of any set of pods, those of other nodes as well
}

// stateScript prints it all, in parts, as those cannot be read at one moment.
const stateScript = `echo '# links'; ip -o link show | sed 's/^[0-9]*: //;s/[@:].*//'
echo '# routes'; ip -o route show; ip -6 -o route show
echo '# proxied'; ip neigh show proxy; ip -6 neigh show proxy
echo '# sets'; ipset save
echo '# leases'; test ! -x /opt/cni/bin/vnetctl || /opt/cni/bin/vnetctl ipam -o json`

var hostVeth = regexp.MustCompile(`^vnet[0-9a-f]{11}$`)

// State reads the state of a node.
func (c *Cluster) State(node string) (NodeState, error) {
	out, err := c.NodeExec(node, "sh", "-c", stateScript)
	if err != nil {
		return NodeState{}, err
	}
	var s NodeState
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+out, "\n# ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		parts[name] = text
	}
	for line := range strings.Lines(parts["links"]) {
		if name := strings.TrimSpace(line); hostVeth.MatchString(name) {
			s.Veths = append(s.Veths, name)
		}
	}
	for line := range strings.Lines(parts["routes"]) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "dev" && hostVeth.MatchString(f[2]) {
			s.Routes = appendAddr(s.Routes, f[0])
		}
	}
	for line := range strings.Lines(parts["proxied"]) {
		s.Proxied = appendAddr(s.Proxied, strings.Fields(line)[0])
	}
	s.Members = members(parts["sets"])
	if parts["leases"] != "" {
		var list struct {
			Leases []struct{ Address netip.Addr }
		}
		if err := json.Unmarshal([]byte(parts["leases"]), &list); err != nil {
			return s, fmt.Errorf("read the leases of node %s: %w", node, err)
		}
		for _, l := range list.Leases {
			s.Leases = append(s.Leases, l.Address)
		}
	}
	return s, nil
}

// appendAddr leaves out what is no unicast address of a pod: the prefixes of links.
func appendAddr(list []netip.Addr, text string) []netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.IsGlobalUnicast() || a.IsLinkLocalUnicast() {
		return list
	}
	return append(list, a)
}

// members are those of the sets of single addresses: the others are rules' prefixes.
func members(saved string) []netip.Addr {
	pods := map[string]bool{}
	var list []netip.Addr
	for line := range strings.Lines(saved) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[1], "vnet-") || strings.HasPrefix(f[1], "vnet-peers-") { // those are nodes
			continue
		}
		if f[0] == "create" {
			pods[f[1]] = f[2] == "hash:ip"
		} else if pods[f[1]] {
			list = appendAddr(list, f[2])
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// Consistent waits until the API server, the leases and the kernels of all nodes agree
// about which pods there are, and ends the test if they do not come to. No address may
// ever be there twice. It returns the number of pods that have a network of their own.
func (c *Cluster) Consistent(tb testing.TB) int {
	tb.Helper()
	pods := 0
	Await(tb, 2*time.Minute, "the nodes to have what belongs to running pods and nothing else", func() (err error) {
		pods, err = c.consistent()
		return err
	})
	return pods
}

func (c *Cluster) consistent() (int, error) {
	all, err := c.AllPods()
	if err != nil {
		return 0, err
	}
	byNode, owner, everybody := map[string][]netip.Addr{}, map[netip.Addr]string{}, map[netip.Addr]bool{}
	count := 0
	for name, p := range all {
		if p.Host || p.Phase == "Succeeded" || p.Phase == "Failed" {
			continue
		}
		if p.Ending || len(p.Addrs) == 0 {
			return 0, fmt.Errorf("pod %s comes or goes: %s", name, p.Reason)
		}
		count++
		byNode[p.Node] = append(byNode[p.Node], p.Addrs...)
		for _, a := range p.Addrs {
			if owner[a] != "" {
				return 0, fmt.Errorf("%s is the address of %s and of %s", a, owner[a], name)
			}
			owner[a], everybody[a] = name, true
		}
	}
	var errs []error
	for _, node := range c.names() {
		s, err := c.State(node)
		if err != nil {
			return 0, err
		}
		errs = append(errs, s.agrees(node, byNode[node], everybody))
	}
	return count, errors.Join(errs...)
}

// agrees compares the node's state with its pods.
func (s NodeState) agrees(node string, pods []netip.Addr, everybody map[netip.Addr]bool) error {
	var errs []error
	for _, part := range []struct {
		what string
		have []netip.Addr
	}{{"leases", s.Leases}, {"routes to pods", s.Routes}} {
		if d := difference(part.have, pods); d != "" {
			errs = append(errs, fmt.Errorf("node %s, %s: %s", node, part.what, d))
		}
	}
	families := map[bool]bool{}
	for _, a := range pods {
		families[a.Is6()] = true
	}
	if n := len(pods) / max(1, len(families)); len(s.Veths) != n {
		errs = append(errs, fmt.Errorf("node %s: %d links of pods for %d pods: %v", node, len(s.Veths), n, s.Veths))
	}
	for _, a := range s.Proxied {
		if !slices.Contains(pods, a) {
			errs = append(errs, fmt.Errorf("node %s answers for %s, which no pod has", node, a))
		}
	}
	for _, a := range s.Members {
		if !everybody[a] {
			errs = append(errs, fmt.Errorf("node %s: a set has %s, which no pod has", node, a))
		}
	}
	for _, a := range pods {
		if !slices.Contains(s.Members, a) {
			errs = append(errs, fmt.Errorf("node %s: no set has %s", node, a))
		}
	}
	return errors.Join(errs...)
}

func difference(have, want []netip.Addr) string {
	have, want = slices.Clone(have), slices.Clone(want)
	slices.SortFunc(have, netip.Addr.Compare)
	slices.SortFunc(want, netip.Addr.Compare)
	if slices.Equal(have, want) {
		return ""
	}
	without := func(list, other []netip.Addr) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return slices.Contains(other, a) })
	}
	return fmt.Sprintf("%d, not %d; too many: %v, missing: %v", len(have), len(want), without(have, want), without(want, have))
}

// Snapshot is everything of a node's that a network could leave behind, in lines:
// links, routes, rules, sets and their members, and files. kube-proxy's rules, which
// change with every service, are left out.
func (c *Cluster) Snapshot(node string) ([]string, error) {
	const script = `ip -o link show | sed 's/^[0-9]*: //;s/[@:].*//;s/^/link /'
{ ip -o route show table all; ip -6 -o route show table all; } | sed 's/^/route /'
{ ip rule show; ip -6 rule show; } | sed 's/^/rule /'
{ ip neigh show proxy; ip -6 neigh show proxy; } | sed 's/^/proxied /'
for t in raw mangle nat filter; do for i in iptables ip6tables; do
	$i-save -t $t | grep -v '^[#*]\|^COMMIT\|^:[A-Z]* ACCEPT\|KUBE-' | sed "s/\[[0-9:]*\]//;s/^/$i $t /"
done; done
ipset save | sed 's/hashsize [0-9]* //;s/^/set /'
find /opt/cni/bin /etc/cni/net.d /run/vnet /var/lib/vnet -mindepth 1 2>/dev/null | sed 's/^/file /'
true`
	out, err := c.NodeExec(node, "sh", "-c", script)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// Differences are the lines that only one of two snapshots has.
func Differences(before, after []string) []string {
	var out []string
	for _, l := range before {
		if !slices.Contains(after, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			out = append(out, "+ "+l)
		}
	}
	return out
}
