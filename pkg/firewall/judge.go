package firewall

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vnet-cni/vnet-cni/pkg/firewall/program"
	"github.com/vnet-cni/vnet-cni/pkg/nsg"
)

// judgement is what judges a network's pods in one family: the table's chains
// and the sets that they match.
type judgement struct {
	scope    scope
	table    table      // without the programs and the node-wide chains
	programs []compiled // of the groups
	strays   []string   // rules for addresses that nobody has
	sets     []*program.Set
}

// compiled is the chains of one group and direction.
type compiled struct {
	name   string // how the names of its chains begin
	hash   string // of the chains' content
	rules  int
	chains []chain
}

func (c compiled) entry() string { return c.name + "0" }

// comment is that of the rule which leads to the program.
func (c compiled) comment() string { return comment + "-" + c.hash }

// way is the rule that leads there from the network's chains.
func (c compiled) way(match, option string) string {
	r := "-m comment --comment " + c.comment() + " " + option + " " + c.entry()
	if match != "" {
		r = match + " " + r
	}
	return r
}

// programOfChain is the name of the program that a chain belongs to.
func programOfChain(chain string) string { return strings.TrimRight(chain, "0123456789") }

// judgementOf compiles the policies.
func judgementOf(network string, s scope, p *Policies, f family) judgement {
	j := judgement{scope: s, table: table{name: "mangle", entries: s.entries(f)}}
	for _, d := range []nsg.Direction{nsg.Outbound, nsg.Inbound} {
		j.direction(network, p, f, d)
	}
	if own := p.Own.Family(f == ipv6).Prefixes(); len(own) > 0 {
		set := &program.Set{Name: contentSet(network, fmt.Sprint("own ", own), f), Type: program.NetSet, Prefixes: withoutAll(own, f)}
		j.sets = append(j.sets, set)
		j.strays = []string{rule("-m set --match-set "+set.Name+" dst", "DROP")}
	}
	return j
}

// withoutAll is the prefixes with two halves for a /0, which hash:net does not take.
func withoutAll(prefixes []netip.Prefix, f family) []netip.Prefix {
	if prefixes[0].Bits() == 0 {
		return halves(f)
	}
	return prefixes
}

// lastly ends the node-wide chain of a side: a pod that is judged, but by no
// network that is there, must wait for it. Other pods are not judged.
func (s side) lastly(f family) string {
	return "-m set --match-set " + s.scope.judgedSet(f) + " " + s.own + " -j DROP"
}

// strayExceptions begin the chain for strays: an address that is routed to a pod
// or is the node's own is somebody's.
func strayExceptions() []string {
	return []string{"-o vnet+ -j RETURN", "-o lo -j RETURN"}
}

// judgedEntries are first in the base chains, so that no ACCEPT of others comes
// before them. All that they do to an established flow is to look at its state.
// The set, which is always empty, has no say: its references tell that the entries
// are there.
func judgedEntries(f family) []entries {
	const fresh = "-m conntrack ! --ctstate RELATED,ESTABLISHED -m set "
	never := "! --match-set " + entrySet(f) + " src"
	return []entries{
		{base: "OUTPUT", first: true, rules: []string{rule(fresh+never, strayChain)}},
		{base: "FORWARD", first: true, rules: []string{rule(fresh+never, forwardChain)}},
		{base: "INPUT", first: true, rules: []string{rule("-i vnet+ "+fresh+"--match-set "+judgedSet(f)+" src", outChain)}},
	}
}

// forwarding is the chain for what is neither from nor to the node itself. A
// packet to a pod's interface that is for nobody known goes nowhere. What comes from
// elsewhere and goes on to a pod of another node is judged here by that pod's groups:
// there it arrives with this node's address, if it came through a service. So is what
// pods of this node send there through a service; what they send straight there is
// judged there. Like all rules that many packets match,
// these have no comment: it would be a match of its own.
func forwarding(f family) chain {
	return chain{name: forwardChain, rules: []string{
		"-o vnet+ -m set ! --match-set " + f.podSet() + " dst -j DROP",
		"-i vnet+ -j " + outChain,
		"-o vnet+ -j " + inChain,
		"! -i vnet+ ! -o vnet+ -m set --match-set " + farSet(f) + " dst -j " + inChain,
		"-i vnet+ ! -o vnet+ -m conntrack --ctstate DNAT -m set --match-set " + farSet(f) + " dst -j " + inChain,
		"! -o vnet+ -j " + strayChain,
	}}
}

// side is how a direction looks from the rules.
type side struct {
	scope                     scope
	node, network, interfaces string // chains
	own                       string // the pod's side of a packet, in the words of -m set
}

func (s scope) side(network string, d nsg.Direction) side {
	out := side{scope: s, node: s.nodeChain(d), network: inChain + "-" + tag(network), interfaces: inInterfaces + tag(network), own: "dst"}
	if d == nsg.Outbound {
		out.network, out.interfaces, out.own = outChain+"-"+tag(network), outInterfaces+tag(network), "src"
	}
	return out
}

// dispatch is the rule of the node-wide chain that leads to the network's.
func (s side) dispatch(network string, f family) string {
	return "-m set --match-set " + memberSet(network, f) + " " + s.own + " -g " + s.network
}

// direction adds what judges one direction: what no group has a say in; then, on
// the way out, the group of the interface and that of the subnet, on the way in the
// other way round. What is allowed returns.
func (j *judgement) direction(network string, p *Policies, f family, d nsg.Direction) {
	s := j.scope.side(network, d)
	own := "-m set --match-set " + ownGroupSet(network, f) + " " + s.own + " -j " + s.interfaces
	steps := []string{own}
	if p.Subnet != nil {
		subnet := j.program(network, SubnetKey, p.Subnet, f, d).way("", "-j")
		steps = []string{own, subnet}
		if d == nsg.Inbound {
			slices.Reverse(steps)
		}
	}
	// A pod whose group is not there must wait for it: nothing of it passes
	// unjudged.
	var interfaces []string
	for _, key := range slices.Sorted(maps.Keys(p.Interfaces)) {
		match := "-m set --match-set " + groupSet(network, key, f) + " " + s.own
		interfaces = append(interfaces, j.program(network, key, p.Interfaces[key], f, d).way(match, "-g"))
	}
	j.table.chains = append(j.table.chains,
		chain{name: s.network, rules: append(j.fixedRules(p, f, d), steps...)},
		chain{name: s.interfaces, rules: append(interfaces, rule("", "DROP"))})
}

// platformAddress is Azure's own in every virtual network: whoever claims it
// here lies.
const platformAddress = "168.63.129.16"

func (j *judgement) fixedRules(p *Policies, f family, d nsg.Direction) []string {
	var rules []string
	if f == ipv6 { // neighbour discovery always passes
		// Of what was routed none is (RFC 4861, 7.1: the hop limit is 255).
		for typ := 133; typ <= 137; typ++ {
			rules = append(rules, rule("-p ipv6-icmp -m hl --hl-eq 255 -m icmp6 --icmpv6-type "+strconv.Itoa(typ), "RETURN"))
		}
	}
	// Connection tracking would take a segment from the middle of a connection
	// for a new one, in whatever direction.
	rules = append(rules,
		rule("-m conntrack --ctstate INVALID", "DROP"),
		rule("-p tcp -m tcp ! --syn -m conntrack --ctstate NEW", "DROP"))
	if d == nsg.Inbound && f == ipv4 {
		rules = append(rules, rule("-s "+platformAddress+"/32", "DROP"))
	}
	if d == nsg.Outbound && f == ipv4 {
		rules = append(rules, j.scope.noBroadcast()...)
	}
	if p.SameNodeFree {
		for _, match := range j.scope.betweenPods(f, d) {
			rules = append(rules, rule(match, "RETURN"))
		}
	}
	return rules
}

// program compiles one group and direction.
func (j *judgement) program(network, key string, p *nsg.Policy, f family, d nsg.Direction) compiled {
	out := compiled{name: groupChain(network, key, d)}
	prog := program.Compile(p, d, f == ipv6, program.Names{
		Chain:   func(n int) string { return out.name + strconv.Itoa(n) },
		Content: func(content string) string { return contentSet(network, content, f) },
		ASG:     func(asg string) string { return asgSet(network, asg, f) },
	})
	var content strings.Builder
	for i := range prog.Chains {
		c := chain{name: prog.Chains[i].Name}
		content.WriteString(c.name + "\n")
		for k := range prog.Chains[i].Rules {
			text := prog.Chains[i].Rules[k].Text(f == ipv6)
			content.WriteString(text + "\n")
			c.rules = append(c.rules, text)
		}
		out.rules += len(c.rules)
		out.chains = append(out.chains, c)
	}
	out.hash = program.Hash(content.String())
	j.programs = append(j.programs, out)
	j.need(prog.Sets())
	return out
}

// need adds the sets that are not there yet.
func (j *judgement) need(sets []*program.Set) {
	for _, s := range sets {
		if !slices.ContainsFunc(j.sets, func(have *program.Set) bool { return have.Name == s.Name }) {
			j.sets = append(j.sets, s)
		}
	}
}

// ofGroups reports whether a chain belongs to the network's groups.
func ofGroups(network, chain string) bool { return strings.HasPrefix(chain, groupChains(network)) }

// networkChains are a network's own chains besides those of its groups.
func networkChains(network string) []string {
	in, out := ownPods.side(network, nsg.Inbound), ownPods.side(network, nsg.Outbound) // the same in either scope
	return []string{in.network, in.interfaces, out.network, out.interfaces}
}
