// Package nexthop is the model of Azure's routing: the routes that a subnet has,
// its user's and the system's, and which of them a packet takes.
//
// It is pure: it reads no file and knows nothing of the node's own routes. It must
// not know how a next hop is reached.
//
// The facts are from Microsoft's page "Virtual network traffic routing" where
// nothing else is said.
package nexthop
