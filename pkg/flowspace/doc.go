// Package flowspace divides all flows of a direction into boxes, exactly: each box
// is a product of sets of protocols, addresses, ports and memberships of application
// security groups, the boxes have no flow in common, and every flow is in one.
//
// A flow's membership of an application security group stands in no document, so it
// is free: each end may be in any of them or not.
//
// It knows what package nsg says that a rule matches, and nothing of documents, of
// what is worth a warning, or of how rules are enforced.
package flowspace
