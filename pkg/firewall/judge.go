package firewall

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// judgement is what judges a network's pods in one family: the table's chains
// and the sets that they match.
type judgement struct {
	table table
	sets  []*program.Set
}

// judgementOf compiles the policies. The table's last two entries are the
// network's in the node-wide chains.
func judgementOf(network string, p *Policies, f family) judgement {
	var j judgement
	j.table = table{name: "mangle", entries: judgedEntries(f)}
	for _, d := range []nsg.Direction{nsg.Outbound, nsg.Inbound} {
		j.chains(network, p, f, d)
	}
	return j
}

// judgedEntries are first in the base chains, so that no ACCEPT of others comes
// before them, and all they do to flows that are established is to look. A packet
// to a pod's interface that is for nobody known goes nowhere.
func judgedEntries(f family) []entries {
	const fresh = " -m conntrack ! --ctstate RELATED,ESTABLISHED -m set "
	out := rule("-i vnet+"+fresh+"--match-set "+judgedSet(f)+" src", outChain)
	return []entries{
		{base: "FORWARD", first: true, rules: []string{
			rule("-o vnet+"+fresh+"! --match-set "+f.podSet()+" dst", "DROP"),
			out,
			rule("-o vnet+"+fresh+"--match-set "+judgedSet(f)+" dst", inChain),
		}},
		{base: "INPUT", first: true, rules: []string{out}},
	}
}

// side is how a direction looks from the rules.
type side struct {
	node, network, interfaces string // chains
	own, other                string // the pod's side of a packet, and the other one, in the words of -m set
}

func sideOf(network string, d nsg.Direction) side {
	if d == nsg.Outbound {
		return side{outChain, outChain + "-" + tag(network), outInterfaces + tag(network), "src", "dst"}
	}
	return side{inChain, inChain + "-" + tag(network), inInterfaces + tag(network), "dst", "src"}
}

// dispatch is the rule of the node-wide chain that leads to the network's.
func (s side) dispatch(network string, f family) string {
	return "-m set --match-set " + memberSet(network, f) + " " + s.own +
		" -m comment --comment " + comment + " -g " + s.network
}

func (j *judgement) chains(network string, p *Policies, f family, d nsg.Direction) {
	s := sideOf(network, d)
	j.table.chains = append(j.table.chains,
		chain{name: s.network, rules: networkRules(network, p, f, d)},
		chain{name: s.interfaces, rules: interfaceRules(network, p, f, d)})
	if p.Subnet != nil {
		j.program(network, SubnetKey, p.Subnet, f, d)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Interfaces)) {
		j.program(network, key, p.Interfaces[key], f, d)
	}
}

// networkRules is the order in which a network's pods are judged: what no group
// has a say in; then, on the way out, the group of the interface and that of the
// subnet, on the way in the other way round. What is allowed returns.
func networkRules(network string, p *Policies, f family, d nsg.Direction) []string {
	s := sideOf(network, d)
	rules := fixedRules(p, f, d)
	interfaces := rule("-m set --match-set "+ownGroupSet(network, f)+" "+s.own, s.interfaces)
	var subnet []string
	if p.Subnet != nil {
		subnet = []string{rule("", groupChain(network, SubnetKey, d)+"0")}
	}
	if d == nsg.Outbound {
		return slices.Concat(rules, []string{interfaces}, subnet)
	}
	return slices.Concat(rules, subnet, []string{interfaces})
}

// platformAddress is Azure's own in every virtual network: whoever claims it
// here lies.
const platformAddress = "168.63.129.16"

func fixedRules(p *Policies, f family, d nsg.Direction) []string {
	var rules []string
	if f == ipv6 { // neighbour discovery always passes
		for typ := 133; typ <= 137; typ++ {
			rules = append(rules, rule("-p ipv6-icmp -m icmp6 --icmpv6-type "+strconv.Itoa(typ), "RETURN"))
		}
	}
	// Connection tracking would take a segment from the middle of a connection
	// for a new one, in whatever direction.
	rules = append(rules,
		rule("-m conntrack --ctstate INVALID", "DROP"),
		rule("-p tcp -m conntrack --ctstate NEW -m tcp ! --syn", "DROP"))
	if d == nsg.Inbound && f == ipv4 {
		rules = append(rules, rule("-s "+platformAddress+"/32", "DROP"))
	}
	if p.SameNodeFree {
		rules = append(rules, rule("-m set --match-set "+f.podSet()+" "+sideOf("", d).other, "RETURN"))
	}
	return rules
}

// interfaceRules lead a pod with a group of its own to this group. A pod whose
// group is not here must wait for it: nothing of it passes unjudged.
func interfaceRules(network string, p *Policies, f family, d nsg.Direction) []string {
	var rules []string
	for _, key := range slices.Sorted(maps.Keys(p.Interfaces)) {
		rules = append(rules, "-m set --match-set "+groupSet(network, key, f)+" "+sideOf(network, d).own+
			" -m comment --comment "+comment+" -g "+groupChain(network, key, d)+"0")
	}
	return append(rules, rule("", "DROP"))
}

// program adds the chains and sets of one group and direction.
func (j *judgement) program(network, key string, p *nsg.Policy, f family, d nsg.Direction) {
	prog := program.Compile(p, d, f == ipv6, program.Names{
		Chain:   func(n int) string { return groupChain(network, key, d) + strconv.Itoa(n) },
		Content: func(content string) string { return contentSet(network, content, f) },
		ASG:     func(asg string) string { return asgSet(network, asg, f) },
	})
	for i := range prog.Chains {
		c := chain{name: prog.Chains[i].Name}
		for k := range prog.Chains[i].Rules {
			c.rules = append(c.rules, prog.Chains[i].Rules[k].Text(f == ipv6))
		}
		j.table.chains = append(j.table.chains, c)
	}
	for _, s := range prog.Sets() {
		if !slices.ContainsFunc(j.sets, func(have *program.Set) bool { return have.Name == s.Name }) {
			j.sets = append(j.sets, s)
		}
	}
}

// ofGroups reports whether a chain belongs to the network's groups.
func ofGroups(network, chain string) bool { return strings.HasPrefix(chain, groupChains(network)) }

// networkChains are a network's own chains besides those of its groups.
func networkChains(network string) []string {
	in, out := sideOf(network, nsg.Inbound), sideOf(network, nsg.Outbound)
	return []string{in.network, in.interfaces, out.network, out.interfaces}
}
