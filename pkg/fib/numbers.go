package fib

// The numbers that this project takes of those that all programs of a node share.
const (
	// ToNodes and ToAppliances mark who made routes and rules: what leads to the pods
	// of other nodes, and what leads pods' packets by the user's routes. They are
	// numbers that linux/rtnetlink.h and iproute2's rt_protos give to nobody: 186,
	// for instance, is BGP's.
	ToNodes      = 86
	ToAppliances = 87

	// TableOfNodes holds routes to other nodes' own addresses, and is the priority of
	// the rule that leads there.
	TableOfNodes = 7677
)
