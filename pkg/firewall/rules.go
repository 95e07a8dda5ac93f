package firewall

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// comment marks the rules of this package, for people and for itself. Those of the
// tunnel's guard have tunnelComment.
const comment = "vnet-cni"

// wantedSet is a set as it should be.
type wantedSet struct {
	name, typ  string
	family     family
	members    []netip.Prefix // nil where pods are the members
	references uint32         // rules of tables that match it
}

// table is the desired content of one table: chains of ours and entries that
// lead to them from chains that others use as well.
type table struct {
	name    string
	chains  []chain
	removed []string // chains of ours that nothing leads to any more
	entries []entries
}

type chain struct {
	name  string
	rules []string
}

// entries are our rules in a chain that others use as well.
type entries struct {
	base   string
	first  bool   // in front of everybody else's rules; else behind them
	mark   string // the comment of the rules; "": comment
	target string // only rules with this target are ours to replace; "": every rule with the comment
	rules  []string
}

// wantedSets lists the sets behind the network's rules of one family, in the
// order in which they go missing most likely.
func wantedSets(n Network, f family) []wantedSet {
	if n.Foreign {
		return judgedSets(n, f)
	}
	pods := wantedSet{name: f.podSet(), typ: hashIP, family: f, references: 5}
	if f == ipv4 {
		pods.references++ // nothing is for the node's loopback
	}
	if n.Judging != nil {
		pods.references++ // what is for no known pod is dropped
	}
	sets := append([]wantedSet{pods}, judgedSets(n, f)...)
	if !n.masquerades(f) {
		return sets
	}
	except := exceptions(n.Except, f)
	return append(sets,
		wantedSet{name: masqSet(n.Name, f), typ: hashIP, family: f, references: 1},
		wantedSet{name: exceptSet(n.Name, f, except), typ: hashNet, family: f, members: except, references: 1},
	)
}

// tables is everything the network needs in one family besides what judges it:
// nothing where another main plugin's pods are judged.
// Every chain and every entry matches a set, so that a reference count tells of
// each flushed chain.
func tables(n Network, f family) []table {
	if n.Foreign {
		return nil
	}
	all := []table{guard(f), acceptance(f)}
	if n.masquerades(f) {
		all = append(all, masquerade(n, f))
	}
	return all
}

// guard lets a packet in from a pod's interface only if its source is a pod's
// address and the route back to that leads to the same interface. The second
// entry tries rpfilter first: a packet that passes costs one look into the set.
// The node's loopback is not for pods: a kernel drops what is for it by itself, but in
// IPv4 not where somebody set route_localnet, as portmap does on a pod's interface.
func guard(f family) table {
	match := "-m set --match-set " + f.podSet() + " src"
	rules := []string{rule("-m set ! --match-set "+f.podSet()+" src", "DROP")}
	if f == ipv6 {
		rules = append(neighbourDiscovery(), rules...)
	}
	ways := []string{
		rule("-i vnet+ -m set ! --match-set "+f.podSet()+" src", guardChain),
		rule("-i vnet+ -m rpfilter --invert "+match, "DROP"),
	}
	if f == ipv4 {
		ways = append(ways, rule("-d 127.0.0.0/8 -i vnet+ "+match, "DROP"))
	}
	return table{
		name:    "raw",
		chains:  []chain{{name: guardChain, rules: rules}},
		entries: []entries{{base: "PREROUTING", first: true, rules: ways}},
	}
}

// neighbourDiscovery exempts what a pod must send from addresses that are
// never leased: solicitations and advertisements from its link-local address,
// and the solicitation of duplicate address detection from none (RFC 4861,
// 4.3 and 4.4: an advertisement always has a source).
func neighbourDiscovery() []string {
	const icmp = " -p ipv6-icmp -m icmp6 --icmpv6-type "
	return []string{
		rule("-s fe80::/10"+icmp+"135", "RETURN"),
		rule("-s fe80::/10"+icmp+"136", "RETURN"),
		rule("-s ::/128"+icmp+"135", "RETURN"),
	}
}

// acceptance is for nodes whose FORWARD policy is DROP, as Docker sets it. It
// stands last: whatever anybody else decided comes before.
func acceptance(f family) table {
	return table{
		name: "filter",
		entries: []entries{{base: "FORWARD", rules: []string{
			rule("-i vnet+ -m set --match-set "+f.podSet()+" src", "ACCEPT"),
			rule("-o vnet+ -m set --match-set "+f.podSet()+" dst", "ACCEPT"),
		}}},
	}
}

// masquerade gives the network's pods the node's address towards everything
// but other pods of this node, the exceptions and multicast groups.
func masquerade(n Network, f family) table {
	name := masqChain(n.Name)
	except := exceptSet(n.Name, f, exceptions(n.Except, f))
	return table{
		name: "nat",
		chains: []chain{{name: name, rules: []string{
			rule("-o vnet+", "RETURN"),
			rule("-m set --match-set "+except+" dst", "RETURN"),
			rule("-d "+f.multicast(), "RETURN"),
			rule("", "MASQUERADE --random-fully"),
		}}},
		entries: []entries{{base: "POSTROUTING", target: name, rules: []string{
			rule("-m set --match-set "+masqSet(n.Name, f)+" src", name),
		}}},
	}
}

// rule writes a rule with our comment.
func rule(match, target string) string {
	r := "-m comment --comment " + comment + " -j " + target
	if match != "" {
		r = match + " " + r
	}
	return r
}

// owns reports whether a rule of the built-in chain, as iptables -S prints it
// behind "-A CHAIN ", is one that these entries replace.
func (e entries) owns(rule string) bool {
	fields := strings.Fields(rule)
	return hasOption(fields, "--comment", cmp.Or(e.mark, comment)) && (e.target == "" || hasOption(fields, "-j", e.target))
}

func hasOption(fields []string, option, value string) bool {
	i := slices.Index(fields, option)
	return i >= 0 && i+1 < len(fields) && fields[i+1] == value
}

// render writes the input of iptables-restore --noflush which turns the table
// from one with the given old entries of ours, for each of t.entries, into the
// desired one. The kernel takes it as a whole or not at all, so that there is no
// moment without rules and no partial state after a kill.
func (t table) render(old [][]string) string {
	var b strings.Builder
	b.WriteString("*" + t.name + "\n")
	for _, name := range t.removed { // emptied first, for they lead to each other
		b.WriteString(":" + name + " - [0:0]\n")
	}
	for _, c := range t.chains {
		b.WriteString(":" + c.name + " - [0:0]\n")
	}
	for _, c := range t.chains {
		for _, r := range c.rules {
			b.WriteString("-A " + c.name + " " + r + "\n")
		}
	}
	t.renderDeletions(&b, old)
	for _, e := range t.entries {
		e.render(&b)
	}
	for _, name := range t.removed {
		b.WriteString("-X " + name + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func (t table) renderDeletions(b *strings.Builder, old [][]string) {
	for i, e := range t.entries {
		for _, r := range old[i] {
			b.WriteString("-D " + e.base + " " + r + "\n")
		}
	}
}

func (e entries) render(b *strings.Builder) {
	if !e.first {
		for _, r := range e.rules {
			b.WriteString("-A " + e.base + " " + r + "\n")
		}
		return
	}
	for _, r := range slices.Backward(e.rules) {
		b.WriteString("-I " + e.base + " " + r + "\n")
	}
}

// renderRemoval writes the input that removes the chains of the table and the
// old entries that led to them. ":" makes a chain that is missing by now; all are
// emptied before the first is removed, for they lead to each other.
func (t table) renderRemoval(old [][]string) string {
	var b strings.Builder
	b.WriteString("*" + t.name + "\n")
	t.renderDeletions(&b, old)
	for _, c := range t.chains {
		b.WriteString(":" + c.name + " - [0:0]\n")
	}
	for _, c := range t.chains {
		b.WriteString("-X " + c.name + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}
