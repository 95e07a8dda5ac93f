package firewall

import "github.com/vnet-cni/vnet-cni/pkg/nsg"

// scope is whose pods a network judges. The networks of a scope share node-wide
// chains and sets, and nothing with those of the other: a packet of pods of both is
// judged by both.
type scope uint8

// The scopes.
const (
	// Pods behind interfaces of ours, vnet+, whose packets are guarded against forged
	// sources: what is from or for such an interface and belongs to nobody is dropped.
	ownPods scope = iota
	// Pods of other main plugins, on whatever interface: known by their addresses.
	foreignPods
)

var scopes = [...]scope{ownPods, foreignPods}

func scopeOf(foreign bool) scope {
	if foreign {
		return foreignPods
	}
	return ownPods
}

func (n Network) scope() scope { return scopeOf(n.Foreign) }

// Chains through which the packets of other main plugins' pods go.
const (
	foreignOutChain = "VNET-FOREIGN-OUT"
	foreignInChain  = "VNET-FOREIGN-IN"
)

// foreignComment marks the entries for the pods of other main plugins: who replaces
// the entries of our own leaves them alone.
const foreignComment = comment + "-foreign"

// foreignReferences are those of the rules for the pods of other main plugins to
// the set of their addresses: the entries, and the end of either node-wide chain.
const foreignReferences = 3 + 2

// foreignSet holds the addresses of all judged pods of other main plugins.
func foreignSet(f family) string { return "vnet-foreign-" + f.suffix() }

// nearSet holds the same addresses, each with the node's interface that leads to the
// pod: that is how a packet from a pod of this node is told from one that only bears
// its address.
func nearSet(f family) string { return "vnet-near-" + f.suffix() }

// judgedSet holds all judged pods of the scope.
func (s scope) judgedSet(f family) string {
	if s == foreignPods {
		return foreignSet(f)
	}
	return judgedSet(f)
}

// nodeChain is the chain through which all judged packets of a direction go.
func (s scope) nodeChain(d nsg.Direction) string {
	switch {
	case s == foreignPods && d == nsg.Outbound:
		return foreignOutChain
	case s == foreignPods:
		return foreignInChain
	case d == nsg.Outbound:
		return outChain
	}
	return inChain
}

// nodeChains are those that the networks of the scope share, each before the chains
// that it leads to.
func (s scope) nodeChains() []string {
	if s == foreignPods {
		return []string{foreignOutChain, foreignInChain}
	}
	return []string{forwardChain, outChain, inChain, strayChain}
}

// sharedSets are those of the scope that all its networks share. The last one tells
// whether the others are needed.
func (s scope) sharedSets(f family) []string {
	if s == foreignPods {
		return []string{nearSet(f), foreignSet(f)}
	}
	return []string{farSet(f), entrySet(f), judgedSet(f)}
}

// entries lead from the base chains to the scope's.
func (s scope) entries(f family) []entries {
	if s == foreignPods {
		return foreignEntries(f)
	}
	return judgedEntries(f)
}

// foreignEntries have no interface to go by. What the node itself sends to such pods
// is not judged, as with our own.
func foreignEntries(f family) []entries {
	way := func(direction, chain string) string {
		return "-m conntrack ! --ctstate RELATED,ESTABLISHED -m set --match-set " + foreignSet(f) + " " + direction +
			" -m comment --comment " + foreignComment + " -j " + chain
	}
	return []entries{
		{base: "FORWARD", first: true, mark: foreignComment, rules: []string{way("src", foreignOutChain), way("dst", foreignInChain)}},
		{base: "INPUT", first: true, mark: foreignComment, rules: []string{way("src", foreignOutChain)}},
	}
}

// betweenPods matches the traffic between pods of this node, as it looks when it is
// judged in a direction. A source counts only on the interface that it belongs to.
func (s scope) betweenPods(f family, d nsg.Direction) []string {
	switch {
	case s == foreignPods && d == nsg.Outbound:
		return []string{"-o vnet+", "-m set --match-set " + nearSet(f) + " dst,dst"}
	case s == foreignPods:
		return []string{"-i vnet+", "-m set --match-set " + nearSet(f) + " src,src"}
	case d == nsg.Outbound:
		return []string{"-o vnet+"}
	}
	return []string{"-i vnet+ -o vnet+"}
}

// noBroadcast drops what a pod sends to all of a subnet, as Azure does: behind a bridge
// the others get it under an address that none of their groups judges. The node knows
// such an address where it has one of the subnet itself; else the frame tells, unless
// its sender made it up. Behind an interface of ours there is nobody else.
func (s scope) noBroadcast() []string {
	if s == ownPods {
		return nil
	}
	return []string{rule("-m addrtype --dst-type BROADCAST", "DROP"), rule("-m pkttype --pkt-type broadcast", "DROP")}
}
